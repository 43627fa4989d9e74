//! The rate limit of the whole fleet: GCRA in Lua, on Redis's own clock.

use std::time::Duration;

use ::redis::{FromRedisValue, ParsingError, Script, Value};
use serde::{Deserialize, Serialize};

use super::{Away, Redis};

/// So many requests per second on average, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub per_second: u32,
    pub burst: u32,
}

impl Quota {
    /// Microseconds from one request to the next at the steady rate.
    pub(super) fn interval_us(self) -> u64 {
        (1_000_000 / u64::from(self.per_second.max(1))).max(1)
    }
}

/// What the limit says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    pub allowed: bool,
    /// Requests that would be taken right now.
    pub remaining: u64,
    /// When to try again; zero when allowed.
    pub retry: Duration,
    /// When the whole burst is there again.
    pub reset: Duration,
}

impl FromRedisValue for Limit {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (allowed, remaining, retry_us, reset_us): (u8, u64, u64, u64) = FromRedisValue::from_redis_value(value)?;
        Ok(Self {
            allowed: allowed == 1,
            remaining,
            retry: Duration::from_micros(retry_us),
            reset: Duration::from_micros(reset_us),
        })
    }
}

/// What all scripts that limit begin with.
pub(super) const FUNCTION: &str = include_str!("rate_limit.lua");

pub(super) fn script() -> Script {
    Script::new(&format!("{FUNCTION}\nreturn rate_limit(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))"))
}

pub(super) fn bucket(who: &str) -> String {
    format!("limit:{who}")
}

impl Redis {
    /// Takes one request from the bucket of `who`.
    pub async fn rate_limit(&self, who: &str, quota: Quota) -> Result<Limit, Away> {
        let mut manager = self.manager.clone();
        let mut invocation = self.scripts.rate_limit.prepare_invoke();
        invocation.key(bucket(who)).arg(quota.interval_us()).arg(quota.burst);
        self.call("rate_limit", async { invocation.invoke_async(&mut manager).await }).await
    }
}
