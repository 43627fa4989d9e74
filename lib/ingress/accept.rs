//! `POST /v1/deposits` and `/v1/withdrawals`: from a checked request to the one commit, and the answer that its key has for good.
//!
//! If it dies here: before the commit nothing happened; after it the key has its answer, whether or not anybody heard it. The commit
//! runs in a task of its own: a client that hangs up neither stops it nor leaves it half done.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use uuid::Uuid;
use warp::reply::Response;

use super::answer::{self, Given};
use super::order;
use super::routes::Request;
use super::{Ingress, door, key, refusal, represent};
use crate::accounts::Credential;
use crate::domain::accept::{self, Acceptance, NoRoute, Order, Owner, Sending};
use crate::domain::ids::{Kind, PublicId};
use crate::postgres::combiner::Refused;
use crate::redis::{Claim, ClaimName, Claimed, Limit, Redis};
use crate::sealing::{self, aad};
use crate::service::failpoint::{self, Window};
use crate::service::http::{Problem, body};
use crate::service::planted::{self, Bug};
use crate::service::retry::policy::{self, Patience};
use crate::service::shares::Shares;
use crate::service::telemetry::trace;
use crate::transactions::accept::{Answered, Endpoint, Entry, Reply, Verdict, find};
use crate::transactions::resource::Resource;

/// How long a request waits for another of its key. Longer than a claim lasts: one whose holder has died never makes a 409.
const WAIT_FOR_FIRST: Duration = policy::KEY.limit();
const _: () = assert!(WAIT_FOR_FIRST.as_millis() > door::CLAIM_LASTS.as_millis());

/// A new payment is looked at, and may be sent, as the policy has it for one that no gateway has.
const SENDING: Sending = match policy::NOT_SENT.patience {
    Patience::WhileItMayBeSent { deposit, withdrawal } => {
        Sending { first_look: policy::NOT_SENT.first(), deposit, withdrawal }
    }
    _ => panic!("a payment may be sent for a bounded time"),
};

/// How much longer than a commit may take an answer waits for it, whatever it is that takes so long.
const BEYOND_COMMIT: Duration = Duration::from_millis(750);

/// An answer, and the rate limit to tell with it.
pub(super) type Told = (Result<Response, Problem>, Option<Limit>);

pub(super) async fn handle<S, B, E>(ingress: &Arc<Ingress>, kind: Kind, request: Request, stream: S) -> Told
where
    S: futures_util::Stream<Item = Result<B, E>>,
    B: bytes::Buf,
{
    let key = key::of(&request.headers);
    let ordering = key.as_deref().ok().map(|key| (Endpoint(kind), key));
    let asking = door::Asking { headers: &request.headers, peer: request.peer, ordering };
    let passed = match ingress.door.pass(asking).await {
        Ok(passed) => passed,
        Err((problem, limit)) => return (Err(problem), limit),
    };
    let limit = passed.limit;
    let answer = async {
        let key = key?;
        let held = passed.claim.map(|(claim, found)| Held::of(&ingress.redis, claim, found));
        let order = read_order(ingress, kind, &request, stream).await?;
        let ordered = Ordered::new(ingress, passed.credential, key, order);
        ordered.answer(ingress, held).await
    };
    (answer.await, limit)
}

async fn read_order<S, B, E>(ingress: &Ingress, kind: Kind, request: &Request, stream: S) -> Result<Order, Problem>
where
    S: futures_util::Stream<Item = Result<B, E>>,
    B: bytes::Buf,
{
    if !request.has_json() {
        return Err(refusal::wrong_type());
    }
    let limit = Duration::from_millis(ingress.settings.body_ms);
    let body = body::read(stream, ingress.settings.body_bytes, limit).await?;
    let tree = order::from_json(&body).map_err(|malformed| refusal::malformed(malformed.to_string()))?;
    order::read(kind, tree, ingress.surroundings).map_err(refusal::invalid)
}

/// What Redis said about the key. The lock, if it is ours, is given back when this is dropped, unless an answer took its place.
struct Held {
    redis: Redis,
    claim: Claim,
    found: Claimed,
}

impl Held {
    fn of(redis: &Redis, claim: Claim, found: Claimed) -> Self {
        Self { redis: redis.clone(), claim, found }
    }

