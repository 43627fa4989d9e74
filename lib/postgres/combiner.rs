//! Group commit: requests that arrive while a statement is in flight go out together as the next one.
//!
//! A statement in flight makes the next ones wait, and whatever has gathered by then shares one round trip and one fsync. Nothing
//! waits on purpose: an idle combiner sends a single request at once.
//!
//! If it dies here: the statement is one transaction, so a batch happened or did not. When the connection is lost the same batch
//! runs again on a new session; each statement must therefore recognise its own earlier success. An error of the statement
//! itself (not of the connection) makes its requests run again singly, so that one bad request never fails its neighbours.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Settings, is_connection_error, is_read_only, is_transient, silent, within};
use crate::service::retry::{Waits, policy};
use crate::service::shutdown::vital;

/// A statement that serves many requests at once.
pub trait Batch: Send + Sync + Clone + 'static {
    type Request: Clone + Send + Sync + 'static;
    type Reply: Send + 'static;
    /// Two requests of the same key never share a statement.
    type Key: Eq + Hash + Send;

    /// In `application_name` and metrics.
    const NAME: &'static str;
    /// Requests per statement at most.
    const LIMIT: usize = 64;

    fn key(request: &Self::Request) -> Option<Self::Key>;

    /// Its connection was lost while the request was under way: it may have been committed, and may yet be. Of use where a request is
    /// submitted again after a reply that settles nothing.
    fn in_doubt(_request: &Self::Request) {}

    /// One statement, one transaction; one reply per request, in order. Running it twice must be harmless and must say
    /// the second time what it said the first time.
    fn run(
        &self,
        connection: &mut PgConnection,
        requests: &[Self::Request],
    ) -> impl Future<Output = Result<Vec<Self::Reply>, sqlx::Error>> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("too many requests are waiting")]
    Full,
    /// Never sent, or sent and rolled back: nothing happened.
    #[error("the database does not answer; nothing was committed")]
    Unavailable,
    /// Sent, the connection was lost, and it could not be sent again in time.
    #[error("the connection was lost after sending; whether it was committed is not known")]
    OutcomeUnknown,
    #[error("the statement failed: {0}")]
    Failed(#[source] sqlx::Error),
}

struct Job<B: Batch> {
    request: B::Request,
    /// None: answered.
    reply: Option<oneshot::Sender<Result<B::Reply, Refused>>>,
    give_up: Instant,
    /// It may have been committed: from here on only an answer of the database settles it.
    sent: bool,
}

impl<B: Batch> Job<B> {
    fn is_open(&self) -> bool {
        self.reply.is_some()
    }

    fn answer(&mut self, answer: Result<B::Reply, Refused>) {
        if let Some(reply) = self.reply.take() {
            // Nobody may be listening any more.
            reply.send(answer).ok();
        }
    }

    /// The time is over.
    fn refuse(&mut self) {
        self.answer(Err(if self.sent { Refused::OutcomeUnknown } else { Refused::Unavailable }));
    }
}

/// What requests wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Their statement is not on its way.
    Before,
    InFlight,
}

/// A statement in flight has this much longer: the server's own limits are of the same length as ours, and its word that it has rolled
/// back is worth more than that nothing is known.
const GRACE: Duration = Duration::from_millis(250);

/// For taking leave of the server, which may not be there any more. It finds out by itself.
const FAREWELL: Duration = Duration::from_secs(3);

/// How a combiner is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub connections: usize,
    /// Requests per statement, where that is less than the statement's own limit. With 1 nothing is combined.
    pub batch: usize,
    /// Requests waiting at most; beyond it [`Refused::Full`].
    pub queue: usize,
    /// A request that could not be settled for this long gets [`Refused::Unavailable`] or [`Refused::OutcomeUnknown`].
    pub patience: Duration,
}

impl Default for Layout {
    fn default() -> Self {
        Self { connections: 2, batch: usize::MAX, queue: 4_096, patience: policy::STATEMENT.limit() }
    }
}

pub struct Combiner<B: Batch> {
    jobs: mpsc::Sender<Job<B>>,
    patience: Duration,
}

impl<B: Batch> Clone for Combiner<B> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), patience: self.patience }
    }
}

