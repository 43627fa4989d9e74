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

use time::OffsetDateTime;
use tokio::time::Instant;

use super::closed::Closed;
use super::page::Page;
use super::poison::Sieve;
use super::refusal::{self, Failure};
use crate::outbox::checkpoint::Progress;
use crate::outbox::delta::Row;
use crate::outbox::lanes::Held;
use crate::outbox::parked::{Pair, Parking, Resent};
use crate::outbox::position::Position;
use crate::outbox::snapshot::Snapshot;
use crate::outbox::ticks::{self, Tick};
use crate::service::planted::{self, Bug};
use crate::service::retry::{Waits, policy};

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
    /// Pairs that will be, once the pages on their way have passed.
    pub ahead: HashSet<Pair>,
    /// Parked pairs that are to be sent again.
    pub replays: VecDeque<Pair>,
    /// Some of them were; a page is read before the next are.
    reads_first: bool,
    /// To be stored with the next checkpoint.
    parkings: Vec<Parking>,
    unstored_rows: u64,
    waits: Waits,
    /// It goes to another relay as soon as nothing is on its way.
    pub leaving_since: Option<Instant>,
    /// Pages that were read but not handed to the producer yet.
    pub queued: usize,
    /// When the oldest row was written that has to be read again, or is sent singly.
    behind_since: Option<OffsetDateTime>,
    /// The next ticks of its backlog that were fetched, in order; lanes that are about as far share them.
    pub ticks: Arc<[Tick]>,
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
            ahead: HashSet::new(),
            replays: VecDeque::new(),
            reads_first: false,
            parkings: Vec::new(),
            unstored_rows: 0,
            waits: policy::DELIVERY.waits(),
            leaving_since: None,
            queued: 0,
            behind_since: None,
            ticks: Arc::default(),
        }
    }

    /// Is there room for more of its rows?
    pub fn is_readable(&self, flight_rows: usize) -> bool {
        let has_room = match self.mode {
            // One page ahead of what the producer has taken, so that reading and sending overlap. Parked rows that are to be sent again
            // wait until nothing is on its way, and take turns with pages.
            Mode::Pipelined => {
                let turn = self.replays.is_empty() || self.reads_first;
                turn && self.queued <= 1 && self.rows_in_flight() < flight_rows
            }
            // They come after it.
            Mode::Singly { .. } => self.rows_in_flight() == 0,
            Mode::Resting { .. } | Mode::Handed => false,
        };
        has_room && self.leaving_since.is_none()
    }

    /// Splits what was read into what is sent and what is set aside.
    pub fn sift(&mut self, rows: Vec<Row>, closed: &Closed, limit: usize) -> (Vec<Row>, Vec<Parking>) {
        let (parked, ahead) = (&self.parked, &mut self.ahead);
        Sieve { lane: self.held.lane, parked, ahead, closed, limit }.sift(rows)
    }

    /// Rows that are sent and not acknowledged.
    pub fn rows_in_flight(&self) -> usize {
        self.flight.iter().map(|flight| flight.rows).sum()
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.flight.iter().map(|flight| flight.bytes).sum()
    }

    /// When the oldest row was written that is known and not acknowledged.
    pub fn oldest(&self) -> Option<OffsetDateTime> {
        self.flight.iter().find_map(|flight| flight.oldest).or(self.behind_since)
    }

    /// Its rows, the oldest of them this old, or its parked ones are sent by a task.
    pub fn hand_out(&mut self, oldest: Option<OffsetDateTime>) {
        self.mode = Mode::Handed;
        self.behind_since = oldest.or(self.behind_since);
    }

    /// The next parked pairs to be sent again, so many at most, if it is their turn and the lane has come to rest.
    pub fn next_replays(&self, most: usize) -> Vec<Pair> {
        let rests = self.mode == Mode::Pipelined && self.is_settled() && self.queued == 0;
        if self.reads_first || self.leaving_since.is_some() || !rests {
            return Vec::new();
        }
        self.replays.iter().take(most).cloned().collect()
    }

    /// A task has sent parked pairs again. Those of them that still have rows are `held_back`; they go on later, but for those that were
    /// refused.
    pub fn replayed(&mut self, resent: &Resent, held_back: &[Pair]) {
        let held_back: HashSet<&Pair> = held_back.iter().collect();
        let mut over: HashSet<&Pair> = resent.refused.iter().map(|refused| &refused.pair).collect();
        for pair in resent.pairs.iter().filter(|pair| !held_back.contains(pair)) {
            self.parked.remove(pair);
            over.insert(pair);
        }
        self.replays.retain(|pair| !over.contains(pair));
        self.reads_first = true;
        self.mode = Mode::Pipelined;
    }

    /// Everything read is acknowledged and stored.
    pub fn is_settled(&self) -> bool {
        self.flight.is_empty() && self.parkings.is_empty() && self.unstored_rows == 0
    }

    /// Is the cursor of the present, so that a look finds only what has just been written?
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.read.to.is_none() && self.fresh_at.is_some_and(|at| now.duration_since(at) < FRESH)
    }

    /// Where its next slice ends, of about so many rows of the outbox.
    pub fn slice_end(&self, rows: i64) -> Option<&Snapshot> {
        ticks::slice_end(&self.ticks, &self.read.from, rows)
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
        self.reads_first = false;
        self.flight.push_back(Flight { page, end, rows, bytes, oldest, parkings });
    }

    /// A look that found nothing has moved the cursor.
    pub fn moved(&mut self, end: Position) {
        self.read = end.clone();
        self.reads_first = false;
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
        self.behind_since = None;
        self.unstored_rows += (rows + parkings.len()) as u64;
        for pair in parkings.iter().map(|parking| Pair::of(&parking.row)) {
            self.ahead.remove(&pair);
            self.parked.insert(pair);
        }
        self.parkings.extend(parkings);
    }

    /// Rows up to `reached` are behind us, the rest of what a task was given is not.
    pub fn interrupted(&mut self, reached: Option<Position>, rows: usize, parkings: Vec<Parking>) {
        let oldest = self.oldest();
        if let Some(reached) = reached {
            self.passed(reached, rows, parkings);
        }
        self.behind_since = oldest;
        self.rewind();
    }

    /// The first page that failed.
    pub fn failure(&self) -> Option<Failure> {
        self.flight.iter().find_map(|flight| {
            let code = flight.page.refusal()?;
            Some(Failure { code, rows: flight.rows })
        })
    }

    /// Does any page still wait for an answer? One that was refused may never be answered in full: its rest is not sent.
    pub fn awaits_answers(&self) -> bool {
        self.flight.iter().any(|flight| flight.page.refusal().is_none() && !flight.page.is_answered())
    }

    /// Forgets everything that is not acknowledged; it will be read again.
    pub fn rewind(&mut self) {
        self.behind_since = self.oldest();
        self.flight.clear();
        self.ahead.clear();
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
        let early = planted::is(Bug::CheckpointBeforeAck);
        let reached = if early { &self.read } else { &self.acked };
        let moved = *reached != self.stored && self.stored_at.elapsed() >= idle;
        let due = self.unstored_rows > 0 || moved || (early && !self.flight.is_empty());
        due.then(|| Progress { lane: self.held.lane, epoch: self.held.epoch, position: reached.clone() })
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

#[cfg(test)]
mod tests;
