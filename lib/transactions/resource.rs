//! A payment as its owner may see it.

use sqlx::postgres::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::due;
use crate::domain::accept::Acceptance;
use crate::domain::change::NextAction;
use crate::domain::destination::{Destination, DestinationKind};
use crate::domain::ids::{Kind, PublicId};
use crate::domain::reason::Reason;
use crate::domain::transaction::{Status, Substatus};

/// Everything an answer shows, and nothing that it must not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    pub id: PublicId,
    pub user_id: Uuid,
    pub status: Status,
    pub substatus: Option<Substatus>,
    pub reason: Option<Reason>,
    pub amount: i64,
    pub currency: String,
    pub gateway: String,
    pub attempts: i16,
    /// Kind and last four characters.
    pub destination: Option<(DestinationKind, String)>,
    pub next_action: Option<NextAction>,
    pub next_check_at: Option<OffsetDateTime>,
    pub client_reference: Option<String>,
    /// A JSON object of strings, as it was written at acceptance.
    pub metadata: Option<String>,
    pub version: i64,
    /// Questions asked since the status last changed.
    pub asks: i16,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Resource {
    /// The payment as it stands once it is committed.
    pub fn accepted(acceptance: &Acceptance) -> Self {
        let order = &acceptance.order;
        Self {
            id: PublicId { kind: order.kind, id: acceptance.id },
            user_id: acceptance.user_id,
            status: Acceptance::STATUS,
            substatus: None,
            reason: None,
            amount: order.money.minor,
            currency: order.money.currency.to_string(),
            gateway: acceptance.gateway.clone(),
            attempts: 0,
            destination: order
                .destination
                .as_ref()
                .map(|destination| (destination.kind(), Destination::last4(destination))),
            next_action: None,
            next_check_at: Some(acceptance.due_at),
            client_reference: order.client_reference.clone(),
            metadata: order.metadata_json(),
            version: Acceptance::VERSION,
            asks: 0,
            created_at: acceptance.created_at,
            updated_at: acceptance.created_at,
        }
    }
}

/// Where a payment stands: enough to tell whether what is cached of it still holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub status: Status,
    pub version: i64,
}

/// None: there is no such payment of this user.
pub async fn standing(pool: &PgPool, id: PublicId, user_id: Uuid) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT status, version FROM transactions WHERE id = $1 AND user_id = $2 AND type = $3",
        id.id,
        user_id,
        id.kind.as_str()
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| Ok(Standing { status: row.status.parse().map_err(corrupt)?, version: row.version })).transpose()
}

/// Payments as they stand, whoever owns them; those that do not exist are missing from the answer.
pub async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Resource>, sqlx::Error> {
    let rows = sqlx::query_file!("lib/transactions/sql/resource_load.sql", ids).fetch_all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let kind: Kind = row.kind.parse().map_err(corrupt)?;
            let destination_kind: Option<DestinationKind> =
                row.destination_kind.map(|kind| kind.parse().map_err(corrupt)).transpose()?;
            let reason = row.reason_code.map(|code| Reason {
                code,
                message: row.reason_message.unwrap_or_default(),
                gateway_code: row.reason_gateway_code,
            });
            Ok(Resource {
                id: PublicId { kind, id: row.id },
                user_id: row.user_id,
                status: row.status.parse().map_err(corrupt)?,
                substatus: row.substatus.map(|substatus| substatus.parse().map_err(corrupt)).transpose()?,
                reason,
                amount: row.amount,
                currency: row.currency,
                gateway: row.gateway,
                attempts: row.attempt,
                destination: destination_kind.zip(row.destination_last4),
                next_action: row
                    .next_action_url
                    .map(|redirect_url| NextAction { redirect_url, expires_at: row.next_action_expires_at }),
                next_check_at: row.due_at,
                client_reference: row.client_reference,
                metadata: row.metadata,
                version: row.version,
                asks: row.asks,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .collect()
}

/// Has the fleet look at the payment now, if a gateway may have news of it, and wakes the reconcilers after that is committed. False:
/// there is nothing to ask.
pub async fn look_now(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    // Not in `submitting`: a call is under way, and nobody may act on the attempt before its deadline.
    let done = sqlx::query!(
        "UPDATE transactions SET due_at = clock_timestamp()
         WHERE id = $1 AND status IN ('awaiting_gateway', 'requires_action', 'unknown')",
        id
    )
    .execute(pool)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query_scalar!(r#"SELECT pg_notify($1, '')::text AS "nothing""#, due::CHANNEL).fetch_one(pool).await?;
    Ok(true)
}

/// A row holds a word that this program does not know: it was written by a newer one, or by hand.
fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
