//! Clients that wait for a payment to change. All of them are answered by one statement per ring of the doorbell; a look once a second
//! is the truth, so a lost ring costs only time.
//!
//! If it dies here: the clients' connections end; they ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::outbox::doorbell::CHANNEL;
use crate::postgres::{self, Settings};
use crate::service::retry::policy;
use crate::service::shutdown::vital;
use crate::transactions::resource::{self, Resource};

/// Looked at without any ring.
const POLL: Duration = Duration::from_secs(1);
/// The shortest time between two looks, however often the bell rings.
const QUIET: Duration = Duration::from_millis(2);
/// For a look: rows by their keys.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Payments per statement.
const PAGE: usize = 1_000;

/// What a client waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// Another status than this, as the API shows it.
    StatusIsNot(&'static str),
    /// A step since this version, or one more question since this many.
    LookedAt { version: i64, asks: i16 },
}

impl Until {
    pub(super) fn is_reached(&self, resource: &Resource) -> bool {
        match self {
            Self::StatusIsNot(status) => resource.status.public().0 != *status,
            Self::LookedAt { version, asks } => resource.version != *version || resource.asks != *asks,
        }
    }
}

struct Waiter {
    until: Until,
    answer: oneshot::Sender<Resource>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Shared>);

struct Shared {
    pool: PgPool,
    waiters: Mutex<HashMap<Uuid, Vec<Waiter>>>,
    /// The bell, or a new waiter.
    look: Notify,
    stop: CancellationToken,
}

impl Waiting {
    pub(super) fn start(settings: &Settings, pool: PgPool, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let shared = Shared { pool, waiters: Mutex::default(), look: Notify::new(), stop: stop.clone() };
        let waiting = Self(Arc::new(shared));
        tracker.spawn(vital("waiting", waiting.clone().listen(settings.clone(), stop.clone())));
        tracker.spawn(vital("waiting", waiting.clone().look(stop)));
        waiting
    }

    /// Waits at most `limit`; None when nothing happened, or when we are about to stop.
    pub(super) async fn wait(&self, id: Uuid, until: Until, limit: Duration) -> Option<Resource> {
        let (answer, answered) = oneshot::channel();
        self.locked().entry(id).or_default().push(Waiter { until, answer });
        // It may have changed between the client's reading and now.
        self.0.look.notify_one();
        tokio::select! {
            answered = tokio::time::timeout(limit, answered) => answered.ok()?.ok(),
            () = self.0.stop.cancelled() => None,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Vec<Waiter>>> {
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those still waited for. Clients whose time is over, or who have hung up, have dropped their end.
    fn wanted(&self) -> Vec<Uuid> {
        let mut waiters = self.locked();
        waiters.retain(|_, waiting| {
            waiting.retain(|waiter| !waiter.answer.is_closed());
            !waiting.is_empty()
        });
        let count: usize = waiters.values().map(Vec::len).sum();
        metrics::gauge!("payfleet_ingress_waiting").set(count as f64);
        waiters.keys().copied().collect()
    }

    async fn look(self, stop: CancellationToken) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.look.notified() => {}
                _ = poll.tick() => {}
            }
            let begin = Instant::now();
            for page in self.wanted().chunks(PAGE) {
                if let Err(error) = postgres::within(LOOK_LIMIT, self.look_at(page)).await {
                    tracing::warn!(%error, "waiting clients are told a little later");
                    break;
                }
            }
            tokio::time::sleep_until(begin + QUIET).await;
        }
    }

    async fn look_at(&self, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        let mut connection = self.0.pool.acquire().await?;
        let resources = resource::load(&mut connection, ids).await?;
        let mut waiters = self.locked();
        for resource in resources {
            let Some(waiting) = waiters.get_mut(&resource.id.id) else { continue };
            let (reached, still): (Vec<Waiter>, Vec<Waiter>) =
                waiting.drain(..).partition(|waiter| waiter.until.is_reached(&resource));
            *waiting = still;
            for waiter in reached {
                waiter.answer.send(resource.clone()).ok();
            }
        }
        Ok(())
    }

    /// Hears the bell, on a connection of its own.
    async fn listen(self, settings: Settings, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.listen_once(&settings, &stop).await {
                tracing::warn!(%error, "the doorbell is not heard; waiting clients are told by the poll");
            }
            stop.run_until_cancelled(tokio::time::sleep(policy::LISTENING.first())).await;
        }
    }

    async fn listen_once(&self, settings: &Settings, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        let pool = Settings { pool: 1, ..settings.clone() }.lazy_pool("ingress-listener")?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // None: the connection was lost and made again; rings may be missing.
                heard = listener.try_recv() => {
                    heard?;
                    self.0.look.notify_one();
                }
            }
        }
    }
}
