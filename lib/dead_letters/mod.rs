//! Consumed records that could not be processed: kept with their reason, and told about on `payments.dead`.
//!
//! The row and its outbox record are one commit, and only after it the consumer passes the record's offset. A payment whose
//! command died here is not forgotten: its `due_at` stands.
//!
//! ```text
//! buried ──a person replays it──▶ begun ──acknowledged by its old topic──▶ replayed, for good
//!                                   └── died in between: replayed by whoever asks next
//! ```
//! If it dies here: before the commit the record is delivered again and buried then; after it, the second burial of the same
//! record does nothing.

pub mod letter;
pub mod replay;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgPool;
use uuid::Uuid;

use crate::domain::event::{self, DeadRecord};
use crate::domain::lane::lane_of;
use crate::kafka::consumer::{Death, Graveyard, Record};
use crate::outbox::doorbell::Doorbell;
use crate::postgres;

/// Characters of a reason, or of a header, that are kept.
const TEXT_LIMIT: usize = 500;

#[derive(Clone)]
pub struct DeadLetters {
    pool: PgPool,
    /// Of a burial: on a server that has vanished without a word none would ever end.
    limit: Duration,
    doorbell: Doorbell,
}

impl DeadLetters {
    pub fn new(pool: PgPool, postgres: &postgres::Settings, doorbell: Doorbell) -> Self {
        Self { pool, limit: postgres.statement_limit(), doorbell }
    }

    async fn insert(&self, death: Death<'_>) -> Result<Burial, sqlx::Error> {
        let Death { record, reason, group, attempts } = death;
        let id = Uuid::now_v7();
        let topic: &str = &record.topic;
        let (partition, offset) = (record.partition, record.offset);
        let told = DeadRecord {
            dead_letter_id: id,
            topic: topic.to_owned(),
            partition,
            offset,
            reason: printable(reason),
            consumer: group.to_owned(),
            attempts,
        };
        let (names, values): (Vec<String>, Vec<Vec<u8>>) =
            record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec())).unzip();
        let payload = event::to_payload(&told);
        let inserted = sqlx::query_file!(
            "lib/dead_letters/sql/bury.sql",
            id,
            topic,
            partition,
            offset,
            record.key.as_deref(),
            record.payload.as_deref(),
            headers(record),
            hash(record),
            told.reason,
            event::hash(&payload),
            lane_of(id),
            event::DEAD,
            event::kind::DEAD,
            record.traceparent(),
            payload,
            group,
            attempts,
            &names,
            &values,
        )
        .execute(&self.pool)
        .await?;
        Ok(if inserted.rows_affected() == 1 { Burial::First } else { Burial::Again })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Burial {
    First,
    Again,
}

#[async_trait]
impl Graveyard for DeadLetters {
    async fn bury(&self, death: Death<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if postgres::within(self.limit, self.insert(death)).await? == Burial::First {
            self.doorbell.ring();
            metrics::counter!("payfleet_dead_letters_total", "topic" => death.record.topic.to_string()).increment(1);
        }
        Ok(())
    }
}

/// PostgreSQL's text and json refuse NUL, and a letter must never be refused for what is written on it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_LIMIT).collect()
}

fn headers(record: &Record) -> Value {
    let text = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
    record.headers.iter().map(|(name, value)| (printable(name), Value::String(text(value)))).collect()
}

/// SHA-256 over key and value, each with its length in front (absent differs from empty).
fn hash(record: &Record) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [&record.key, &record.payload] {
        hash.update(part.as_ref().map_or(-1, |bytes| bytes.len() as i64).to_be_bytes());
        hash.update(part.as_deref().unwrap_or_default());
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_quotes_garbage_can_be_stored() {
        let reason = printable(&format!("unknown field `a\0b\n{}`", "é".repeat(1_000)));
        assert!(reason.starts_with("unknown field `a b é"), "{reason}");
        assert_eq!(reason.chars().count(), TEXT_LIMIT);
    }
}
