//! What every request passes first: its credential, its rate limit and, if it orders something, the claim on its key. One round trip
//! to Redis; without Redis the same by other means.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use moka::future::Cache;

use super::credential::Credentials;
use super::settings::Settings;
use super::{Parts, refusal};
use crate::accounts::{Credential, KeyHash, Pepper};
use crate::redis::{Admission, Admitted, Claim, ClaimName, Claimed, Limit, LocalLimit, Quota, Redis, Token};
use crate::service::http::{Peer, Problem, network};
use crate::transactions::accept::Endpoint;

/// How long a claim lasts whose holder was never heard of again.
pub(super) const CLAIM_LASTS: std::time::Duration = std::time::Duration::from_secs(3);

const LOOKING: u64 = 10_000;

pub(super) struct Door {
    credentials: Credentials,
    /// Looks at PostgreSQL that are under way.
    looking: Cache<KeyHash, Credential>,
    redis: Redis,
    settings: Settings,
    /// The limits of this process alone, while Redis is away.
    alone: LocalLimit,
    strangers_alone: LocalLimit,
    refreshes_alone: LocalLimit,
}

/// A request that may go on.
pub(super) struct Passed {
    pub credential: Credential,
    pub limit: Option<Limit>,
    /// None: none was asked for, or Redis is away.
    pub claim: Option<(Claim, Claimed)>,
}

/// What a request asks of the door.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub headers: &'a HeaderMap,
    pub peer: Option<Peer>,
    pub ordering: Option<(Endpoint, &'a str)>,
}

/// A request that may not go on. The limit is told with it, if it got so far.
pub(super) type Turned = (Problem, Option<Limit>);

impl Door {
    pub(super) fn new(parts: &Parts, pepper: Pepper) -> Self {
        let settings = parts.settings.clone();
        Self {
            credentials: Credentials::new(parts.pool.clone(), parts.clock.clone(), pepper, parts.surroundings),
            looking: Cache::new(LOOKING),
            redis: parts.redis.clone(),
            alone: LocalLimit::new(settings.quota),
            strangers_alone: LocalLimit::new(settings.stranger_quota),
            refreshes_alone: LocalLimit::new(settings.refresh_quota),
            settings,
        }
    }

    pub(super) async fn pass(&self, asking: Asking<'_>) -> Result<Passed, Turned> {
        let hash = match self.credentials.presented(asking.headers) {
            Ok(hash) => hash,
            Err(problem) => return Err((self.stranger(asking, problem).await, None)),
        };
        let known = self.credentials.known(&hash).await;
        match self.pass_with_redis(asking, hash, known.clone()).await {
            Some(answer) => answer,
            None => self.pass_alone(asking, hash, known).await,
        }
    }

    /// None: Redis is away.
    async fn pass_with_redis(
        &self,
        asking: Asking<'_>,
        hash: KeyHash,
        mut known: Option<Credential>,
    ) -> Option<Result<Passed, Turned>> {
        let text = hash.to_text();
        let mut looked_up = false;
        // At most: nothing known → looked up and cached → admitted; a look-up that Redis forgot at once is not tried for ever.
        for _ in 0..3 {
            let claim = known.as_ref().and_then(|known| claim_of(asking, known));
            let quota = known.as_ref().and_then(|known| self.quota_of(known));
            let admission = Admission { credential: &text, quota, claim: claim.as_ref() };
            let admitted = self.redis.admit(admission).await.ok()?;
            let cached = admitted.credential.as_deref().and_then(|value| self.credentials.read_cached(value));
            count_lookup(cached.is_some());
            match (known.take(), cached) {
                (Some(before), Some(credential)) => {
                    if before.checked_at < credential.checked_at {
                        self.credentials.remember(hash, credential.clone()).await;
                    }
                    return Some(admit(credential, admitted, claim));
                }
                (None, Some(credential)) => {
                    self.credentials.remember(hash, credential.clone()).await;
                    known = Some(credential);
                }
                (_, None) if looked_up => return None,
                (before, None) => {
                    self.give_back(claim, &admitted).await;
                    match self.look_up(asking, hash, before.is_none()).await {
                        Ok(credential) => {
                            self.credentials.keep(&self.redis, &hash, &credential).await;
                            (known, looked_up) = (Some(credential), true);
                        }
                        Err(problem) => return Some(Err((problem, None))),
                    }
                }
            }
        }
        None
    }

    async fn pass_alone(&self, asking: Asking<'_>, hash: KeyHash, known: Option<Credential>) -> Result<Passed, Turned> {
        let is_new = known.is_none();
        let credential = match known.filter(|known| self.credentials.may_be_trusted_alone(known)) {
            Some(credential) => credential,
            None => self.look_up(asking, hash, is_new).await.map_err(|problem| (problem, None))?,
        };
        let limit = self.quota_of(&credential).map(|_| self.alone.take(&hash.to_text()));
        match limit {
            Some(limit) if !limit.allowed => Err((refusal::rate_limited(limit.retry), Some(limit))),
            _ => Ok(Passed { credential, limit, claim: None }),
        }
    }

