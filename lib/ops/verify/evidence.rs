//! I8: what the books know of every event, judged by itself and against the outbox.
//!
//! Each transition keeps the number and the payload's hash of the event, and of the command, that was committed with it; so do stored
//! callbacks and dead letters. This evidence outlives the outbox ring; the topics are held against it (see [`super::events`]).

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::invariant::Invariant;
use super::report::Finding;
use crate::domain::lane::lane_of;
use crate::outbox::snapshot::Snapshot;

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

/// An event that its lane's stored cursor has not passed: it still must be in the outbox, or parked.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    aggregate: Uuid,
    seq: i64,
    xid: u64,
}

#[derive(Default, Debug)]
pub struct Evidence {
    pub topics: Vec<String>,
    pub aggregates: HashMap<Uuid, Aggregate>,
    /// Times that lanes had to restart from the ring's beginning; records carry it.
    pub incarnation: i32,
    awaited: Vec<Awaited>,
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
        let cursors = Cursors::read(books).await?;
        let mut rows = sqlx::query_file!("lib/ops/sql/evidence.sql", of).fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            let topic = evidence.index_of(&row.topic);
            // A hash of another length matches nothing.
            let hash = row.hash.try_into().unwrap_or([0; 32]);
            let event = Expected { seq: row.seq, topic, hash, whereabouts: Whereabouts::Nowhere };
            evidence.aggregates.entry(row.aggregate).or_default().events.push(event);
            let unproved =
                |xid: &u64| !cursors.passed(row.aggregate, *xid) || cursors.rebased_past(row.aggregate, *xid);
            if let Some(xid) = row.xid.map(i64::unsigned_abs).filter(unproved) {
                evidence.awaited.push(Awaited { aggregate: row.aggregate, seq: row.seq, xid });
            }
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

    /// I8 but for [`Evidence::judge_awaited`]. Also learns which events wait in the outbox.
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
        let mut found = HashSet::new();
        while let Some(row) = rows.try_next().await? {
            let (aggregate, seq, topic) = (row.aggregate, row.seq, row.topic);
            found.insert((aggregate, seq));
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
        drop(rows);
        self.awaited.retain(|event| !found.contains(&(event.aggregate, event.seq)));
        Ok(finding)
    }

    /// The other way of I8: what was committed and not delivered is in the outbox. Call it after the snapshot has ended: slots that all
    /// cursors have passed are truncated under the eyes of older snapshots, so the cursors must be younger than the look at the outbox.
    pub async fn judge_awaited(&mut self, books: &mut PgConnection, finding: &mut Finding) -> Result<(), sqlx::Error> {
        if self.awaited.is_empty() {
            return Ok(());
        }
        let cursors = Cursors::read(books).await?;
        let (before, since): (Vec<_>, Vec<_>) =
            self.awaited.drain(..).partition(|event| cursors.rebased_past(event.aggregate, event.xid));
        if !before.is_empty() {
            finding.gap(format!(
                "{} events are not in the outbox; whether they were delivered before a rebase is not known",
                before.len()
            ));
        }
        self.awaited = since;
        self.awaited.retain(|event| !cursors.passed(event.aggregate, event.xid));
        for Awaited { aggregate, seq, .. } in &self.awaited {
            finding
                .violation(|| format!("{aggregate}/{seq} was not delivered, and is neither in the outbox nor parked"));
        }
        Ok(())
    }
}

/// Where each lane stands, and where its last rebase has put it.
struct Cursors(HashMap<i16, (Snapshot, Option<Snapshot>)>);

impl Cursors {
    async fn read(books: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query_file!("lib/ops/sql/cursors.sql").fetch_all(books).await?;
        let parse = |text: String| text.parse::<Snapshot>().map_err(|error| sqlx::Error::Decode(Box::new(error)));
        let cursors = rows.into_iter().map(|row| {
            let rebased_at = row.rebased_at.map(parse).transpose()?;
            Ok((row.lane, (parse(row.from_snapshot)?, rebased_at)))
        });
        Ok(Self(cursors.collect::<Result<_, sqlx::Error>>()?))
    }

    fn passed(&self, aggregate: Uuid, xid: u64) -> bool {
        self.0.get(&lane_of(aggregate)).is_some_and(|(cursor, _)| cursor.sees(xid))
    }

    /// Was it committed before the lane was rebased? What was delivered up to then is not known from the cursors.
    fn rebased_past(&self, aggregate: Uuid, xid: u64) -> bool {
        let rebased_at = self.0.get(&lane_of(aggregate)).and_then(|(_, rebased_at)| rebased_at.as_ref());
        rebased_at.is_some_and(|snapshot| snapshot.sees(xid))
    }
}
