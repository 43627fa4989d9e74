//! Checkpoints: how far each lane has been delivered, as its owner has stored it. Append-only; the newest of the highest epoch counts.
//!
//! If it dies here: a checkpoint not written (or lost with an unflushed commit) makes the next owner repeat some events.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::history::History;
use super::position::Position;
use super::snapshot::Snapshot;
#[cfg(feature = "planted-bugs")]
use crate::service::planted::{self, Bug};

/// A lane's progress under an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub lane: i16,
    pub epoch: i64,
    pub position: Position,
}

/// A cursor as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub position: Position,
    pub history: History,
}

/// Progress need not wait for an fsync: losing it only repeats events.
pub async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SET synchronous_commit = off").execute(connection).await?;
    Ok(())
}

/// Stores the progress of all these lanes in one statement, and gives the lanes that were still ours. The others have a newer epoch:
/// whoever holds them must let go.
pub async fn append(
    connection: &mut PgConnection,
    history: History,
    progress: &[Progress],
) -> Result<Vec<i16>, sqlx::Error> {
    #[cfg(feature = "planted-bugs")]
    if planted::is(Bug::NoEpochCheck) {
        return append_unguarded(connection, history, progress).await;
    }
    let lanes: Vec<i16> = progress.iter().map(|lane| lane.lane).collect();
    let epochs: Vec<i64> = progress.iter().map(|lane| lane.epoch).collect();
    let from: Vec<String> = progress.iter().map(|lane| lane.position.from.to_string()).collect();
    let to: Vec<Option<String>> =
        progress.iter().map(|lane| lane.position.to.as_ref().map(Snapshot::to_string)).collect();
    let last_ids: Vec<i64> = progress.iter().map(|lane| lane.position.last_id).collect();
    sqlx::query_file_scalar!(
        "lib/outbox/sql/append_checkpoints.sql",
        &lanes,
        &epochs,
        &from,
        &to as &[Option<String>],
        &last_ids,
        history.system_identifier,
        history.timeline
    )
    .fetch_all(connection)
    .await
}

/// The stored cursors of these lanes; a lane that was never read has none.
pub async fn latest(
    connection: &mut PgConnection,
    lanes: &[i16],
) -> Result<BTreeMap<i16, Option<Stored>>, sqlx::Error> {
    let rows = sqlx::query_file!("lib/outbox/sql/latest_checkpoints.sql", lanes).fetch_all(connection).await?;
    let parse = |text: String| text.parse::<Snapshot>().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    let mut stored = BTreeMap::new();
    for row in rows {
        let (Some(from), Some(last_id), Some(system_identifier), Some(timeline)) =
            (row.from_snapshot, row.last_id, row.system_identifier, row.timeline)
        else {
            stored.insert(row.lane, None);
            continue;
        };
        let position = Position { from: parse(from)?, to: row.to_snapshot.map(parse).transpose()?, last_id };
        stored.insert(row.lane, Some(Stored { position, history: History { system_identifier, timeline } }));
    }
    Ok(stored)
}

/// Checkpoints that stay beside the first and last of each epoch.
const KEPT: i64 = 2_000;

/// Deletes what is no longer needed above `low`, the value that the call before gave.
pub async fn trim(connection: &mut PgConnection, low: i64) -> Result<i64, sqlx::Error> {
    let newest = sqlx::query_scalar!("SELECT max(id) FROM checkpoints").fetch_one(&mut *connection).await?;
    let high = newest.unwrap_or_default() - KEPT;
    if high <= low {
        return Ok(low);
    }
    sqlx::query_file!("lib/outbox/sql/trim_checkpoints.sql", low, high).execute(connection).await?;
    Ok(high)
}

/// The planted bug: the same statement without the condition that the lane's epoch is still the one that was given.
#[cfg(feature = "planted-bugs")]
async fn append_unguarded(
    connection: &mut PgConnection,
    history: History,
    progress: &[Progress],
) -> Result<Vec<i16>, sqlx::Error> {
    const CONDITION: &str = "given.epoch = lanes.epoch";
    let guarded = include_str!("sql/append_checkpoints.sql");
    assert!(guarded.contains(CONDITION), "there is no condition to leave out");
    let position = |lane: &Progress| lane.position.to.as_ref().map(Snapshot::to_string);
    sqlx::query_scalar(sqlx::AssertSqlSafe(guarded.replace(CONDITION, "true")))
        .bind(progress.iter().map(|lane| lane.lane).collect::<Vec<_>>())
        .bind(progress.iter().map(|lane| lane.epoch).collect::<Vec<_>>())
        .bind(progress.iter().map(|lane| lane.position.from.to_string()).collect::<Vec<_>>())
        .bind(progress.iter().map(position).collect::<Vec<_>>())
        .bind(progress.iter().map(|lane| lane.position.last_id).collect::<Vec<_>>())
        .bind(history.system_identifier)
        .bind(history.timeline)
        .fetch_all(connection)
        .await
}
