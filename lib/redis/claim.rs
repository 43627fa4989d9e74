//! What stands in Redis under an idempotency key: first a lock, held by the request that is at work, then its answer, which never
//! changes. One entry for both, so that one command takes the lock or finds the answer.
//!
//! If it dies here: a lock ends by itself; the next request goes to PostgreSQL, where the key is the truth.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{Away, Redis};

/// How long answers are kept here; in PostgreSQL they stay for good.
const ANSWER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const LOCK: u8 = b'L';
const ANSWER: u8 = b'A';

/// The name of an entry: user, endpoint and key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimName(String);

impl ClaimName {
    pub fn new(user_id: Uuid, endpoint: &str, key: &str) -> Self {
        Self(format!("claim:{}:{endpoint}:{key}", user_id.simple()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells our lock from another's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 17]);

impl Token {
    pub fn fresh() -> Self {
        let mut token = [LOCK; 17];
        token[1..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self(token)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A lock to be taken, unless there is something already.
#[derive(Clone, Debug)]
pub struct Claim {
    pub name: ClaimName,
    pub token: Token,
    /// After this a lock ends by itself: its holder has died or is very slow.
    pub lasts: Duration,
}

/// What was found under the name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// Nothing: it is ours now.
    Ours,
    /// Another request is at work.
    Locked,
    /// The answer, as it was put there.
    Answered(Vec<u8>),
}

impl Claimed {
    pub(super) fn from_value(found: Option<Vec<u8>>) -> Self {
        match found {
            None => Self::Ours,
            Some(mut value) if value.first() == Some(&ANSWER) => Self::Answered(value.split_off(1)),
            Some(_) => Self::Locked,
        }
    }
}

impl Redis {
    /// Takes the lock, or finds what is in its place.
    pub async fn claim(&self, claim: &Claim) -> Result<Claimed, Away> {
        let mut manager = self.manager.clone();
        let mut command = ::redis::cmd("SET");
        command.arg(claim.name.as_str()).arg(claim.token.as_bytes()).arg("NX").arg("GET");
        command.arg("PX").arg(claim.lasts.as_millis() as u64);
        let found = self.call("claim", async { command.query_async(&mut manager).await }).await?;
        Ok(Claimed::from_value(found))
    }

    /// Puts the answer in place of the lock. Only for what is committed: it is told to everyone who comes with the key.
    pub async fn answer(&self, name: &ClaimName, answer: &[u8]) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        let value = [&[ANSWER], answer].concat();
        let mut command = ::redis::cmd("SET");
        command.arg(name.as_str()).arg(value).arg("PX").arg(ANSWER_KEPT.as_millis() as u64);
        self.call("answer", async { command.query_async(&mut manager).await }).await
    }

    /// Gives the lock back: nothing was committed, the key may be used again.
    pub async fn release(&self, name: &ClaimName, token: Token) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        let mut invocation = self.scripts.release.prepare_invoke();
        invocation.key(name.as_str()).arg(token.as_bytes());
        self.call("release", async { invocation.invoke_async::<()>(&mut manager).await }).await
    }
}
