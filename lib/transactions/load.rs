//! Reading payments with their attempts, for the rules to decide on.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Money;
use crate::domain::reason::Reason;
use crate::domain::transaction::{Attempt, OperationState, Transaction};
use crate::postgres::combiner::Batch;

/// A row holds a word that this program does not know: it was written by a newer one, or by hand.
fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// Payments as they stand, with the database's time of reading; those that do not exist are missing from the answer.
///
/// Both statements run on one snapshot each: an attempt may be newer than its payment's row, never older. What is decided on
/// such a mixture misses its version guard and is decided again.
pub async fn load(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<(Transaction, OffsetDateTime)>, sqlx::Error> {
    let rows = sqlx::query_file!("lib/transactions/sql/load.sql", ids).fetch_all(&mut *connection).await?;
    let mut attempts = load_attempts(connection, ids).await?;
    rows.into_iter()
        .map(|row| {
            let transaction = Transaction {
                id: row.id,
                kind: row.kind.parse().map_err(corrupt)?,
                user_id: row.user_id,
                account_id: row.account_id,
                available: row.available,
                owed: row.owed,
                money: Money::new(row.amount, row.currency.parse().map_err(corrupt)?),
                country: row.country,
                pinned_gateway: row.pinned_gateway,
                destination_kind: row.destination_kind.map(|kind| kind.parse().map_err(corrupt)).transpose()?,
                return_url: row.return_url,
                status: row.status.parse().map_err(corrupt)?,
                substatus: row.substatus.map(|substatus| substatus.parse().map_err(corrupt)).transpose()?,
                gateway: row.gateway,
                attempt: row.attempt,
                round: row.round,
                next_action_url: row.next_action_url,
                next_action_expires_at: row.next_action_expires_at,
                version: row.version,
                asks: row.asks,
                is_due: row.is_due,
                contradicted: row.contradicted,
                came_back_when_asked: row.came_back_when_asked,
                reason: row.reason_code.map(|code| Reason {
                    code,
                    message: row.reason_message.unwrap_or_default(),
                    gateway_code: row.reason_gateway_code,
                }),
                submit_until: row.submit_until,
                created_at: row.created_at,
                updated_at: row.updated_at,
                attempts: attempts.remove(&row.id).unwrap_or_default(),
            };
            Ok((transaction, row.now))
        })
        .collect()
}

async fn load_attempts(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Attempt>>, sqlx::Error> {
    let rows = sqlx::query_file!("lib/transactions/sql/load_attempts.sql", ids).fetch_all(connection).await?;
    let mut found: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for row in rows {
        let attempts = found.entry(row.transaction_id).or_default();
        if attempts.last().is_none_or(|last| last.id != row.id) {
            attempts.push(Attempt {
                id: row.id,
                number: row.number,
                round: row.round,
                gateway: row.gateway,
                state: row.state.parse().map_err(corrupt)?,
                reference: row.reference,
                not_found: row.not_found,
                not_found_at: row.not_found_at,
                created_at: row.created_at,
                operations: Vec::new(),
            });
        }
        if let (Some(attempt), Some(kind), Some(calls), Some(send_by)) =
            (attempts.last_mut(), row.operation, row.calls, row.send_by)
        {
            let (kind, rejected) = (kind.parse().map_err(corrupt)?, row.rejected.unwrap_or(false));
            attempt.operations.push(OperationState { kind, calls, send_by, rejected });
        }
    }
    Ok(found)
}

/// Many readers share a round trip.
#[derive(Clone)]
pub struct Loading;

impl Batch for Loading {
    type Request = Uuid;
    type Reply = Option<(Transaction, OffsetDateTime)>;
    type Key = Uuid;
    const NAME: &'static str = "payfleet-load";

    fn key(request: &Uuid) -> Option<Uuid> {
        Some(*request)
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[Uuid]) -> Result<Vec<Self::Reply>, sqlx::Error> {
        let mut found: HashMap<Uuid, (Transaction, OffsetDateTime)> =
            load(connection, requests).await?.into_iter().map(|pair| (pair.0.id, pair)).collect();
        Ok(requests.iter().map(|id| found.remove(id)).collect())
    }
}
