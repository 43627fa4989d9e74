//! Commits: a thread that does nothing else, because a commit is a call that waits for the broker, for as long as the connection to it
//! is not given up. Whoever cannot wait for so long leaves it to end by itself.
//!
//! The client's own asynchronous commit would do without, but never says how it ended (rust-rdkafka #856).

use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
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

/// The thread has ended before its time: nothing is committed any more.
#[derive(Debug)]
pub(super) struct Gone;

/// The thread ends when this is dropped, after the commit under way.
pub(super) struct Commits {
    orders: mpsc::Sender<TopicPartitionList>,
    answers: mpsc::Receiver<Answer>,
    thread: JoinHandle<()>,
}

impl Commits {
    /// The consumer is closed when this thread has ended too.
    pub(super) fn start<C: ConsumerContext + 'static>(
        consumer: Arc<BaseConsumer<C>>,
        group: &str,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let thread = Builder::new().name(format!("commits {group}")).spawn(move || {
            for offsets in ordered {
                if answer.send(commit(&consumer, offsets)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers, thread })
    }

    /// Waits for the thread's end: not to be called while a commit is under way.
    pub(super) fn end(self) {
        drop(self.orders);
        self.thread.join().ok();
    }

    /// To be called with one commit under way at most: the next begins when the one before is answered.
    pub(super) fn begin(&self, offsets: TopicPartitionList) {
        // The thread lives as long as this does; if it does not, there is no answer.
        self.orders.send(offsets).ok();
    }

    /// None: there is none yet. Err: there will never be one, the thread is gone.
    pub(super) fn answer(&self) -> Result<Option<Answer>, Gone> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(Gone),
        }
    }

    /// Waits for it. None: it has not come by then.
    pub(super) fn answer_by(&self, by: Instant) -> Option<Answer> {
        self.answers.recv_timeout(by.saturating_duration_since(Instant::now())).ok()
    }
}

/// Commits and waits for the broker's word.
fn commit<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: TopicPartitionList) -> Answer {
    let began = Instant::now();
    let result = consumer.commit(&offsets, CommitMode::Sync);
    Answer { offsets, result, took: began.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_gone_is_told_from_one_that_is_still_at_work() {
        let ((orders, ordered), (answer, answers)) = (mpsc::channel(), mpsc::channel());
        let commits = Commits { orders, answers, thread: std::thread::spawn(|| ()) };
        commits.begin(TopicPartitionList::new());
        assert!(matches!(commits.answer(), Ok(None)));
        drop((ordered, answer));
        commits.begin(TopicPartitionList::new());
        assert!(commits.answer().is_err());
    }
}
