//! Too many, too soon, and waiting: the rate limit, overload, and clients that want to hear of a change.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::accounts::RateLimit;
use payfleet::ingress;
use payfleet::redis::{Claim, ClaimName, Quota, Token};
use serde_json::json;
use sqlx::Connection;

use super::api::{self, Choice, Customer, euros, payout};
use super::client::Client;
use crate::harness::{self, Database, eventually};

fn with(change: impl FnOnce(&mut ingress::Settings)) -> Choice {
    let mut choice = Choice::default();
    change(&mut choice.settings);
    choice
}

#[tokio::test]
async fn a_key_has_its_rate_and_an_exempt_one_has_none_with_redis_or_without() {
    let database = Database::new().await;
    for redis in [harness::redis_url(), "redis://127.0.0.1:1".to_owned()] {
        let mut choice = with(|settings| settings.quota = Quota { per_second: 1, burst: 3 });
        choice.redis = redis;
        let api = api::open_with(&database, choice).await;
        let limited = api::customer(&database, 0, RateLimit::Applies).await;
        let mut statuses = Vec::new();
        for _ in 0..5 {
            let answer = limited.get(api.address, "/v1/balance").await;
            assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=3;w=3"));
            statuses.push(answer.status);
        }
        assert_eq!(statuses[..3], [200; 3]);
        let refused = limited.post(api.address, "/v1/deposits", "k", &euros(5)).await;
        refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(refused.header("ratelimit").unwrap().starts_with("\"default\";r=0;t="));
        let exempt = api::customer(&database, 0, RateLimit::Exempt).await;
        for _ in 0..6 {
            assert_eq!(exempt.get(api.address, "/v1/balance").await.status, 200);
        }
    }
    assert_eq!(api::payments(&database).await, 0);
}

#[tokio::test]
async fn guessing_keys_is_slow() {
    let database = Database::new().await;
    let server = crate::redis::server::Server::start().await;
    let mut choice = with(|settings| settings.stranger_quota = Quota { per_second: 1, burst: 5 });
    choice.redis = server.url();
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    assert_eq!(customer.get(api.address, "/v1/balance").await.status, 200);
    let mut client = Client::connect(api.address).await;
    let mut statuses = Vec::new();
    for n in 0..8 {
        let guess = format!("Bearer pf_live_{n}");
        statuses.push(client.request("GET", "/v1/balance", &[("authorization", &guess)], b"").await.status);
    }
    assert_eq!((statuses[0], statuses[7]), (401, 429), "{statuses:?}");
    assert_eq!(customer.get(api.address, "/v1/balance").await.status, 200, "a guest of the same address is shut out");
}

#[tokio::test]
async fn a_crowd_that_comes_with_one_new_key_is_one_stranger() {
    let database = Database::new().await;
    let choice = with(|settings| settings.stranger_quota = Quota { per_second: 1, burst: 50 });
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    let crowd = (0..200).map(|_| {
        let (customer, address) = (customer.clone(), api.address);
        tokio::spawn(async move { customer.get(address, "/v1/balance").await.status })
    });
    let statuses = futures_util::future::try_join_all(crowd).await.unwrap();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn when_acceptance_is_full_reads_still_have_room() {
    let database = Database::new().await;
    let api = api::open_with(&database, with(|settings| settings.accepting = 1)).await;
    let customer = api::customer(&database, 100, RateLimit::Exempt).await;
    // Somebody else is about to commit the same key: the withdrawal waits in its statement.
    let mut holder = database.owner.acquire().await.unwrap();
    let mut holding = holder.begin().await.unwrap();
    sqlx::query("INSERT INTO idempotency_keys VALUES ($1, 'POST /v1/withdrawals', 'k1', sha256(''), gen_random_uuid(), 202, '', '')")
        .bind(customer.user.id)
        .execute(&mut *holding)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (customer, address) = (customer.clone(), api.address);
        async move { customer.post(address, "/v1/withdrawals", "k1", &payout(5)).await }
    });
    eventually("the statement to wait", Duration::from_secs(10), || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'accept' AND wait_event_type = 'Lock'
             AND datname = current_database()",
        )
        .fetch_one(&database.owner)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    let refused = customer.post(api.address, "/v1/withdrawals", "k2", &payout(5)).await;
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(customer.get(api.address, "/v1/balance").await.status, 200);
    holding.rollback().await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 202);
    assert_eq!(customer.post(api.address, "/v1/withdrawals", "k2", &payout(5)).await.status, 202);
}

