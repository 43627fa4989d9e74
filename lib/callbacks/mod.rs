//! The callbacks table: what gateways told us, as it came, and what was done about it.
//!
//! ```text
//! stored ─▶ applied (a step was taken)      unmatched ─▶ the same, once its attempt is known
//!       └─▶ ignored (nothing follows)             └─▶ ignored (it cannot become known, or has not for 30 days)
//! ignored ─▶ applied (of two who opened it at the same time, the other took a step)
//! ```
//! If it dies between storing and applying: the record on payments.callbacks is consumed again, or the callback falls due.

pub mod due;

use sqlx::PgPool;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::lane::lane_of;
use crate::domain::outcome::Notice;
use crate::postgres::combiner::Batch;
use crate::sealing::Sealed;
use crate::service::planted::{self, Bug};

/// A verified message, ready to be stored.
#[derive(Clone, Debug)]
pub struct NewCallback {
    pub id: Uuid,
    pub gateway: &'static str,
    pub notice: Notice,
    pub raw: Sealed,
    /// Of the request that brought it.
    pub traceparent: Option<String>,
}

/// Whether the message was new, and the database's time.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    pub new: bool,
    pub now: OffsetDateTime,
}

/// Many messages share a commit.
#[derive(Clone)]
pub struct Storing;

impl Batch for Storing {
    type Request = NewCallback;
    type Reply = Stored;
    type Key = (&'static str, String);
    const NAME: &'static str = "payfleet-callbacks";

    fn key(request: &NewCallback) -> Option<Self::Key> {
        Some((request.gateway, request.notice.event_id.clone()))
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[NewCallback]) -> Result<Vec<Stored>, sqlx::Error> {
        let column = |of: fn(&NewCallback) -> String| requests.iter().map(of).collect::<Vec<String>>();
        let ids: Vec<Uuid> = requests.iter().map(|request| request.id).collect();
        let attempts: Vec<Option<Uuid>> = requests.iter().map(|request| request.notice.attempt).collect();
        let references: Vec<Option<String>> = requests.iter().map(|request| request.notice.reference.clone()).collect();
        let notices = requests
            .iter()
            .map(|request| serde_json::to_string(&request.notice))
            .collect::<Result<Vec<String>, _>>()
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let sealed: Vec<Vec<u8>> = requests.iter().map(|request| request.raw.bytes.clone()).collect();
        let lanes: Vec<i16> = ids.iter().map(|id| lane_of(*id)).collect();
        let traceparents: Vec<Option<String>> = requests.iter().map(|request| request.traceparent.clone()).collect();
        let rows = sqlx::query_file!(
            "lib/callbacks/sql/store.sql",
            &ids,
            &column(|request| request.gateway.to_owned()),
            &column(event_id),
            &column(|request| request.notice.event_type.clone()),
            &attempts as &[Option<Uuid>],
            &references as &[Option<String>],
            &notices,
            &sealed,
            &column(|request| request.raw.key_id.clone()),
            &lanes,
            &traceparents as &[Option<String>]
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| Stored { new: row.new, now: row.now }).collect())
    }
}

/// What makes it the same event when it is delivered again.
fn event_id(request: &NewCallback) -> String {
    if planted::is(Bug::CallbackDedupeOff) {
        return format!("{}#{}", request.notice.event_id, request.id);
    }
    request.notice.event_id.clone()
}

/// A stored callback that waits to be applied.
#[derive(Clone, Debug)]
pub struct Callback {
    pub id: Uuid,
    pub gateway: String,
    pub notice: Notice,
    pub transaction_id: Option<Uuid>,
    pub attempt_id: Option<Uuid>,
    pub tries: i16,
    /// It came more than 30 days ago: longer than any gateway takes to tell of a payment, and than any payment takes.
    pub is_old: bool,
}

impl Callback {
    /// Why nobody needs to look again for an attempt that was not found.
    pub fn given_up(&self) -> Option<&'static str> {
        match (&self.notice.attempt, &self.notice.reference) {
            (None, None) => Some("it names neither an attempt nor a reference of the gateway's"),
            _ if self.is_old => Some("its payment was not known for 30 days"),
            _ => None,
        }
    }
}

