//! Reading what is new: the difference between two snapshots, lane by lane.

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::position::Span;
use super::snapshot::Snapshot;

/// A row of the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub id: i64,
    pub aggregate: Uuid,
    pub seq: i64,
    /// Without prefix.
    pub topic: String,
    pub kind: String,
    pub traceparent: Option<String>,
    pub payload: Vec<u8>,
    pub at: OffsetDateTime,
}

/// What one look found.
#[derive(Debug)]
pub struct Delta {
    /// What the look could see.
    pub snapshot: Snapshot,
    /// A page for each span, in the order of the spans; rows in the order of their ids.
    pub pages: Vec<Vec<Row>>,
}

/// A session that reads deltas. The planner must take the index whatever it believes about sizes: its plan is made once and kept
/// while slots fill from nothing to millions of rows.
pub async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for setting in [
        "SET plan_cache_mode = force_generic_plan",
        "SET enable_seqscan = off",
        "SET enable_bitmapscan = off",
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
    ] {
        sqlx::query(setting).execute(&mut *connection).await?;
    }
    Ok(())
}

/// One look at all spans. Each lane is named once at most.
pub async fn read(connection: &mut PgConnection, spans: &[Span]) -> Result<Delta, sqlx::Error> {
    let lanes: Vec<i16> = spans.iter().map(|span| span.lane).collect();
    let earlier: Vec<String> = spans.iter().map(|span| span.from.to_string()).collect();
    let later: Vec<Option<String>> = spans.iter().map(|span| span.to.as_ref().map(Snapshot::to_string)).collect();
    let skip: Vec<i64> = spans.iter().map(|span| span.skip).collect();
    let size: Vec<i64> = spans.iter().map(|span| span.rows).collect();
    let later = &later as &[Option<String>];
    let mut found = sqlx::query_file!("lib/outbox/sql/read_delta.sql", &lanes, &earlier, later as _, &skip, &size)
        .fetch(connection);
    let mut snapshot = None;
    let mut pages: Vec<Vec<Row>> = spans.iter().map(|_| Vec::new()).collect();
    let mut index = 0;
    while let Some(row) = found.try_next().await? {
        if let Some(text) = row.snapshot {
            snapshot = Some(text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?);
            continue;
        }
        // Rows come lane by lane, so that the page of the row before is nearly always the right one.
        let lane = row.lane.ok_or_else(missing)?;
        if lanes.get(index) != Some(&lane) {
            index = lanes.iter().position(|of| *of == lane).ok_or_else(missing)?;
        }
        pages[index].push(Row {
            id: row.id.ok_or_else(missing)?,
            aggregate: row.aggregate.ok_or_else(missing)?,
            seq: row.seq.ok_or_else(missing)?,
            topic: row.topic.ok_or_else(missing)?,
            kind: row.kind.ok_or_else(missing)?,
            traceparent: row.traceparent,
            payload: row.payload.ok_or_else(missing)?,
            at: row.at.ok_or_else(missing)?,
        });
    }
    for page in &mut pages {
        // They come sorted; that they do is the plan's doing, not SQL's promise.
        page.sort_unstable_by_key(|row| row.id);
    }
    Ok(Delta { snapshot: snapshot.ok_or_else(missing)?, pages })
}

fn missing() -> sqlx::Error {
    sqlx::Error::Decode("the delta statement left out what it always gives".into())
}
