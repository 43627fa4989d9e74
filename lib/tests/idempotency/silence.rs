//! A PostgreSQL that keeps its connections and says nothing: stopped, or behind a network that swallows everything.

use std::time::{Duration, Instant};

use payfleet::accounts::RateLimit;
use payfleet::postgres::within;

use super::proxy::{Lost, Proxy};
use crate::harness::{Database, eventually};
use crate::ingress::api::{self, Api, Choice, Customer, euros};
use crate::ingress::client::Answer;

const COMMIT: Duration = Duration::from_secs(2);
/// Far below what a request may take at all, far above what a busy machine adds.
const IN_TIME: Duration = Duration::from_secs(10);

async fn open(database: &Database, proxy: &Proxy) -> (Api, Customer) {
    let mut choice = Choice { postgres: Some(proxy.settings(database)), ..Choice::default() };
    choice.settings.commit_ms = COMMIT.as_millis() as u64;
    choice.settings.acceptors = 1;
    let api = api::open_with(database, choice).await;
    let customer = api::customer(database, 0, RateLimit::Exempt).await;
    customer.deposit(api.address, "warm").await;
    (api, customer)
}

async fn order_in_time(api: &Api, customer: &Customer, key: &str) -> Answer {
    let begin = Instant::now();
    let answer = customer.post(api.address, "/v1/deposits", key, &euros(5)).await;
    assert!(begin.elapsed() < IN_TIME, "{:?}", begin.elapsed());
    answer
}

async fn accepted_at_last(api: &Api, customer: &Customer, key: &str) -> Answer {
    eventually("the order to be accepted", Duration::from_secs(20), || async {
        let answer = customer.post(api.address, "/v1/deposits", key, &euros(5)).await;
        (answer.status == 202).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_commit_that_nobody_tells_of_is_in_doubt_in_time_and_its_key_makes_one_payment() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let (api, customer) = open(&database, &proxy).await;
    for (lost, key, is_committed) in [(Lost::Everything, "k1", false), (Lost::Answers, "k2", true)] {
        let before = api::payments(&database).await;
        proxy.silence_present(lost);
        order_in_time(&api, &customer, key).await.assert_problem(503, "outcome_unknown");
        assert_eq!(api::payments(&database).await - before, i64::from(is_committed));
        // On a connection that speaks.
        accepted_at_last(&api, &customer, &format!("other than {key}").replace(' ', "-")).await;
        let answer = accepted_at_last(&api, &customer, key).await;
        assert_eq!(answer.header("idempotent-replayed").is_some(), is_committed);
        assert_eq!(api::payments(&database).await - before, 2);
    }
}

#[tokio::test]
async fn while_the_database_stands_still_every_order_is_answered_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let (api, customer) = open(&database, &proxy).await;
    proxy.silence_all();
    order_in_time(&api, &customer, "k1").await.assert_problem(503, "outcome_unknown");
    // This one was never sent.
    order_in_time(&api, &customer, "k2").await.assert_problem(503, "unavailable");
    proxy.silence_present(Lost::Everything);
    for key in ["k1", "k2"] {
        accepted_at_last(&api, &customer, key).await;
    }
    assert_eq!(api::payments(&database).await, 3);
}

#[tokio::test]
async fn a_connection_that_says_nothing_loses_its_place_in_the_pool() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let settings = payfleet::postgres::Settings { pool: 1, acquire_ms: 10_000, ..proxy.settings(&database) };
    let pool = settings.lazy_pool("test").unwrap();
    let mut connection = pool.acquire().await.unwrap();
    proxy.silence_present(Lost::Everything);
    let asked = within(Duration::from_millis(200), sqlx::query("SELECT 1").execute(&mut *connection)).await;
    assert!(asked.is_err(), "{asked:?}");
    drop(connection);
    eventually("the pool to have a connection that speaks", Duration::from_secs(20), || async {
        sqlx::query("SELECT 1").execute(&pool).await.ok()
    })
    .await;
}
