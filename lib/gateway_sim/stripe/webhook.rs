//! Stripe's events (docs.stripe.com/api/events/object), signed in `Stripe-Signature`.

use serde_json::json;

use super::{API_VERSION, objects};
use crate::domain::ids::Kind;
use crate::gateway_sim::books::State;
use crate::gateway_sim::callbacks::{Event, Message, Told};
use crate::gateway_sim::house::{House, now};

pub const TOLD: &[Told] = &[
    (Kind::Deposit, State::AwaitingCustomer, "payment_intent.requires_action"),
    (Kind::Deposit, State::Pending, "payment_intent.processing"),
    (Kind::Deposit, State::Succeeded, "payment_intent.succeeded"),
    (Kind::Deposit, State::Failed, "payment_intent.payment_failed"),
    (Kind::Deposit, State::Cancelled, "payment_intent.payment_failed"),
    (Kind::Withdrawal, State::Succeeded, "payout.paid"),
    (Kind::Withdrawal, State::Failed, "payout.failed"),
];

pub fn callback(house: &House, event: &Event<'_>) -> Message {
    let body = json!({
        "id": event.id,
        "object": "event",
        "api_version": API_VERSION,
        "created": event.happened_at.unix_timestamp(),
        "data": { "object": objects::object(house, event.payment) },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": event.payment.key },
        "type": event.kind,
    })
    .to_string();
    let signature = house.signers.stripe(now().unix_timestamp(), &body);
    let headers = vec![("content-type", "application/json; charset=utf-8".into()), ("stripe-signature", signature)];
    Message { headers, body }
}
