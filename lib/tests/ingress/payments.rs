//! Ordering and reading payments: what the contract says, seen from outside.

use payfleet::accounts::RateLimit;
use payfleet::domain::destination::Destination;
use payfleet::ingress::Surroundings;
use payfleet::sealing::{Sealer, aad, field};
use serde_json::{Value, json};

use super::api::{self, Choice, euros, payout};
use super::client::Client;
use crate::harness::Database;

#[tokio::test]
async fn an_accepted_deposit_says_where_it_stands_and_reads_back_the_same() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let body = json!({"amount": "1250", "currency": "EUR", "client_reference": "order 7", "metadata": {"a": "1"}});
    let accepted = customer.post(api.address, "/v1/deposits", "k1", &body).await;
    assert_eq!(accepted.status, 202, "{}", String::from_utf8_lossy(&accepted.body));
    let json = accepted.json();
    let id = json["id"].as_str().unwrap();
    assert!(id.starts_with("dep_"), "{id}");
    assert_eq!(accepted.header("location"), Some(format!("/v1/transactions/{id}").as_str()));
    assert_eq!((&json["status"], &json["substatus"]), (&json!("created"), &json!("queued")));
    assert_eq!((&json["amount"], &json["version"]), (&json!(1250), &json!(1)));
    assert_eq!((&json["client_reference"], &json["metadata"]), (&json!("order 7"), &json!({"a": "1"})));
    assert!(accepted.header("ratelimit").is_some() && accepted.header("ratelimit-policy").is_some());
    assert!(accepted.header("idempotent-replayed").is_none());
    let read = customer.get(api.address, &format!("/v1/transactions/{id}")).await;
    assert_eq!((read.status, read.json()), (200, json));
}

#[tokio::test]
async fn a_withdrawal_holds_its_money_and_hides_where_it_goes() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 1_000, RateLimit::Applies).await;
    let accepted = customer.post(api.address, "/v1/withdrawals", "k1", &payout(400)).await;
    assert_eq!(accepted.status, 202, "{}", String::from_utf8_lossy(&accepted.body));
    assert_eq!(accepted.json()["destination"], json!({"kind": "iban", "last4": "3000"}));
    assert!(!String::from_utf8_lossy(&accepted.body).contains("0532013000"));
    let balance = customer.get(api.address, "/v1/balance").await;
    assert_eq!(balance.json(), json!({"balances": [{"currency": "EUR", "available": 600, "held": 400}]}));
    let short = customer.post(api.address, "/v1/withdrawals", "k2", &payout(601)).await;
    short.assert_problem(402, "insufficient_funds");
    let again = customer.post(api.address, "/v1/withdrawals", "k2", &payout(600)).await;
    assert_eq!(again.status, 202, "a key refused with 402 cannot be used again");
    let (id, key_id, bytes): (uuid::Uuid, String, Vec<u8>) =
        sqlx::query_as("SELECT id, destination_key_id, destination_sealed FROM transactions WHERE amount = 400")
            .fetch_one(&database.owner)
            .await
            .unwrap();
    let sealer = Sealer::new(&api::sealing_keys()).unwrap();
    let opened = sealer.open(&key_id, &aad(id, field::DESTINATION), &bytes).unwrap();
    let destination: Destination = serde_json::from_slice(&opened).unwrap();
    assert_eq!(destination, Destination::Iban("DE89370400440532013000".into()));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_its_reason_and_leaves_nothing() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let post = async |key: &str, body: Value| customer.post(api.address, "/v1/deposits", key, &body).await;
    let unclear = post("k", json!({"amount": 0, "currency": "EUR", "colour": "red"})).await;
    unclear.assert_problem(422, "invalid_request");
    let codes: Vec<Value> = unclear.json()["errors"].as_array().unwrap().iter().map(|e| e["code"].clone()).collect();
    assert_eq!(codes, ["not_positive", "unknown_field"]);
    post("k", json!({"amount": 5, "currency": "USD", "gateway": "bank"}))
        .await
        .assert_problem(422, "currency_not_enabled");
    post("k", json!({"amount": 5, "currency": "USD"})).await.assert_problem(422, "no_route");
    post("k", json!([])).await.assert_problem(400, "malformed_body");
    post("two words", euros(5)).await.assert_problem(400, "idempotency_key_invalid");
    let bearer = ("authorization", &*customer.bearer);
    let json_type = ("content-type", "application/json; charset=utf-8");
    let raw = async |headers: &[(&str, &str)], body: &[u8]| {
        Client::connect(api.address).await.request("POST", "/v1/deposits", headers, body).await
    };
    raw(&[bearer, json_type], b"{}").await.assert_problem(400, "idempotency_key_missing");
    raw(&[bearer, ("idempotency-key", "k")], b"{}").await.assert_problem(415, "unsupported_media_type");
    raw(&[bearer, json_type, ("idempotency-key", "k")], &vec![b' '; 70_000])
        .await
        .assert_problem(413, "body_too_large");
    raw(&[bearer, json_type, ("idempotency-key", "k")], b"{\"a\":").await.assert_problem(400, "malformed_body");
    let mut chunked = Client::connect(api.address).await;
    let head = format!(
        "POST /v1/deposits HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         idempotency-key: k\r\ntransfer-encoding: chunked\r\n\r\n",
        customer.bearer
    );
    chunked.send(head.as_bytes()).await;
    chunked.send(&[b"11170\r\n".as_slice(), &[b' '; 0x11170], b"\r\n0\r\n\r\n"].concat()).await;
    chunked.answer().await.assert_problem(413, "body_too_large");
    assert_eq!(api::payments(&database).await, 0);
    assert_eq!(post("k", euros(5)).await.status, 202, "a refused request used its key up");
}

