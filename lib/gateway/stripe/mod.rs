//! Stripe: deposits are PaymentIntents, withdrawals are Payouts.
//!
//! | what | how |
//! |---|---|
//! | deposit | form `POST /v1/payment_intents`, `confirm=true` |
//! | withdrawal | form `POST /v1/payouts` to a `destination` that Stripe already knows |
//! | key | `Idempotency-Key`: the operation's key; `metadata[attempt_id]`, `metadata[transaction_id]`: hyphenated UUIDs |
//! | ask | `GET /v1/payment_intents/{id}`, `GET /v1/payouts/{id}`, by a callback's id if its metadata names our attempt, or a list of the created window |
//! | callbacks | `payment_intent.*` and `payout.*`, signed in `Stripe-Signature` (t, v1) |
//!
//! `fixtures/` was written from the formats that Stripe publishes: docs.stripe.com/api/payment_intents/object,
//! docs.stripe.com/api/payouts/object, docs.stripe.com/api/errors, docs.stripe.com/error-codes, docs.stripe.com/api/events/object.

//!
//! Asking by list: PaymentIntents and Payouts carry no index on metadata that is consistent at once (the search API lags), so a payment
//! whose answer was lost is looked for in the list of what was created between its attempt's commit and the last moment at which a
//! call of it could leave, `clock_skew_s` wider on both sides for the clocks. At most 40 pages of 100 are read, and no longer than a
//! question may take: in a window that holds more the payment is *unseen*, and sending it again under its key settles it. Not found
//! means that the whole window was read. A list may lag behind a create by seconds: the settle window between two such answers is
//! there for that.
//!
//! If it dies here: nothing is kept between calls; the key makes the next one the same payment.

mod amount;
mod answer;
mod callback;
mod object;
mod request;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::de::DeserializeOwned;
use time::{Duration, OffsetDateTime};

use self::answer::{Expected, Page};
use self::object::{Booked, PaymentIntent, Payout};
use super::breaker::Breaker;
use super::client::{Call, Client};
use super::settings::Faults;
use super::signature::HmacKeys;
use super::{CallbackRefusal, Deadline, Gateway, Payment, either};
use crate::domain::destination::DestinationKind;
use crate::domain::ids::{Kind, Operation};
use crate::domain::outcome::{Notice, Outcome};

pub use settings::Settings;

pub const NAME: &str = "stripe";

/// The version of Stripe's API that this adapter was written for (docs.stripe.com/api/versioning).
const API_VERSION: &str = "2026-02-25.clover";
/// Pages of a list that one question reads at most.
const PAGE_LIMIT: usize = 40;

pub struct Stripe {
    client: Client,
    settings: Settings,
    authorization: HeaderValue,
    callback_keys: HmacKeys,
}

impl Stripe {
    pub(super) fn new(settings: &Settings, faults: &mut Faults) -> Option<Self> {
        let client = faults.client(NAME, &settings.base_url, &settings.authority_certificate, settings.limits);
        faults.required("stripe.secret_key", settings.secret_key.expose());
        faults.required("stripe.callback_key", settings.callback_key.expose());
        let authorization = format!("Bearer {}", settings.secret_key.expose());
        let authorization = faults.sensitive_header("stripe.secret_key", &authorization);
        let keys = [&settings.callback_key, &settings.other_callback_key].map(|key| key.expose().to_owned());
        Some(Self {
            client: client?,
            settings: settings.clone(),
            authorization: authorization?,
            callback_keys: HmacKeys::new(keys),
        })
    }

    fn customer(&self) -> Duration {
        Duration::seconds(self.settings.customer_s.min(u64::from(u32::MAX)) as i64)
    }

    fn expected(&self, payment: &Payment) -> Expected {
        Expected { attempt: payment.attempt_id, customer: self.customer() }
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([
            (AUTHORIZATION, self.authorization.clone()),
            (http::HeaderName::from_static("stripe-version"), HeaderValue::from_static(API_VERSION)),
        ])
    }

    fn get(&self, path: String) -> Call {
        Call { method: Method::GET, path, headers: self.headers(), body: Bytes::new() }
    }

