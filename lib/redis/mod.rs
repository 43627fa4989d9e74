//! The edge to Redis: rate limit, the lock in front of requests of one key, caches, and what stands in while it is away.
//!
//! Redis is disposable: nothing here is the truth about money or access. Every call has a time limit and stands behind a breaker;
//! a caller that gets [`Away`] goes on without Redis.
//!
//! If it dies here: answers come a little slower, and every process counts its own share of the rate limit.

mod admission;
mod cache;
mod claim;
mod local_limit;
mod rate_limit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, RedisError};
use recloser::{AsyncRecloser, Recloser};
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use admission::{Admission, Admitted};
pub use claim::{Claim, ClaimName, Claimed, Token};
pub use local_limit::LocalLimit;
pub use rate_limit::{Limit, Quota};

use crate::service::health::Missing;
use crate::service::retry::policy;
use crate::service::secret::Secret;
use crate::service::shutdown::vital;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `redis://[:password@]host:port[/database]`. A secret, since it may hold a password.
    pub url: Secret,
    /// No call waits longer.
    pub call_ms: u64,
    /// How long no call is tried after too many failed.
    pub rest_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: Secret::new("redis://127.0.0.1:6379"), call_ms: 50, rest_ms: policy::REDIS.first_ms() }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("redis.url is not of the form redis://[:password@]host:port[/database]")]
pub struct BadUrl;

/// Redis did not answer, in time or at all. Whether it did what it was asked is not known.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    #[error("too many calls failed; none is tried for a moment")]
    Resting,
    #[error("no answer within the time limit")]
    Slow,
    #[error(transparent)]
    Failed(#[from] RedisError),
}

/// Cheap to clone. Connects when first used, and again whenever the connection is lost.
#[derive(Clone)]
pub struct Redis {
    manager: ConnectionManager,
    breaker: AsyncRecloser,
    scripts: Arc<Scripts>,
    limit: Duration,
}

struct Scripts {
    admit: ::redis::Script,
    rate_limit: ::redis::Script,
    release: ::redis::Script,
}

impl Settings {
    /// Whether the URL is one. It says nothing about who is there.
    pub fn check(&self) -> Result<(), BadUrl> {
        Client::open(self.url.expose()).map(drop).map_err(|_| BadUrl)
    }
}

impl Redis {
    /// Inside a runtime.
    pub fn new(settings: &Settings) -> Result<Self, BadUrl> {
        let client = Client::open(settings.url.expose()).map_err(|_| BadUrl)?;
        let limit = Duration::from_millis(settings.call_ms);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(limit * 4))
            .set_response_timeout(Some(limit))
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(|_| BadUrl)?;
        let breaker = Recloser::custom()
            .error_rate(0.5)
            .closed_len(16)
            .half_open_len(4)
            .open_wait(Duration::from_millis(settings.rest_ms))
            .build();
        let scripts = Scripts {
            admit: admission::script(),
            rate_limit: rate_limit::script(),
            release: ::redis::Script::new(include_str!("release.lua")),
        };
        Ok(Self { manager, breaker: breaker.into(), scripts: Arc::new(scripts), limit })
    }

    /// Asks once a second whether it is there, so that it is found again without a request having to try.
    pub fn watch(&self, tracker: &TaskTracker, missing: Missing, stop: CancellationToken) {
        let redis = self.clone();
        let watching = async move {
            let mut tick = tokio::time::interval(policy::REDIS.first());
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut was_up = None;
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let answer = redis.ping().await;
                metrics::gauge!("payfleet_redis_up").set(if answer.is_ok() { 1.0 } else { 0.0 });
                missing.tell("Redis", answer.as_ref().err().map(ToString::to_string));
                match (&answer, was_up) {
                    (Ok(()), Some(false)) => tracing::info!("Redis is back"),
                    (Err(error), Some(true) | None) => tracing::warn!(%error, "Redis is away: working without it"),
                    _ => {}
                }
                was_up = Some(answer.is_ok());
            }
        };
        tracker.spawn(vital("redis", watching));
    }

    async fn ping(&self) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        self.call("ping", async move { ::redis::cmd("PING").query_async::<()>(&mut manager).await }).await
    }

    /// Every call goes through here: the breaker, the time limit, the numbers.
    async fn call<T>(&self, name: &'static str, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, Away> {
        let begin = Instant::now();
        let limited = async {
            match tokio::time::timeout(self.limit, call).await {
                Ok(answer) => answer.map_err(Away::Failed),
                Err(_) => Err(Away::Slow),
            }
        };
        let answer = self.breaker.call(limited).await.map_err(|error| match error {
            recloser::Error::Inner(away) => away,
            recloser::Error::Rejected => Away::Resting,
        });
        match &answer {
            Ok(_) => {
                metrics::histogram!("payfleet_redis_call_seconds", "call" => name).record(begin.elapsed().as_secs_f64())
            }
            Err(away) => {
                let why = match away {
                    Away::Resting => "resting",
                    Away::Slow => "slow",
                    Away::Failed(_) => "failed",
                };
                metrics::counter!("payfleet_redis_failures_total", "call" => name, "why" => why).increment(1);
            }
        }
        answer
    }
}
