//! Stored callbacks that were not applied in time: their record was lost, or their payment is not known yet.

use sqlx::PgPool;

use crate::postgres::due::{self, Found, Row, Search, millis};

/// Takes callbacks that are due; see [`Search`].
pub async fn claim(pool: &PgPool, search: &Search) -> Result<Found, sqlx::Error> {
    let mut claim = due::begin(pool, search).await?;
    let rows = sqlx::query_file_as!(
        Row,
        "lib/callbacks/sql/claim_due.sql",
        search.from,
        &search.except,
        search.limit as i64,
        millis(search.leave),
        millis(search.longest)
    )
    .fetch_all(&mut *claim)
    .await?;
    claim.commit().await?;
    Found::of(rows)
}