    /// Waits while another request has the lock, in a place for those who wait. Err: it still has, or there is no place.
    async fn wait(&mut self, places: &Shares<Uuid>, api_key: Uuid) -> Result<(), Problem> {
        if self.found != Claimed::Locked {
            return Ok(());
        }
        let _place = places.take(Some(api_key)).map_err(|_| refusal::key_busy())?;
        let begin = tokio::time::Instant::now();
        let mut waits = policy::KEY.waits();
        while self.found == Claimed::Locked {
            if begin.elapsed() > WAIT_FOR_FIRST {
                return Err(refusal::key_busy());
            }
            tokio::time::sleep(waits.next_wait()).await;
            // Redis gone meanwhile: PostgreSQL tells the two apart.
            self.found = self.redis.claim(&self.claim).await.unwrap_or(Claimed::Ours);
        }
        Ok(())
    }

    /// The answer takes the lock's place.
    async fn answered(mut self, answered: &Answered) {
        // From here on the drop has nothing to give back.
        self.found = Claimed::Locked;
        keep_answer(&self.redis, &self.claim.name, answered).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.found == Claimed::Ours
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (redis, name, token) = (self.redis.clone(), self.claim.name.clone(), self.claim.token);
            // Untracked: if it is lost, the lock ends by itself.
            runtime.spawn(async move { redis.release(&name, token).await.ok() });
        }
    }
}

async fn keep_answer(redis: &Redis, name: &ClaimName, answered: &Answered) {
    redis.answer(name, &answer::to_cache(answered)).await.ok();
}

/// An order with all that tells it from others.
struct Ordered {
    credential: Credential,
    endpoint: Endpoint,
    key: String,
    order: Order,
    order_hash: [u8; 32],
}

impl Ordered {
    fn new(ingress: &Ingress, credential: Credential, key: String, order: Order) -> Self {
        let order_hash = *ingress.orders.keyed(&order.canonical()).as_bytes();
        Self { credential, endpoint: Endpoint(order.kind), key, order, order_hash }
    }

    async fn answer(self, ingress: &Arc<Ingress>, mut held: Option<Held>) -> Result<Response, Problem> {
        if let Some(held) = &mut held {
            held.wait(&ingress.followers, self.credential.key_id).await?;
            if let Claimed::Answered(bytes) = &held.found {
                let cached = answer::from_cache(bytes);
                count_replay_lookup(cached.is_some());
                if let Some(answered) = cached {
                    return self.again(answered);
                }
            }
        }
        if !ingress.routing.is_loaded() {
            return Err(refusal::unavailable());
        }
        // Only now: whoever never ends a request, or waits for another of its key, keeps no other one out.
        let _room = ingress.accepting.try_acquire().map_err(|_| refusal::overloaded())?;
        let Ok(acceptance) = self.acceptance(ingress) else { return self.refuse_route(ingress).await };
        let (answer, answered) = oneshot::channel();
        let work = Work { ordered: self, held, traceparent: trace::traceparent() };
        let span = tracing::Span::current();
        let committing = work.commit(Arc::clone(ingress), acceptance, answer);
        ingress.tracker.spawn(tracing::Instrument::instrument(committing, span));
        let limit = Duration::from_millis(ingress.settings.commit_ms) + BEYOND_COMMIT;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => answer,
            // It panicked, or it is still at work: whether there will be a payment is known only to the key.
            _ => Err(refusal::outcome_unknown()),
        }
    }

    fn acceptance(&self, ingress: &Ingress) -> Result<Acceptance, NoRoute> {
        let table = ingress.routing.snapshot();
        let owner = Owner { user_id: self.credential.user_id, country: &self.credential.country };
        let now = to_microseconds(ingress.clock.now());
        accept::accept(Uuid::now_v7(), self.order.clone(), owner, SENDING, &table.routes, &table.gateways, now)
    }

    /// The first answer again, if it was to the same order.
    fn again(&self, answered: Answered) -> Result<Response, Problem> {
        if answered.order_hash != self.order_hash && !planted::is(Bug::ReplayWithoutComparing) {
            metrics::counter!("payfleet_ingress_refused_total", "why" => "key_reused").increment(1);
            let first = PublicId { kind: self.endpoint.0, id: answered.transaction_id };
            return Err(refusal::key_reused(first));
        }
        metrics::counter!("payfleet_ingress_replayed_total").increment(1);
        Ok(answer::response(self.endpoint, answered.transaction_id, answered.reply, Given::Again))
    }

    /// Routes may have changed since the key got its answer, which stands all the same.
    async fn refuse_route(&self, ingress: &Ingress) -> Result<Response, Problem> {
        let finding = async {
            let mut connection = ingress.pool.acquire().await?;
            find(&mut connection, self.credential.user_id, self.endpoint, &self.key).await
        };
        match ingress.read(finding).await? {
            Some(answered) => self.again(answered),
            None => Err(refusal::no_route()),
        }
    }
}