#[tokio::test]
async fn paths_and_methods_that_there_are_not_are_told_apart() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    let bearer = [("authorization", &*customer.bearer)];
    let mut client = Client::connect(api.address).await;
    client.request("GET", "/v1/deposit", &bearer, b"").await.assert_problem(404, "not_found");
    let wrong = client.request("GET", "/v1/deposits", &bearer, b"").await;
    wrong.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let wrong = client.request("DELETE", "/v1/balance", &bearer, b"").await;
    wrong.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD"));
    assert_eq!(client.request("GET", "/others", &[], b"").await.body, b"others");
}

#[tokio::test]
async fn one_user_never_sees_anothers_payment() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let (mine, theirs) =
        (api::customer(&database, 0, RateLimit::Applies).await, api::customer(&database, 0, RateLimit::Applies).await);
    let id = theirs.deposit(api.address, "k").await.json()["id"].as_str().unwrap().to_owned();
    let wrong_kind = id.replace("dep_", "wdr_");
    for (customer, path) in [
        (&mine, format!("/v1/transactions/{id}")),
        (&mine, format!("/v1/transactions/{id}?wait=1")),
        (&mine, format!("/v1/transactions/{id}?refresh=true")),
        (&theirs, format!("/v1/transactions/{wrong_kind}")),
        (&theirs, "/v1/transactions/dep_1".to_owned()),
    ] {
        customer.get(api.address, &path).await.assert_problem(404, "transaction_not_found");
    }
    // The same key of another user is another key.
    let own = mine.deposit(api.address, "k").await;
    assert!(own.header("idempotent-replayed").is_none());
    assert_ne!(own.json()["id"], json!(id));
    theirs.get(api.address, &format!("/v1/transactions/{id}?wait=x")).await.assert_problem(400, "invalid_query");
}

#[tokio::test]
async fn a_key_opens_the_door_only_as_long_as_it_is_valid() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 0, RateLimit::Applies).await;
    assert_eq!(customer.get(api.address, "/v1/balance").await.status, 200);
    let mut client = Client::connect(api.address).await;
    for header in ["", "Basic abc", "Bearer", "Bearer pf_test_unknown"] {
        let refused = client.request("GET", "/v1/balance", &[("authorization", header)], b"").await;
        refused.assert_problem(401, "unauthorized");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    let mut connection = database.app.acquire().await.unwrap();
    let hash = payfleet::accounts::revoke_key(&mut connection, customer.key_id).await.unwrap().unwrap();
    assert_eq!(hash, customer.hash);
    api.redis.forget_credential(&hash.to_text()).await.unwrap();
    customer.get(api.address, "/v1/balance").await.assert_problem(401, "unauthorized");
}

#[tokio::test]
async fn demo_keys_are_worth_nothing_in_production() {
    let database = Database::new().await;
    let user = super::orders::user_with(&database.owner, 0).await;
    let pepper = payfleet::accounts::Pepper::new(&api::pepper()).unwrap();
    let key = payfleet::accounts::ApiKey::known("pf_test_demo_de");
    let mut connection = database.app.acquire().await.unwrap();
    payfleet::accounts::create_key(&mut connection, user.id, &key, &pepper, RateLimit::Applies).await.unwrap();
    for (surroundings, status) in [(Surroundings::Development, 200), (Surroundings::Production, 401)] {
        let api = api::open_with(&database, Choice { surroundings, ..Choice::default() }).await;
        let mut client = Client::connect(api.address).await;
        let answer = client.request("GET", "/v1/balance", &[("authorization", "Bearer pf_test_demo_de")], b"").await;
        assert_eq!(answer.status, status, "{surroundings:?}");
    }
}
