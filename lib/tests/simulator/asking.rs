//! Questions: they move nothing, and tell what stands on the books.

use std::time::Duration;

use payfleet::gateway_sim::charge_log::{Answer, Entry, RequestEntry};
use reqwest::RequestBuilder;
use time::OffsetDateTime;
use uuid::Uuid;

use super::running::{Running, SOON, Told, Way, told};
use crate::harness::eventually;

async fn page(sim: &Running, query: &[(&str, &str)]) -> Told {
    let request = sim.http.get(format!("{}/stripe/v1/payment_intents", sim.base)).query(query);
    told(sim.stripe(request)).await
}

fn ids(page: &Told) -> Vec<String> {
    let data = page.json()["data"].as_array().unwrap().clone();
    data.iter().map(|object| object["metadata"]["attempt_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_tells_each_payment_once_newest_first_page_by_page() {
    let sim = Running::start().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        let attempt = Uuid::now_v7();
        sim.pay(Way::StripeIn, attempt, 1_250).await;
        // A payout is in another list.
        sim.pay(Way::StripeOut, Uuid::now_v7(), 1_250).await;
        made.insert(0, attempt.to_string());
    }
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "3"), ("created[gte]", "0")];
        if let Some(last) = &last {
            query.push(("starting_after", last));
        }
        let page = page(&sim, &query).await;
        seen.extend(ids(&page));
        let json = page.json();
        last = json["data"].as_array().unwrap().last().map(|object| object["id"].as_str().unwrap().to_owned());
        if json["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, made);
    let before = page(&sim, &[("created[lt]", "1000")]).await.json();
    assert_eq!((before["data"].as_array().map(Vec::len), &before["has_more"]), (Some(0), &false.into()));
    assert_eq!(page(&sim, &[("starting_after", "pi_none")]).await.status, 404);
    assert_eq!(page(&sim, &[("limit", "101")]).await.status, 400);
    sim.end().await;
}

#[tokio::test]
async fn a_payment_that_never_came_is_not_known_and_asking_moves_nothing() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let stands = sim.stands(way, Uuid::now_v7()).await;
        assert_eq!(stands, None, "{way:?}");
    }
    assert!(sim.log().iter().all(|entry| matches!(entry, Entry::Request(request) if !request.money_moving)));
    sim.end().await;
}

#[tokio::test]
async fn the_bank_says_that_it_never_received_a_message() {
    let sim = Running::start().await;
    let question = |name: &str| sim.status_request(name, "01920000000070008000000000000001c");
    assert_eq!(told(question("pain.001.001.09")).await.element("Cd"), Some("AG09"));
    assert_eq!(told(question("pain.013.001.07")).await.element("Cd"), Some("IRNR"));
    sim.end().await;
}

#[tokio::test]
async fn nobody_is_served_without_the_right_credentials() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let request = sim.create(way, Uuid::now_v7(), 1_250).await.build().unwrap();
        for credentials in [None, Some("Bearer wrong"), Some("Basic d3Jvbmc6d3Jvbmc=")] {
            let mut request = request.try_clone().unwrap();
            request.headers_mut().remove("authorization");
            if let Some(credentials) = credentials {
                request.headers_mut().insert("authorization", credentials.parse().unwrap());
            }
            assert_eq!(sim.http.execute(request).await.unwrap().status(), 401, "{way:?}");
        }
    }
    assert_eq!(sim.charges(), []);
    sim.end().await;
}

/// The requests so far, all of them: nothing else may stand in the log.
fn requests(sim: &Running) -> Vec<RequestEntry> {
    let request = |entry| if let Entry::Request(request) = entry { request } else { panic!("{entry:?}") };
    sim.log().into_iter().map(request).collect()
}

