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
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{Settings, is_connection_error, is_transient};

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
    reply: oneshot::Sender<Result<B::Reply, Refused>>,
    give_up: Instant,
    /// It may have been committed: from here on only an answer of the database settles it.
    sent: bool,
}

/// How a combiner is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub connections: usize,
    /// Requests waiting at most; beyond it [`Refused::Full`].
    pub queue: usize,
    /// A request that could not be settled for this long gets [`Refused::Unavailable`] or [`Refused::OutcomeUnknown`].
    pub patience: Duration,
}

impl Default for Layout {
    fn default() -> Self {
        Self { connections: 2, queue: 4_096, patience: Duration::from_secs(5) }
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
            let worker =
                Worker { batch: batch.clone(), postgres: postgres.clone(), connection: None, queue: queue.clone() };
            tracker.spawn(worker.run());
        }
        Self { jobs, patience: layout.patience }
    }

    /// Waits for the commit. Dropping the future does not take the request back.
    pub async fn submit(&self, request: B::Request) -> Result<B::Reply, Refused> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, reply, give_up: Instant::now() + self.patience, sent: false };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Unavailable,
        })?;
        answer.await.unwrap_or(Err(Refused::OutcomeUnknown))
    }
}

struct Worker<B: Batch> {
    batch: B,
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
            connection.close().await.ok();
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
        while jobs.len() < B::LIMIT {
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
        let mut pause = Duration::from_millis(20);
        loop {
            jobs = drop_overdue(jobs);
            if jobs.is_empty() {
                return;
            }
            let Err((error, unanswered)) = self.attempt(jobs).await else { return };
            jobs = unanswered;
            match error {
                Some(error) if is_connection_error(&error) || is_transient(&error) => {
                    tracing::warn!(statement = B::NAME, %error, "statement will run again");
                    if is_connection_error(&error) {
                        self.connection = None;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Some(error) if jobs.len() == 1 => {
                    let job = jobs.remove(0);
                    tracing::error!(statement = B::NAME, %error, "statement failed");
                    job.reply.send(Err(Refused::Failed(error))).ok();
                    return;
                }
                Some(error) => {
                    tracing::warn!(statement = B::NAME, %error, requests = jobs.len(), "batch failed: its requests run singly");
                    for job in jobs {
                        Box::pin(self.settle(vec![job])).await;
                    }
                    return;
                }
                None => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
            }
        }
    }

    /// One try. `Err((None, …))`: there was no connection, nothing was sent.
    async fn attempt(&mut self, mut jobs: Vec<Job<B>>) -> Result<(), (Option<sqlx::Error>, Vec<Job<B>>)> {
        if self.connection.is_none() {
            match self.postgres.connect(B::NAME).await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    tracing::warn!(statement = B::NAME, %error, "cannot connect to PostgreSQL");
                    return Err((None, jobs));
                }
            }
        }
        let Some(connection) = self.connection.as_mut() else { return Err((None, jobs)) };
        let requests: Vec<B::Request> = jobs.iter().map(|job| job.request.clone()).collect();
        match self.batch.run(connection, &requests).await {
            Ok(replies) => {
                debug_assert_eq!(replies.len(), jobs.len());
                for (job, reply) in jobs.into_iter().zip(replies) {
                    job.reply.send(Ok(reply)).ok();
                }
                Ok(())
            }
            Err(error) => {
                let in_doubt = is_connection_error(&error);
                jobs.iter_mut().for_each(|job| job.sent |= in_doubt);
                Err((Some(error), jobs))
            }
        }
    }
}

fn drop_overdue<B: Batch>(jobs: Vec<Job<B>>) -> Vec<Job<B>> {
    let now = Instant::now();
    let (waiting, overdue): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.give_up > now);
    for job in overdue {
        let why = if job.sent { Refused::OutcomeUnknown } else { Refused::Unavailable };
        job.reply.send(Err(why)).ok();
    }
    waiting
}
