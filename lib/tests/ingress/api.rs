//! A whole ingress on real PostgreSQL and Redis, behind a real port, with users and keys.

use std::net::SocketAddr;
use std::sync::Arc;

use payfleet::accounts::{self, ApiKey, KeyHash, Pepper, RateLimit};
use payfleet::callback::receive::{self, Receiver};
use payfleet::callbacks::Storing;
use payfleet::domain::route::Route;
use payfleet::gateway::Gateways;
use payfleet::ingress::{self, Parts, Surroundings};
use payfleet::outbox::doorbell::Doorbell;
use payfleet::postgres::combiner::{Combiner, Layout};
use payfleet::redis::{self, Redis};
use payfleet::routing::{self, Routing};
use payfleet::sealing::{self, Sealer};
use payfleet::service::http;
use payfleet::service::secret::Secret;
use payfleet::settlement::{self, Foundation, Settlement};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warp::Filter;

use super::client::{Answer, Client};
use crate::harness::{self, Database};

pub fn pepper() -> Secret {
    Secret::new("the pepper of the tests: thirty-two bytes or more")
}

pub fn sealing_keys() -> sealing::Settings {
    sealing::Settings { keys: Secret::new("t1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=") }
}

/// What a test may choose of an ingress.
pub struct Choice {
    pub redis: String,
    /// Longer than in production, so that a machine that stands still for a moment is not taken for a Redis that is away.
    pub redis_ms: u64,
    /// By which way the ingress reaches the database; None: directly.
    pub postgres: Option<payfleet::postgres::Settings>,
    pub settings: ingress::Settings,
    pub surroundings: Surroundings,
    pub gateways: Gateways,
    pub callback: receive::Settings,
}

impl Default for Choice {
    fn default() -> Self {
        let settings = ingress::Settings { api_key_pepper: pepper(), ..Default::default() };
        Self {
            redis: harness::redis_url(),
            redis_ms: 10_000,
            postgres: None,
            settings,
            surroundings: Surroundings::Development,
            gateways: super::silent_gateway::all(),
            callback: receive::Settings::default(),
        }
    }
}

/// One ingress. Several may stand on one database.
pub struct Api {
    pub address: SocketAddr,
    pub redis: Redis,
    pub routing: Routing,
    pub settlement: Settlement,
    pub stop: CancellationToken,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn open(database: &Database) -> Api {
    open_with(database, Choice::default()).await
}

pub async fn open_with(database: &Database, choice: Choice) -> Api {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let postgres = choice.postgres.unwrap_or_else(|| database.settings());
    let gateways = choice.gateways;
    route(&database.owner, &gateways).await;
    let redis =
        redis::Settings { url: Secret::new(choice.redis), call_ms: choice.redis_ms, ..redis::Settings::default() };
    let redis = Redis::new(&redis).unwrap();
    let routing = Routing::start(database.app.clone(), &gateways, &tasks, stop.clone());
    routing.loaded().await;
    let (sealer, doorbell) = (Sealer::new(&sealing_keys()).unwrap(), Doorbell::start(&postgres, &tasks, stop.clone()));
    let foundation = Foundation {
        pool: database.app.clone(),
        postgres: postgres.clone(),
        gateways: gateways.clone(),
        routing: routing.clone(),
        sealer: sealer.clone(),
        doorbell: doorbell.clone(),
    };
    let settlement = Settlement::start(&settlement::Settings::default(), foundation, &tasks).unwrap();
    let receiver = Receiver::new(
        choice.callback,
        gateways,
        Combiner::start(Storing, &postgres, Layout::default(), &tasks),
        sealer.clone(),
        doorbell.clone(),
        routing.clock(),
        tasks.clone(),
    );
    let parts = Parts {
        settings: choice.settings,
        surroundings: choice.surroundings,
        postgres: postgres.clone(),
        pool: database.app.clone(),
        redis: redis.clone(),
        sealer,
        routing: routing.clone(),
        doorbell,
        clock: routing.clock(),
        tracker: tasks.clone(),
        settlement: settlement.clone(),
    };
    let listener = http::bind("127.0.0.1:0", "TEST").await.unwrap();
    let address = listener.local_addr().unwrap();
    let others = warp::path!("others").map(|| warp::reply::Response::new("others".into()));
    let others = others.or(receiver.routes()).unify().boxed();
    tasks.spawn(ingress::run(listener, parts, others, stop.clone()));
    Api { address, redis, routing, settlement, stop }
}

/// Euros go to the first gateway that can; the rest to none.
async fn route(pool: &PgPool, gateways: &Gateways) {
    let names: Vec<&str> = gateways.iter().map(|gateway| gateway.name()).collect();
    let routes: Vec<Route> = gateways
        .iter()
        .enumerate()
        .map(|(place, gateway)| Route {
            country: None,
            currency: Some("EUR".into()),
            priority: place as i16 + 1,
            gateway: gateway.name().into(),
        })
        .collect();
    let mut transaction = pool.begin().await.unwrap();
    routing::upsert(&mut transaction, &names, &routes).await.unwrap();
    transaction.commit().await.unwrap();
}

/// A user with an account in euros, and a key.
#[derive(Clone)]
pub struct Customer {
    pub user: super::orders::User,
    pub key_id: Uuid,
    pub hash: KeyHash,
    pub bearer: Arc<str>,
}

pub async fn customer(database: &Database, available: i64, limit: RateLimit) -> Customer {
    let user = super::orders::user_with(&database.owner, available).await;
    key_of(database, user, limit).await
}

async fn key_of(database: &Database, user: super::orders::User, limit: RateLimit) -> Customer {
    let pepper = Pepper::new(&pepper()).unwrap();
    let key = ApiKey::generate("pf_test_");
    let mut connection = database.app.acquire().await.unwrap();
    let key_id = accounts::create_key(&mut connection, user.id, &key, &pepper, limit).await.unwrap();
    Customer { user, key_id, hash: pepper.hash(key.expose()), bearer: format!("Bearer {}", key.expose()).into() }
}

/// Another key of the same user.
pub async fn another_key(database: &Database, customer: &Customer) -> Customer {
    key_of(database, customer.user, RateLimit::Applies).await
}

impl Customer {
    pub async fn post(&self, address: SocketAddr, path: &str, key: &str, body: &Value) -> Answer {
        let headers =
            [("authorization", &*self.bearer), ("content-type", "application/json"), ("idempotency-key", key)];
        Client::connect(address).await.request("POST", path, &headers, body.to_string().as_bytes()).await
    }

    pub async fn get(&self, address: SocketAddr, path: &str) -> Answer {
        Client::connect(address).await.request("GET", path, &[("authorization", &*self.bearer)], b"").await
    }

    /// A deposit's answer, which must be 202.
    pub async fn deposit(&self, address: SocketAddr, key: &str) -> Answer {
        let answer = self.post(address, "/v1/deposits", key, &euros(1250)).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer
    }
}

pub fn euros(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR"})
}

pub fn payout(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR", "destination": {"iban": "DE89 3704 0044 0532 0130 00"}})
}

/// Payments that stand in the database.
pub async fn payments(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM transactions").fetch_one(&database.owner).await.unwrap()
}
