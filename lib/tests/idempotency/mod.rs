//! One key, one payment, one answer: whatever is repeated, lost, cut or away.

mod faults;
pub mod proxy;
mod silence;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use payfleet::accounts::RateLimit;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{self, Database, eventually};
use crate::ingress::api::{self, Choice, Customer, euros, payout};
use crate::ingress::client::{Answer, Client};
use crate::redis::server::Server;

/// A Redis that takes connections and never answers.
async fn silent_redis() -> (TcpListener, String) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    (silent, url)
}

fn with_redis(url: &str) -> Choice {
    Choice { redis: url.to_owned(), ..Choice::default() }
}

#[track_caller]
fn assert_replay(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn a_repeated_order_gets_the_first_answer_to_the_byte_with_redis_or_without() {
    let database = Database::new().await;
    let with = api::open(&database).await;
    let without = api::open_with(&database, with_redis("redis://127.0.0.1:1")).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let first = customer.deposit(with.address, "k1").await;
    sqlx::query("UPDATE transactions SET status = 'succeeded', version = 5, due_at = NULL")
        .execute(&database.owner)
        .await
        .unwrap();
    for address in [with.address, without.address, with.address] {
        assert_replay(&first, &customer.deposit(address, "k1").await);
        assert_replay(&first, &customer.deposit(address, "\"k1\"").await);
    }
    // The same order, written otherwise.
    let written = json!({"currency": "EUR", "metadata": {}, "amount": "1250"});
    assert_replay(&first, &customer.post(without.address, "/v1/deposits", "k1", &written).await);
    // The key is another one at the other path.
    let withdrawal = customer.post(with.address, "/v1/withdrawals", "k1", &payout(1)).await;
    withdrawal.assert_problem(402, "insufficient_funds");
    assert_eq!(api::payments(&database).await, 1);
}

#[tokio::test]
async fn another_order_under_the_same_key_is_refused_with_redis_or_without() {
    let database = Database::new().await;
    let with = api::open(&database).await;
    let without = api::open_with(&database, with_redis("redis://127.0.0.1:1")).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let first = customer.deposit(with.address, "k1").await;
    for address in [with.address, without.address] {
        for other in [euros(1251), json!({"amount": 1250, "currency": "EUR", "client_reference": "x"})] {
            let refused = customer.post(address, "/v1/deposits", "k1", &other).await;
            refused.assert_problem(422, "idempotency_key_reused");
            assert_eq!(refused.json()["transaction_id"], first.json()["id"]);
        }
    }
    assert_eq!(api::payments(&database).await, 1);
}

async fn all_at_once(addresses: &[SocketAddr], customer: &Customer, count: usize) -> Vec<Answer> {
    let sending = (0..count).map(|n| {
        let (customer, address) = (customer.clone(), addresses[n % addresses.len()]);
        tokio::spawn(async move { customer.post(address, "/v1/withdrawals", "k", &payout(10)).await })
    });
    futures_util::future::try_join_all(sending).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_at_once_under_one_key_make_one_payment_and_get_one_answer() {
    let database = Database::new().await;
    for redis in [harness::redis_url(), "redis://127.0.0.1:1".to_owned()] {
        let one = api::open_with(&database, with_redis(&redis)).await;
        let other = api::open_with(&database, with_redis(&redis)).await;
        // Money for one: a second payment would be noticed, and so would a 402 for a repeated request.
        let customer = api::customer(&database, 10, RateLimit::Exempt).await;
        let before = api::payments(&database).await;
        let answers = all_at_once(&[one.address, other.address], &customer, 100).await;
        assert_eq!(api::payments(&database).await - before, 1);
        let first = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
        assert_eq!(first, 1, "{first} answers claim to be the first");
        assert!(answers.iter().all(|answer| (answer.status, &answer.body) == (202, &answers[0].body)));
    }
}

#[tokio::test]
async fn a_lock_whose_holder_has_died_only_costs_time() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let name = payfleet::redis::ClaimName::new(customer.user.id, "POST /v1/deposits", "k1");
    let token = payfleet::redis::Token::fresh();
    let claim = payfleet::redis::Claim { name, token, lasts: Duration::from_secs(3) };
    api.redis.claim(&claim).await.unwrap();
    let begin = Instant::now();
    customer.deposit(api.address, "k1").await;
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_key_that_is_long_at_work_elsewhere_is_409_and_can_be_repeated() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let name = payfleet::redis::ClaimName::new(customer.user.id, "POST /v1/deposits", "k1");
    let token = payfleet::redis::Token::fresh();
    let claim = payfleet::redis::Claim { name: name.clone(), token, lasts: Duration::from_secs(60) };
    api.redis.claim(&claim).await.unwrap();
    let busy = customer.post(api.address, "/v1/deposits", "k1", &euros(1250)).await;
    busy.assert_problem(409, "idempotency_key_in_use");
    assert_eq!((busy.json()["retryable"].clone(), busy.header("retry-after")), (json!(true), Some("1")));
    api.redis.release(&name, token).await.unwrap();
    customer.deposit(api.address, "k1").await;
}

/// The same walk through the API; its answers must not depend on what became of Redis on the way.
async fn walk(api: &api::Api, customer: &Customer, step: &str) {
    let first = customer.deposit(api.address, &format!("{step}-1")).await;
    assert_replay(&first, &customer.deposit(api.address, &format!("{step}-1")).await);
    let other = customer.post(api.address, "/v1/deposits", &format!("{step}-1"), &euros(7)).await;
    other.assert_problem(422, "idempotency_key_reused");
    let short = customer.post(api.address, "/v1/withdrawals", &format!("{step}-1"), &payout(1_000_000)).await;
    short.assert_problem(402, "insufficient_funds");
    let held = customer.post(api.address, "/v1/withdrawals", &format!("{step}-1"), &payout(1)).await;
    assert_eq!(held.status, 202);
    assert_replay(&first, &customer.deposit(api.address, &format!("{step}-1")).await);
    let location = first.header("location").unwrap();
    assert_eq!(customer.get(api.address, location).await.json(), first.json());
    let mut client = Client::connect(api.address).await;
    let stranger = client.request("GET", "/v1/balance", &[("authorization", "Bearer pf_test_nobody")], b"").await;
    stranger.assert_problem(401, "unauthorized");
}

#[tokio::test]
async fn answers_are_the_same_whatever_becomes_of_redis() {
    let database = Database::new().await;
    let mut server = Server::start().await;
    let api = api::open_with(&database, with_redis(&server.url())).await;
    let customer = api::customer(&database, 1_000, RateLimit::Applies).await;
    walk(&api, &customer, "there").await;
    let first = customer.deposit(api.address, "before").await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut server.connection().await).await.unwrap();
    walk(&api, &customer, "flushed").await;
    assert_replay(&first, &customer.deposit(api.address, "before").await);
    server.kill();
    walk(&api, &customer, "gone").await;
    assert_replay(&first, &customer.deposit(api.address, "before").await);
    server.start_again().await;
    walk(&api, &customer, "back").await;
    assert_replay(&first, &customer.deposit(api.address, "before").await);
    let (_silent, url) = silent_redis().await;
    let redis_ms = payfleet::redis::Settings::default().call_ms;
    let api = api::open_with(&database, Choice { redis_ms, ..with_redis(&url) }).await;
    walk(&api, &customer, "silent").await;
}

