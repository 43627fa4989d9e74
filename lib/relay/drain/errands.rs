//! Rows that are sent one at a time, by tasks of their own: those around a refused record, and parked ones that are to be tried again.
//! The lane waits meanwhile; the others do not notice.

use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use super::Drain;
use crate::outbox::delta::Row;
use crate::outbox::parked::{self, Pair, Parking, Refused, Resent};
use crate::outbox::position::{Position, Span};
use crate::outbox::snapshot::Snapshot;
use crate::postgres::within;
use crate::relay::Error;
use crate::relay::lane::{Lane, Mode};
use crate::relay::poison::{self, OnRefusal, Singly};
use crate::relay::refusal::{Failure, TOPIC_RETRY};

/// How often it is asked which parked rows are to be tried again.
const ASK: Duration = Duration::from_secs(1);

/// Parked rows of a lane that are sent between two commits, and the pairs that they are of, at most.
const REPLAY: usize = 100;

/// What a task was sent for.
pub(super) enum Errand {
    /// Rows of the outbox, and where the lane is after them.
    Rows { span: Span, end: Position, seen: Snapshot, remaining: usize },
    /// Rows of parked pairs.
    Replay(Vec<Pair>),
}

/// What it came back with.
pub(super) struct Done {
    epoch: i64,
    errand: Errand,
    singly: Singly,
}

impl Drain {
    /// Sends a page one row at a time.
    pub(super) fn send_singly(&mut self, span: Span, rows: Vec<Row>, end: Position, seen: Snapshot) {
        let Some(lane) = self.lanes.get_mut(&span.lane) else { return };
        let Mode::Singly { rows: wanted } = lane.mode else { return };
        let remaining = wanted.saturating_sub(rows.len());
        let oldest = rows.first().map(|row| row.at);
        let (rows, aside) = lane.sift(rows, &self.closed, self.kafka.message_max_bytes);
        lane.hand_out(oldest);
        let number = span.lane;
        let errand = Errand::Rows { span, end, seen, remaining };
        self.send_out(number, errand, rows, aside, OnRefusal::SetAside);
    }

    fn send_out(&mut self, number: i16, errand: Errand, rows: Vec<Row>, aside: Vec<Parking>, on_refusal: OnRefusal) {
        let client = format!("{}.singly", self.client());
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        lane.hand_out(None);
        let (epoch, settled, done) = (lane.held.epoch, self.settled.clone(), self.done.0.clone());
        let (kafka, incarnation) = (self.kafka.clone(), self.incarnation);
        self.errands.spawn(async move {
            let mut singly = poison::send_singly(kafka, client, incarnation, number, rows, on_refusal).await;
            singly.set_aside(aside);
            done.send(Done { epoch, errand, singly }).ok();
            settled.notify_one();
        });
    }

    /// Takes in what the tasks came back with.
    pub(super) async fn take_in_errands(&mut self) -> Result<(), Error> {
        while let Some(ended) = self.errands.try_join_next() {
            pass_on_a_panic(ended);
        }
        while let Ok(done) = self.done.1.try_recv() {
            let number = done.singly.lane;
            if self.lanes.get(&number).is_none_or(|lane| lane.held.epoch != done.epoch) {
                continue;
            }
            match done.errand {
                Errand::Rows { span, end, seen, remaining } => {
                    self.take_in_rows(done.singly, &span, end, &seen, remaining);
                }
                Errand::Replay(pairs) => self.take_in_replay(pairs, done.singly).await?,
            }
        }
        Ok(())
    }

    fn take_in_rows(&mut self, singly: Singly, span: &Span, end: Position, seen: &Snapshot, remaining: usize) {
        let Some(lane) = self.lanes.get_mut(&singly.lane) else { return };
        let rows = singly.delivered.len();
        let now = Instant::now();
        metrics::counter!("payfleet_relay_records_delivered_total").increment(rows as u64);
        singly.delivered.iter().for_each(|row| self.closed.open(&row.topic));
        singly.closed.iter().for_each(|topic| self.closed.close(topic, now));
        let Some(code) = singly.interrupted else {
            lane.read = end.clone();
            lane.passed(end, rows, singly.parkings);
            lane.mode = if remaining > 0 { Mode::Singly { rows: remaining } } else { Mode::Pipelined };
            return;
        };
        let reached = singly.last_id.map(|last_id| {
            let to = span.to.clone().unwrap_or_else(|| seen.clone());
            Position { from: span.from.clone(), to: Some(to), last_id }
        });
        lane.interrupted(reached, rows, singly.parkings);
        lane.rest(Failure { code, rows: 0 }, now);
    }

