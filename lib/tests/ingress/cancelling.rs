//! Calling a payment off over HTTP.

use std::sync::Arc;

use payfleet::accounts::RateLimit;
use payfleet::domain::event::{Act, Command};
use payfleet::domain::ids::PublicId;
use payfleet::domain::outcome::Outcome;
use payfleet::gateway::{Gateway, Gateways};
use payfleet::worker::attempt::Attempts;
use serde_json::json;

use super::api::{self, Choice, Customer, payout};
use super::client::{Answer, Client};
use crate::harness::Database;
use crate::harness::scripted::{Script, Scripted};

async fn cancel(api: &api::Api, customer: &Customer, id: &str) -> Answer {
    let path = format!("/v1/transactions/{id}/cancel");
    Client::connect(api.address).await.request("POST", &path, &[("authorization", &*customer.bearer)], b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_cancelled_once_and_whoever_asks_again_is_told_the_same() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let customer = api::customer(&database, 1_000, RateLimit::Applies).await;
    let accepted = customer.post(api.address, "/v1/withdrawals", "k1", &payout(400)).await.json();
    let id = accepted["id"].as_str().unwrap();
    let first = cancel(&api, &customer, id).await;
    assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
    assert_eq!((&first.json()["status"], &first.json()["version"]), (&json!("cancelled"), &json!(2)));
    assert_eq!(first.json()["status_reason"]["code"], "cancelled");
    assert!(first.header("ratelimit").is_some());
    let again = cancel(&api, &customer, id).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(customer.get(api.address, &format!("/v1/transactions/{id}")).await.json(), first.json());
    let balance = customer.get(api.address, "/v1/balance").await;
    assert_eq!(balance.json(), json!({"balances": [{"currency": "EUR", "available": 1_000, "held": 0}]}));
    // The key's answer stays as it was first given.
    let replayed = customer.post(api.address, "/v1/withdrawals", "k1", &payout(400)).await;
    assert_eq!((replayed.status, replayed.json()), (202, accepted.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_at_a_gateway_cannot_be_cancelled() {
    let database = Database::new().await;
    let script = Script::default();
    let bank: Arc<dyn Gateway> = Arc::new(Scripted { name: "bank", script: script.clone() });
    let gateways = Gateways::new(vec![bank]);
    let api = api::open_with(&database, Choice { gateways, ..Choice::default() }).await;
    let customer = api::customer(&database, 1_000, RateLimit::Applies).await;
    let accepted = customer.post(api.address, "/v1/withdrawals", "k1", &payout(400)).await.json();
    let public: PublicId = accepted["id"].as_str().unwrap().parse().unwrap();
    let gateway = accepted["gateway"].as_str().unwrap().to_owned();
    let command = Command { transaction_id: public.id, act: Act::Create, attempt: 1, gateway, version: 1, calls: 0 };
    script.then(Outcome::Accepted { reference: "BANKREF0001".into() });
    Attempts::new(api.settlement.clone()).handle(command).await.unwrap();
    let late = cancel(&api, &customer, &public.to_string()).await;
    late.assert_problem(409, "not_cancellable");
    assert_eq!(late.json()["transaction_id"], json!(public.to_string()));
    let balance = customer.get(api.address, "/v1/balance").await;
    assert_eq!(balance.json()["balances"][0]["held"], json!(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_payment_cannot_be_cancelled_nor_told_from_none() {
    let database = Database::new().await;
    let api = api::open(&database).await;
    let (mine, theirs) =
        (api::customer(&database, 0, RateLimit::Applies).await, api::customer(&database, 0, RateLimit::Applies).await);
    let id = theirs.deposit(api.address, "k").await.json()["id"].as_str().unwrap().to_owned();
    for (customer, id) in [(&mine, id.clone()), (&theirs, id.replace("dep_", "wdr_")), (&theirs, "dep_1".into())] {
        cancel(&api, customer, &id).await.assert_problem(404, "transaction_not_found");
    }
    let path = format!("/v1/transactions/{id}/cancel");
    let mut client = Client::connect(api.address).await;
    client.request("POST", &path, &[], b"").await.assert_problem(401, "unauthorized");
    let wrong = client.request("GET", &path, &[("authorization", &*theirs.bearer)], b"").await;
    wrong.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let standing: String =
        sqlx::query_scalar("SELECT status FROM transactions").fetch_one(&database.owner).await.unwrap();
    assert_eq!(standing, "created");
}
