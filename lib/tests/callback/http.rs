//! `POST /v1/callbacks/{gateway}` on a real port: what is stored, what is refused, and that a 2xx is never a lie.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use payfleet::accounts::RateLimit;
use payfleet::callback::receive;
use payfleet::gateway::registry;
use sha2::Sha256;
use time::OffsetDateTime;

use crate::gateways::wire;
use crate::harness::{Database, eventually};
use crate::idempotency::proxy::Proxy;
use crate::ingress::api::{self, Api, Choice, euros};
use crate::ingress::client::{Answer, Client};

const PATH: &str = "/v1/callbacks/stripe";
const JSON: (&str, &str) = ("content-type", "application/json");

/// With the gateways' real adapters.
fn choice() -> Choice {
    Choice { gateways: registry(&wire::settings("http://127.0.0.1:1")).unwrap(), ..Choice::default() }
}

fn event(id: &str) -> Vec<u8> {
    let object = r#"{"object": "charge", "payment_intent": "pi_1", "metadata": {}}"#;
    format!(r#"{{"id": "{id}", "type": "charge.updated", "data": {{"object": {object}}}}}"#).into_bytes()
}

fn seconds_from_now(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

/// `Stripe-Signature` over a body, made at this time with this key.
fn signature(body: &[u8], at: i64, key: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

async fn deliver_signed(api: &Api, body: &[u8], signature: &str) -> Answer {
    Client::connect(api.address).await.request("POST", PATH, &[JSON, ("stripe-signature", signature)], body).await
}

async fn deliver(api: &Api, body: &[u8]) -> Answer {
    deliver_signed(api, body, &signature(body, seconds_from_now(0), "whsec_wire")).await
}

async fn stored(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM callbacks").fetch_one(&database.owner).await.unwrap()
}

#[tokio::test]
async fn a_genuine_callback_is_stored_and_its_duplicate_is_thanked_for() {
    let database = Database::new().await;
    let api = api::open_with(&database, choice()).await;
    for _ in 0..2 {
        let answer = deliver(&api, &event("evt_1")).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(stored(&database).await, 1);
    }
}

#[tokio::test]
async fn what_is_forged_old_or_of_the_future_is_401_and_not_stored() {
    let database = Database::new().await;
    let api = api::open_with(&database, choice()).await;
    let body = event("evt_1");
    for (at, key, code) in [
        (0, "whsec_guessed", "callback_signature"),
        (-400, "whsec_wire", "callback_stale"),
        (400, "whsec_wire", "callback_stale"),
    ] {
        let refused = deliver_signed(&api, &body, &signature(&body, seconds_from_now(at), key)).await;
        refused.assert_problem(401, code);
        assert_eq!(refused.header("www-authenticate"), None, "a gateway has no bearer token to send");
    }
    let unsigned = Client::connect(api.address).await.request("POST", PATH, &[JSON], &body).await;
    unsigned.assert_problem(401, "callback_signature");
    let mut altered = body.clone();
    altered.push(b' ');
    let refused = deliver_signed(&api, &altered, &signature(&body, seconds_from_now(0), "whsec_wire")).await;
    refused.assert_problem(401, "callback_signature");
    assert_eq!(stored(&database).await, 0);
}

#[tokio::test]
async fn what_is_not_a_callback_is_told_so() {
    let database = Database::new().await;
    let api = api::open_with(&database, choice()).await;
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        Client::connect(api.address).await.request(method, path, headers, body).await
    };
    ask("POST", "/v1/callbacks/nobody", &[JSON], b"{}").await.assert_problem(404, "unknown_gateway");
    let wrong_method = ask("GET", PATH, &[], b"").await;
    wrong_method.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), Some("POST"));
    ask("POST", PATH, &[("content-type", "text/plain")], b"{}").await.assert_problem(415, "unsupported_media_type");
    ask("POST", PATH, &[], b"{}").await.assert_problem(415, "unsupported_media_type");
    let large = vec![b' '; receive::Settings::default().body_bytes + 1];
    ask("POST", PATH, &[JSON], &large).await.assert_problem(413, "body_too_large");
    let mut chunked = Client::connect(api.address).await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    chunked.send(head.as_bytes()).await;
    chunked.send(&[format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat()).await;
    chunked.answer().await.assert_problem(413, "body_too_large");
    // Genuine, and still nothing that could be read.
    deliver(&api, b"not JSON").await.assert_problem(400, "callback_unreadable");
    assert_eq!(stored(&database).await, 0);
}

#[tokio::test]
async fn without_a_commit_there_is_no_2xx() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let choice = Choice { postgres: Some(proxy.settings(&database)), ..choice() };
    let api = api::open_with(&database, choice).await;
    proxy.close(true);
    let refused = deliver(&api, &event("evt_1")).await;
    refused.assert_problem(503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(stored(&database).await, 0);
    proxy.close(false);
    eventually("the callback to be stored", Duration::from_secs(20), || async {
        (deliver(&api, &event("evt_1")).await.status == 202).then_some(())
    })
    .await;
    assert_eq!(stored(&database).await, 1);
}

#[tokio::test]
async fn callbacks_are_judged_by_the_databases_clock_however_wrong_the_machines_is() {
    let database = Database::new().await;
    let api = api::open_with(&database, choice()).await;
    for hours in [-1, 1] {
        // As the process would find it on such a machine.
        api.routing.clock().heard(OffsetDateTime::now_utc() + time::Duration::hours(hours));
        eventually("a callback of now to be taken for one", Duration::from_secs(20), || async {
            (deliver(&api, &event("evt_1")).await.status == 202).then_some(())
        })
        .await;
    }
}

/// A request whose headers have been read and whose body never comes: the server says that it waits for it.
async fn begin(api: &Api, path: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = Client::connect(api.address).await;
    let all = [headers, &[JSON, ("content-length", "100"), ("expect", "100-continue")]].concat();
    client.send_request("POST", path, &all, b"").await;
    assert_eq!(client.answer().await.status, 100);
    client
}

#[tokio::test]
async fn messages_that_never_end_keep_no_genuine_one_out() {
    let database = Database::new().await;
    let mut choice = choice();
    (choice.callback.at_once, choice.callback.body_ms) = (2, 60_000);
    (choice.settings.accepting, choice.settings.body_ms) = (2, 60_000);
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    let mut half = Vec::new();
    for n in 0..8 {
        half.push(begin(&api, PATH, &[]).await);
        let key = format!("half-{n}");
        let headers = [("authorization", &*customer.bearer), ("idempotency-key", key.as_str())];
        half.push(begin(&api, "/v1/deposits", &headers).await);
    }
    assert_eq!(deliver(&api, &event("evt_1")).await.status, 202);
    assert_eq!(customer.post(api.address, "/v1/deposits", "whole", &euros(5)).await.status, 202);
}
