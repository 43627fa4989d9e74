//! A member of a consumer group: records are handled many at once, each key one at a time and in order, and an offset is
//! committed only when everything before it is done.
//!
//! ```text
//! broker ─▶ poll thread ─▶ keyed queues ─▶ handler ──┬─ done ──▶ tracker ─▶ commit (coalesced, and on revoke)
//!   ▲            │                          ▲  │ retry            ▲
//!   └── pause ◀──┴── bounds: records, bytes └──┘ (backoff)        │
//!                                              └─ dead ─▶ graveyard
//! ```
//!
//! The poll loop has a thread of its own: librdkafka's calls block, and a poll that waits for the work would be taken for dead.
//! Partitions pause for back-pressure only, never because a record is slow or a gateway is away.
//!
//! If it dies here: offsets of records that are not done were never committed, so the next owner of the partition gets them
//! again, in order per key. Records that were done but not committed are repeated too: handlers must find out what they did.
//! A member that lost its partitions without noticing (a frozen process) handles a few records that another handles too; its
//! commits are refused by the broker.

mod assignment;
mod commits;
mod context;
mod limit;
mod pace;
mod poll;
mod record;
mod settings;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use limit::Held;
pub use pace::Concurrency;
pub use record::{Record, Unreadable};
pub use settings::Settings;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What becomes of a record that was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// Something that will pass is in the way (the database is away): the same record again, later, as long as it takes.
    #[error("cannot be handled now: {0}")]
    Retry(#[source] BoxError),
    /// This record can never be handled. The text says why, for a person.
    #[error("can never be handled: {0}")]
    Dead(String),
}

impl HandleError {
    pub fn retry(source: impl Into<BoxError>) -> Self {
        Self::Retry(source.into())
    }
}

/// A record's place among those that are handled at the same time.
#[derive(Debug, Default)]
pub struct Room<'a>(Option<Held<'a>>);

impl Room<'_> {
    /// Makes room for another record before this one is done. For a handler that has done what the room is there to bound, and only
    /// waits; what is in flight is bounded by records and bytes all the same.
    pub fn give_back(&mut self) {
        self.0 = None;
    }

    /// How long what the room is there to bound has taken, and whether it came to nothing for reasons that more of it would make worse.
    /// How many records are handled at once follows from that. Some: so many from now on, if that has changed.
    pub fn took(&self, time: Duration, strained: bool) -> Option<usize> {
        self.0.as_ref()?.told(time, strained)
    }
}

/// What is done with the records of a group.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record. It may be called again with a record that it has handled before: after a crash, a rebalance or
    /// [`HandleError::Retry`]. It is never cancelled half way.
    fn handle(&self, record: &Record, room: &mut Room<'_>) -> impl Future<Output = Result<(), HandleError>> + Send;
}

/// A record that can never be handled, and how that was found out.
#[derive(Clone, Copy, Debug)]
pub struct Death<'a> {
    pub record: &'a Record,
    /// For a person.
    pub reason: &'a str,
    /// The group that consumed it.
    pub group: &'a str,
    /// How often it was handled here until it was given up; more than once where something else was in the way at first.
    pub attempts: i32,
}

/// Where records go that can never be handled.
#[async_trait]
pub trait Graveyard: Send + Sync + 'static {
    /// Keeps the record with its reason. Durable when it returns; a second time for the same record is a no-op.
    async fn bury(&self, death: Death<'_>) -> Result<(), BoxError>;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the consumer cannot be made: {0}")]
    Setup(#[source] KafkaError),
    #[error("the poll thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    #[error("the client cannot go on: {0}")]
    Fatal(#[source] KafkaError),
    #[error("a thread of group {group} has died")]
    Died { group: String },
    #[error("the handler of group {group} panicked")]
    Panicked { group: String },
}

/// A member to be of a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub group: String,
    pub topics: Vec<String>,
    /// Records handled at the same time, without those that have given back their room.
    pub concurrency: Concurrency,
    pub settings: Settings,
    /// How to reach the brokers.
    pub client: ClientConfig,
}

/// Longer than the last commit and the farewell take, unless the broker is away.
const LEAVING: Duration = Duration::from_secs(4);

/// How long the process goes on after a handler has panicked, and what else was in hand was handed over.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How often it is looked whether a poll thread has gone on.
const LOOK_MS: u64 = 500;

/// Consumes until `stop`, then lets the records in hand be finished, commits and leaves the group. Dropping the future is the
/// hard way out: nothing more is committed.
///
/// The client library waits by the time of day: if that is set back, its threads stand still for as long (librdkafka #2145), and nothing
/// that they hold can be told to go on. Such a member is left behind; another joins, gets its records, and finds out what was done.
pub async fn run<H: Handler>(
    member: Member,
    handler: H,
    graveyard: Arc<dyn Graveyard>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let patience = Duration::from_millis(member.settings.drain_ms) + LEAVING;
    let group = member.group.clone();
    let left_behind = metrics::counter!("payfleet_consumer_left_behind_total", "group" => group.clone());
    // Seen as 0 before it happens.
    left_behind.increment(0);
    let work = Arc::new(work::Work::new(&member, handler, graveyard));
    let panicked = work.panicked();
    loop {
        let signals = poll::Signals { stop: stop.child_token(), ..poll::Signals::default() };
        // However this ends, the thread does not outlive it for long, and nothing that was delivered by it begins any more.
        let _abandon = (signals.abandoned.clone().drop_guard(), signals.stop.clone().drop_guard());
        let (ended, mut end) = oneshot::channel();
        let (joining, signalled, work) = (member.clone(), signals.clone(), Arc::downgrade(&work));
        let life = move || drop(ended.send(poll::run(&joining, work, &signalled)));
        std::thread::Builder::new().name(format!("consumer {group}")).spawn(life).map_err(Error::Thread)?;
        tokio::select! {
            biased;
            () = panicked.cancelled() => {
                // What is done is committed, and the group left, if that takes no time.
                signals.stop.cancel();
                let handed_over = Duration::from_millis(member.settings.hand_over_ms);
                tokio::time::timeout(handed_over + LAST_WORD, end).await.ok();
                return Err(Error::Panicked { group });
            }
            result = &mut end => return result.unwrap_or(Err(Error::Died { group })),
            () = async { stop.cancelled().await; tokio::time::sleep(patience).await } => {
                tracing::warn!(group, "the consumer could not leave its group in time; it is left behind");
                return Ok(());
            }
            () = stands_still(&signals.rounds, member.settings.stall_ms) => {
                left_behind.increment(1);
                tracing::warn!(group, "the consumer stands still; it is left behind, and another joins");
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }
}

/// Ends when nothing has gone round for so long. By looks, not by the clock: a process that was frozen as a whole goes on as one.
async fn stands_still(rounds: &AtomicU64, stall_ms: u64) {
    let most = stall_ms.div_ceil(LOOK_MS);
    let (mut seen, mut looks) = (None, 0);
    while looks < most {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        let now = Some(rounds.load(Ordering::Relaxed));
        looks = if now == seen { looks + 1 } else { 0 };
        seen = now;
    }
}
