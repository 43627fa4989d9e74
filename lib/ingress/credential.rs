//! Who is asking: the credential of an API key, from Redis for at most half a minute, else from PostgreSQL.
//!
//! What a key stands for never changes, so a process remembers that for as long as it likes. Whether it is still valid is asked of
//! Redis each time; only while Redis is away a process trusts its own memory, for a few seconds.

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Surroundings, refusal};
use crate::accounts::{self, Credential, DEMO_PREFIX, KeyHash, Pepper};
use crate::postgres;
use crate::postgres::clock::DatabaseClock;
use crate::redis::Redis;
use crate::service::http::Problem;

/// How long a look at PostgreSQL counts, however it is cached.
const VALID_FOR: Duration = Duration::from_secs(30);
/// The same for a process's own memory, which nobody can reach when a key is revoked.
const TRUSTED_ALONE_FOR: Duration = Duration::from_secs(5);
/// How far ahead of this process's idea of it the database's clock may be.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(5);
/// For a look at PostgreSQL: one row by its key.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
const REMEMBERED: u64 = 100_000;
const LONGEST_KEY: usize = 256;

/// As it stands in Redis.
#[derive(Serialize, Deserialize)]
struct Cached {
    key_id: Uuid,
    user_id: Uuid,
    country: String,
    rate_exempt: bool,
    checked_at_us: i64,
}

#[derive(Clone)]
pub(super) struct Credentials {
    pool: PgPool,
    clock: DatabaseClock,
    pepper: Pepper,
    surroundings: Surroundings,
    known: Cache<KeyHash, Credential>,
}

impl Credentials {
    pub(super) fn new(pool: PgPool, clock: DatabaseClock, pepper: Pepper, surroundings: Surroundings) -> Self {
        let known = Cache::builder().max_capacity(REMEMBERED).time_to_idle(Duration::from_secs(600)).build();
        Self { pool, clock, pepper, surroundings, known }
    }

    /// The hash of the key that the request presents.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Result<KeyHash, Problem> {
        let given =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refusal::unauthorized)?;
        let (scheme, key) = given.split_once(' ').ok_or_else(refusal::unauthorized)?;
        let key = key.trim();
        let is_demo = key.starts_with(DEMO_PREFIX) && self.surroundings == Surroundings::Production;
        if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() || key.len() > LONGEST_KEY || is_demo {
            return Err(refusal::unauthorized());
        }
        Ok(self.pepper.hash(key))
    }

    /// What this process remembers. It says who it was, not that the key is still valid.
    pub(super) async fn known(&self, hash: &KeyHash) -> Option<Credential> {
        self.known.get(hash).await
    }

    pub(super) async fn remember(&self, hash: KeyHash, credential: Credential) {
        self.known.insert(hash, credential).await;
    }

    pub(super) fn may_be_trusted_alone(&self, credential: &Credential) -> bool {
        self.is_younger_than(credential, TRUSTED_ALONE_FOR)
    }

    /// Reads what was cached in Redis; None when it is too old to count, whatever Redis thinks of its age.
    pub(super) fn read_cached(&self, value: &[u8]) -> Option<Credential> {
        let cached: Cached = serde_json::from_slice(value).ok()?;
        let checked_at = OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(cached.checked_at_us);
        let credential = Credential {
            key_id: cached.key_id,
            user_id: cached.user_id,
            country: cached.country,
            rate_exempt: cached.rate_exempt,
            checked_at,
        };
        self.is_younger_than(&credential, VALID_FOR).then_some(credential)
    }

    fn is_younger_than(&self, credential: &Credential, limit: Duration) -> bool {
        let age = self.clock.now() - credential.checked_at;
        age <= limit && age + CLOCKS_DIFFER_BY >= time::Duration::ZERO
    }

    /// The truth. `Err(401)` when there is no such live key.
    pub(super) async fn look_up(&self, hash: KeyHash) -> Result<Credential, Problem> {
        let looking = async {
            let mut connection = self.pool.acquire().await?;
            accounts::credential(&mut connection, &hash).await
        };
        let found = postgres::within(LOOK_LIMIT, looking).await.map_err(|error| refusal::not_read(&error))?;
        let Some(credential) = found else {
            self.known.invalidate(&hash).await;
            return Err(refusal::unauthorized());
        };
        self.clock.heard(credential.checked_at);
        self.remember(hash, credential.clone()).await;
        Ok(credential)
    }

    pub(super) async fn keep(&self, redis: &Redis, hash: &KeyHash, credential: &Credential) {
        let cached = Cached {
            key_id: credential.key_id,
            user_id: credential.user_id,
            country: credential.country.clone(),
            rate_exempt: credential.rate_exempt,
            checked_at_us: (credential.checked_at.unix_timestamp_nanos() / 1_000) as i64,
        };
        let value = serde_json::to_vec(&cached).expect("a plain struct of strings and numbers");
        // It is a cache: if this fails, the next request looks again.
        redis.keep_credential(&hash.to_text(), &value, VALID_FOR).await.ok();
    }
}
