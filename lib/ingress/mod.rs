//! HTTP in: requests become transactions, in one commit; payments and balances are read.
//!
//! ```text
//! request ─▶ door (credential, rate limit, claim on the key) ─▶ order (parsed, checked) ─▶ accept (one commit) ─▶ 202
//!                └▶ 401, 429          └▶ the first answer again     └▶ 4xx                     └▶ 402, 422, 503
//! ```
//! A 2xx is sent only after the commit. The key is committed with the payment, so whoever repeats a request gets the first answer.
//!
//! If it dies here: the client repeats its request with the same key, and gets the one result.

mod accept;
mod answer;
mod cancel;
mod credential;
mod door;
mod key;
mod order;
mod read;
mod refusal;
mod represent;
mod routes;
mod settings;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::accounts::Pepper;
use crate::outbox::doorbell::Doorbell;
use crate::postgres;
use crate::postgres::clock::DatabaseClock;
use crate::postgres::combiner::{Combiner, Layout};
use crate::redis::Redis;
use crate::routing::Routing;
use crate::sealing::Sealer;
use crate::service::http::{self, Problem};
use crate::service::shares::Shares;
use crate::settlement::Settlement;
use crate::transactions::accept::{Accepting, Acceptor};

pub use settings::Settings;

/// Where this runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surroundings {
    /// Demo keys are taken, and return URLs may be `http://localhost`.
    Development,
    Production,
}

/// What the ingress stands on.
pub struct Parts {
    pub settings: Settings,
    pub surroundings: Surroundings,
    pub postgres: postgres::Settings,
    pub pool: PgPool,
    pub redis: Redis,
    pub sealer: Sealer,
    pub routing: Routing,
    pub doorbell: Doorbell,
    pub clock: DatabaseClock,
    pub tracker: TaskTracker,
    pub settlement: Settlement,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("ingress.api_key_pepper is unset or too short: {} bytes at least", Pepper::MIN_BYTES)]
    Pepper,
}

/// What all handlers share.
struct Ingress {
    settings: Settings,
    surroundings: Surroundings,
    pool: PgPool,
    redis: Redis,
    sealer: Sealer,
    routing: Routing,
    doorbell: Doorbell,
    clock: DatabaseClock,
    tracker: TaskTracker,
    settlement: Settlement,
    acceptor: Acceptor,
    door: door::Door,
    waiting: waiting::Waiting,
    /// Under which orders are hashed.
    orders: Pepper,
    accepting: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    /// Who waits for a payment to change, by API key.
    waiters: Shares<Uuid>,
    /// Who waits for an earlier request of the same Idempotency-Key, by API key.
    followers: Shares<Uuid>,
    read_limit: Duration,
}

/// Serves the API on an open port until `stop`. `others` are the routes of other stages on the same port (callbacks).
pub async fn run(
    listener: TcpListener,
    parts: Parts,
    others: BoxedFilter<(Response,)>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut limits = parts.settings.http.clone();
    limits.proxies = parts.settings.trusted_proxies.clone();
    // Acceptors outlive the server: requests under way when told to stop are still committed. They end with their last handle.
    let ingress = Arc::new(Ingress::new(parts, stop.clone())?);
    let api = routes::api(Arc::clone(&ingress)).or(others).unify();
    http::serve(listener, api, "api", limits, stop).await;
    Ok(())
}

impl Ingress {
    /// Reads from PostgreSQL, or says why not.
    async fn read<T>(&self, reading: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Problem> {
        postgres::within(self.read_limit, reading).await.map_err(|error| refusal::not_read(&error))
    }

    fn new(parts: Parts, stop: CancellationToken) -> Result<Self, Error> {
        let pepper = Pepper::new(&parts.settings.api_key_pepper).ok_or(Error::Pepper)?;
        let layout = Layout {
            connections: parts.settings.acceptors,
            batch: parts.settings.acceptor_batch,
            queue: parts.settings.accepting.max(1),
            patience: Duration::from_millis(parts.settings.commit_ms),
        };
        let accepting = Accepting { clock: parts.clock.clone() };
        let combiner = Combiner::start(accepting, &parts.postgres, layout, &parts.tracker);
        let waiting = waiting::Waiting::start(&parts.postgres, parts.pool.clone(), &parts.tracker, stop);
        Ok(Self {
            acceptor: Acceptor::new(combiner),
            door: door::Door::new(&parts, pepper.clone()),
            waiting,
            orders: pepper.derive("idempotent orders"),
            accepting: Arc::new(Semaphore::new(parts.settings.accepting)),
            reading: Arc::new(Semaphore::new(parts.settings.reading)),
            waiters: Shares::new(parts.settings.waiting, parts.settings.waiting_per_key),
            followers: Shares::new(parts.settings.waiting, parts.settings.waiting_per_key),
            read_limit: parts.postgres.statement_limit(),
            settings: parts.settings,
            surroundings: parts.surroundings,
            pool: parts.pool,
            redis: parts.redis,
            sealer: parts.sealer,
            routing: parts.routing,
            doorbell: parts.doorbell,
            clock: parts.clock,
            tracker: parts.tracker,
            settlement: parts.settlement,
        })
    }
}
