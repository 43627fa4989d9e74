//! Many pages on their way at once, through one producer that never leaves a gap.
//!
//! A broker accepts any first sequence number of a producer that it does not know. So the first record of each (lane, topic) goes alone
//! and is awaited before a second follows: from then on the broker would notice one that is missing. Pages wait here meanwhile, and
//! while the producer's queue is full; nothing in here blocks.
//!
//! If it dies here: pages on their way may or may not have arrived; they are read again from the stored cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::page::Page;
use super::record::Writer;
use crate::domain::lane::LANES;
use crate::kafka::Settings;
use crate::kafka::producer::{NotQueued, Outgoing, Producer};
use crate::outbox::delta::Row;
use crate::service::planted::{self, Bug};

/// A broker forgets a producer that was silent for a day; a gate unused for this long is opened anew.
const GATE_LASTS: Duration = Duration::from_secs(3_600);

/// A producer that has ended tells of the record at fault within this time, if it is one of ours.
const WORD_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether the producer's threads go on, and after how many looks without a sign of that it is left behind. Not by the
/// clock: a process that was frozen as a whole goes on as one.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 10;

/// A page to be handed to the producer.
pub struct Outbound {
    pub lane: i16,
    pub rows: Vec<Row>,
    pub page: Arc<Page>,
    /// Rows before this one were handed over.
    next: usize,
    /// Rows before this one were looked at for gates, with these topics.
    checked: usize,
    topics: Vec<usize>,
    /// Rows that went ahead to open a gate, and are not known to have arrived yet.
    openers: Vec<Opener>,
    /// All rows that went ahead.
    ahead: Vec<usize>,
}

struct Opener {
    topic: usize,
    arrived: Arc<Page>,
}

impl Outbound {
    pub fn new(lane: i16, rows: Vec<Row>, page: Arc<Page>) -> Self {
        let (topics, openers, ahead) = (Vec::new(), Vec::new(), Vec::new());
        Self { lane, rows, page, next: 0, checked: 0, topics, openers, ahead }
    }
}

/// What the pipeline waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pumped {
    /// Everything was handed over.
    All,
    /// For answers; they ring.
    Opening,
    /// For room in the producer's queue; look again in a moment.
    Full,
}

struct Topic {
    name: String,
    on_brokers: String,
    /// By lane: when the open gate was last used.
    open_since: [Option<Instant>; LANES as usize],
}

/// What was seen of the producer's signs of life.
struct Pulse {
    beats: u64,
    looked_at: Instant,
    /// Looks since the last that saw another.
    missed: u32,
}

pub struct Pipeline {
    producer: Producer<Arc<Page>>,
    /// Since when the producer is known to have ended.
    ended_at: Option<Instant>,
    pulse: Pulse,
    topics: Vec<Topic>,
    queue: VecDeque<Outbound>,
    /// Pages that were handed over and are not delivered yet.
    handed_over: Vec<(i16, Arc<Page>)>,
    writer: Writer,
    settings: Settings,
    settled: Arc<Notify>,
}

impl Pipeline {
    /// `settled` is told whenever a page is complete or has failed.
    pub fn new(settings: &Settings, client: &str, incarnation: i32, settled: Arc<Notify>) -> KafkaResult<Self> {
        Ok(Self {
            producer: Producer::new(settings, client)?,
            ended_at: None,
            pulse: Pulse { beats: 0, looked_at: Instant::now(), missed: 0 },
            topics: Vec::new(),
            queue: VecDeque::new(),
            handed_over: Vec::new(),
            writer: Writer::new(incarnation),
            settings: settings.clone(),
            settled,
        })
    }

    pub fn push(&mut self, outbound: Outbound) {
        self.queue.push_back(outbound);
    }

    /// Drops what waits here of lanes that are not ours any more.
    pub fn retain(&mut self, ours: impl Fn(i16) -> bool) {
        self.queue.retain(|outbound| ours(outbound.lane));
        self.handed_over.retain(|(lane, _)| ours(*lane));
    }

    /// Hands over as much as can be. Gives what it waits for, and the lanes of the pages that are handed over completely.
    ///
    /// Behind a refusal nothing more is fed: not every refusal ends the producer, and what follows a record must not arrive before it.
    pub fn pump(&mut self) -> (Pumped, Vec<i16>) {
        self.handed_over.retain(|(_, page)| !page.is_delivered());
        if self.is_spoilt() || self.has_died_in_silence() || self.stands_still() {
            return (Pumped::Opening, Vec::new());
        }
        let mut waiting = VecDeque::new();
        let (mut state, mut done) = (Pumped::All, Vec::new());
        while let Some(mut outbound) = self.queue.pop_front() {
            // A page never overtakes an earlier one of its lane.
            let behind = waiting.iter().any(|earlier: &Outbound| earlier.lane == outbound.lane);
            let reached = match state {
                Pumped::Full => Pumped::Full,
                _ if behind => Pumped::Opening,
                _ => self.advance(&mut outbound),
            };
            if reached == Pumped::All {
                done.push(outbound.lane);
                self.handed_over.push((outbound.lane, outbound.page));
                continue;
            }
            waiting.push_back(outbound);
            state = if state == Pumped::Full { state } else { reached };
        }
        self.queue = waiting;
        (state, done)
    }

    fn is_spoilt(&self) -> bool {
        self.handed_over.iter().any(|(_, page)| page.refusal().is_some())
            && !planted::is(Bug::FollowersPassARefusedRecord)
    }