/// The callback, unless it was applied or ignored already.
pub async fn open(pool: &PgPool, id: Uuid) -> Result<Option<Callback>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT gateway, notice, transaction_id, attempt_id, tries,
                  received_at < clock_timestamp() - interval '30 days' AS "is_old!"
           FROM callbacks
           WHERE id = $1 AND state IN ('stored', 'unmatched')"#,
        id
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let notice = serde_json::from_value(row.notice).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let (transaction_id, attempt_id) = (row.transaction_id, row.attempt_id);
        let (tries, is_old) = (row.tries, row.is_old);
        Ok(Callback { id, gateway: row.gateway, notice, transaction_id, attempt_id, tries, is_old })
    })
    .transpose()
}

/// Whether this callback was ever stored.
pub async fn exists(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM callbacks WHERE id = $1) AS "exists!""#, id).fetch_one(pool).await
}

/// Looks for the attempt again: (transaction, attempt), kept with the callback when found.
pub async fn find_attempt(pool: &PgPool, callback: &Callback) -> Result<Option<(Uuid, Uuid)>, sqlx::Error> {
    let found = sqlx::query!(
        "UPDATE callbacks k
         SET transaction_id = p.transaction_id, attempt_id = p.id
         FROM attempts p
         WHERE k.id = $1 AND p.gateway = k.gateway AND (p.id = $2 OR ($2::uuid IS NULL AND p.reference = $3))
         RETURNING p.transaction_id, p.id",
        callback.id,
        callback.notice.attempt,
        callback.notice.reference
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.map(|row| (row.transaction_id, row.id)))
}

/// The gateway's own id of a payment, as the latest of an attempt's callbacks names it. That it is this payment's, only the gateway can say.
pub async fn named_reference(pool: &PgPool, transaction: Uuid, attempt: Uuid) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT notice->>'reference' AS "reference!"
           FROM callbacks
           WHERE transaction_id = $1 AND attempt_id = $2 AND length(notice->>'reference') < 256
           ORDER BY received_at DESC
           LIMIT 1"#,
        transaction,
        attempt
    )
    .fetch_optional(pool)
    .await
}

/// Its payment is not known (yet): kept, and looked at again, the wait doubling from 2 s to an hour.
pub async fn unmatched(pool: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE callbacks
         SET state = 'unmatched', tries = least(tries + 1, 1000),
             due_at = clock_timestamp() + least(interval '1 hour', interval '1 second' * power(2, least(tries + 1, 12)))
         WHERE id = $1 AND state IN ('stored', 'unmatched')",
        id
    )
    .execute(pool)
    .await
    .map(drop)
}

/// Nothing follows from it, for this reason.
pub async fn ignore(pool: &PgPool, id: Uuid, why: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE callbacks SET state = 'ignored', state_reason = $2, due_at = NULL, done_at = clock_timestamp()
         WHERE id = $1 AND state IN ('stored', 'unmatched')",
        id,
        why
    )
    .execute(pool)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(attempt: Option<Uuid>, reference: Option<&str>, is_old: bool) -> Callback {
        let (event_id, event_type) = ("evt_1".to_owned(), "test".to_owned());
        let notice = Notice { event_id, event_type, attempt, reference: reference.map(str::to_owned), claim: None };
        let (id, gateway) = (Uuid::nil(), "stripe".to_owned());
        Callback { id, gateway, notice, transaction_id: None, attempt_id: None, tries: 0, is_old }
    }

    #[test]
    fn who_names_nothing_is_given_up_at_once_and_who_names_something_after_a_month() {
        assert!(callback(None, None, false).given_up().is_some());
        for (attempt, reference) in [(Some(Uuid::nil()), None), (None, Some("pi_1")), (Some(Uuid::nil()), Some("pi_1"))]
        {
            assert!(callback(attempt, reference, false).given_up().is_none());
            assert!(callback(attempt, reference, true).given_up().is_some());
        }
    }
}
