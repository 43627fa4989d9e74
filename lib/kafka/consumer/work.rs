//! The work side of a consumer: keyed queues, the bound on how much runs at once, retries in place, burial.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::assignment::Place;
use super::limit::Limit;
use super::{Death, Graveyard, HandleError, Handler, Member, Record, Room};
use crate::kafka::keyed::Keyed;
use crate::kafka::offsets::Ticket;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};
use crate::service::retry::policy;
use crate::service::telemetry::trace;

/// How a delivery ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Its effect is durable: it counts for the offset.
    Done,
    /// Not handled, because the partition is being given up: somebody gets it again.
    Dropped,
}

/// Told to the poll thread for every delivery, however it ends.
#[derive(Debug)]
pub(super) struct Finished {
    /// Which assignment of the partition it was delivered under.
    pub(super) assignment: u64,
    pub(super) ticket: Ticket,
    pub(super) bytes: usize,
    pub(super) end: End,
}

/// Reports the end of a delivery when dropped, so that no way out of a task can forget it.
struct Report {
    finished: Finished,
    to: mpsc::Sender<Finished>,
    panicked: CancellationToken,
}

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.cancel();
        }
        let Finished { assignment, ticket, bytes, end } = self.finished;
        self.to.send(Finished { assignment, ticket, bytes, end }).ok();
    }
}

/// A record on its way through the work side.
pub(super) struct Delivery {
    record: Record,
    /// Cancelled when the partition is given up: what has not begun then never begins.
    feed: CancellationToken,
    report: Report,
}

/// One aggregate's place. Without the assignment's number: when a partition comes back, its new deliveries still wait for an
/// old one that is being handled.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    topic: Arc<str>,
    partition: i32,
    key: Option<Bytes>,
}

pub(super) struct Work<H> {
    group: Arc<str>,
    handler: H,
    graveyard: Arc<dyn Graveyard>,
    keyed: Keyed<Key, Delivery>,
    limit: Limit,
    runtime: Handle,
    /// Cancelled when a handler panics. Its key has no worker any more: nothing of it would ever be handled again.
    panicked: CancellationToken,
}

impl<H: Handler> Work<H> {
    pub(super) fn new(member: &Member, handler: H, graveyard: Arc<dyn Graveyard>) -> Self {
        Self {
            group: member.group.as_str().into(),
            handler,
            graveyard,
            keyed: Keyed::default(),
            limit: Limit::new(member.concurrency),
            runtime: Handle::current(),
            panicked: CancellationToken::new(),
        }
    }

    /// Cancelled when a handler panics, whichever life of the member it works for.
    pub(super) fn panicked(&self) -> CancellationToken {
        self.panicked.clone()
    }

    /// Takes a record in; its end is reported `to` the poll thread. Never blocks: the poll thread bounds what is in flight.
    pub(super) fn begin(self: &Arc<Self>, record: Record, place: Place, to: mpsc::Sender<Finished>) {
        let Place { assignment, ticket, feed, .. } = place;
        let apart = planted::is(Bug::RecordsOfAKeyAtOnce).then(|| Bytes::from(record.offset.to_string()));
        let key = Key { topic: record.topic.clone(), partition: record.partition, key: apart.or(record.key.clone()) };
        let finished = Finished { assignment, ticket, bytes: record.bytes(), end: End::Dropped };
        let delivery = Delivery { record, feed, report: Report { finished, to, panicked: self.panicked.clone() } };
        if let Some(first) = self.keyed.put(&key, delivery) {
            self.runtime.spawn(self.clone().work_off(key, first));
        }
    }

    /// The worker of a key: one delivery after the other, until none is left.
    async fn work_off(self: Arc<Self>, key: Key, first: Delivery) {
        let mut next = Some(first);
        while let Some(mut delivery) = next {
            delivery.report.finished.end = self.carry(&delivery).await;
            drop(delivery);
            next = self.keyed.next(&key);
        }
    }

    /// Handles a record until that succeeds, or it is buried, or its partition is given up.
    async fn carry(&self, delivery: &Delivery) -> End {
        let mut waits = policy::RECORD.waits();
        let mut attempts: i32 = 0;
        loop {
            let held = tokio::select! {
                biased;
                () = delivery.feed.cancelled() => return End::Dropped,
                held = self.limit.enter() => held,
            };
            let mut room = Room(held);
            attempts = attempts.saturating_add(1);
            let result = self.once(&delivery.record, attempts, &mut room).instrument(self.span(&delivery.record)).await;
            drop(room);
            let Err(error) = result else { return End::Done };
            if planted::is(Bug::FailedRecordCountsAsDone) {
                return End::Done;
            }
            let wait = waits.next_wait();
            tracing::warn!(group = %self.group, record = ?delivery.record, %error, ?wait, "record will be handled again");
            metrics::counter!("payfleet_consumer_retried_total", "group" => self.group.to_string()).increment(1);
            tokio::select! {
                biased;
                () = delivery.feed.cancelled() => return End::Dropped,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The handling is part of the trace that emitted the record.
    fn span(&self, record: &Record) -> tracing::Span {
        let span = tracing::info_span!("consume", group = %self.group, ?record);
        if let Some(traceparent) = record.traceparent() {
            trace::follow(&span, traceparent);
        }
        span
    }

    /// One try. `Err` is something that will pass.
    async fn once(&self, record: &Record, attempts: i32, room: &mut Room<'_>) -> Result<(), HandleError> {
        let began = Instant::now();
        let outcome = match self.handler.handle(record, room).await {
            Ok(()) => "done",
            Err(HandleError::Dead(_)) if planted::is(Bug::DeadRecordDropped) => "dead",
            Err(HandleError::Dead(reason)) => {
                tracing::error!(group = %self.group, ?record, reason, "record is dead");
                let death = Death { record, reason: &reason, group: &self.group, attempts };
                self.graveyard.bury(death).await.map_err(HandleError::Retry)?;
                failpoint::reached(Window::C17).await;
                "dead"
            }
            Err(retry) => return Err(retry),
        };
        let group = self.group.to_string();
        metrics::histogram!("payfleet_consumer_handle_seconds", "group" => group.clone()).record(began.elapsed());
        metrics::counter!("payfleet_consumer_handled_total", "group" => group, "outcome" => outcome).increment(1);
        Ok(())
    }
}