impl<B: Batch> Combiner<B> {
    /// Starts the workers on `tracker`. They live as long as a handle does: whoever still has a request to make while the process
    /// stops can make it.
    pub fn start(batch: B, postgres: &Settings, layout: Layout, tracker: &TaskTracker) -> Self {
        let (jobs, queue) = mpsc::channel(layout.queue);
        let queue = std::sync::Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..layout.connections.max(1) {
            let worker = Worker {
                batch: batch.clone(),
                limit: B::LIMIT.min(layout.batch),
                postgres: postgres.clone(),
                connection: None,
                queue: queue.clone(),
            };
            tracker.spawn(vital(B::NAME, worker.run()));
        }
        Self { jobs, patience: layout.patience }
    }

    /// For a request that its statement passes over while another session has what it needs.
    pub fn turns(&self) -> Turns {
        Turns { waits: policy::LOCKED.waits(), give_up: Instant::now() + self.patience }
    }

    /// Waits for the commit. Dropping the future does not take the request back.
    pub async fn submit(&self, request: B::Request) -> Result<B::Reply, Refused> {
        let (reply, answer) = oneshot::channel();
        let give_up = Instant::now() + self.patience;
        let job = Job { request, reply: Some(reply), give_up, sent: false };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Unavailable,
        })?;
        match tokio::time::timeout_at(give_up + 2 * GRACE, answer).await {
            Ok(answer) => answer.unwrap_or(Err(Refused::OutcomeUnknown)),
            // It still waits behind a batch, or is just being taken out of the queue.
            Err(_) => Err(Refused::OutcomeUnknown),
        }
    }
}

/// Coming again for what another session has locked: full-jitter waits, until the patience of one request is over.
pub struct Turns {
    waits: Waits,
    give_up: Instant,
}

impl Turns {
    /// Waits for the next turn. [`Refused::Unavailable`]: it was locked all the time, and nothing was committed.
    pub async fn wait(&mut self) -> Result<(), Refused> {
        if Instant::now() >= self.give_up {
            return Err(Refused::Unavailable);
        }
        tokio::time::sleep(self.waits.next_wait()).await;
        Ok(())
    }
}

struct Worker<B: Batch> {
    batch: B,
    limit: usize,
    postgres: Settings,
    connection: Option<PgConnection>,
    queue: std::sync::Arc<tokio::sync::Mutex<mpsc::Receiver<Job<B>>>>,
}

impl<B: Batch> Worker<B> {
    async fn run(mut self) {
        let mut later: VecDeque<Job<B>> = VecDeque::new();
        loop {
            let Some(jobs) = self.gather(&mut later).await else { break };
            metrics::histogram!("payfleet_combiner_batch_size", "statement" => B::NAME).record(jobs.len() as f64);
            self.settle(jobs).await;
        }
        if let Some(connection) = self.connection.take() {
            tokio::time::timeout(FAREWELL, connection.close()).await.ok();
        }
    }

    /// The next batch: what waits, at most one request of a key. Requests put off come first the next time.
    /// None when every handle is dropped and nothing is left to do.
    async fn gather(&self, later: &mut VecDeque<Job<B>>) -> Option<Vec<Job<B>>> {
        let mut keys = HashSet::new();
        let mut jobs: Vec<Job<B>> = Vec::new();
        let mut put_off = VecDeque::new();
        let mut take = |job: Job<B>, jobs: &mut Vec<Job<B>>| match B::key(&job.request) {
            Some(key) => {
                if keys.insert(key) {
                    jobs.push(job);
                } else {
                    put_off.push_back(job);
                }
            }
            None => jobs.push(job),
        };
        for job in later.drain(..) {
            take(job, &mut jobs);
        }
        let mut queue = if jobs.is_empty() {
            let mut queue = self.queue.lock().await;
            take(queue.recv().await?, &mut jobs);
            queue
        } else {
            // Whoever holds the queue now waits for the next request in it: what was put off must not wait for that.
            match self.queue.try_lock() {
                Ok(queue) => queue,
                Err(_) => {
                    *later = put_off;
                    return Some(jobs);
                }
            }
        };
        while jobs.len() < self.limit {
            match queue.try_recv() {
                Ok(job) => take(job, &mut jobs),
                Err(_) => break,
            }
        }
        drop(queue);
        *later = put_off;
        Some(jobs)
    }