#[tokio::test]
async fn every_request_is_logged_with_its_arrival_whoever_sends_it_and_whatever_it_is() {
    let sim = Running::start().await;
    let begun = OffsetDateTime::now_utc();
    let url = |path: &str| format!("{}/{path}", sim.base);
    let unreadable = |request: RequestBuilder| request.body("ba_canary");
    let sent = [
        (sim.http.post(url("stripe/v1/payouts")).bearer_auth("sk_canary"), Answer::Unauthenticated),
        (sim.http.get(url("stripe/v1/payouts/po_1")), Answer::Unauthenticated),
        (sim.http.get(url("stripe/v1/payouts")).bearer_auth("sk_canary"), Answer::Unauthenticated),
        (unreadable(sim.stripe(sim.http.post(url("stripe/v1/payouts")))), Answer::Unreadable),
        (sim.stripe(sim.http.get(url("stripe/v1/payouts?limit=canary"))), Answer::Unreadable),
        (sim.stripe(sim.http.delete(url("stripe/v1/payouts"))), Answer::Unreadable),
        (sim.http.post(url("paypal/v1/oauth2/token")).basic_auth("client", Some("canary")), Answer::Unauthenticated),
        (sim.http.post(url("paypal/v1/oauth2/token")).basic_auth("client", Some("secret")), Answer::Unreadable),
        (sim.http.post(url("paypal/v2/checkout/orders")).bearer_auth("A21AAcanary"), Answer::Unauthenticated),
        (sim.http.post(url("paypal/v1/payments/payouts")), Answer::Unauthenticated),
        (sim.http.post(url("paypal/v2/checkout/orders/O1/capture")), Answer::Unauthenticated),
        (sim.http.get(url("paypal/v2/checkout/orders/O1")), Answer::Unauthenticated),
        (unreadable(sim.http.post(url("bank")).basic_auth("payfleet", Some("canary"))), Answer::Unauthenticated),
        (unreadable(sim.http.post(url("bank")).basic_auth("payfleet", Some("secret"))), Answer::Unreadable),
        (sim.http.get(url("bank/canary")), Answer::Unreadable),
    ];
    let mut expected = Vec::new();
    for (request, answer) in sent {
        assert!(told(request).await.status >= 400, "{answer:?}");
        expected.push(answer);
    }
    sim.token().await;
    expected.push(Answer::TokenIssued);
    let logged = requests(&sim);
    assert_eq!(logged.iter().map(|request| request.answer).collect::<Vec<_>>(), expected);
    let arrivals: Vec<_> = logged.iter().map(|request| request.arrived_at).collect();
    assert!(arrivals.is_sorted() && arrivals[0] >= begun - Duration::from_millis(1), "{arrivals:?}");
    assert!(logged.iter().all(|request| !request.money_moving && request.key.is_none()));
    let text = std::fs::read_to_string(sim.log_path()).unwrap();
    assert!(!text.contains("canary") && !text.contains("A21AA"), "{text}");
    sim.end().await;
}

#[tokio::test]
async fn a_token_runs_out_and_outlives_a_restart() {
    let sim = Running::start_with(|settings| settings.paypal.token_lifetime_s = 3_600).await;
    let request = sim.create(Way::PaypalIn, Uuid::now_v7(), 1_250).await;
    let sim = sim.killed_and_started_with(|settings| settings.listen = sim_address(&request)).await;
    assert_eq!(told(request).await.status, 200);
    let sim = sim.killed_and_started_with(|settings| settings.paypal.token_lifetime_s = 1).await;
    let short = sim.create(Way::PaypalIn, Uuid::now_v7(), 1_250).await;
    eventually("the token to run out", SOON.max(Duration::from_secs(5)), || async {
        (told(short.try_clone().unwrap()).await.status == 401).then_some(())
    })
    .await;
    sim.end().await;
}

fn sim_address(request: &RequestBuilder) -> std::net::SocketAddr {
    let url = request.try_clone().unwrap().build().unwrap().url().clone();
    url.socket_addrs(|| None).unwrap()[0]
}

#[tokio::test]
async fn a_request_beyond_all_bounds_is_refused() {
    let sim = Running::start().await;
    let body = "x".repeat(2 * 1024 * 1024);
    let request = sim.stripe(sim.http.post(format!("{}/stripe/v1/payouts", sim.base))).body(body);
    let refused = request.send().await.is_ok_and(|answer| answer.status().is_client_error());
    assert!(refused);
    assert_eq!(told(sim.http.get(format!("{}/nothing", sim.base))).await.status, 404);
    sim.end().await;
}
