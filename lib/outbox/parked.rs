//! Poison set aside: rows that Kafka refuses for good, and all later rows of the same (aggregate, topic), so that their order holds.
//!
//! ```text
//! refused alone ──▶ parked ──later rows of the pair──▶ parked behind it
//!                      └── retry_at reached ──▶ sent again in order by the lane's owner ──▶ gone, and with the last row the pair
//!                                                     └── some of them ──▶ the rest is due at once
//! ```
//!
//! If it dies here: rows are parked in the commit of the checkpoint that passes them, and deleted in one commit after they were
//! acknowledged; in between they are sent again.

use std::time::Duration;

use serde::Serialize;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::checkpoint::{self, Progress};
use super::delta::Row;
use super::history::History;
use super::lanes::Held;

/// What is held back together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pair {
    pub aggregate: Uuid,
    pub topic: String,
}

impl Pair {
    pub fn of(row: &Row) -> Self {
        Self { aggregate: row.aggregate, topic: row.topic.clone() }
    }
}

/// A row to be set aside.
#[derive(Clone, Debug)]
pub struct Parking {
    pub lane: i16,
    pub row: Row,
    /// For a person.
    pub reason: String,
    /// None: a person says when.
    pub retry_in: Option<Duration>,
}

/// A parked row as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Parked {
    pub id: i64,
    pub lane: i16,
    pub aggregate: Uuid,
    pub seq: i64,
    pub topic: String,
    pub reason: String,
    pub bytes: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub parked_at: OffsetDateTime,
    /// None: a person says when.
    #[serde(with = "time::serde::rfc3339::option")]
    pub retry_at: Option<OffsetDateTime>,
}

/// Stores progress and sets rows aside, in one commit. Rows of lanes that are no longer ours are left to their new owner.
/// Gives the lanes that were ours.
pub async fn append_and_park(
    connection: &mut PgConnection,
    history: History,
    progress: &[Progress],
    parkings: &[Parking],
) -> Result<Vec<i16>, sqlx::Error> {
    if parkings.is_empty() {
        return checkpoint::append(connection, history, progress).await;
    }
    let mut parking = connection.begin().await?;
    hold_briefly(&mut parking).await?;
    let ours = checkpoint::append(&mut parking, history, progress).await?;
    for set_aside in parkings.iter().filter(|set_aside| ours.contains(&set_aside.lane)) {
        let row = &set_aside.row;
        sqlx::query_file!(
            "lib/outbox/sql/park.sql",
            row.id,
            set_aside.lane,
            row.aggregate,
            row.seq,
            row.topic,
            row.kind,
            row.traceparent,
            row.payload,
            row.at,
            set_aside.reason,
            set_aside.retry_in.map(|wait| wait.as_millis() as i64)
        )
        .execute(&mut *parking)
        .await?;
    }
    parking.commit().await?;
    Ok(ours)
}

/// A relay that is frozen inside the transaction keeps its lanes from whoever is to take them.
async fn hold_briefly(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '1s'").execute(transaction).await?;
    Ok(())
}

/// The pairs of these lanes that are held back.
pub async fn pairs(connection: &mut PgConnection, lanes: &[i16]) -> Result<Vec<(i16, Pair)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT DISTINCT lane, aggregate, topic FROM parked WHERE lane = ANY ($1)", lanes)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.lane, Pair { aggregate: row.aggregate, topic: row.topic })).collect())
}

/// The pairs of these lanes that are to be sent again now.
pub async fn due(connection: &mut PgConnection, lanes: &[i16]) -> Result<Vec<(i16, Pair)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT DISTINCT lane, aggregate, topic FROM parked WHERE lane = ANY ($1) AND retry_at <= clock_timestamp()",
        lanes
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.lane, Pair { aggregate: row.aggregate, topic: row.topic })).collect())
}

