//! One lane in the hands of this relay: how far it was read, acknowledged and stored, and what is on its way in between. Pure.
//!
//! ```text
//!              ┌────────── a delivery failed: rewind to what was acknowledged ──────────┐
//!              ▼                                                                         │
//! Resting ──time is over──▶ Pipelined (many pages on their way) ─────────────────────────┤
//!    ▲                        ▲      a record was refused for good                       │
//!    │                        └──── Singly (one record on its way) ◀──────────────────── ┘
//!    └── the brokers refuse ───────┘
//! ```
//! `stored ≤ acked ≤ read`, always: the order of the three is what "at least once, without gaps" means.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::page::Page;
use super::refusal;
use crate::outbox::checkpoint::Progress;
use crate::outbox::lanes::Held;
use crate::outbox::parked::{Pair, Parking};
use crate::outbox::position::Position;
use crate::service::retry::Waits;

/// A cursor older than this may have a backlog before it that is better read in slices.
const FRESH: Duration = Duration::from_secs(1);

/// How the lane's rows are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Pipelined,
    /// One record at a time, for so many rows more.
    Singly {
        rows: usize,
    },
    /// Not at all until then; afterwards singly for so many rows.
    Resting {
        until: Instant,
        singly: usize,
    },
    /// Its rows, or its parked ones, are being sent singly just now.
    Handed,
}

/// A page that was sent.
#[derive(Debug)]
struct Flight {
    page: Arc<Page>,
    /// Where the lane is once the page is acknowledged.
    end: Position,
    rows: usize,
    bytes: usize,
    oldest: Option<OffsetDateTime>,
    /// Rows of the page that are set aside instead of sent.
    parkings: Vec<Parking>,
}

/// See the module.
pub struct Lane {
    pub held: Held,
    /// When it was taken.
    pub since: Instant,
    pub read: Position,
    pub acked: Position,
    stored: Position,
    stored_at: Instant,
    flight: VecDeque<Flight>,
    pub mode: Mode,
    /// When `read` was the present; None: unknown.
    pub fresh_at: Option<Instant>,
    /// Pairs whose rows are set aside.
    pub parked: HashSet<Pair>,
    /// Parked pairs that are to be sent again.
    pub replays: VecDeque<Pair>,
    /// To be stored with the next checkpoint.
    parkings: Vec<Parking>,
    unstored_rows: u64,
    waits: Waits,
    /// It goes to another relay as soon as nothing is on its way.
    pub leaving_since: Option<Instant>,
    /// Pages that were read but not handed to the producer yet.
    pub queued: usize,
}

/// Why a lane cannot go on as it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    pub code: RDKafkaErrorCode,
    pub rows: usize,
}

impl Lane {
    pub fn new(held: Held, stored: Position, parked: HashSet<Pair>) -> Self {
        Self {
            held,
            since: Instant::now(),
            read: stored.clone(),
            acked: stored.clone(),
            stored,
            stored_at: Instant::now(),
            flight: VecDeque::new(),
            mode: Mode::Pipelined,
            fresh_at: None,
            parked,
            replays: VecDeque::new(),
            parkings: Vec::new(),
            unstored_rows: 0,
            waits: Waits::for_infrastructure(),
            leaving_since: None,
            queued: 0,
        }
    }

    /// Rows that are sent and not acknowledged.
    pub fn rows_in_flight(&self) -> usize {
        self.flight.iter().map(|flight| flight.rows).sum()
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.flight.iter().map(|flight| flight.bytes).sum()
    }

    /// When the oldest row on its way was written.
    pub fn oldest_in_flight(&self) -> Option<OffsetDateTime> {
        self.flight.iter().find_map(|flight| flight.oldest)
    }

    /// Everything read is acknowledged and stored.
    pub fn is_settled(&self) -> bool {
        self.flight.is_empty() && self.parkings.is_empty() && self.unstored_rows == 0
    }

