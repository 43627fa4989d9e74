//! What Redis does for us, and that nothing waits for it when it is gone.

pub mod server;

use std::time::{Duration, Instant};

use payfleet::redis::{Admission, Away, Claim, ClaimName, Claimed, Quota, Redis, Settings, Token};
use payfleet::service::secret::Secret;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::harness;
use server::Server;

/// With the time limit it has in production, for what is said about a Redis that is late or gone.
fn redis(url: &str) -> Redis {
    Redis::new(&Settings { url: Secret::new(url), ..Settings::default() }).unwrap()
}

/// Waits for a machine that stands still for a moment, for what is said about Redis' answers.
fn patient(url: &str) -> Redis {
    Redis::new(&Settings { url: Secret::new(url), call_ms: 10_000, ..Settings::default() }).unwrap()
}

fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

fn claim(name: &ClaimName) -> Claim {
    Claim { name: name.clone(), token: Token::fresh(), lasts: Duration::from_secs(20) }
}

#[tokio::test]
async fn a_limit_lets_a_burst_through_and_no_more_however_many_ask_at_once() {
    let quota = Quota { per_second: 1, burst: 20 };
    let who = unique("who");
    let (one, other) = (patient(&harness::redis_url()), patient(&harness::redis_url()));
    let asking = (0..100).map(|n| {
        let (redis, who) = (if n % 2 == 0 { one.clone() } else { other.clone() }, who.clone());
        tokio::spawn(async move { redis.rate_limit(&who, quota).await.unwrap() })
    });
    let limits = futures_util::future::try_join_all(asking).await.unwrap();
    let allowed = limits.iter().filter(|limit| limit.allowed).count();
    // The rate gives one more for each second that the asking took.
    assert!((20..=22).contains(&allowed), "{allowed} of a burst of 20");
    let refused = one.rate_limit(&who, quota).await.unwrap();
    assert!(refused.retry > Duration::ZERO && refused.retry <= Duration::from_secs(1), "{refused:?}");
    assert!(one.rate_limit(&unique("other"), quota).await.unwrap().allowed);
}

#[tokio::test]
async fn a_bucket_from_the_future_locks_nobody_out_for_long() {
    let server = Server::start().await;
    let redis = patient(&server.url());
    let quota = Quota { per_second: 100, burst: 10 };
    let _: () = redis::cmd("SET")
        .arg("limit:who")
        .arg("9000000000000000")
        .query_async(&mut server.connection().await)
        .await
        .unwrap();
    let limit = redis.rate_limit("who", quota).await.unwrap();
    assert!(limit.retry <= Duration::from_millis(110), "{limit:?}");
    harness::eventually("the bucket to drain", Duration::from_secs(5), || async {
        redis.rate_limit("who", quota).await.unwrap().allowed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_is_one_requests_until_its_answer_takes_its_place() {
    let redis = patient(&harness::redis_url());
    let name = ClaimName::new(Uuid::new_v4(), "POST /v1/deposits", "k");
    let (first, second) = (claim(&name), claim(&name));
    assert_eq!(redis.claim(&first).await.unwrap(), Claimed::Ours);
    assert_eq!(redis.claim(&second).await.unwrap(), Claimed::Locked);
    redis.release(&name, second.token).await.unwrap();
    assert_eq!(redis.claim(&second).await.unwrap(), Claimed::Locked, "one's claim was released by another");
    redis.release(&name, first.token).await.unwrap();
    assert_eq!(redis.claim(&second).await.unwrap(), Claimed::Ours);
    redis.answer(&name, b"the answer").await.unwrap();
    assert_eq!(redis.claim(&first).await.unwrap(), Claimed::Answered(b"the answer".to_vec()));
    redis.release(&name, second.token).await.unwrap();
    assert_eq!(redis.claim(&first).await.unwrap(), Claimed::Answered(b"the answer".to_vec()));
}

#[tokio::test]
async fn nothing_is_counted_or_claimed_for_an_unknown_credential_or_beyond_the_limit() {
    let redis = patient(&harness::redis_url());
    let credential = unique("hash");
    let claim = claim(&ClaimName::new(Uuid::new_v4(), "POST /v1/deposits", "k"));
    let quota = Quota { per_second: 1, burst: 1 };
    let admission = Admission { credential: &credential, quota: Some(quota), claim: Some(&claim) };
    let unknown = redis.admit(admission.clone()).await.unwrap();
    assert_eq!((unknown.credential, unknown.limit, unknown.claimed), (None, None, None));
    redis.keep_credential(&credential, b"known", Duration::from_secs(20)).await.unwrap();
    let admitted = redis.admit(admission.clone()).await.unwrap();
    assert_eq!((admitted.credential.as_deref(), admitted.claimed), (Some(b"known".as_slice()), Some(Claimed::Ours)));
    redis.release(&claim.name, claim.token).await.unwrap();
    let limited = redis.admit(admission.clone()).await.unwrap();
    assert!(!limited.limit.unwrap().allowed && limited.claimed.is_none());
    let exempt = redis.admit(Admission { quota: None, ..admission }).await.unwrap();
    assert_eq!((exempt.limit, exempt.claimed), (None, Some(Claimed::Ours)), "a refused request kept the claim");
    redis.forget_credential(&credential).await.unwrap();
    let forgotten = redis.admit(Admission { credential: &credential, quota: None, claim: None }).await.unwrap();
    assert_eq!(forgotten.credential, None);
}

#[tokio::test]
async fn scripts_come_back_after_a_flush() {
    let server = Server::start().await;
    let redis = patient(&server.url());
    let quota = Quota { per_second: 1, burst: 5 };
    redis.rate_limit("who", quota).await.unwrap();
    let mut connection = server.connection().await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    assert_eq!(redis.rate_limit("who", quota).await.unwrap().remaining, 4);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_costs_a_moment_and_then_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis = redis(&format!("redis://{}", silent.local_addr().unwrap()));
    let quota = Quota { per_second: 1, burst: 5 };
    let begin = Instant::now();
    for _ in 0..200 {
        redis.rate_limit("who", quota).await.unwrap_err();
    }
    let spent = begin.elapsed();
    assert!(spent < Duration::from_secs(6), "200 calls waited {spent:?} in all");
    // Whatever the breaker lets through in between, it closes again at once.
    harness::eventually("the breaker to rest", Duration::from_secs(5), || async {
        matches!(redis.rate_limit("who", quota).await, Err(Away::Resting)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_gone_is_found_again_when_it_is_back() {
    let mut server = Server::start().await;
    let redis = redis(&server.url());
    let quota = Quota { per_second: 100, burst: 100 };
    harness::eventually("Redis to be found", Duration::from_secs(10), || async {
        redis.rate_limit("who", quota).await.ok()
    })
    .await;
    server.kill();
    harness::eventually("Redis to be missed", Duration::from_secs(5), || async {
        redis.rate_limit("who", quota).await.err()
    })
    .await;
    server.start_again().await;
    harness::eventually("Redis to be found", Duration::from_secs(10), || async {
        redis.rate_limit("who", quota).await.ok()
    })
    .await;
}
