//! Stored callbacks that were not applied in time: their record was lost, or their payment is not known yet.

use std::time::Duration;

use sqlx::PgPool;

use crate::postgres;
use crate::postgres::due::{self, Found, Row, Search, millis};

/// Takes callbacks that are due; see [`Search`]. `limit` is that of an ordinary statement.
pub async fn claim(pool: &PgPool, search: &Search, limit: Duration) -> Result<Found, sqlx::Error> {
    let mut claim = due::begin(pool, search, limit).await?;
    let taking = async {
        sqlx::query_file_as!(
            Row,
            "lib/callbacks/sql/claim_due.sql",
            search.from,
            &search.except,
            search.limit as i64,
            millis(search.leave),
            millis(search.longest)
        )
        .fetch_all(&mut *claim)
        .await
    };
    let rows = due::within(search, limit, taking).await?;
    postgres::within(limit, claim.commit()).await?;
    Found::of(rows)
}