#[tokio::test]
async fn one_key_waits_in_its_share_of_the_places_and_takes_no_room_of_readers() {
    let database = Database::new().await;
    let choice = with(|settings| (settings.reading, settings.waiting_per_key) = (3, 2));
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    let location = customer.deposit(api.address, "k").await.header("location").unwrap().to_owned();
    let path = format!("{location}?wait=30");
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(waits(&api, &customer, &path).await);
    }
    let (refused, _, others) = futures_util::future::select_all(waiting).await;
    let refused = refused.unwrap();
    refused.assert_problem(429, "too_many_waiting");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // The others wait on; whoever only reads has room, and another key has its own share.
    assert_eq!(customer.get(api.address, &location).await.status, 200);
    let other = api::another_key(&database, &customer).await;
    assert_eq!(other.get(api.address, &format!("{location}?wait=1")).await.status, 200);
    assert!(others.iter().all(|waiting| !waiting.is_finished()));
    step(&database, "submitting").await;
    for waiting in others {
        assert_eq!(waiting.await.unwrap().json()["status"], "processing");
    }
    assert_eq!(
        customer.get(api.address, &format!("{location}?wait=1")).await.status,
        200,
        "a place was not given back"
    );
}

#[tokio::test]
async fn whoever_waits_for_an_earlier_request_of_its_key_takes_no_place_of_acceptance_and_keeps_to_a_share() {
    let database = Database::new().await;
    let choice = with(|settings| (settings.accepting, settings.waiting_per_key) = (1, 2));
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    let name = ClaimName::new(customer.user.id, "POST /v1/deposits", "k1");
    let token = Token::fresh();
    let elsewhere = Claim { name: name.clone(), token, lasts: Duration::from_secs(60) };
    api.redis.claim(&elsewhere).await.unwrap();
    let follow = || {
        let (customer, address) = (customer.clone(), api.address);
        tokio::spawn(async move { customer.post(address, "/v1/deposits", "k1", &euros(1250)).await })
    };
    let (refused, _, others) = futures_util::future::select_all([follow(), follow(), follow()]).await;
    refused.unwrap().assert_problem(409, "idempotency_key_in_use");
    assert_eq!(customer.deposit(api.address, "k2").await.status, 202);
    assert!(others.iter().all(|waiting| !waiting.is_finished()), "it was refused because its time was over");
    api.redis.release(&name, token).await.unwrap();
    for waiting in others {
        assert_eq!(waiting.await.unwrap().status, 202);
    }
}

#[tokio::test]
async fn what_a_client_says_of_its_address_counts_only_if_a_listed_proxy_says_it() {
    let database = Database::new().await;
    for (proxies, expected) in [(&[][..], [401, 401, 429]), (&["127.0.0.0/8"], [401, 401, 401])] {
        let server = crate::redis::server::Server::start().await;
        let mut choice = with(|settings| {
            settings.stranger_quota = Quota { per_second: 1, burst: 2 };
            settings.trusted_proxies = proxies.iter().map(|proxy: &&str| proxy.parse().unwrap()).collect();
        });
        choice.redis = server.url();
        let api = api::open_with(&database, choice).await;
        let mut statuses = Vec::new();
        for n in 1..=3 {
            // The first hop is what the client itself wrote.
            let forwarded = format!("203.0.113.7, 198.51.100.{n}");
            let headers = [("authorization", "Bearer pf_live_guess"), ("x-forwarded-for", &forwarded)];
            statuses.push(Client::connect(api.address).await.request("GET", "/v1/balance", &headers, b"").await.status);
        }
        assert_eq!(statuses, expected, "{proxies:?}");
    }
}

/// What a worker would have done.
async fn step(database: &Database, status: &str) {
    let mut connection = database.owner.acquire().await.unwrap();
    sqlx::query("UPDATE transactions SET status = $1, version = version + 1, due_at = now() + interval '1 hour'")
        .bind(status)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("NOTIFY payfleet_commits").execute(&mut *connection).await.unwrap();
}

async fn waits(api: &api::Api, customer: &Customer, path: &str) -> tokio::task::JoinHandle<super::client::Answer> {
    let (customer, address, path) = (customer.clone(), api.address, path.to_owned());
    tokio::spawn(async move { customer.get(address, &path).await })
}

