//! PayPal: deposits are Orders that we capture after the customer's approval, withdrawals are Payouts.
//!
//! | what | how |
//! |---|---|
//! | token | form `POST /v1/oauth2/token`, `grant_type=client_credentials`, HTTP Basic |
//! | deposit | JSON `POST /v2/checkout/orders`, then `POST /v2/checkout/orders/{id}/capture` |
//! | withdrawal | JSON `POST /v1/payments/payouts` with one item to an e-mail address |
//! | key | `PayPal-Request-Id`: the operation's key; `custom_id`: the attempt's hyphenated UUID; `sender_batch_id` and `sender_item_id`: the create key |
//! | ask | `GET` by id; an order without one: the create repeated under its key; a payout without one: `GET` by the id that a callback named, else not at all |
//! | callbacks | RSA-SHA256 over `transmission id|time|webhook id|CRC-32 of the body`; a doorbell only |
//!
//! `fixtures/` was written from the formats that PayPal publishes: developer.paypal.com/docs/api/orders/v2,
//! developer.paypal.com/docs/api/payments.payouts-batch/v1, developer.paypal.com/api/rest/responses,
//! developer.paypal.com/api/rest/webhooks/event-names, developer.paypal.com/api/rest/webhooks/rest.

//!
//! A repeated create of an order moves no money: PayPal answers with the order it has, or makes the one that was never made, and only a
//! capture takes anything. A repeated payout is different: it *is* the payout, if the first never arrived, and PayPal offers no other way
//! to ask about a batch whose id was lost. So a question never sends it: a payout without a reference is *unseen*, which proves nothing
//! and leads to a resend by command: its money still held, the call committed first, within `send_by`. PayPal pays a `sender_batch_id`
//! once in 30 days, and names the batch when it refuses the second. The id of a callback is looked at, but only a batch that was made
//! under our key is believed: whoever forges a callback names no batch of ours.
//!
//! If it dies here: nothing but the token is kept between calls; the key makes the next one the same payment.

mod amount;
mod callback;
mod error;
mod order;
mod payout;
mod request;
mod settings;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use time::{Duration, OffsetDateTime};

use self::callback::Certificates;
use self::order::{Captured, Expected};
use self::payout::Created;
use self::token::Tokens;
use super::answer::Answer;
use super::breaker::Breaker;
use super::client::{Call, Client};
use super::settings::Faults;
use super::{CallbackRefusal, Deadline, Gateway, Payment, either};
use crate::domain::destination::DestinationKind;
use crate::domain::ids::{Kind, Operation};
use crate::domain::outcome::{Notice, Outcome};
use crate::service::retry::policy;

pub use settings::Settings;

pub const NAME: &str = "paypal";

const ORDERS: &str = "/v2/checkout/orders";
const PAYOUTS: &str = "/v1/payments/payouts";

pub struct Paypal {
    client: Client,
    settings: Settings,
    tokens: Tokens,
    certificates: Certificates,
}

impl Paypal {
    pub(super) fn new(settings: &Settings, faults: &mut Faults) -> Option<Self> {
        let client = faults.client(NAME, &settings.base_url, &settings.authority_certificate, settings.limits);
        faults.required("paypal.client_id", &settings.client_id);
        faults.required("paypal.client_secret", settings.client_secret.expose());
        faults.required("paypal.webhook_id", &settings.webhook_id);
        faults.required("paypal.callback_certificate", &settings.callback_certificate);
        let pems = [settings.callback_certificate.as_str(), settings.other_callback_certificate.as_str()];
        let certificates = faults.take("paypal.callback_certificate", Certificates::new(pems));
        let credentials = STANDARD.encode(format!("{}:{}", settings.client_id, settings.client_secret.expose()));
        let credentials = faults.sensitive_header("paypal.client_secret", &format!("Basic {credentials}"));
        Some(Self {
            client: client?,
            settings: settings.clone(),
            tokens: Tokens::new(credentials?),
            certificates: certificates?,
        })
    }

    fn expected(&self, payment: &Payment) -> Expected {
        let customer = Duration::seconds(self.settings.customer_s.min(u64::from(u32::MAX)) as i64);
        Expected { attempt: payment.attempt_id, customer }
    }

