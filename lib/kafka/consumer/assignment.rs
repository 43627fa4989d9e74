//! The partitions that this member owns, what is in flight of each, and what of them is committed.
//!
//! All of it is touched by the poll thread: librdkafka runs the rebalance callbacks inside its `poll`. Only what is left of it when that thread
//! has ended before the broker's word on a commit is given up on the thread that waits for it.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::commits::{Answer, Commits, Gone};
use super::work::{End, Finished};
use crate::kafka::offsets::{Ticket, Tracker};
use crate::service::planted::{self, Bug};

/// Who leaves commits at least this often: it takes several tries when the group is in the middle of a rebalance.
const AT_LAST: Duration = Duration::from_millis(20);

/// How long the poll thread waits for a commit when partitions are given up, or it leaves. If the broker is away the answer may come later, or
/// never: the next owner then gets records that are done, and finds that out.
const AT_MOST: Duration = Duration::from_secs(3);

/// One partition, from its assignment until it is given up.
struct Partition {
    assignment: u64,
    topic: Arc<str>,
    partition: i32,
    tracker: Tracker,
    feed: CancellationToken,
    records: usize,
    committed: Option<i64>,
    paused: bool,
}

impl Partition {
    /// What the broker should be told, if that is news.
    fn to_commit(&self) -> Option<i64> {
        self.tracker.frontier().filter(|frontier| self.committed != Some(*frontier))
    }

    fn is(&self, topic: &str, partition: i32) -> bool {
        self.partition == partition && &*self.topic == topic
    }
}

/// Where a new record belongs.
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) assignment: u64,
    pub(super) ticket: Ticket,
    pub(super) feed: CancellationToken,
}

pub(super) struct Assignment {
    group: String,
    settings: Settings,
    finished: mpsc::Receiver<Finished>,
    /// Cancelled when this member is to leave: from that moment on nothing begins.
    stop: CancellationToken,
    partitions: Vec<Partition>,
    assignments: u64,
    /// In flight, of all partitions, also of those given up whose last handlers still run.
    records: usize,
    bytes: usize,
    full: bool,
    done_since_commit: usize,
    committed_at: Instant,
    committing: bool,
    commits: Option<Commits>,
}

