//! Ticks: snapshots kept while there is traffic. They cut a backlog into slices of known, frozen content that can be read in pages,
//! so that memory and cost per event stay flat however long the backlog has become.
//!
//! If it dies here: a tick not written makes one slice longer.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::snapshot::Snapshot;

/// Traffic between two ticks, fleet-wide.
pub const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tick {
    pub snapshot: Snapshot,
    /// Where the ids of the outbox stood.
    pub written: i64,
}

/// Writes a tick, unless one was written within [`INTERVAL`] or nothing was appended since. Says whether it did.
pub async fn write(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let interval_ms = INTERVAL.as_millis() as i64;
    let done = sqlx::query_file!("lib/outbox/sql/write_tick.sql", interval_ms).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// The next ticks after a cursor, in the order of their snapshots, `limit` at most. A tick from beyond what this server has reached is
/// of another history and is not given.
pub async fn after(connection: &mut PgConnection, from: &Snapshot, limit: i64) -> Result<Vec<Tick>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT snapshot::text AS "snapshot!", written FROM outbox_ticks
           WHERE pg_snapshot_xmax(snapshot) >= $1::text::xid8
             AND pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
           ORDER BY pg_snapshot_xmax(snapshot)
           LIMIT $2"#,
        from.xmax().to_string(),
        limit
    )
    .fetch_all(connection)
    .await?;
    let mut ticks = Vec::with_capacity(rows.len());
    for row in rows {
        let snapshot: Snapshot = row.snapshot.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        if from.is_before(&snapshot) {
            ticks.push(Tick { snapshot, written: row.written });
        }
    }
    ticks.sort_by_key(|tick| tick.snapshot.rank());
    Ok(ticks)
}

/// Where the slice after a cursor ends: at the last of these ticks that makes about so many rows, at the next one in any case.
pub fn slice_end<'a>(ticks: &'a [Tick], from: &Snapshot, rows: i64) -> Option<&'a Snapshot> {
    let first = ticks.partition_point(|tick| !from.is_before(&tick.snapshot));
    let later = ticks.get(first..)?;
    let until = later.first()?.written.saturating_add(rows);
    let within = later.partition_point(|tick| tick.written <= until).max(1);
    later.get(within - 1).map(|tick| &tick.snapshot)
}

/// Deletes the ticks that every stored cursor has passed, from transaction `low` on, and gives the value for the next call: entries
/// below it were deleted before and may still stand in the index.
pub async fn trim(connection: &mut PgConnection, low: u64) -> Result<u64, sqlx::Error> {
    let passed = sqlx::query_file_scalar!("lib/outbox/sql/slowest_cursor.sql").fetch_one(&mut *connection).await?;
    let Some(until) = passed.and_then(|xid| xid.parse::<u64>().ok()).filter(|until| *until > low) else {
        return Ok(low);
    };
    sqlx::query!(
        "DELETE FROM outbox_ticks
         WHERE pg_snapshot_xmax(snapshot) >= $1::text::xid8 AND pg_snapshot_xmax(snapshot) < $2::text::xid8",
        low.to_string(),
        until.to_string()
    )
    .execute(connection)
    .await?;
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_at_the_last_tick_within_its_rows_and_is_never_empty_of_ticks() {
        let snapshot = |xmax: u64| format!("{xmax}:{xmax}:").parse::<Snapshot>().unwrap();
        let ticks: Vec<Tick> = [(10, 100), (20, 150), (30, 190), (40, 900)]
            .map(|(xmax, written)| Tick { snapshot: snapshot(xmax), written })
            .into();
        let end = |from: u64, rows| slice_end(&ticks, &snapshot(from), rows).map(Snapshot::xmax);
        assert_eq!(end(5, 90), Some(30));
        assert_eq!(end(10, 10), Some(20));
        assert_eq!(end(30, 10), Some(40), "however many rows there are up to the next tick");
        assert_eq!((end(40, 10), end(50, 10)), (None, None));
    }
}