    /// Is the cursor of the present, so that a look finds only what has just been written?
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.read.to.is_none() && self.fresh_at.is_some_and(|at| now.duration_since(at) < FRESH)
    }

    /// A page was read that ends at `end`; its rows go out with `page`.
    pub fn sent(
        &mut self,
        page: Arc<Page>,
        end: Position,
        rows: usize,
        bytes: usize,
        oldest: Option<OffsetDateTime>,
        parkings: Vec<Parking>,
    ) {
        self.read = end.clone();
        self.flight.push_back(Flight { page, end, rows, bytes, oldest, parkings });
    }

    /// A look that found nothing has moved the cursor.
    pub fn moved(&mut self, end: Position) {
        self.read = end.clone();
        match self.flight.back_mut() {
            // The lane is acknowledged as far once the page before is.
            Some(last) => last.end = end,
            None => self.acked = end,
        }
    }

    /// Takes the pages that are acknowledged off the front. Gives the number of their rows.
    pub fn collect(&mut self) -> usize {
        let mut rows = 0;
        while self.flight.front().is_some_and(|flight| flight.page.is_delivered()) {
            let Some(flight) = self.flight.pop_front() else { break };
            rows += flight.rows;
            self.passed(flight.end, flight.rows, flight.parkings);
        }
        if rows > 0 {
            self.waits.reset();
        }
        rows
    }

    /// So many rows are behind us, these of them set aside.
    pub fn passed(&mut self, end: Position, rows: usize, parkings: Vec<Parking>) {
        self.acked = end;
        self.unstored_rows += (rows + parkings.len()) as u64;
        self.parkings.extend(parkings);
    }

    /// The first page that failed.
    pub fn failure(&self) -> Option<Failure> {
        self.flight.iter().find_map(|flight| {
            let code = flight.page.refusal()?;
            Some(Failure { code, rows: flight.rows })
        })
    }

    /// Does any page still wait for an answer?
    pub fn awaits_answers(&self) -> bool {
        self.flight.iter().any(|flight| !flight.page.is_answered())
    }

    /// Forgets everything that is not acknowledged; it will be read again.
    pub fn rewind(&mut self) {
        self.flight.clear();
        self.queued = 0;
        self.read = self.acked.clone();
        self.fresh_at = None;
    }

    /// After a failure: rests, and sends singly afterwards if it was a record's fault.
    pub fn rest(&mut self, failure: Failure, now: Instant) {
        let singly = match refusal::meaning(failure.code) {
            refusal::Meaning::Permanent { .. } => failure.rows.max(1),
            refusal::Meaning::Passing => 0,
        };
        self.mode = Mode::Resting { until: now + self.waits.next_wait(), singly };
    }

    /// Ends a rest that is over.
    pub fn wake(&mut self, now: Instant) {
        if let Mode::Resting { until, singly } = self.mode
            && until <= now
        {
            self.mode = if singly > 0 { Mode::Singly { rows: singly } } else { Mode::Pipelined };
        }
    }

    /// Something that must be stored soon.
    pub fn unstored_rows(&self) -> u64 {
        self.unstored_rows
    }

    /// What is to be stored: rows that were acknowledged, or (`idle`: nothing has moved it for that long) just the way it has come.
    pub fn progress(&self, idle: Duration) -> Option<Progress> {
        let due = self.unstored_rows > 0 || (self.acked != self.stored && self.stored_at.elapsed() >= idle);
        due.then(|| Progress { lane: self.held.lane, epoch: self.held.epoch, position: self.acked.clone() })
    }

    /// What is to be set aside in the commit of that progress.
    pub fn parkings(&self) -> &[Parking] {
        &self.parkings
    }

    /// The progress was stored.
    pub fn stored(&mut self, position: Position) {
        self.stored = position;
        self.stored_at = Instant::now();
        self.unstored_rows = 0;
        self.parkings.clear();
    }
}
