//! Payments that the fleet must look at again.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::postgres::due::{self, Found, Row, Search, millis};

/// Notified when a payment was made due out of turn.
pub const CHANNEL: &str = "payfleet_due";

/// Takes payments that are due; see [`Search`]. `limit` is that of an ordinary statement.
pub async fn claim(pool: &PgPool, search: &Search, limit: Duration) -> Result<Found, sqlx::Error> {
    due::claim(pool, search, limit, take).await
}

fn take<'c>(connection: &'c mut PgConnection, search: &'c Search) -> BoxFuture<'c, Result<Vec<Row>, sqlx::Error>> {
    sqlx::query_file_as!(
        Row,
        "lib/transactions/sql/claim_due.sql",
        search.from,
        &search.except,
        search.limit as i64,
        millis(search.leave),
        millis(search.longest)
    )
    .fetch_all(connection)
    .boxed()
}

/// Makes a payment due at once and wakes the reconcilers. False: it is final, nothing will be looked at.
pub async fn now(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    let woken = sqlx::query!(
        "WITH due AS (
             UPDATE transactions SET due_at = least(due_at, statement_timestamp()) WHERE id = $1 AND due_at IS NOT NULL RETURNING id
         )
         SELECT pg_notify($2, '') FROM due",
        id,
        CHANNEL
    )
    .fetch_optional(pool)
    .await?;
    Ok(woken.is_some())
}
