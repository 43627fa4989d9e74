//! Account numbers and keys go through an ingress and are seen nowhere beside it: in no log line, no value of Redis, no error.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet::accounts::RateLimit;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::api::{self, Choice};
use super::client::{Answer, Client};
use crate::harness::{Database, eventually};
use crate::redis::server::Server;

/// All that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

const IBAN: &str = "DE02100100109307118603";
const ACCOUNT: &str = "7731950286";
const EMAIL: &str = "canary.bird@example.com";

fn orders() -> Vec<Value> {
    let with = |destination: Value| json!({"amount": 5, "currency": "EUR", "destination": destination});
    vec![
        with(json!({"iban": IBAN})),
        with(json!({"account_number": ACCOUNT, "bank_code": "058"})),
        with(json!({"email": EMAIL})),
        // Refused, each for another reason.
        with(json!({"iban": format!("{IBAN}0")})),
        with(json!({"email": format!("{EMAIL} {EMAIL}")})),
        with(json!({"email": EMAIL, "iban": IBAN})),
        with(json!(IBAN)),
        json!({"amount": IBAN, "currency": "EUR", "destination": {"email": EMAIL}}),
        json!({"amount": 9_000_000, "currency": "EUR", "destination": {"iban": IBAN}}),
        json!({"amount": 5, "currency": "GBP", "destination": {"iban": IBAN}}),
    ]
}

/// All keys of Redis with their values, as text.
async fn held(server: &Server) -> Vec<String> {
    let mut connection = server.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let value: Vec<u8> = redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap_or_default();
        all.push(String::from_utf8_lossy(&[key, b" ".to_vec(), value].concat()).into_owned());
    }
    all
}

#[tokio::test]
async fn account_numbers_and_keys_are_in_no_log_line_no_value_of_redis_and_no_error() {
    let log = Log::default();
    let filter = tracing_subscriber::EnvFilter::new("debug,payfleet=trace");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("each test is a process of its own");
    let database = Database::new().await;
    let server = Server::start().await;
    let api = api::open_with(&database, Choice { redis: server.url(), ..Choice::default() }).await;
    let customer = api::customer(&database, 1_000, RateLimit::Applies).await;
    let (mut answers, mut statuses): (Vec<Answer>, Vec<u16>) = (Vec::new(), Vec::new());
    for (n, order) in orders().iter().enumerate() {
        for _ in 0..2 {
            answers.push(customer.post(api.address, "/v1/withdrawals", &format!("k{n}"), order).await);
        }
    }
    let cut = format!(r#"{{"amount": 5, "destination": {{"iban": "{IBAN}"#);
    let headers =
        [("authorization", &*customer.bearer), ("content-type", "application/json"), ("idempotency-key", "cut")];
    let mut client = Client::connect(api.address).await;
    answers.push(client.request("POST", "/v1/withdrawals", &headers, cut.as_bytes()).await);
    let forged = [("content-type", "application/json"), ("stripe-signature", "t=1,v1=00")];
    answers.push(client.request("POST", "/v1/callbacks/stripe", &forged, IBAN.as_bytes()).await);
    let bearer = &customer.bearer["Bearer ".len()..];
    let guess = format!("Basic {bearer}");
    answers.push(client.request("GET", "/v1/balance", &[("authorization", &guess)], b"").await);
    statuses.extend(answers.iter().map(|answer| answer.status));
    for expected in [202, 400, 401, 402, 422] {
        assert!(statuses.contains(&expected), "{expected} is not among {statuses:?}");
    }
    let held = eventually("answers and credentials to be cached", Duration::from_secs(10), || async {
        let held = held(&server).await;
        let has = |name: &str| held.iter().any(|entry| entry.starts_with(name));
        (has("claim:") && has("credential:")).then_some(held)
    })
    .await;
    assert!(log.text().contains("/v1/withdrawals"), "nothing was logged");
    let errors = answers.iter().filter(|answer| answer.status >= 400);
    let mut seen: Vec<String> = errors.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).collect();
    seen.extend(held);
    seen.extend(log.text().lines().map(str::to_owned));
    let pepper = api::pepper();
    for canary in [IBAN, ACCOUNT, EMAIL, bearer, pepper.expose(), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="] {
        let told: Vec<&String> = seen.iter().filter(|text| text.contains(canary)).collect();
        assert!(told.is_empty(), "{canary} is in {told:#?}");
    }
}