#[tokio::test]
async fn a_waiting_client_is_answered_as_soon_as_the_status_changes() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let location = customer.deposit(api.address, "k").await.header("location").unwrap().to_owned();
    let begin = Instant::now();
    let waiting = waits(&api, &customer, &format!("{location}?wait=30")).await;
    let shorter = waits(&api, &customer, &format!("{location}?wait=1")).await;
    // Nothing happens: the shorter one gets the payment as it stands, and the longer one still waits.
    assert_eq!(shorter.await.unwrap().json()["status"], "created");
    assert!(begin.elapsed() >= Duration::from_secs(1) && !waiting.is_finished());
    step(&database, "submitting").await;
    let changed = waiting.await.unwrap();
    assert_eq!((changed.status, changed.json()["status"].clone()), (200, json!("processing")));
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // Another substatus is no other status.
    let waiting = waits(&api, &customer, &format!("{location}?wait=30")).await;
    step(&database, "awaiting_gateway").await;
    step(&database, "succeeded").await;
    assert_eq!(waiting.await.unwrap().json()["status"], "succeeded");
    let begin = Instant::now();
    assert_eq!(customer.get(api.address, &format!("{location}?wait=30")).await.json()["status"], "succeeded");
    assert!(begin.elapsed() < Duration::from_secs(10), "waited for a payment that is final");
}

#[tokio::test]
async fn a_refresh_makes_the_payment_due_and_waits_for_what_comes_of_it() {
    let database = Database::new().await;
    let api =
        api::open_with(&database, with(|settings| settings.refresh_quota = Quota { per_second: 1, burst: 1 })).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let location = customer.deposit(api.address, "k").await.header("location").unwrap().to_owned();
    step(&database, "awaiting_gateway").await;
    let mut reconciler = sqlx::postgres::PgListener::connect_with(&database.owner).await.unwrap();
    reconciler.listen(payfleet::transactions::due::CHANNEL).await.unwrap();
    let waiting = waits(&api, &customer, &format!("{location}?refresh=true&wait=30")).await;
    let woken = tokio::time::timeout(Duration::from_secs(10), reconciler.recv()).await;
    assert!(woken.is_ok_and(|nudge| nudge.is_ok()), "the reconcilers sleep on");
    eventually("the payment to be due", Duration::from_secs(10), || async {
        let due: bool = sqlx::query_scalar("SELECT due_at <= clock_timestamp() FROM transactions")
            .fetch_one(&database.owner)
            .await
            .unwrap();
        due.then_some(())
    })
    .await;
    // Several at once, since one may come when the second is over.
    let refresh = format!("{location}?refresh=true");
    let refreshed = join_all((0..3).map(|_| customer.get(api.address, &refresh))).await;
    let refused = refreshed.iter().find(|answer| answer.status != 200).expect("none was refused");
    refused.assert_problem(429, "rate_limited");
    assert!(!waiting.is_finished(), "answered before anybody asked the gateway");
    sqlx::query("UPDATE transactions SET asks = asks + 1, due_at = now() + interval '1 minute'")
        .execute(&database.owner)
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().json()["substatus"], "awaiting_gateway");
}

#[tokio::test]
async fn told_to_stop_the_ingress_commits_what_it_has_taken() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    customer.deposit(api.address, "warm").await;
    let sending = (0..30).map(|n| {
        let (customer, address) = (customer.clone(), api.address);
        tokio::spawn(async move {
            let body = euros(5).to_string();
            let headers = [
                ("authorization", &*customer.bearer),
                ("content-type", "application/json"),
                ("idempotency-key", &format!("k{n}")),
            ];
            let mut client = Client::try_connect(address).await?;
            client.send_request("POST", "/v1/deposits", &headers, body.as_bytes()).await;
            Some(client.try_answer().await)
        })
    });
    let sending: Vec<_> = sending.collect();
    let waiting = waits(&api, &customer, "/v1/balance").await;
    waiting.await.unwrap();
    api.stop.cancel();
    let mut accepted = 1;
    for answer in sending {
        // Who came too late was not let in; who was let in has an answer.
        if let Some(answer) = answer.await.unwrap() {
            let answer = answer.expect("connected, and closed without a word");
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
            accepted += 1;
        }
    }
    assert_eq!(api::payments(&database).await, accepted, "accepted and not committed, or the other way round");
}
