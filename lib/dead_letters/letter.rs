//! Letters as an operator reads them.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::kafka::consumer::Record;

/// A letter without its record, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Letter {
    pub id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// As the brokers know it.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The group that could not handle it; None where a version before this has buried it.
    pub consumer: Option<String>,
    pub attempts: i32,
    pub reason: String,
    /// Begun and not done: whether it was sent is not known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub replay_begun_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub replayed_at: Option<OffsetDateTime>,
    /// Its new offset on its old topic and partition.
    pub replayed_to: Option<i64>,
    pub replayed_by: Option<String>,
    pub replayed_because: Option<String>,
}

/// Letters after the one of this id, in the order of their burial; `of`: of these only.
pub async fn list(
    database: impl PgExecutor<'_>,
    after: Uuid,
    of: Option<&[Uuid]>,
    limit: i64,
) -> Result<Vec<Letter>, sqlx::Error> {
    sqlx::query_file_as!(Letter, "lib/dead_letters/sql/list.sql", after, of, limit).fetch_all(database).await
}

/// The record of a letter, as it was consumed. Of letters from before headers were kept to the byte, those that are text.
pub async fn record(database: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Record>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT topic, partition, "offset", record_key, record_value, headers,
                  header_names AS "header_names: Vec<String>", header_values AS "header_values: Vec<Vec<u8>>"
           FROM dead_letters WHERE id = $1"#,
        id
    )
    .fetch_optional(database)
    .await?;
    Ok(row.map(|row| Record {
        topic: row.topic.into(),
        partition: row.partition,
        offset: row.offset,
        key: row.record_key.map(Bytes::from),
        payload: row.record_value.map(Bytes::from),
        headers: match (row.header_names, row.header_values) {
            (Some(names), Some(values)) => names.into_iter().zip(values.into_iter().map(Bytes::from)).collect(),
            _ => as_text(&row.headers),
        },
    }))
}

fn as_text(headers: &Value) -> Vec<(String, Bytes)> {
    let fields = headers.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), Bytes::from(value.as_str().unwrap_or_default().to_owned()))).collect()
}