/// Everything that Redis holds, to be put back later.
async fn dump(server: &Server) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut connection = server.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut entries = Vec::new();
    for key in keys {
        let dumped = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap();
        entries.push((key, dumped));
    }
    entries
}

#[tokio::test]
async fn a_redis_restored_from_an_old_copy_changes_no_answer() {
    let database = Database::new().await;
    let server = Server::start().await;
    let api = api::open_with(&database, with_redis(&server.url())).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let first = customer.deposit(api.address, "k1").await;
    let location = first.header("location").unwrap();
    set_status(&database, "succeeded", None, 5).await;
    assert_eq!(customer.get(api.address, location).await.json()["status"], "succeeded");
    eventually("the answer and the payment to be cached", Duration::from_secs(5), || async {
        let kept = dump(&server).await;
        let is_kept = |name: &[u8]| kept.iter().any(|(key, _)| key.starts_with(name));
        (is_kept(b"claim:") && is_kept(b"payment:") && is_kept(b"credential:")).then_some(())
    })
    .await;
    let old = dump(&server).await;
    set_status(&database, "reversed", Some("chargeback"), 6).await;
    let mut connection = database.app.acquire().await.unwrap();
    payfleet::accounts::revoke_key(&mut connection, customer.key_id).await.unwrap().unwrap();
    let mut redis = server.connection().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    // Credentials are younger than half a minute here, which is how long one may be believed: age them.
    for (key, value) in old {
        let _: () = redis::cmd("RESTORE").arg(&key).arg(0).arg(&value).query_async(&mut redis).await.unwrap();
    }
    let name = format!("credential:{}", customer.hash.to_text());
    let cached: Vec<u8> = redis::cmd("GET").arg(&name).query_async(&mut redis).await.unwrap();
    let mut cached: serde_json::Value = serde_json::from_slice(&cached).unwrap();
    cached["checked_at_us"] = json!(cached["checked_at_us"].as_i64().unwrap() - 31_000_000);
    let _: () = redis::cmd("SET").arg(&name).arg(cached.to_string()).query_async(&mut redis).await.unwrap();
    customer.get(api.address, location).await.assert_problem(401, "unauthorized");
    // With a key that is valid: today's status, and yesterday's answer.
    let again = api::another_key(&database, &customer).await;
    assert_eq!(again.get(api.address, location).await.json()["status"], "reversed");
    assert_replay(&first, &again.deposit(api.address, "k1").await);
    assert_eq!(api::payments(&database).await, 1);
}

async fn set_status(database: &Database, status: &str, substatus: Option<&str>, version: i64) {
    sqlx::query("UPDATE transactions SET status = $1, substatus = $2, version = $3, due_at = NULL")
        .bind(status)
        .bind(substatus)
        .bind(version)
        .execute(&database.owner)
        .await
        .unwrap();
}
