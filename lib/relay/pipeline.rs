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

/// A broker forgets a producer that was silent for a day; a gate unused for this long is opened anew.
const GATE_LASTS: Duration = Duration::from_secs(3_600);

/// A page to be handed to the producer.
pub struct Outbound {
    pub lane: i16,
    pub rows: Vec<Row>,
    pub page: Arc<Page>,
    /// Rows before this one were handed over.
    next: usize,
    /// Rows that went ahead to open a gate, and are not known to have arrived yet.
    openers: Vec<Opener>,
    /// All rows that went ahead.
    ahead: Vec<usize>,
    gates_checked: bool,
}

struct Opener {
    topic: usize,
    arrived: Arc<Page>,
}

impl Outbound {
    pub fn new(lane: i16, rows: Vec<Row>, page: Arc<Page>) -> Self {
        Self { lane, rows, page, next: 0, openers: Vec::new(), ahead: Vec::new(), gates_checked: false }
    }
}

/// What the pipeline waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pumped {
    /// Everything was handed over.
    All,
    /// For acknowledgements; they ring.
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

pub struct Pipeline {
    producer: Producer<Arc<Page>>,
    topics: Vec<Topic>,
    queue: VecDeque<Outbound>,
    writer: Writer,
    settings: Settings,
    settled: Arc<Notify>,
}

impl Pipeline {
    /// `settled` is told whenever a page is complete or has failed.
    pub fn new(settings: &Settings, client: &str, incarnation: i32, settled: Arc<Notify>) -> KafkaResult<Self> {
        Ok(Self {
            producer: Producer::new(settings, client)?,
            topics: Vec::new(),
            queue: VecDeque::new(),
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
    }

    /// Hands over as much as can be. Gives what it waits for, and the lanes of the pages that are handed over completely.
    pub fn pump(&mut self) -> (Pumped, Vec<i16>) {
        let mut waiting = VecDeque::new();
        let (mut state, mut done) = (Pumped::All, Vec::new());
        while let Some(mut outbound) = self.queue.pop_front() {
            // A page never overtakes an earlier one of its lane.
            let behind = waiting.iter().any(|earlier: &Outbound| earlier.lane == outbound.lane);
            if behind || state == Pumped::Full || !self.gates_are_open(&mut outbound) {
                waiting.push_back(outbound);
                state = if state == Pumped::Full { state } else { Pumped::Opening };
                continue;
            }
            if self.hand_over(&mut outbound) {
                done.push(outbound.lane);
            } else {
                waiting.push_back(outbound);
                state = Pumped::Full;
            }
        }
        self.queue = waiting;
        (state, done)
    }

    /// Opens the gates of the page's topics where they are closed; true when all of them are open.
    fn gates_are_open(&mut self, outbound: &mut Outbound) -> bool {
        if !outbound.gates_checked {
            outbound.gates_checked = true;
            self.send_openers(outbound);
        }
        let (lane, now) = (outbound.lane as usize, Instant::now());
        let topics = &mut self.topics;
        let page = &outbound.page;
        outbound.openers.retain(|opener| {
            if let Some(code) = opener.arrived.refusal() {
                page.answer(Err(code));
                return false;
            }
            if opener.arrived.is_answered() {
                topics[opener.topic].open_since[lane] = Some(now);
                page.answer(Ok(()));
                return false;
            }
            true
        });
        outbound.openers.is_empty()
    }

    fn send_openers(&mut self, outbound: &mut Outbound) {
        let (lane, now) = (outbound.lane as usize, Instant::now());
        let mut seen: Vec<usize> = Vec::new();
        for index in 0..outbound.rows.len() {
            let topic = self.topic_of(&outbound.rows[index]);
            if seen.contains(&topic) {
                continue;
            }
            seen.push(topic);
            let gate = &mut self.topics[topic].open_since[lane];
            if gate.is_some_and(|since| now.duration_since(since) < GATE_LASTS) {
                *gate = Some(now);
                continue;
            }
            let arrived = Page::new(1, self.settled.clone());
            let sent = self.send(outbound.lane, topic, &outbound.rows[index], arrived.clone());
            match sent {
                Ok(()) => {}
                Err(NotQueued::Full) => arrived.answer(Err(RDKafkaErrorCode::QueueFull)),
                Err(NotQueued::Refused(code)) => arrived.answer(Err(code)),
            }
            outbound.openers.push(Opener { topic, arrived });
            outbound.ahead.push(index);
        }
    }

    /// False: the producer's queue is full.
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
