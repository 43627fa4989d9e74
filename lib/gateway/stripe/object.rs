//! Stripe's objects, as far as we read them, and what each of them says about a payment.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::amount::from_stripe;
use crate::domain::outcome::Outcome;

/// docs.stripe.com/api/payment_intents/object
#[derive(Deserialize)]
pub(super) struct PaymentIntent {
    pub(super) id: String,
    status: String,
    amount_received: i64,
    currency: String,
    created: i64,
    #[serde(default)]
    metadata: HashMap<String, String>,
    next_action: Option<NextAction>,
    last_payment_error: Option<Error>,
    cancellation_reason: Option<String>,
}

#[derive(Deserialize)]
struct NextAction {
    redirect_to_url: Option<Redirect>,
}

#[derive(Deserialize)]
struct Redirect {
    url: Option<String>,
}

/// docs.stripe.com/api/payouts/object
#[derive(Deserialize)]
pub(super) struct Payout {
    pub(super) id: String,
    status: String,
    amount: i64,
    currency: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
    failure_code: Option<String>,
    failure_message: Option<String>,
}

/// docs.stripe.com/api/errors
#[derive(Deserialize)]
pub(super) struct Error {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
    /// The payment that the error is about, where there is one: then it is on the books, whether or not we can read it.
    pub(super) payment_intent: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: Error,
}

/// docs.stripe.com/api/pagination
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

/// An object that is one of our payments.
pub(super) trait Booked {
    fn id(&self) -> &str;
    /// The attempt that it was made for, by the metadata that we sent.
    fn attempt(&self) -> Option<Uuid>;
    /// `customer`: how long the customer has to act.
    fn outcome(&self, customer: Duration) -> Outcome;
}

fn attempt_of(metadata: &HashMap<String, String>) -> Option<Uuid> {
    metadata.get("attempt_id").and_then(|id| Uuid::try_parse(id).ok())
}

fn moved(id: &str, amount: i64, currency: &str) -> Outcome {
    match from_stripe(amount, currency) {
        Some(money) => Outcome::Succeeded { reference: id.to_owned(), money },
        None => Outcome::Unknown { why: format!("{id}: succeeded with an amount that cannot be read") },
    }
}

impl Booked for PaymentIntent {
    fn id(&self) -> &str {
        &self.id
    }

    fn attempt(&self) -> Option<Uuid> {
        attempt_of(&self.metadata)
    }

    /// docs.stripe.com/payments/paymentintents/lifecycle
    fn outcome(&self, customer: Duration) -> Outcome {
        let reference = self.id.clone();
        let unknown = |why: &str| Outcome::Unknown { why: format!("{}: {why}", self.id) };
        match (self.status.as_str(), &self.last_payment_error) {
            ("succeeded", _) => moved(&self.id, self.amount_received, &self.currency),
            ("processing" | "requires_confirmation", _) => Outcome::Accepted { reference },
            ("requires_action", _) => {
                let redirect = self.next_action.as_ref().and_then(|action| action.redirect_to_url.as_ref());
                match redirect.and_then(|redirect| redirect.url.clone()) {
                    Some(redirect_url) => {
                        let expires_at = OffsetDateTime::from_unix_timestamp(self.created)
                            .ok()
                            .and_then(|created| created.checked_add(customer));
                        Outcome::NeedsCustomer { reference, redirect_url, expires_at }
                    }
                    None => unknown("asks for an action that only Stripe's own page code can show"),
                }
            }
            // The confirmation failed. Nobody can confirm again: the client secret never leaves us.
            ("requires_payment_method", Some(error)) => error.declined(Some(reference)),
            ("canceled", _) => match self.cancellation_reason.as_deref() {
                Some("abandoned" | "expired") => Outcome::Expired { reference: Some(reference) },
                reason => Outcome::Declined {
                    reference: Some(reference),
                    code: "canceled".into(),
                    message: reason.unwrap_or("canceled at Stripe").to_owned(),
                },
            },
            (status, _) => unknown(&format!("status {status}")),
        }
    }
}

impl Booked for Payout {
    fn id(&self) -> &str {
        &self.id
    }

    fn attempt(&self) -> Option<Uuid> {
        attempt_of(&self.metadata)
    }

    /// docs.stripe.com/payouts: a failed or canceled payout returns to our Stripe balance.
    fn outcome(&self, _customer: Duration) -> Outcome {
        let reference = self.id.clone();
        match self.status.as_str() {
            "paid" => moved(&self.id, self.amount, &self.currency),
            "pending" | "in_transit" => Outcome::Accepted { reference },
            status @ ("failed" | "canceled") => Outcome::Declined {
                reference: Some(reference),
                code: self.failure_code.clone().unwrap_or_else(|| status.to_owned()),
                message: self.failure_message.clone().unwrap_or_else(|| format!("the payout was {status}")),
            },
            status => Outcome::Unknown { why: format!("{}: status {status}", self.id) },
        }
    }
}

impl Error {
    pub(super) fn code(&self) -> String {
        let code = self.decline_code.as_ref().or(self.code.as_ref());
        code.cloned().unwrap_or_else(|| self.kind.clone())
    }

    pub(super) fn message(&self) -> String {
        self.message.clone().unwrap_or_default()
    }

    pub(super) fn declined(&self, reference: Option<String>) -> Outcome {
        Outcome::Declined { reference, code: self.code(), message: self.message() }
    }
}