    async fn take_in_replay(&mut self, pairs: Vec<Pair>, singly: Singly) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&singly.lane) else { return Ok(()) };
        metrics::counter!("payfleet_relay_records_delivered_total").increment(singly.delivered.len() as u64);
        singly.delivered.iter().for_each(|row| self.closed.open(&row.topic));
        let delivered = singly.delivered.iter().map(|row| row.id).collect();
        let refused = |parking: Parking| {
            let (pair, reason, retry_in) = (Pair::of(&parking.row), parking.reason, parking.retry_in);
            Refused { pair, reason, retry_in }
        };
        let resent = Resent { pairs, delivered, refused: singly.parkings.into_iter().map(refused).collect() };
        let settling = parked::settle(&mut self.session.writing, lane.held, &resent);
        let Some(held_back) = within(self.session.limit, settling).await? else {
            self.lose(singly.lane);
            return Ok(());
        };
        lane.replayed(&resent, &held_back);
        if singly.interrupted.is_some() {
            // The others would fare no better; they are asked for again in a while.
            lane.replays.clear();
        }
        for topic in singly.closed {
            self.put_off(&topic).await?;
        }
        Ok(())
    }

    /// A topic has refused a parked row: the others of it are not sent before somebody has asked again.
    async fn put_off(&mut self, topic: &str) -> Result<(), Error> {
        self.closed.close(topic, Instant::now());
        self.lanes.values_mut().for_each(|lane| lane.replays.retain(|pair| pair.topic != topic));
        let lanes: Vec<i16> = self.lanes.keys().copied().collect();
        let putting_off = parked::put_off(&mut self.session.writing, &lanes, topic, TOPIC_RETRY);
        within(self.session.limit, putting_off).await?;
        Ok(())
    }

    /// Asks now and then which parked pairs are to be tried again, and sends the next ones of each lane that has come to rest.
    pub(super) async fn ask_for_replays(&mut self) -> Result<(), Error> {
        if self.replays_asked_at.elapsed() >= ASK {
            self.replays_asked_at = Instant::now();
            self.closed.forget(self.replays_asked_at);
            self.find_replays().await?;
        }
        let ready = |lane: &Lane| (lane.held.lane, lane.next_replays(REPLAY));
        let ready: Vec<(i16, Vec<Pair>)> =
            self.lanes.values().map(ready).filter(|(_, pairs)| !pairs.is_empty()).collect();
        for (number, pairs) in ready {
            let reading = parked::rows_of(&mut self.session.reading, &pairs, REPLAY as i64);
            let rows = within(self.session.limit, reading).await?;
            self.send_out(number, Errand::Replay(pairs), rows, Vec::new(), OnRefusal::Leave);
        }
        Ok(())
    }

    /// Of lanes that have sent all that they were asked for before.
    async fn find_replays(&mut self) -> Result<(), Error> {
        let asking = |lane: &&Lane| !lane.parked.is_empty() && lane.replays.is_empty();
        let lanes: Vec<i16> = self.lanes.values().filter(asking).map(|lane| lane.held.lane).collect();
        if lanes.is_empty() {
            return Ok(());
        }
        let due = within(self.session.limit, parked::due(&mut self.session.writing, &lanes)).await?;
        for (number, pair) in due {
            // One pair asks for all of a topic that is closed.
            let asked = |lane: &Lane| lane.replays.iter().any(|other| other.topic == pair.topic);
            if self.closed.has(&pair.topic) && self.lanes.values().any(asked) {
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(&number) {
                lane.replays.push_back(pair);
            }
        }
        Ok(())
    }
}

/// The lane of a task that has panicked would wait for it for ever, under a lease that is kept: the panic is the relay's.
fn pass_on_a_panic(ended: Result<(), JoinError>) {
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    async fn failing() {
        panic!("an errand has failed");
    }

    #[tokio::test]
    #[should_panic(expected = "an errand has failed")]
    async fn a_panic_of_an_errand_is_not_thrown_away() {
        let mut errands = JoinSet::new();
        errands.spawn(failing());
        pass_on_a_panic(errands.join_next().await.unwrap());
    }

    #[tokio::test]
    async fn an_errand_that_was_called_back_is_no_panic() {
        let mut errands = JoinSet::new();
        errands.spawn(std::future::pending());
        errands.abort_all();
        pass_on_a_panic(errands.join_next().await.unwrap());
    }
}
