//! Ticks: snapshots kept while there is traffic. They cut a backlog into slices of known, frozen content that can be read in pages,
//! so that memory and cost per event stay flat however long the backlog has become.
//!
//! If it dies here: a tick not written makes one slice longer.

use std::time::Duration;

use sqlx::postgres::PgConnection;

/// Traffic between two ticks, fleet-wide.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// Writes a tick, unless one was written within [`INTERVAL`] or nothing was appended since. Says whether it did.
pub async fn write(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let interval_ms = INTERVAL.as_millis() as i64;
    let done = sqlx::query_file!("lib/outbox/sql/write_tick.sql", interval_ms).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}