/// Puts off the rows of a topic that are to be sent again now.
pub async fn put_off(
    connection: &mut PgConnection,
    lanes: &[i16],
    topic: &str,
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE parked SET retry_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
         WHERE lane = ANY ($1) AND topic = $2 AND retry_at <= clock_timestamp()",
        lanes,
        topic,
        wait.as_millis() as i64
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The first rows of these pairs, in order.
pub async fn rows_of(connection: &mut PgConnection, pairs: &[Pair], limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    let (aggregates, topics) = columns(pairs);
    sqlx::query_as!(
        Row,
        r#"SELECT page.id AS "id!", page.aggregate AS "aggregate!", page.seq AS "seq!", page.topic AS "topic!",
                  page.type AS "kind!", page.traceparent AS "traceparent?", page.payload AS "payload!", page.at AS "at!"
           FROM unnest($1::uuid[], $2::text[]) AS wanted (aggregate, topic)
           CROSS JOIN LATERAL (
               SELECT * FROM parked
               WHERE parked.aggregate = wanted.aggregate AND parked.topic = wanted.topic
               ORDER BY parked.id
               LIMIT $3
           ) page
           ORDER BY page.id
           LIMIT $3"#,
        &aggregates,
        &topics,
        limit
    )
    .fetch_all(connection)
    .await
}

fn columns<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> (Vec<Uuid>, Vec<String>) {
    pairs.into_iter().map(|pair| (pair.aggregate, pair.topic.clone())).unzip()
}

/// What became of pairs that were sent again.
#[derive(Clone, Default, Debug)]
pub struct Resent {
    pub pairs: Vec<Pair>,
    /// Rows that were acknowledged.
    pub delivered: Vec<i64>,
    /// Those of the pairs that were refused.
    pub refused: Vec<Refused>,
}

/// Why the next row of a pair was not taken.
#[derive(Clone, Debug)]
pub struct Refused {
    pub pair: Pair,
    pub reason: String,
    /// When to try again. None: a person says when.
    pub retry_in: Option<Duration>,
}

/// Deletes what was delivered. Gives the pairs that still have rows; None: the lane is no longer ours, and nothing was changed.
pub async fn settle(
    connection: &mut PgConnection,
    held: Held,
    resent: &Resent,
) -> Result<Option<Vec<Pair>>, sqlx::Error> {
    let mut settling = connection.begin().await?;
    hold_briefly(&mut settling).await?;
    let ours =
        sqlx::query_scalar!("SELECT lane FROM lanes WHERE lane = $1 AND epoch = $2 FOR SHARE", held.lane, held.epoch)
            .fetch_optional(&mut *settling)
            .await?;
    if ours.is_none() {
        settling.rollback().await?;
        return Ok(None);
    }
    sqlx::query!("DELETE FROM parked WHERE id = ANY ($1)", &resent.delivered).execute(&mut *settling).await?;
    for refused in &resent.refused {
        let retry_in_ms = refused.retry_in.map(|wait| wait.as_millis() as i64);
        sqlx::query!(
            "UPDATE parked SET reason = $3, retry_at = clock_timestamp() + $4::bigint * interval '1 millisecond'
             WHERE aggregate = $1 AND topic = $2",
            refused.pair.aggregate,
            refused.pair.topic,
            refused.reason,
            retry_in_ms
        )
        .execute(&mut *settling)
        .await?;
    }
    let is_refused = |pair: &&Pair| resent.refused.iter().any(|refused| refused.pair == **pair);
    let (aggregates, topics) = columns(resent.pairs.iter().filter(|pair| !is_refused(pair)));
    // With the first row of a pair goes the only one that said when: whoever comes next has to find the others.
    sqlx::query!(
        "UPDATE parked SET retry_at = clock_timestamp() FROM unnest($1::uuid[], $2::text[]) AS tried (aggregate, topic)
         WHERE parked.aggregate = tried.aggregate AND parked.topic = tried.topic AND parked.retry_at IS NULL",
        &aggregates,
        &topics
    )
    .execute(&mut *settling)
    .await?;
    let (aggregates, topics) = columns(&resent.pairs);
    let held_back = sqlx::query_as!(
        Pair,
        r#"SELECT tried.aggregate AS "aggregate!", tried.topic AS "topic!"
           FROM unnest($1::uuid[], $2::text[]) AS tried (aggregate, topic)
           WHERE EXISTS (SELECT FROM parked WHERE parked.aggregate = tried.aggregate AND parked.topic = tried.topic)"#,
        &aggregates,
        &topics
    )
    .fetch_all(&mut *settling)
    .await?;
    settling.commit().await?;
    Ok(Some(held_back))
}

/// For operators: parked rows after `after` in the order of their ids.
pub async fn list(database: impl PgExecutor<'_>, after: i64, limit: i64) -> Result<Vec<Parked>, sqlx::Error> {
    sqlx::query_as!(
        Parked,
        r#"SELECT id, lane, aggregate, seq, topic, reason, octet_length(payload) AS "bytes!", parked_at, retry_at
           FROM parked WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit
    )
    .fetch_all(database)
    .await
}

/// For operators: one parked row, and the event itself. None: there is no such row.
pub async fn row(connection: &mut PgConnection, id: i64) -> Result<Option<(Parked, Row)>, sqlx::Error> {
    // In one reading: between two, its lane's owner may have sent it.
    let mut reading = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *reading).await?;
    let parked = list(&mut *reading, id.saturating_sub(1), 1).await?.pop();
    let event = sqlx::query_as!(
        Row,
        r#"SELECT id, aggregate, seq, topic, type AS "kind", traceparent, payload, at FROM parked WHERE id = $1"#,
        id
    );
    let event = event.fetch_optional(&mut *reading).await?;
    reading.commit().await?;
    // Without the event, what was listed is the next row.
    Ok(parked.zip(event))
}

/// For operators: has a pair sent again by the owner of its lane. Gives the number of rows concerned.
pub async fn retry(pool: &PgPool, pair: &Pair) -> Result<u64, sqlx::Error> {
    let asked = sqlx::query!(
        "UPDATE parked SET retry_at = clock_timestamp() WHERE aggregate = $1 AND topic = $2",
        pair.aggregate,
        pair.topic
    );
    Ok(asked.execute(pool).await?.rows_affected())
}

/// For operators: has everything that is parked sent again.
pub async fn retry_all(database: impl PgExecutor<'_>) -> Result<u64, sqlx::Error> {
    retry_of(database, None, None).await
}

/// For operators: has what is parked of this aggregate and for this topic, as far as they are given, sent again. Gives the number of rows
/// that were not to be already; asked twice, the second time changes nothing.
pub async fn retry_of(
    database: impl PgExecutor<'_>,
    aggregate: Option<Uuid>,
    topic: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let asked = sqlx::query!(
        "UPDATE parked SET retry_at = clock_timestamp()
         WHERE ($1::uuid IS NULL OR aggregate = $1) AND ($2::text IS NULL OR topic = $2)
           AND (retry_at IS NULL OR retry_at > clock_timestamp())",
        aggregate,
        topic
    );
    Ok(asked.execute(database).await?.rows_affected())
}
