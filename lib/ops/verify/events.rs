//! I9–I11: the topics against the books' evidence.
//!
//! The order of looking makes it right while the fleet is live: the books first, then the ends of the topics, then the records.
//! Whatever a cursor in the books had passed is then below those ends; and a record that the books did not know yet is looked up once
//! more in the books as they are afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::Rest;
use super::evidence::{Evidence, Hash, Whereabouts};
use super::invariant::Invariant;
use super::records::{Claim, Extent, Record};
use super::report::Finding;
use crate::domain::lane::lane_of;
use crate::kafka::Settings;

/// A record that the books did not know when they were read.
#[derive(Clone, Debug)]
struct Stranger {
    aggregate: Uuid,
    seq: i64,
    topic: String,
    hash: Hash,
    place: String,
}

/// Takes the records one by one.
pub struct Judge {
    evidence: Evidence,
    complete: Finding,
    ordered: Finding,
    emitted: Finding,
    strangers: Vec<Stranger>,
    /// Partitions whose oldest records are gone: there, what seems a first sighting may be a repetition.
    cut: HashSet<(String, i32)>,
    /// Records of an earlier incarnation that the present books do not know: a restore has undone their cause.
    undone: u64,
}

impl Judge {
    /// `extents`: what there is to read.
    pub fn new(evidence: Evidence, extents: &[Extent]) -> Self {
        let cut = extents.iter().filter(|extent| extent.low > 0);
        Self {
            evidence,
            complete: Finding::new(Invariant::I9),
            ordered: Finding::new(Invariant::I10),
            emitted: Finding::new(Invariant::I11),
            strangers: Vec::new(),
            cut: cut.map(|extent| (extent.topic.clone(), extent.partition)).collect(),
            undone: 0,
        }
    }

    pub fn take(&mut self, record: Record) {
        self.emitted.checked += 1;
        let place = || format!("{}/{}@{}", record.topic, record.partition, record.offset);
        match record.claim {
            Err(why) => self.emitted.violation(|| format!("{}: {why}", place())),
            Ok(claim) => {
                let known = self.evidence.find(claim.aggregate, claim.seq, &record.topic, &record.hash).map(|event| {
                    let before = event.whereabouts;
                    event.whereabouts = Whereabouts::Topic;
                    before
                });
                match known {
                    Some(Whereabouts::Topic) => self.sits_on_its_lane(claim, &record),
                    Some(_) => {
                        self.sits_on_its_lane(claim, &record);
                        self.rises(claim, &record);
                    }
                    None if claim.incarnation < self.evidence.incarnation => self.undone += 1,
                    None => self.strangers.push(Stranger {
                        aggregate: claim.aggregate,
                        seq: claim.seq,
                        topic: record.topic.clone(),
                        hash: record.hash,
                        place: place(),
                    }),
                }
            }
        }
    }

    fn sits_on_its_lane(&mut self, claim: Claim, record: &Record) {
        let lane = lane_of(claim.aggregate);
        if i32::from(lane) != record.partition {
            let (topic, partition) = (&record.topic, record.partition);
            let Claim { aggregate, seq, .. } = claim;
            self.ordered
                .violation(|| format!("{aggregate}/{seq} is on partition {partition} of {topic}; its lane is {lane}"));
        }
    }

    /// A first sighting: no later number of this aggregate was seen on this topic before.
    fn rises(&mut self, claim: Claim, record: &Record) {
        if self.cut.contains(&(record.topic.clone(), record.partition)) {
            return;
        }
        let Some(aggregate) = self.evidence.aggregates.get(&claim.aggregate) else { return };
        let topics = &self.evidence.topics;
        let later = aggregate.events.iter().find(|event| {
            event.seq > claim.seq
                && event.whereabouts == Whereabouts::Topic
                && topics.get(usize::from(event.topic)) == Some(&record.topic)
        });
        if let Some(later) = later.map(|event| event.seq) {
            let Claim { aggregate, seq, .. } = claim;
            self.ordered.violation(|| format!("{aggregate}: {seq} came after {later} on {}", record.topic));
        }
    }

    /// Aggregates to look up once more in the books.
    pub fn unexplained(&self) -> Vec<Uuid> {
        self.strangers.iter().map(|stranger| stranger.aggregate).collect::<HashSet<_>>().into_iter().collect()
    }