    /// One call under a token. A token that is refused is forgotten; the call is not made again here.
    async fn call(
        &self,
        method: Method,
        path: String,
        key: Option<String>,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Answer, Outcome> {
        let token = self.tokens.get(&self.client, deadline).await?;
        let mut headers = HeaderMap::from_iter([
            (AUTHORIZATION, token.authorization.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        headers.insert("prefer", HeaderValue::from_static("return=representation"));
        if let Some(key) = key {
            let key = HeaderValue::from_str(&key).map_err(|error| Outcome::Unreachable { why: error.to_string() })?;
            headers.insert("paypal-request-id", key);
        }
        let answer = self.client.call(Call { method, path, headers, body }, deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.tokens.forget(&token);
            return Err(Outcome::Later {
                retry_after_ms: Some(policy::TOKEN.first_ms()),
                code: "token_refused".into(),
            });
        }
        Ok(answer)
    }

    async fn post(
        &self,
        path: String,
        payment: &Payment,
        operation: Operation,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Answer, Outcome> {
        self.call(Method::POST, path, Some(payment.key(operation)), body, deadline).await
    }

    async fn get(&self, path: String, deadline: Deadline) -> Result<Answer, Outcome> {
        self.call(Method::GET, path, None, Bytes::new(), deadline.of_question()).await
    }

    async fn send(&self, payment: &Payment, deadline: Deadline) -> Result<Outcome, Outcome> {
        let body: Bytes = request::create(payment, &self.settings)?.to_string().into();
        match payment.kind {
            Kind::Deposit => {
                let answer = self.post(ORDERS.into(), payment, Operation::Create, body, deadline).await?;
                Ok(order::to_create(&answer, self.expected(payment)))
            }
            Kind::Withdrawal => {
                let answer = self.post(PAYOUTS.into(), payment, Operation::Create, body, deadline).await?;
                match payout::to_create(&answer, &payment.key(Operation::Create)) {
                    Created::Is(outcome) => Ok(outcome),
                    // Whatever becomes of this look: the payout itself has been sent before.
                    Created::LookAtBatch(batch) => Ok(doubtful(self.look(payment, &batch, deadline).await)),
                }
            }
        }
    }

    async fn take(&self, payment: &Payment, deadline: Deadline) -> Result<Outcome, Outcome> {
        let id = payment.reference.as_deref().ok_or(Outcome::Unknown { why: "no order to capture".into() })?;
        let path = format!("{ORDERS}/{}/capture", plain(id)?);
        let answer = self.post(path, payment, Operation::Capture, Bytes::from_static(b"{}"), deadline).await?;
        match order::to_capture(&answer, id, self.expected(payment)) {
            Captured::Is(outcome) => Ok(outcome),
            Captured::LookAtOrder => Ok(doubtful(self.look(payment, id, deadline).await)),
        }
    }

    /// What became of an order, or a batch, by the id that PayPal gave it.
    async fn look(&self, payment: &Payment, id: &str, deadline: Deadline) -> Result<Outcome, Outcome> {
        match payment.kind {
            Kind::Deposit => {
                let answer = self.get(format!("{ORDERS}/{}", plain(id)?), deadline).await?;
                Ok(order::to_retrieve(&answer, id, self.expected(payment)))
            }
            Kind::Withdrawal => {
                let answer = self.get(format!("{PAYOUTS}/{}", plain(id)?), deadline).await?;
                Ok(payout::to_retrieve(&answer, &payment.key(Operation::Create)))
            }
        }
    }

    /// What became of a payout whose id we were never given.
    async fn look_for(&self, payment: &Payment, deadline: Deadline) -> Result<Outcome, Outcome> {
        let Some(id) = payment.candidate.as_deref().and_then(|id| plain(id).ok()) else {
            return Ok(Outcome::Unseen);
        };
        let answer = self.get(format!("{PAYOUTS}/{id}"), deadline).await?;
        Ok(payout::to_candidate(&answer, &payment.key(Operation::Create)))
    }
}

/// An id that may stand in a path as it is.
fn plain(id: &str) -> Result<&str, Outcome> {
    let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain { Ok(id) } else { Err(Outcome::Unknown { why: "the stored reference is not an id of PayPal".into() }) }
}

/// A create that is repeated to ask, and rejected, is on no books: PayPal does not know the payment.
fn of_question(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Rejected { .. } => Outcome::NotFound,
        outcome => outcome,
    }
}

/// The result of a look that followed a request which did leave: that the look itself failed must not read as a refusal of the request.
fn doubtful(looked: Result<Outcome, Outcome>) -> Outcome {
    match either(looked) {
        Outcome::Unreachable { why } => Outcome::Unknown { why },
        Outcome::Later { code, .. } => Outcome::Unknown { why: code },
        outcome => outcome,
    }
}

#[async_trait]
impl Gateway for Paypal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        &[DestinationKind::Email]
    }

    fn call_limit(&self) -> std::time::Duration {
        self.settings.limits.call()
    }

    fn key_lifetime(&self, kind: Kind) -> std::time::Duration {
        std::time::Duration::from_secs(match kind {
            Kind::Deposit => self.settings.order_key_lifetime_s,
            Kind::Withdrawal => self.settings.payout_key_lifetime_s,
        })
    }

    async fn create(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(self.send(payment, deadline).await)
    }

    async fn capture(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(self.take(payment, deadline).await)
    }

    async fn ask(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(match (&payment.reference, payment.kind) {
            (Some(id), _) => self.look(payment, id, deadline).await,
            (None, Kind::Deposit) => self.send(payment, deadline).await.map(of_question),
            (None, Kind::Withdrawal) => self.look_for(payment, deadline).await,
        })
    }

    fn breaker(&self) -> Option<&Arc<Breaker>> {
        Some(self.client.breaker())
    }

    fn read_callback(&self, headers: &HeaderMap, body: &Bytes, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        callback::read(&self.certificates, &self.settings.webhook_id, headers, body, now)
    }
}