    /// Asks PostgreSQL, once for all requests of a key that ask at the same time. A key that this process never saw counts against
    /// its address, so that guessing keys has a limit.
    async fn look_up(&self, asking: Asking<'_>, hash: KeyHash, is_new: bool) -> Result<Credential, Problem> {
        let looking = async {
            if is_new {
                self.take_stranger(asking).await?;
            }
            self.credentials.look_up(hash).await
        };
        let found = self.looking.try_get_with(hash, looking).await;
        // Only those who asked meanwhile share the answer.
        self.looking.invalidate(&hash).await;
        found.map_err(|problem| {
            metrics::counter!("payfleet_ingress_refused_total", "why" => "credential").increment(1);
            Problem::clone(&problem)
        })
    }

    /// A request without a usable key: 401, or 429 when its address sends too many.
    async fn stranger(&self, asking: Asking<'_>, problem: Problem) -> Problem {
        metrics::counter!("payfleet_ingress_refused_total", "why" => "credential").increment(1);
        self.take_stranger(asking).await.err().unwrap_or(problem)
    }

    async fn take_stranger(&self, asking: Asking<'_>) -> Result<(), Problem> {
        let Some(address) = self.address(asking) else { return Ok(()) };
        let who = format!("address:{address}");
        let limit = match self.redis.rate_limit(&who, self.settings.stranger_quota).await {
            Ok(limit) => limit,
            Err(_) => self.strangers_alone.take(&who),
        };
        if limit.allowed { Ok(()) } else { Err(refusal::rate_limited(limit.retry)) }
    }

    /// Whether this credential may have a gateway asked.
    pub(super) async fn may_refresh(&self, credential: &Credential) -> Result<(), Problem> {
        let who = format!("refresh:{}", credential.key_id.simple());
        let limit = match self.redis.rate_limit(&who, self.settings.refresh_quota).await {
            Ok(limit) => limit,
            Err(_) => self.refreshes_alone.take(&who),
        };
        if limit.allowed { Ok(()) } else { Err(refusal::rate_limited(limit.retry)) }
    }

    fn quota_of(&self, credential: &Credential) -> Option<Quota> {
        (!credential.rate_exempt).then_some(self.settings.quota)
    }

    async fn give_back(&self, claim: Option<Claim>, admitted: &Admitted) {
        if let (Some(claim), Some(Claimed::Ours)) = (claim, &admitted.claimed) {
            self.redis.release(&claim.name, claim.token).await.ok();
        }
    }

    /// The address that sent the request: the last one in `X-Forwarded-For` that is not a proxy of ours, if a proxy of ours is the
    /// peer.
    fn address(&self, asking: Asking<'_>) -> Option<IpAddr> {
        let trusted = |address: &IpAddr| self.settings.trusted_proxies.iter().any(|proxy| proxy.contains(*address));
        let peer = asking.peer?.0.ip().to_canonical();
        let forwarded = || {
            let lines = asking.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
            let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
            hops.into_iter().rev().map_while(|hop| hop.parse::<IpAddr>().ok()).find(|hop| !trusted(hop))
        };
        let address = if trusted(&peer) { forwarded().unwrap_or(peer) } else { peer };
        Some(network::customer(address))
    }
}

fn claim_of(asking: Asking<'_>, credential: &Credential) -> Option<Claim> {
    let (endpoint, key) = asking.ordering?;
    let name = ClaimName::new(credential.user_id, endpoint.as_str(), key);
    Some(Claim { name, token: Token::fresh(), lasts: CLAIM_LASTS })
}

fn admit(credential: Credential, admitted: Admitted, claim: Option<Claim>) -> Result<Passed, Turned> {
    match admitted.limit {
        Some(limit) if !limit.allowed => Err((refusal::rate_limited(limit.retry), Some(limit))),
        limit => Ok(Passed { credential, limit, claim: claim.zip(admitted.claimed) }),
    }
}

fn count_lookup(hit: bool) {
    let result = if hit { "hit" } else { "miss" };
    metrics::counter!("payfleet_cache_lookups_total", "cache" => "credential", "result" => result).increment(1);
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
pub(super) fn tell_limit(headers: &mut HeaderMap, quota: Quota, limit: Option<Limit>) {
    let Some(limit) = limit else { return };
    let window = quota.burst.div_ceil(quota.per_second.max(1));
    let policy = format!("\"default\";q={};w={window}", quota.burst);
    let state = format!("\"default\";r={};t={}", limit.remaining, limit.reset.as_secs_f64().ceil() as u64);
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}