/// What the committing task carries.
struct Work {
    ordered: Ordered,
    held: Option<Held>,
    traceparent: Option<String>,
}

impl Work {
    async fn commit(
        self,
        ingress: Arc<Ingress>,
        acceptance: Acceptance,
        answer: oneshot::Sender<Result<Response, Problem>>,
    ) {
        let (kind, id) = (acceptance.order.kind, acceptance.id);
        let entry = self.entry(&ingress, acceptance);
        let reply = entry.reply.clone();
        failpoint::reached(Window::C1).await;
        let verdict = ingress.committed(entry).await;
        let Self { ordered, held, .. } = self;
        count_verdict(kind, &verdict);
        let mut stored = None;
        let told = match verdict {
            Ok(Verdict::Accepted) => {
                failpoint::reached(Window::C3).await;
                let order_hash = ordered.order_hash.to_vec();
                stored = Some(Answered { transaction_id: id, order_hash, reply: reply.clone() });
                Ok(answer::response(ordered.endpoint, id, reply, Given::First))
            }
            Ok(Verdict::Answered(answered)) => {
                stored = Some(answered.clone());
                ordered.again(answered)
            }
            Ok(Verdict::NotEnabled) => Err(refusal::currency_not_enabled(ordered.order.money.currency.code())),
            Ok(Verdict::InsufficientFunds) => Err(refusal::insufficient_funds()),
            Err(refused) => Err(refusal::not_committed(&refused)),
        };
        let accepted = told.as_ref().is_ok_and(|response| response.status() == StatusCode::ACCEPTED);
        // Nobody listens any more: the client has hung up. The payment stands.
        answer.send(told).ok();
        failpoint::reached(Window::C4).await;
        if accepted {
            ingress.doorbell.ring();
        }
        if let (Some(held), Some(answered)) = (held, stored) {
            held.answered(&answered).await;
        }
    }

    fn entry(&self, ingress: &Ingress, acceptance: Acceptance) -> Entry {
        let destination = acceptance.order.destination.as_ref().map(|destination| {
            let plain = serde_json::to_vec(destination).expect("a destination is a plain enum of strings");
            ingress.sealer.seal(&aad(acceptance.id, sealing::field::DESTINATION), &plain)
        });
        let body = represent::payment(&Resource::accepted(&acceptance));
        Entry {
            destination,
            key: self.ordered.key.clone(),
            order_hash: self.ordered.order_hash,
            reply: Reply { status: StatusCode::ACCEPTED.as_u16() as i16, content_type: represent::JSON.into(), body },
            traceparent: self.traceparent.clone(),
            acceptance,
        }
    }
}

impl Ingress {
    async fn committed(&self, entry: Entry) -> Result<Verdict, Refused> {
        if planted::is(Bug::AnswerBeforeCommit) {
            let acceptor = self.acceptor.clone();
            self.tracker.spawn(async move { acceptor.accept(entry).await });
            return Ok(Verdict::Accepted);
        }
        self.acceptor.accept(entry).await
    }
}

/// PostgreSQL's resolution: the answer given now says the same as one read later.
fn to_microseconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.microsecond() * 1_000).unwrap_or(at)
}

fn count_replay_lookup(hit: bool) {
    let result = if hit { "hit" } else { "miss" };
    metrics::counter!("payfleet_cache_lookups_total", "cache" => "reply", "result" => result).increment(1);
}

fn count_verdict(kind: Kind, verdict: &Result<Verdict, Refused>) {
    let outcome = match verdict {
        Ok(Verdict::Accepted) => "accepted",
        Ok(Verdict::Answered(_)) => "answered",
        Ok(Verdict::NotEnabled) => "not_enabled",
        Ok(Verdict::InsufficientFunds) => "insufficient_funds",
        Err(Refused::Full) => "full",
        Err(Refused::Unavailable) => "unavailable",
        Err(Refused::OutcomeUnknown) => "outcome_unknown",
        Err(Refused::Failed(_)) => "failed",
    };
    metrics::counter!("payfleet_ingress_orders_total", "type" => kind.as_str(), "outcome" => outcome).increment(1);
}