    fn post(&self, path: &str, key: &str, form: String) -> Result<Call, Outcome> {
        let mut headers = self.headers();
        let key = HeaderValue::from_str(key).map_err(|error| Outcome::Unreachable { why: error.to_string() })?;
        headers.insert("idempotency-key", key);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Ok(Call { method: Method::POST, path: path.to_owned(), headers, body: form.into() })
    }

    async fn send<T: Booked + DeserializeOwned>(
        &self,
        path: &str,
        payment: &Payment,
        deadline: Deadline,
    ) -> Result<Outcome, Outcome> {
        let form = request::create(payment, &self.settings)?;
        let call = self.post(path, &payment.key(Operation::Create), form)?;
        let answer = self.client.call(call, deadline).await?;
        Ok(answer::to_create::<T>(&answer, self.expected(payment)))
    }

    async fn look<T: Booked + DeserializeOwned>(
        &self,
        path: &str,
        payment: &Payment,
        deadline: Deadline,
    ) -> Result<Outcome, Outcome> {
        let deadline = deadline.of_question();
        if let Some(reference) = &payment.reference {
            let answer = self.client.call(self.get(format!("{path}/{}", plain(reference)?)), deadline).await?;
            return Ok(answer::to_retrieve::<T>(&answer, self.expected(payment)));
        }
        // A callback named it: believed only if Stripe says that it is this attempt's.
        if let Some(candidate) = payment.candidate.as_deref().and_then(|id| plain(id).ok()) {
            let answer = self.client.call(self.get(format!("{path}/{candidate}")), deadline).await?;
            if let Some(outcome) = answer::to_candidate::<T>(&answer, self.expected(payment)) {
                return Ok(outcome);
            }
        }
        let (mut after, skew) = (None, Duration::seconds(self.settings.clock_skew_s.into()));
        for page in 0..PAGE_LIMIT {
            let query = request::window(payment, after.as_deref(), skew);
            let answer = match self.client.call(self.get(format!("{path}?{query}")), deadline).await {
                // Stripe answers, but the window is longer than the time.
                Err(_) if page > 0 && Instant::now() >= deadline.answer_by => return Ok(Outcome::Unseen),
                answer => answer?,
            };
            match answer::to_list::<T>(&answer, self.expected(payment))? {
                Page::Found(outcome) => return Ok(outcome),
                Page::Last => return Ok(Outcome::NotFound),
                Page::Next(last) => after = Some(last),
            }
        }
        Ok(Outcome::Unseen)
    }
}

/// An id that may stand in a path as it is.
fn plain(id: &str) -> Result<&str, Outcome> {
    let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain { Ok(id) } else { Err(Outcome::Unknown { why: "the stored reference is not an id of Stripe".into() }) }
}

#[async_trait]
impl Gateway for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        &[DestinationKind::Token]
    }

    fn call_limit(&self) -> std::time::Duration {
        self.settings.limits.call()
    }

    fn key_lifetime(&self, _kind: Kind) -> std::time::Duration {
        std::time::Duration::from_secs(self.settings.key_lifetime_s)
    }

    async fn create(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(match payment.kind {
            Kind::Deposit => self.send::<PaymentIntent>("/v1/payment_intents", payment, deadline).await,
            Kind::Withdrawal => self.send::<Payout>("/v1/payouts", payment, deadline).await,
        })
    }

    /// PaymentIntents are captured by Stripe itself (`capture_method=automatic`): never approved, never to be captured.
    async fn capture(&self, _payment: &Payment, _deadline: Deadline) -> Outcome {
        Outcome::Unknown { why: "Stripe takes the money itself".into() }
    }

    async fn ask(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(match payment.kind {
            Kind::Deposit => self.look::<PaymentIntent>("/v1/payment_intents", payment, deadline).await,
            Kind::Withdrawal => self.look::<Payout>("/v1/payouts", payment, deadline).await,
        })
    }

    fn breaker(&self) -> Option<&Arc<Breaker>> {
        Some(self.client.breaker())
    }

    fn read_callback(&self, headers: &HeaderMap, body: &Bytes, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        callback::read(&self.callback_keys, self.customer(), headers, body, now)
    }
}
