//! Commits in the background: a thread that does nothing else, because a commit is a call that waits for the broker.
//!
//! The client's own asynchronous commit would do without, but never says how it ended (rust-rdkafka #856).

use std::sync::mpsc;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;

/// How a commit ended.
pub(super) struct Answer {
    pub(super) offsets: TopicPartitionList,
    pub(super) result: KafkaResult<()>,
    pub(super) took: Duration,
}

/// The thread ends when this is dropped, after the commit under way.
pub(super) struct Commits {
    orders: mpsc::Sender<TopicPartitionList>,
    answers: mpsc::Receiver<Answer>,
}

impl Commits {
    pub(super) fn start<'scope, C: ConsumerContext + 'static>(
        scope: &'scope Scope<'scope, '_>,
        consumer: &'scope BaseConsumer<C>,
        group: &str,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let thread = Builder::new().name(format!("commits {group}"));
        thread.spawn_scoped(scope, move || {
            for offsets in ordered {
                if answer.send(commit(consumer, offsets)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers })
    }

    /// To be called with one commit under way at most: the next begins when the one before is answered.
    pub(super) fn begin(&self, offsets: TopicPartitionList) {
        // The thread lives as long as this does.
        self.orders.send(offsets).ok();
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// Commits and waits for the broker's word, at most for a session's time-out.
pub(super) fn commit<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: TopicPartitionList) -> Answer {
    let began = Instant::now();
    let result = consumer.commit(&offsets, CommitMode::Sync);
    Answer { offsets, result, took: began.elapsed() }
}
