//! A letter put back where it came from: its record as it was, on its old topic and partition, once.
//!
//! Intent first, with its audit row in the same commit; then the record, acknowledged; then the result. Records are sent one after the
//! other, so those of one aggregate keep their order.
//!
//! If it dies here: before the first commit nothing happened. Between the two the letter counts as begun: whoever replays it next sends
//! it, and it may then stand on its topic twice, which every consumer bears. After the second it is never sent again.

use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::letter;
use crate::audit::{self, Act};
use crate::kafka::again::{Again, NotTaken};

/// The act's name in the audit.
pub const ACT: &str = "dead_letter.replay";

/// Only one command replays at a time: two would send the same letters. Released with its session.
const LOCK: i64 = 740_219;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("there is no dead letter {0}")]
    NoSuchLetter(Uuid),
    /// It may be there all the same; the next replay of this letter sends it again.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

/// On whose word, and why.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub actor: &'a str,
    pub reason: &'a str,
}

/// What a replay has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// Acknowledged at this offset.
    Now { offset: i64 },
    /// It was replayed before: nothing was done.
    Before { at: OffsetDateTime, offset: i64 },
}

/// What the first commit found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It is to be sent.
    Send,
    Done {
        at: OffsetDateTime,
        offset: i64,
    },
}

/// Takes the right to replay, for as long as the session lives. False: somebody else has it.
pub async fn take_turn(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "taken!""#, LOCK).fetch_one(connection).await
}

/// Replays one letter, if nobody has before.
pub async fn replay(
    connection: &mut PgConnection,
    again: &Again,
    id: Uuid,
    order: Order<'_>,
) -> Result<Replayed, Error> {
    let record = letter::record(&mut *connection, id).await?.ok_or(Error::NoSuchLetter(id))?;
    if let Begun::Done { at, offset } = begin(connection, id, order).await? {
        return Ok(Replayed::Before { at, offset });
    }
    let offset = again.send(&record).await?;
    sqlx::query!(
        "UPDATE dead_letter_replays SET done_at = clock_timestamp(), done_offset = $2
         WHERE letter = $1 AND done_at IS NULL",
        id,
        offset
    )
    .execute(connection)
    .await?;
    Ok(Replayed::Now { offset })
}

/// The intent, and who has it: one commit. Nothing at all where the letter was replayed before.
pub async fn begin(connection: &mut PgConnection, id: Uuid, order: Order<'_>) -> Result<Begun, sqlx::Error> {
    let mut beginning = connection.begin().await?;
    let earlier = sqlx::query!("SELECT done_at, done_offset FROM dead_letter_replays WHERE letter = $1", id)
        .fetch_optional(&mut *beginning)
        .await?;
    if let Some((Some(at), Some(offset))) = earlier.as_ref().map(|earlier| (earlier.done_at, earlier.done_offset)) {
        beginning.rollback().await?;
        return Ok(Begun::Done { at, offset });
    }
    let subject = id.to_string();
    let details = json!({ "begun_before": earlier.is_some() });
    let act = Act { actor: order.actor, act: ACT, subject: &subject, reason: order.reason, details };
    let number = audit::record(&mut beginning, &act).await?;
    sqlx::query!(
        "INSERT INTO dead_letter_replays (letter, audit) VALUES ($1, $2)
         ON CONFLICT ON CONSTRAINT dead_letter_replays_pkey DO NOTHING",
        id,
        number
    )
    .execute(&mut *beginning)
    .await?;
    beginning.commit().await?;
    Ok(Begun::Send)
}