impl Assignment {
    pub(super) fn new(
        group: &str,
        settings: &Settings,
        finished: mpsc::Receiver<Finished>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            group: group.to_owned(),
            settings: settings.clone(),
            finished,
            stop,
            partitions: Vec::new(),
            assignments: 0,
            records: 0,
            bytes: 0,
            full: false,
            done_since_commit: 0,
            committed_at: Instant::now(),
            committing: false,
            commits: None,
        }
    }

    /// Offsets are committed through this.
    pub(super) fn commit_through(&mut self, commits: Commits) {
        self.commits = Some(commits);
    }

    /// Nothing is committed any more. What it was committed through, unless a commit is under way that its thread waits for.
    pub(super) fn commit_no_more(&mut self) -> Option<Commits> {
        self.commits.take().filter(|_| !self.committing)
    }

    /// Counts a delivered record in. None: its partition is not ours any more, or we are leaving; somebody gets it again.
    pub(super) fn take(&mut self, topic: &str, partition: i32, offset: i64) -> Option<Place> {
        if self.stop.is_cancelled() {
            return None;
        }
        let partition = self.partitions.iter_mut().find(|owned| owned.is(topic, partition))?;
        partition.records += 1;
        self.records += 1;
        let ticket = partition.tracker.take(offset);
        if planted::is(Bug::OffsetCommittedEarly) {
            partition.tracker.done(ticket);
        }
        Some(Place {
            topic: partition.topic.clone(),
            assignment: partition.assignment,
            ticket,
            feed: partition.feed.clone(),
        })
    }

    /// Counts the bytes of a record that was taken.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn is_full(&self) -> bool {
        self.records >= self.settings.records || self.bytes >= self.settings.bytes
    }

    pub(super) fn owns(&self, topic: &str, partition: i32) -> bool {
        self.partitions.iter().any(|owned| owned.is(topic, partition))
    }

    /// Counts out whatever has ended.
    pub(super) fn collect(&mut self) {
        while let Ok(finished) = self.finished.try_recv() {
            self.settle(&finished);
        }
    }

    /// What ends from now on is the caller's to wait for, and to be settled.
    pub(super) fn hand_out_ends(&mut self) -> mpsc::Receiver<Finished> {
        let (_, nothing) = mpsc::channel();
        std::mem::replace(&mut self.finished, nothing)
    }

    pub(super) fn settle(&mut self, finished: &Finished) {
        self.records -= 1;
        self.bytes -= finished.bytes;
        let Some(owned) = self.partitions.iter_mut().find(|owned| owned.assignment == finished.assignment) else {
            return;
        };
        owned.records -= 1;
        if finished.end == End::Done {
            owned.tracker.done(finished.ticket);
            self.done_since_commit += 1;
        }
    }

    pub(super) fn owns_nothing(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Nothing is in flight, not even of partitions that were given up.
    pub(super) fn is_idle(&self) -> bool {
        self.records == 0
    }

    /// Nothing is in flight, and nothing waits to be committed.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_idle() && !self.committing && self.partitions.iter().all(|p| p.to_commit().is_none())
    }

    /// Pauses what is over its bounds and resumes what is below half of them; between the two nothing changes, because a
    /// pause throws away what was fetched ahead.
    pub(super) fn regulate<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>) {
        let Settings { records, bytes, partition_records, partition_span, .. } = self.settings;
        self.full = match self.full {
            false => self.is_full(),
            true => self.records > records / 2 || self.bytes > bytes / 2,
        };
        let stopping = self.stop.is_cancelled();
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        for owned in &mut self.partitions {
            let (held, span) = (owned.records, owned.tracker.span());
            let over = match owned.paused {
                false => held >= partition_records || span >= partition_span,
                true => held > partition_records / 2 || span > partition_span / 2,
            };
            let wanted = stopping || self.full || over;
            if wanted != owned.paused {
                owned.paused = wanted;
                let list = if wanted { &mut pause } else { &mut resume };
                list.add_partition(&owned.topic, owned.partition);
            }
        }
        if pause.count() > 0
            && let Err(error) = consumer.pause(&pause)
        {
            tracing::warn!(group = self.group, %error, "partitions could not be paused");
        }
        if resume.count() > 0
            && let Err(error) = consumer.resume(&resume)
        {
            tracing::warn!(group = self.group, %error, "partitions could not be resumed");
        }
    }

    /// Commits what is done, in the background, one commit under way at a time.
    pub(super) fn commit_when_due(&mut self) -> Result<(), Gone> {
        while let Some(answer) = self.commits.as_ref().ok_or(Gone)?.answer()? {
            self.note(answer);
        }
        let every = self.settings.commit_every();
        let due = self.committed_at.elapsed() >= if self.stop.is_cancelled() { every.min(AT_LAST) } else { every };
        if self.committing || (!due && self.done_since_commit < self.settings.commit_records) {
            return Ok(());
        }
        self.committed_at = Instant::now();
        self.done_since_commit = 0;
        self.report();
        self.begin_commit(|_| true);
        Ok(())
    }

    fn begin_commit(&mut self, which: impl Fn(&Partition) -> bool) {
        let offsets = self.to_commit(which);
        if offsets.count() > 0
            && let Some(commits) = &self.commits
        {
            self.committing = true;
            commits.begin(offsets);
        }
    }

    fn to_commit(&self, which: impl Fn(&Partition) -> bool) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        for owned in self.partitions.iter().filter(|owned| which(owned)) {
            if let Some(offset) = owned.to_commit() {
                let added = offsets.add_partition_offset(&owned.topic, owned.partition, Offset::Offset(offset));
                debug_assert!(added.is_ok(), "offsets are never negative");
            }
        }
        offsets
    }

    /// Commits all that is done of these partitions and waits for the broker's word, though not for long.
    fn commit_now(&mut self, which: impl Fn(&Partition) -> bool) {
        if self.commits.is_none() {
            return;
        }
        let until = Instant::now() + AT_MOST;
        self.await_commit(until);
        if !self.committing {
            self.begin_commit(which);
            self.await_commit(until);
        }
        if self.committing {
            tracing::warn!(
                group = self.group,
                "the broker was not heard in time; what is done and not committed is repeated"
            );
        }
    }

    /// Waits for the commit under way, if there is one.
    fn await_commit(&mut self, until: Instant) {
        let Some(commits) = self.commits.as_ref().filter(|_| self.committing) else { return };
        if let Some(answer) = commits.answer_by(until) {
            self.note(answer);
        }
    }

    pub(super) fn commit_all(&mut self) {
        self.commit_now(|_| true);
    }

    /// From now on nothing begins; what is being handled goes on.
    pub(super) fn stop_feeding(&self) {
        self.stop.cancel();
    }

    fn note(&mut self, answer: Answer) {
        self.committing = false;
        metrics::histogram!("payfleet_consumer_commit_seconds", "group" => self.group.clone()).record(answer.took);
        if let Err(error) = answer.result {
            // What is still ours is committed again at the next turn; what is not, somebody repeats.
            tracing::warn!(group = self.group, %error, "offsets were not committed");
            return;
        }
        for element in answer.offsets.elements() {
            let owned = self.partitions.iter_mut().find(|owned| owned.is(element.topic(), element.partition()));
            if let (Some(owned), Offset::Offset(offset)) = (owned, element.offset()) {
                owned.committed = Some(offset);
            }
        }
    }

    pub(super) fn assign<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, new: &TopicPartitionList) {
        for element in new.elements() {
            self.assignments += 1;
            self.partitions.push(Partition {
                assignment: self.assignments,
                topic: element.topic().into(),
                partition: element.partition(),
                tracker: Tracker::default(),
                feed: self.stop.child_token(),
                records: 0,
                committed: None,
                paused: false,
            });
        }
        // librdkafka remembers a pause over the loss of the partition: it would never be fetched again.
        if new.count() > 0
            && let Err(error) = consumer.resume(new)
        {
            tracing::warn!(group = self.group, %error, "assigned partitions could not be resumed");
        }
    }

    /// Gives partitions up: nothing of them begins any more, what is being handled gets a moment, what is done is committed.
    pub(super) fn revoke<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, gone: &TopicPartitionList) {
        let elements = gone.elements();
        let is_gone = |owned: &Partition| elements.iter().any(|element| owned.is(element.topic(), element.partition()));
        self.partitions.iter().filter(|owned| is_gone(owned)).for_each(|owned| owned.feed.cancel());
        // Lost partitions may be another's already: no waiting, and no commit.
        if !consumer.assignment_lost() {
            // Who is leaving has waited for them already.
            let keeps = if self.stop.is_cancelled() { 0 } else { self.settings.revoke_ms };
            let until = Instant::now() + Duration::from_millis(keeps);
            while self.partitions.iter().any(|owned| is_gone(owned) && owned.records > 0) {
                let left = until.saturating_duration_since(Instant::now());
                let Ok(finished) = self.finished.recv_timeout(left) else { break };
                self.settle(&finished);
            }
            self.commit_now(is_gone);
        }
        self.partitions.retain(|owned| !is_gone(owned));
    }

    pub(super) fn report(&self) {
        let gauge = |name: &'static str, value: usize| {
            metrics::gauge!(name, "group" => self.group.clone()).set(value as f64);
        };
        gauge("payfleet_consumer_in_flight_records", self.records);
        gauge("payfleet_consumer_in_flight_bytes", self.bytes);
        gauge("payfleet_consumer_owned_partitions", self.partitions.len());
        gauge("payfleet_consumer_paused_partitions", self.partitions.iter().filter(|owned| owned.paused).count());
    }
}
