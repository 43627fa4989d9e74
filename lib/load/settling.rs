//! After the sending: waits until every accepted payment is final, or the bound is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::client::{Asked, Pool};
use super::figures::{Durations, Ends};
use super::sending::Accepted;

/// Between two rounds of looks at those that are still open.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks of a round: whoever only waits must not take from the fleet what it needs to finish.
const BETWEEN: Duration = Duration::from_millis(8);

#[derive(Deserialize)]
struct Resource {
    status: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

/// A payment that is not known to be final.
struct Open {
    payment: Accepted,
    last_seen: String,
}

/// What no step follows by itself; `review` among it, since only a person goes on from there.
fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "cancelled" | "expired" | "reversed" | "review")
}

pub async fn wait(
    pool: &Pool,
    accepted: Vec<Accepted>,
    bound: Duration,
    progress: super::Progress<'_>,
    stop: &CancellationToken,
) -> (Ends, Durations) {
    let begin = Instant::now();
    let mut ends = Ends { bound_s: bound.as_secs(), ..Ends::default() };
    let mut settled_after = Durations::default();
    let is_over = || begin.elapsed() > bound || stop.is_cancelled();
    let mut open: Vec<Open> =
        accepted.into_iter().map(|payment| Open { payment, last_seen: "not looked at".into() }).collect();
    while !open.is_empty() {
        let mut looks = JoinSet::new();
        let mut waiting = open.into_iter();
        let mut turns = tokio::time::interval(BETWEEN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A round over many payments takes long: the bound may end it anywhere, and whoever was not looked at is open.
        while !is_over() {
            turns.tick().await;
            // As many looks at once as there are connections.
            let place = pool.place().await;
            let Some(Open { payment, .. }) = waiting.next() else { break };
            let pool = pool.clone();
            looks.spawn(async move {
                let seen = look(&pool, &payment, place).await;
                (payment, seen)
            });
        }
        open = waiting.collect();
        while let Some(look) = looks.join_next().await {
            match super::done(look) {
                (_, Some(seen)) if is_final(&seen.status) => {
                    settled_after.push((seen.updated_at - seen.created_at).unsigned_abs());
                    *ends.by_status.entry(seen.status).or_default() += 1;
                }
                (payment, seen) => {
                    let last_seen = seen.map_or_else(|| "unanswered".to_owned(), |seen| seen.status);
                    open.push(Open { payment, last_seen });
                }
            }
        }
        if open.is_empty() || is_over() {
            break;
        }
        progress(&format!("waiting for {} payments to become final", open.len()));
        tokio::time::sleep(PAUSE).await;
    }
    ends.open = open.len() as u64;
    ends.waited_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    for Open { last_seen, .. } in open {
        *ends.by_status.entry(last_seen).or_default() += 1;
    }
    (ends, settled_after)
}

async fn look(pool: &Pool, payment: &Accepted, place: tokio::sync::OwnedSemaphorePermit) -> Option<Resource> {
    let asked = Asked {
        method: http::Method::GET,
        path: format!("/v1/transactions/{}", payment.id),
        credential: Arc::clone(&payment.credential),
        idempotency_key: None,
        body: Bytes::new(),
    };
    let answer = pool.send(&asked, place).await.ok()?;
    if answer.status == 200 { serde_json::from_slice(&answer.body).ok() } else { None }
}