    /// Runs the batch until each job has its answer.
    async fn settle(&mut self, mut jobs: Vec<Job<B>>) {
        let mut waits = policy::STATEMENT.waits();
        loop {
            let outcome = self.attempt(&mut jobs).await;
            jobs.retain(Job::is_open);
            jobs.iter().filter(|job| job.sent).for_each(|job| B::in_doubt(&job.request));
            match outcome {
                _ if jobs.is_empty() => return,
                Ok(()) => return,
                Err(Some(error)) if is_connection_error(&error) || is_transient(&error) => {
                    tracing::warn!(statement = B::NAME, %error, "statement will run again");
                }
                Err(Some(error)) if jobs.len() == 1 => {
                    tracing::error!(statement = B::NAME, %error, "statement failed");
                    jobs.remove(0).answer(Err(Refused::Failed(error)));
                    return;
                }
                Err(Some(error)) => {
                    tracing::warn!(statement = B::NAME, %error, requests = jobs.len(), "batch failed: its requests run singly");
                    for job in jobs {
                        Box::pin(self.settle(vec![job])).await;
                    }
                    return;
                }
                Err(None) => {}
            }
            attended(&mut jobs, Stage::Before, tokio::time::sleep(waits.next_wait())).await;
        }
    }

    /// One try. `Err(None)`: there was no connection, nothing was sent. Those whose time is over meanwhile are answered.
    async fn attempt(&mut self, jobs: &mut Vec<Job<B>>) -> Result<(), Option<sqlx::Error>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match attended(jobs, Stage::Before, self.postgres.connect_for_batches(B::NAME)).await {
                Some(Ok(connection)) => connection,
                Some(Err(error)) => {
                    tracing::warn!(statement = B::NAME, %error, "cannot connect to PostgreSQL");
                    return Err(None);
                }
                None => return Err(None),
            },
        };
        // Who has been told that nothing was done must not be sent.
        attended(jobs, Stage::Before, std::future::ready(())).await;
        jobs.retain(Job::is_open);
        if jobs.is_empty() {
            self.connection = Some(connection);
            return Ok(());
        }
        let requests: Vec<B::Request> = jobs.iter().map(|job| job.request.clone()).collect();
        let running = within(self.postgres.statement_limit(), self.batch.run(&mut connection, &requests));
        // None: nobody waits any more, and what was sent may still be carried out. Like any connection that says nothing, it is left.
        let outcome = attended(jobs, Stage::InFlight, running).await.unwrap_or_else(|| Err(silent()));
        match outcome {
            Ok(replies) => {
                self.connection = Some(connection);
                debug_assert_eq!(replies.len(), jobs.len());
                jobs.iter_mut().zip(replies).for_each(|(job, reply)| job.answer(Ok(reply)));
                Ok(())
            }
            Err(error) if is_connection_error(&error) => {
                let was_sent = !is_read_only(&error);
                metrics::counter!("payfleet_combiner_connections_lost_total", "statement" => B::NAME)
                    .increment(was_sent.into());
                jobs.iter_mut().for_each(|job| job.sent |= was_sent);
                Err(Some(error))
            }
            Err(error) => {
                self.connection = Some(connection);
                Err(Some(error))
            }
        }
    }
}

/// Waits for `work`, and answers meanwhile whoever's time is over. None: nobody is left to wait for it, it is dropped half-way.
async fn attended<B: Batch, T>(jobs: &mut [Job<B>], stage: Stage, work: impl Future<Output = T>) -> Option<T> {
    let grace = if stage == Stage::InFlight { GRACE } else { Duration::ZERO };
    let mut work = pin!(work);
    loop {
        let now = Instant::now();
        for job in jobs.iter_mut().filter(|job| job.give_up + grace <= now) {
            job.sent |= stage == Stage::InFlight;
            job.refuse();
        }
        let next = jobs.iter().filter(|job| job.is_open()).map(|job| job.give_up).min()?;
        tokio::select! {
            biased;
            done = work.as_mut() => return Some(done),
            () = tokio::time::sleep_until(next + grace) => {}
        }
    }
}
