//! Answers that are lost on the way: between the client and us, and between us and PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use payfleet::accounts::RateLimit;
use tokio_util::sync::CancellationToken;

use super::assert_replay;
use super::proxy::Proxy;
use crate::harness::{Database, eventually};
use crate::ingress::api::{self, Choice, Customer, euros, payout};
use crate::ingress::client::{Answer, Client};
use crate::ingress::orders;

/// A withdrawal of 10 as bytes.
fn order(customer: &Customer, key: &str) -> Vec<u8> {
    let body = payout(10).to_string();
    let head = format!(
        "POST /v1/withdrawals HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n",
        customer.bearer,
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

async fn of_key(database: &Database, key: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM idempotency_keys WHERE key = $1")
        .bind(key)
        .fetch_one(&database.owner)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_that_hangs_up_after_sending_has_ordered_once() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 1_000, RateLimit::Exempt).await;
    for n in 0..20 {
        let key = format!("hung-{n}");
        let mut client = Client::connect(api.address).await;
        client.send(&order(&customer, &key)).await;
        drop(client);
        let answer = customer.post(api.address, "/v1/withdrawals", &key, &payout(10)).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(of_key(&database, &key).await, 1);
    }
    assert_eq!(orders::balance(&database.owner, customer.user).await, (800, 200));
}

#[tokio::test]
async fn a_request_cut_at_any_byte_orders_nothing_and_leaves_its_key_free() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 1_000, RateLimit::Exempt).await;
    let whole = order(&customer, "cut");
    for cut in (1..whole.len()).step_by(23) {
        let mut client = Client::connect(api.address).await;
        client.send(&whole[..cut]).await;
        drop(client);
    }
    let answer = customer.post(api.address, "/v1/withdrawals", "cut", &payout(10)).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, None));
    assert_eq!(orders::balance(&database.owner, customer.user).await, (990, 10));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised_when_it_runs_again() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let choice = Choice { postgres: Some(proxy.settings(&database)), ..Choice::default() };
    let api = api::open_with(&database, choice).await;
    // Money for exactly these: if a run that was committed took it again, the last would find too little.
    let customer = api::customer(&database, 110, RateLimit::Exempt).await;
    assert_eq!(customer.post(api.address, "/v1/withdrawals", "warm", &payout(10)).await.status, 202);
    for n in 0..10 {
        let key = format!("lost-{n}");
        proxy.swallow_next();
        let answer = customer.post(api.address, "/v1/withdrawals", &key, &payout(10)).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("idempotent-replayed"), None, "its own commit was taken for another's");
        assert_eq!(of_key(&database, &key).await, 1);
        let again = customer.post(api.address, "/v1/withdrawals", &key, &payout(10)).await;
        assert_replay(&answer, &again);
    }
    assert_eq!(proxy.swallowed(), 10);
    assert_eq!(orders::balance(&database.owner, customer.user).await, (0, 110));
}

#[tokio::test]
async fn while_postgres_is_away_nothing_is_accepted_and_the_key_stays_free() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut choice = Choice { postgres: Some(proxy.settings(&database)), ..Choice::default() };
    choice.settings.commit_ms = 300;
    choice.settings.acceptors = 1;
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let first = accepted(&api, &customer, "k1").await;
    proxy.close(true);
    let refused = customer.post(api.address, "/v1/deposits", "k2", &euros(5)).await;
    // It went out on the connection that was cut: only the database could tell what became of it.
    refused.assert_problem(503, "outcome_unknown");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = customer.post(api.address, "/v1/deposits", "k3", &euros(5)).await;
    refused.assert_problem(503, "unavailable");
    // What is answered already is told again all the same.
    assert_replay(&first, &customer.post(api.address, "/v1/deposits", "k1", &euros(5)).await);
    proxy.close(false);
    for key in ["k2", "k3"] {
        accepted(&api, &customer, key).await;
        assert_eq!(of_key(&database, key).await, 1);
    }
}

/// Repeats a deposit until it is accepted: the first may be refused, because connecting took too long.
async fn accepted(api: &api::Api, customer: &Customer, key: &str) -> Answer {
    eventually("payments to be accepted", Duration::from_secs(5), || async {
        let answer = customer.post(api.address, "/v1/deposits", key, &euros(5)).await;
        (answer.status == 202).then_some(answer)
    })
    .await
}

/// Repeats an order until it is answered for good.
async fn insist(api: &api::Api, customer: &Customer, key: &str) -> Answer {
    eventually("an answer that is not `repeat`", Duration::from_secs(60), || async {
        let answer = customer.post(api.address, "/v1/withdrawals", key, &payout(10)).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// After a kill, statements are left in peace for so long: were each of them killed, none would ever end.
const PEACE: Duration = Duration::from_millis(50);

/// Ends the sessions of all statements of acceptance that it sees under way, again and again until `done`. Counts them.
async fn kill_sessions(pool: sqlx::PgPool, killed: Arc<AtomicI64>, done: CancellationToken) {
    let mut pause = tokio::time::interval(Duration::from_millis(1));
    while !done.is_cancelled() {
        let seen: i64 = sqlx::query_scalar(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'accept' AND datname = current_database() AND state = 'active'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        killed.fetch_add(seen, Ordering::SeqCst);
        if seen > 0 {
            pause.reset_after(PEACE);
        }
        pause.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_at_any_moment_neither_double_nor_lose_a_payment() {
    const AT_ONCE: i64 = 100;
    /// How often at most, until so many sessions were killed in the middle of a statement.
    const ROUNDS: i64 = 100;
    const KILLS: i64 = 3;
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, AT_ONCE * ROUNDS * 10, RateLimit::Exempt).await;
    let (done, killed) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
    let killer = tokio::spawn(kill_sessions(database.owner.clone(), killed.clone(), done.clone()));
    let mut payments = 0;
    for round in 0..ROUNDS {
        let keys: Vec<String> = (0..AT_ONCE).map(|n| format!("k{round}-{n}")).collect();
        let answers = futures_util::future::join_all(keys.iter().map(|key| insist(&api, &customer, key))).await;
        for answer in &answers {
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        }
        payments += AT_ONCE;
        if killed.load(Ordering::SeqCst) >= KILLS {
            break;
        }
    }
    done.cancel();
    killer.await.unwrap();
    assert!(killed.load(Ordering::SeqCst) >= KILLS, "too few sessions were killed in the middle of a statement");
    assert_eq!(api::payments(&database).await, payments);
    let taken = payments * 10;
    assert_eq!(orders::balance(&database.owner, customer.user).await, (AT_ONCE * ROUNDS * 10 - taken, taken));
}
