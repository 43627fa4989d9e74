//! The poll thread: fetches, hands over to the work side, regulates, commits, leaves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;

use super::assignment::Assignment;
use super::commits::{Commits, Gone};
use super::context::Context;
use super::work::{Finished, Work};
use super::{Error, Handler, Member, Record, Settings};

/// How long a poll waits for a record: while work is in flight its end must be noticed soon, else only `stop` must.
const IN_HAND: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(50);

/// How long a member that has finished its work and is to leave tries to have it committed.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// How long a member without partitions waits for a rebalance to end, so that it can leave.
const UNSUBSCRIBED_WITHIN: Duration = Duration::from_secs(2);

/// How often whoever waits for the last work looks whether it is still to.
const LOOK: Duration = Duration::from_millis(50);

/// Records taken between two rounds of housekeeping, while the broker has more.
const ROUND: usize = 64;

/// What the thread and the rest of the process tell each other.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Finish what is in hand, commit, leave.
    pub(super) stop: CancellationToken,
    /// Leave at once; commit nothing.
    pub(super) abandoned: CancellationToken,
    /// Rounds of the thread: while they grow, it does not stand still.
    pub(super) rounds: Arc<AtomicU64>,
}

/// The thread's whole life. When it returns the consumer is closed, unless the broker is away, and nothing is in hand, unless it took too long.
/// `work` is not its own: if the thread stands still it must not keep alive what the handler holds.
pub(super) fn run<H: Handler>(member: &Member, work: Weak<Work<H>>, signals: &Signals) -> Result<(), Error> {
    let (to, finished) = mpsc::channel();
    let consumer = Arc::new(join(member, finished, signals).map_err(Error::Setup)?);
    let commits = Commits::start(consumer.clone(), &member.group).map_err(Error::Thread)?;
    consumer.context().assignment().commit_through(commits);
    let membership = Membership(consumer);
    let result = Poll { member, consumer: &membership.0, work, to }.until_told(signals);
    let context = membership.0.context().clone();
    let mut assignment = context.assignment();
    assignment.stop_feeding();
    if !signals.abandoned.is_cancelled() {
        assignment.commit_all();
    }
    drop(assignment);
    drop(membership);
    let drained_by = result?;
    // What is still in hand here, the next owner gets too: it finds out what was done. The assignment is not held while waiting: where the
    // consumer is being closed it is needed.
    let ends = context.assignment().hand_out_ends();
    loop {
        let assignment = context.assignment();
        assignment.report();
        if assignment.is_idle() || Instant::now() >= drained_by || signals.abandoned.is_cancelled() {
            return Ok(());
        }
        drop(assignment);
        signals.rounds.fetch_add(1, Ordering::Relaxed);
        match ends.recv_timeout(LOOK) {
            Ok(finished) => context.assignment().settle(&finished),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

impl Membership {
    /// Closing leaves the group if there are partitions to give up, unsubscribing if there are none; after the wrong one of the two the group waits
    /// for this member until its session is over. In the middle of a rebalance the library puts unsubscribing off until that is over.
    fn leave_without_partitions(&self) {
        self.0.unsubscribe();
        let until = Instant::now() + UNSUBSCRIBED_WITHIN;
        let is_done = || !self.0.subscription().is_ok_and(|topics| topics.count() > 0);
        while !is_done() && Instant::now() < until && self.0.context().assignment().owns_nothing() {
            // Nothing is taken any more.
            self.0.poll(IN_HAND);
        }
    }
}

/// However the thread ends, nothing more is begun and nothing more committed; then the consumer is closed, here, or where the broker's word on
/// a commit is waited for: with a broker that is away that takes as long as it takes, and nobody is to wait.
struct Membership(Arc<BaseConsumer<Context>>);

impl Drop for Membership {
    fn drop(&mut self) {
        let mut assignment = self.0.context().assignment();
        assignment.stop_feeding();
        let (commits, owns_nothing) = (assignment.commit_no_more(), assignment.owns_nothing());
        drop(assignment);
        if owns_nothing {
            self.leave_without_partitions();
        }
        if let Some(commits) = commits {
            commits.end();
        }
    }
}

fn join(
    member: &Member,
    finished: mpsc::Receiver<Finished>,
    signals: &Signals,
) -> Result<BaseConsumer<Context>, KafkaError> {
    let mut client = member.client.clone();
    member.settings.configure(&mut client, &member.group);
    let assignment = Assignment::new(&member.group, &member.settings, finished, signals.stop.child_token());
    let consumer: BaseConsumer<Context> = client.create_with_context(Context::new(&member.group, assignment))?;
    let topics: Vec<&str> = member.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

struct Poll<'a, H> {
    member: &'a Member,
    consumer: &'a BaseConsumer<Context>,
    work: Weak<Work<H>>,
    to: mpsc::Sender<Finished>,
}

impl<H: Handler> Poll<'_, H> {
    /// Until it is time to leave the group. By when what is in hand then is to be done.
    fn until_told(&self, signals: &Signals) -> Result<Instant, Error> {
        let settings = &self.member.settings;
        let mut leaving: Option<Leaving> = None;
        let mut wait = IDLE;
        loop {
            self.fetch(wait)?;
            signals.rounds.fetch_add(1, Ordering::Relaxed);
            if signals.abandoned.is_cancelled() {
                return Ok(Instant::now());
            }
            let mut assignment = self.consumer.context().assignment();
            if leaving.is_none() && signals.stop.is_cancelled() {
                leaving = Some(Leaving::begin(settings));
            }
            assignment.collect();
            assignment.regulate(self.consumer);
            let died = |Gone| Error::Died { group: self.member.group.clone() };
            assignment.commit_when_due().map_err(died)?;
            if let Some(leaving) = leaving.as_ref().filter(|leaving| leaving.is_over(&assignment)) {
                return Ok(leaving.drained_by);
            }
            wait = if assignment.is_at_rest() { IDLE } else { IN_HAND };
        }
    }

    /// Takes a round of records, waiting for the first.
    fn fetch(&self, wait: Duration) -> Result<(), Error> {
        let mut wait = wait;
        for _ in 0..ROUND {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => self.heed(error)?,
                None => return Ok(()),
            }
            if self.consumer.context().assignment().is_full() {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let mut assignment = self.consumer.context().assignment();
        let Some(place) = assignment.take(message.topic(), message.partition(), message.offset()) else { return };
        let record = Record::read(place.topic.clone(), message);
        assignment.weigh(record.bytes());
        // Nobody works for a member that was left behind.
        if let Some(work) = self.work.upgrade() {
            work.begin(record, place, self.to.clone());
        }
    }

    /// Most errors pass by themselves: the client reconnects, the topic appears, the group is joined again.
    fn heed(&self, error: KafkaError) -> Result<(), Error> {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(Error::Fatal(error));
        }
        metrics::counter!("payfleet_consumer_errors_total", "group" => self.member.group.clone()).increment(1);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) {
            // One for every attempt to reach each broker; that all are away is told apart.
            tracing::debug!(group = self.member.group, %error, "kafka");
        } else {
            tracing::warn!(group = self.member.group, %error, "kafka");
        }
        Ok(())
    }
}

/// A member that was told to leave: until when it waits for what.
struct Leaving {
    /// What is in hand: from then on others get it, too.
    handed_over_by: Instant,
    /// The last commit, when nothing is in hand any more.
    committed_by: Instant,
    /// What was still in hand when its partitions were handed over.
    drained_by: Instant,
}

impl Leaving {
    fn begin(settings: &Settings) -> Self {
        let (now, drain) = (Instant::now(), Duration::from_millis(settings.drain_ms));
        let hand_over = Duration::from_millis(settings.hand_over_ms);
        Self {
            handed_over_by: now + drain.min(hand_over),
            committed_by: now + drain.min(LAST_COMMIT),
            drained_by: now + drain,
        }
    }

    fn is_over(&self, assignment: &Assignment) -> bool {
        let by = if assignment.is_idle() { self.committed_by } else { self.handed_over_by };
        assignment.is_at_rest() || Instant::now() >= by
    }
}