    /// `later`: the evidence of [`Judge::unexplained`], read after the topics.
    pub fn conclude(mut self, mut later: Evidence, brokers: &Settings, extents: &[Extent], rest: Rest) -> Vec<Finding> {
        for stranger in std::mem::take(&mut self.strangers) {
            let Stranger { aggregate, seq, topic, hash, place } = stranger;
            if later.find(aggregate, seq, &topic, &hash).is_none() {
                let known =
                    later.aggregates.get(&aggregate).is_some_and(|known| known.events.iter().any(|e| e.seq == seq));
                let why = if known {
                    "a step emitted that number with another payload or on another topic"
                } else {
                    "no step emitted it"
                };
                self.emitted.violation(|| format!("{place}: {aggregate}/{seq}: {why}"));
            }
        }
        if self.undone > 0 {
            let (undone, now) = (self.undone, self.evidence.incarnation);
            self.emitted.gap(format!(
                "{undone} records are older than incarnation {now}, and a restore has undone their cause"
            ));
        }
        self.look_for_missing(brokers, extents, rest);
        self.tell_what_is_gone(brokers, extents);
        vec![self.complete, self.ordered, self.emitted]
    }

    /// I10 and I11 can only be judged by records that are there.
    fn tell_what_is_gone(&mut self, brokers: &Settings, extents: &[Extent]) {
        let there: HashSet<&str> = extents.iter().map(|extent| extent.topic.as_str()).collect();
        let expected = self.evidence.topics.iter().filter(|topic| !there.contains(topic.as_str()));
        let missing = expected.map(|topic| format!("{} does not exist", brokers.topic(topic)));
        let mut cut: BTreeMap<&str, u32> = BTreeMap::new();
        for (topic, _) in &self.cut {
            *cut.entry(topic).or_default() += 1;
        }
        let partitions = cut
            .iter()
            .map(|(topic, n)| format!("the oldest records of {} are gone from {n} partitions", brokers.topic(topic)));
        for reason in missing.chain(partitions).collect::<BTreeSet<_>>() {
            self.ordered.gap(reason.clone());
            self.emitted.gap(reason);
        }
    }

    /// I9, and the second half of I10: on each topic what was seen of an aggregate is gapless from its first number.
    fn look_for_missing(&mut self, brokers: &Settings, extents: &[Extent], rest: Rest) {
        let low: HashMap<(&str, i32), i64> = extents.iter().map(|e| ((e.topic.as_str(), e.partition), e.low)).collect();
        let mut gone: HashMap<String, u64> = HashMap::new();
        let mut parked = 0_u64;
        for (id, aggregate) in &self.evidence.aggregates {
            self.ordered.checked += u64::from(aggregate.events.iter().any(|e| e.whereabouts == Whereabouts::Topic));
            for (n, event) in aggregate.events.iter().enumerate() {
                self.complete.checked += 1;
                let (seq, topic) = (event.seq, self.evidence.topic(event));
                let followed = || {
                    aggregate.events[n + 1..]
                        .iter()
                        .find(|e| e.topic == event.topic && e.whereabouts == Whereabouts::Topic)
                };
                match (event.whereabouts, low.get(&(topic, i32::from(lane_of(*id))))) {
                    (Whereabouts::Topic, _) => continue,
                    (_, None) => *gone.entry(format!("{} does not exist", brokers.topic(topic))).or_default() += 1,
                    (_, Some(low)) if *low > 0 => {
                        *gone.entry(format!("the oldest records of {} are gone", brokers.topic(topic))).or_default() +=
                            1;
                    }
                    (Whereabouts::Parked, _) => parked += 1,
                    (Whereabouts::Outbox, _) if rest == Rest::Live => self.complete.under_way += 1,
                    _ => self.complete.violation(|| format!("{id}/{seq} is not on {topic}")),
                }
                if let (Some(later), Some(0)) = (followed(), low.get(&(topic, i32::from(lane_of(*id))))) {
                    let later = later.seq;
                    self.ordered.violation(|| format!("{id}: {later} is on {topic}, {seq} before it is not"));
                }
            }
        }
        self.complete.under_way += parked;
        if parked > 0 && rest == Rest::AtRest {
            self.complete.gap(format!("{parked} events are parked: see `payfleet outbox parked`"));
        }
        for (reason, events) in gone {
            self.complete.gap(format!("{reason}: {events} events cannot be looked for"));
        }
    }
}