    /// The record that ended the producer was of a lane that is not ours any more: nobody holds its page, and what else was on its way
    /// might be waited for without end.
    fn has_died_in_silence(&mut self) -> bool {
        if self.handed_over.is_empty() && self.queue.is_empty() {
            return false;
        }
        let Some((code, reason)) = self.producer.fatal_error() else { return false };
        let ended_at = *self.ended_at.get_or_insert_with(Instant::now);
        if ended_at.elapsed() < WORD_WITHIN {
            return false;
        }
        tracing::warn!(%code, reason, "the producer has ended and told of no record of ours; all of them are sent again");
        self.give_up();
        true
    }

    /// What it was given may arrive all the same, once it goes on: as anything that is sent again may arrive twice.
    fn stands_still(&mut self) -> bool {
        if self.pulse.looked_at.elapsed() >= LOOK {
            let beats = self.producer.beats();
            let missed = if beats == self.pulse.beats { self.pulse.missed + 1 } else { 0 };
            self.pulse = Pulse { beats, looked_at: Instant::now(), missed };
        }
        let is_over = self.pulse.missed >= LOOKS && !(self.handed_over.is_empty() && self.queue.is_empty());
        if is_over {
            tracing::warn!("the producer stands still; it is left behind, and what it was given is sent again");
            self.give_up();
        }
        is_over
    }

    /// Nothing more is expected of what it was given.
    fn give_up(&self) {
        let waiting = self.queue.iter().map(|outbound| &outbound.page);
        for page in self.handed_over.iter().map(|(_, page)| page).chain(waiting) {
            page.give_up(RDKafkaErrorCode::Fatal);
        }
    }

    /// Takes a page as far as it can go; [`Pumped::All`]: it is handed over. One that was refused stays, and keeps back those behind it.
    fn advance(&mut self, outbound: &mut Outbound) -> Pumped {
        if !self.send_openers(outbound) {
            return Pumped::Full;
        }
        if !self.gates_are_open(outbound) || outbound.page.refusal().is_some() {
            return Pumped::Opening;
        }
        let taken = self.hand_over(outbound);
        match outbound.page.refusal() {
            Some(_) => Pumped::Opening,
            None if taken => Pumped::All,
            None => Pumped::Full,
        }
    }

    /// Takes in what became of the rows that went ahead; true when all gates of the page's topics are open.
    fn gates_are_open(&mut self, outbound: &mut Outbound) -> bool {
        let (lane, now) = (outbound.lane as usize, Instant::now());
        let topics = &mut self.topics;
        let page = &outbound.page;
        outbound.openers.retain(|opener| {
            let Some(fate) = opener.arrived.fate() else { return true };
            if fate.is_ok() {
                topics[opener.topic].open_since[lane] = Some(now);
            }
            page.answer(fate);
            false
        });
        outbound.openers.is_empty()
    }

    /// Sends the first row of each topic whose gate is closed. False: the producer's queue is full.
    fn send_openers(&mut self, outbound: &mut Outbound) -> bool {
        let (lane, now) = (outbound.lane as usize, Instant::now());
        while outbound.checked < outbound.rows.len() {
            let index = outbound.checked;
            let topic = self.topic_of(&outbound.rows[index]);
            if !outbound.topics.contains(&topic) {
                let gate = &mut self.topics[topic].open_since[lane];
                if gate.is_some_and(|since| now.duration_since(since) < GATE_LASTS) {
                    *gate = Some(now);
                } else {
                    let arrived = Page::new(1, self.settled.clone());
                    match self.send(outbound.lane, topic, &outbound.rows[index], arrived.clone()) {
                        Ok(()) => {}
                        Err(NotQueued::Full) => return false,
                        Err(NotQueued::Refused(code)) => arrived.answer(Err(code)),
                    }
                    outbound.openers.push(Opener { topic, arrived });
                    outbound.ahead.push(index);
                }
                outbound.topics.push(topic);
            }
            outbound.checked += 1;
        }
        true
    }

    /// False: the producer's queue is full. A refusal ends it.
    fn hand_over(&mut self, outbound: &mut Outbound) -> bool {
        while outbound.next < outbound.rows.len() && outbound.page.refusal().is_none() {
            let index = outbound.next;
            if !outbound.ahead.contains(&index) {
                let row = &outbound.rows[index];
                let topic = self.topic_of(row);
                match self.send(outbound.lane, topic, row, outbound.page.clone()) {
                    Ok(()) => {}
                    Err(NotQueued::Full) => return false,
                    Err(NotQueued::Refused(code)) => outbound.page.answer(Err(code)),
                }
            }
            outbound.next += 1;
        }
        true
    }

    fn send(&mut self, lane: i16, topic: usize, row: &Row, receipt: Arc<Page>) -> Result<(), NotQueued> {
        let headers = self.writer.headers(row);
        let outgoing = Outgoing {
            topic: &self.topics[topic].on_brokers,
            partition: i32::from(lane),
            key: self.writer.key(row),
            payload: &row.payload,
            headers,
        };
        self.producer.send(outgoing, receipt).map_err(|(why, _)| why)
    }

    fn topic_of(&mut self, row: &Row) -> usize {
        if let Some(known) = self.topics.iter().position(|topic| topic.name == row.topic) {
            return known;
        }
        let on_brokers = self.settings.topic(&row.topic);
        self.topics.push(Topic { name: row.topic.clone(), on_brokers, open_since: [None; LANES as usize] });
        self.topics.len() - 1
    }
}

#[cfg(test)]
mod tests;
