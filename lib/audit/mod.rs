//! The table `audit`: what people had the fleet do, with who, when and why. Append-only.
//!
//! If it dies here: an act and its row are one commit.

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgExecutor};
use time::OffsetDateTime;

/// What somebody has done.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// The person, as they or their machine name them.
    pub actor: &'a str,
    /// What is done: `dead_letter.replay`.
    pub act: &'a str,
    /// What it is done to, by its id.
    pub subject: &'a str,
    /// Why. Never empty: the table refuses it.
    pub reason: &'a str,
    /// An object with whatever else is worth knowing. No secrets, no account numbers: everybody who may look may read it.
    pub details: Value,
}

/// A row as it is read.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub id: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub actor: String,
    pub act: String,
    pub subject: String,
    pub reason: String,
    pub details: Value,
}

/// Puts an act on record, in the caller's transaction: the one that does it. Gives the row's number.
pub async fn record(connection: &mut PgConnection, act: &Act<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO audit (actor, act, subject, reason, details) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        act.actor,
        act.act,
        act.subject,
        act.reason,
        act.details
    )
    .fetch_one(connection)
    .await
}

/// Acts after the one of this number, in the order of their numbers.
pub async fn list(database: impl PgExecutor<'_>, after: i64, limit: i64) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Entry,
        "SELECT id, at, actor, act, subject, reason, details FROM audit WHERE id > $1 ORDER BY id LIMIT $2",
        after,
        limit
    )
    .fetch_all(database)
    .await
}
