//! PayPal's events (developer.paypal.com/api/rest/webhooks/event-names) and their signature.

use serde_json::json;

use super::objects;
use crate::domain::ids::Kind;
use crate::gateway_sim::books::State;
use crate::gateway_sim::callbacks::{Event, Message, Told};
use crate::gateway_sim::house::{House, now};
use uuid::Uuid;

/// An order that runs out is told of by nobody: PayPal just forgets it.
pub const TOLD: &[Told] = &[
    (Kind::Deposit, State::Approved, "CHECKOUT.ORDER.APPROVED"),
    (Kind::Deposit, State::Cancelled, "CHECKOUT.ORDER.VOIDED"),
    (Kind::Deposit, State::Capturing, "PAYMENT.CAPTURE.PENDING"),
    (Kind::Deposit, State::Succeeded, "PAYMENT.CAPTURE.COMPLETED"),
    (Kind::Deposit, State::Failed, "PAYMENT.CAPTURE.DENIED"),
    (Kind::Withdrawal, State::Succeeded, "PAYMENT.PAYOUTS-ITEM.SUCCEEDED"),
    (Kind::Withdrawal, State::Failed, "PAYMENT.PAYOUTS-ITEM.FAILED"),
];

pub fn callback(house: &House, event: &Event<'_>) -> Message {
    let payment = event.payment;
    let of_order = event.kind.starts_with("CHECKOUT.");
    let (resource_type, version, resource) = match payment.kind {
        Kind::Withdrawal => ("payouts_item", "1.0", objects::item(house, payment)),
        Kind::Deposit if of_order => ("checkout-order", "2.0", objects::order(house, payment)),
        Kind::Deposit => {
            let mut capture = objects::capture(house, payment);
            capture["supplementary_data"] = json!({ "related_ids": { "order_id": payment.reference } });
            ("capture", "2.0", capture)
        }
    };
    let url = format!("{}/paypal/v1/notifications/webhooks-events/{}", house.public_url, event.id);
    let body = json!({
        "id": event.id,
        "event_version": "1.0",
        "create_time": objects::told(event.happened_at),
        "resource_type": resource_type,
        "resource_version": version,
        "event_type": event.kind,
        "summary": format!("{} for {}", event.kind, payment.money_told()),
        "resource": resource,
        "links": [{ "href": url, "rel": "self", "method": "GET" }],
    })
    .to_string();
    let (id, time) = (Uuid::now_v7().to_string(), objects::told(now()));
    let signature = house.signers.paypal(&id, &time, &house.settings.paypal.webhook_id, &body);
    let headers = vec![
        ("content-type", "application/json".into()),
        ("paypal-transmission-id", id),
        ("paypal-transmission-time", time),
        ("paypal-transmission-sig", signature),
        ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-aecacc47".into()),
        ("paypal-auth-algo", "SHA256withRSA".into()),
    ];
    Message { headers, body }
}
