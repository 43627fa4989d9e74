//! Stored callbacks that were not applied in time: their record was lost, or their payment is not known yet.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};

use crate::postgres::due::{self, Found, Row, Search, millis};

/// Takes callbacks that are due; see [`Search`]. `limit` is that of an ordinary statement.
pub async fn claim(pool: &PgPool, search: &Search, limit: Duration) -> Result<Found, sqlx::Error> {
    due::claim(pool, search, limit, take).await
}

fn take<'c>(connection: &'c mut PgConnection, search: &'c Search) -> BoxFuture<'c, Result<Vec<Row>, sqlx::Error>> {
    sqlx::query_file_as!(
        Row,
        "lib/callbacks/sql/claim_due.sql",
        search.from,
        &search.except,
        search.limit as i64,
        millis(search.leave),
        millis(search.longest)
    )
    .fetch_all(connection)
    .boxed()
}
