//! I8: what the books know of every event, judged by itself and against the outbox.
//!
//! Each transition keeps the number and the payload's hash of the event, and of the command, that was committed with it; so do stored
//! callbacks and dead letters. This evidence outlives the outbox ring; the topics are held against it (see [`super::events`]).

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::invariant::Invariant;
use super::report::Finding;
use crate::domain::lane::lane_of;

pub type Hash = [u8; 32];

/// An event that must be on its topic.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub seq: i64,
    /// Index into [`Evidence::topics`].
    pub topic: u16,
    pub hash: Hash,
    pub whereabouts: Whereabouts,
}

/// Where an event was found, if anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// Known only from the evidence so far.
    Nowhere,
    /// In the outbox, and its lane's cursor has not passed it yet.
    Outbox,
    /// Set aside as poison, waiting for a person.
    Parked,
    Topic,
}

/// The events of one payment, of one callback that matched none, or of one dead letter.
#[derive(Default, Debug)]
pub struct Aggregate {
    /// What the payment itself says; callbacks and dead letters have exactly one event.
    pub last_seq: Option<i64>,
    /// In the order of their numbers.
    pub events: Vec<Expected>,
}

#[derive(Default, Debug)]
pub struct Evidence {
    pub topics: Vec<String>,
    pub aggregates: HashMap<Uuid, Aggregate>,
    /// Times that lanes had to restart from the ring's beginning; records carry it.
    pub incarnation: i32,
}

impl Evidence {
    /// Of all aggregates, or of those given.
    pub async fn load(books: &mut PgConnection, of: Option<&[Uuid]>) -> Result<Self, sqlx::Error> {
        let incarnation = sqlx::query_file_scalar!("lib/ops/sql/incarnation.sql").fetch_optional(&mut *books).await?;
        let mut evidence = Self { incarnation: incarnation.unwrap_or(1), ..Self::default() };
        let mut rows = sqlx::query_file!("lib/ops/sql/last_numbers.sql", of).fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            evidence.aggregates.entry(row.id).or_default().last_seq = Some(row.last_seq);
        }
        drop(rows);
        let mut rows = sqlx::query_file!("lib/ops/sql/evidence.sql", of).fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            let topic = evidence.index_of(&row.topic);
            // A hash of another length matches nothing.
            let hash = row.hash.try_into().unwrap_or([0; 32]);
            let event = Expected { seq: row.seq, topic, hash, whereabouts: Whereabouts::Nowhere };
            evidence.aggregates.entry(row.aggregate).or_default().events.push(event);
        }
        drop(rows);
        for aggregate in evidence.aggregates.values_mut() {
            aggregate.events.sort_by_key(|event| event.seq);
            aggregate.events.shrink_to_fit();
        }
        Ok(evidence)
    }

    fn index_of(&mut self, topic: &str) -> u16 {
        let known = self.topics.iter().position(|known| known == topic);
        let index = known.unwrap_or_else(|| {
            self.topics.push(topic.to_owned());
            self.topics.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    pub fn topic(&self, event: &Expected) -> &str {
        self.topics.get(usize::from(event.topic)).map_or("?", String::as_str)
    }

    pub fn find(&mut self, aggregate: Uuid, seq: i64, topic: &str, hash: &Hash) -> Option<&mut Expected> {
        let topic = self.topics.iter().position(|known| known == topic)?;
        let events = &mut self.aggregates.get_mut(&aggregate)?.events;
        events.iter_mut().find(|e| e.seq == seq && usize::from(e.topic) == topic && e.hash == *hash)
    }

    /// I8. Also learns which events wait in the outbox.
    pub async fn judge(&mut self, books: &mut PgConnection) -> Result<Finding, sqlx::Error> {
        let mut finding = Finding::new(Invariant::I8);
        for (id, aggregate) in &self.aggregates {
            finding.checked += aggregate.events.len() as u64;
            let last = aggregate.last_seq.unwrap_or(1);
            let numbers = aggregate.events.iter().map(|event| event.seq);
            if !numbers.clone().eq(1..=last) {
                let numbers: Vec<String> = numbers.map(|seq| seq.to_string()).collect();
                finding
                    .violation(|| format!("{id}: its steps emitted {}, its counter says 1…{last}", numbers.join(" ")));
            }
        }
        let mut rows = sqlx::query_file!("lib/ops/sql/ring.sql").fetch(books);
        while let Some(row) = rows.try_next().await? {
            let (aggregate, seq, topic) = (row.aggregate, row.seq, row.topic);
            let hash: Hash = row.hash.try_into().unwrap_or([0; 32]);
            match self.find(aggregate, seq, &topic, &hash) {
                None => finding
                    .violation(|| format!("outbox: no step emitted {aggregate}/{seq} on {topic} as it stands there")),
                Some(_) if row.lane != lane_of(aggregate) => {
                    finding.violation(|| format!("outbox: {aggregate}/{seq} is on lane {}, not its own", row.lane));
                }
                Some(event) if row.parked => event.whereabouts = Whereabouts::Parked,
                Some(event) if !row.passed => event.whereabouts = Whereabouts::Outbox,
                Some(_) => {}
            }
        }
        Ok(finding)
    }
}
