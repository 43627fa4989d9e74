//! A database that is slow to commit, has no room on its disk, or no connection left for readers.

use std::time::{Duration, Instant};

use payfleet::accounts::RateLimit;
use payfleet::postgres::Settings;

use super::api::{self, Choice, euros};
use crate::harness::{Database, eventually};
use crate::idempotency::proxy::Proxy;

/// Below what any request may take at all.
const IN_TIME: Duration = Duration::from_secs(10);

/// From here on this befalls every transaction that accepts payments, once, when it commits.
async fn befalls_commits(database: &Database, what: &str) {
    let trigger = format!(
        "CREATE FUNCTION befall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF current_setting('test.befallen', true) IS DISTINCT FROM 'yes' THEN
                 PERFORM set_config('test.befallen', 'yes', true);
                 {what}
             END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER befall AFTER INSERT ON transactions DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION befall()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&database.owner).await.unwrap();
}

#[tokio::test]
async fn on_a_disk_that_is_slow_to_sync_orders_share_commits_and_do_not_queue_for_one_each() {
    const ORDERS: i64 = 100;
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    customer.deposit(api.address, "warm").await;
    befalls_commits(&database, "PERFORM pg_sleep(0.3);").await;
    let keys: Vec<String> = (0..ORDERS).map(|n| format!("k{n}")).collect();
    futures_util::future::join_all(keys.iter().map(|key| customer.deposit(api.address, key))).await;
    // Nobody works on them: each row is as the statement left it that made it.
    let (payments, commits): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT xmin::text) FROM transactions")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    assert_eq!(payments, ORDERS + 1);
    assert!(commits < ORDERS / 4, "{commits} commits for {ORDERS} orders");
}

/// What the server says then is as if its disk were full; what is on it stays.
#[tokio::test]
async fn without_room_on_the_disk_orders_are_refused_in_time_and_nothing_acknowledged_is_lost() {
    let database = Database::new().await;
    let mut choice = Choice::default();
    choice.settings.commit_ms = 3_000;
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    let accepted = customer.deposit(api.address, "k1").await;
    befalls_commits(&database, "RAISE EXCEPTION USING ERRCODE = 'disk_full';").await;
    let begin = Instant::now();
    let refused = customer.post(api.address, "/v1/deposits", "k2", &euros(5)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.code());
    assert!(begin.elapsed() < IN_TIME, "{:?}", begin.elapsed());
    assert_eq!(api::payments(&database).await, 1);
    let location = accepted.header("location").unwrap();
    assert_eq!(customer.get(api.address, location).await.status, 200);
    assert_eq!(customer.deposit(api.address, "k1").await.body, accepted.body);
    sqlx::raw_sql("DROP TRIGGER befall ON transactions").execute(&database.owner).await.unwrap();
    let answer = customer.post(api.address, "/v1/deposits", "k2", &euros(5)).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, None));
    assert_eq!(api::payments(&database).await, 2);
}

#[tokio::test]
async fn while_no_connection_is_left_readers_are_refused_in_time_and_orders_are_accepted() {
    let mut database = Database::new().await;
    let scarce = Settings { pool: 2, acquire_ms: 2_000, ..database.settings() };
    database.app = scarce.lazy_pool("test").unwrap();
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    customer.deposit(api.address, "k1").await;
    let taken = (database.app.acquire().await.unwrap(), database.app.acquire().await.unwrap());
    let begin = Instant::now();
    customer.get(api.address, "/v1/balance").await.assert_problem(503, "unavailable");
    assert!(begin.elapsed() < IN_TIME, "{:?}", begin.elapsed());
    // Acceptance has connections of its own.
    customer.deposit(api.address, "k2").await;
    drop(taken);
    eventually("readers to be served again", IN_TIME, async || {
        (customer.get(api.address, "/v1/balance").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn orders_are_accepted_two_seconds_after_the_database_can_be_reached_again() {
    const AFTER: Duration = Duration::from_secs(2);
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut choice = Choice { postgres: Some(proxy.settings(&database)), ..Choice::default() };
    choice.settings.commit_ms = 300;
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    // The first may be refused, because connecting took too long.
    eventually("an order to be accepted", IN_TIME, async || {
        (customer.post(api.address, "/v1/deposits", "warm", &euros(5)).await.status == 202).then_some(())
    })
    .await;
    proxy.close(true);
    // Long enough for the waits between two tries to be the longest.
    for n in 0..10 {
        let refused = customer.post(api.address, "/v1/deposits", &format!("k{n}"), &euros(5)).await;
        assert_eq!(refused.status, 503, "{}", refused.code());
    }
    proxy.close(false);
    eventually("an order to be accepted", AFTER, async || {
        (customer.post(api.address, "/v1/deposits", "k0", &euros(5)).await.status == 202).then_some(())
    })
    .await;
}
