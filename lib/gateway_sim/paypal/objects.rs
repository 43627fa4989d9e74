//! Orders, captures and payout batches as PayPal shows them (developer.paypal.com/docs/api/orders/v2,
//! developer.paypal.com/docs/api/payments.payouts-batch/v1).

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::money::Money;
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::books::{Payment, State};
use crate::gateway_sim::customer;
use crate::gateway_sim::house::House;

/// Whole seconds, as PayPal writes them.
pub fn told(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

fn id_of(house: &House, payment: &Payment, part: &str, length: usize) -> String {
    dice::text(house.settings.seed, part, &payment.reference, dice::CAPITALS, length)
}

fn link(href: String, rel: &str, method: &str) -> Value {
    json!({ "href": href, "rel": rel, "method": method })
}

fn amount(money: Money) -> Value {
    json!({ "currency_code": money.currency.code(), "value": money.to_decimal() })
}

/// Whether the order was made with a payment source, so that the payer's action is PayPal's own next step.
pub fn has_source(payment: &Payment) -> bool {
    payment.echoed("payment_source").is_some()
}

fn status(payment: &Payment) -> &'static str {
    match payment.state {
        State::AwaitingCustomer if has_source(payment) => "PAYER_ACTION_REQUIRED",
        State::AwaitingCustomer => "CREATED",
        State::Approved => "APPROVED",
        State::Cancelled | State::Expired => "VOIDED",
        // Completed means that there is a capture; how that went is told by the capture.
        State::Capturing | State::Pending | State::Succeeded | State::Failed | State::Reversed => "COMPLETED",
    }
}

fn order_url(house: &House, payment: &Payment) -> String {
    format!("{}/paypal/v2/checkout/orders/{}", house.public_url, payment.reference)
}

/// Id, status and links: what `Prefer: return=minimal` asks for.
pub fn order_in_short(house: &House, payment: &Payment) -> Value {
    let url = order_url(house, payment);
    let mut links = vec![link(url.clone(), "self", "GET")];
    match status(payment) {
        "PAYER_ACTION_REQUIRED" => links.push(link(customer::url_of(house, payment), "payer-action", "GET")),
        "CREATED" => {
            links.push(link(customer::url_of(house, payment), "approve", "GET"));
            links.push(link(format!("{url}/capture"), "capture", "POST"));
        }
        "APPROVED" => links.push(link(format!("{url}/capture"), "capture", "POST")),
        _ => {}
    }
    let mut order = json!({ "id": payment.reference, "status": status(payment), "links": links });
    if has_source(payment) {
        order["payment_source"] = json!({ "paypal": {} });
    }
    order
}

pub fn order(house: &House, payment: &Payment) -> Value {
    let mut unit = json!({
        "reference_id": payment.echoed("reference_id").unwrap_or("default"),
        "amount": amount(payment.money_told()),
        "payee": { "email_address": "merchant@example.com", "merchant_id": "X5XAHHCG636FA" },
    });
    for name in ["custom_id", "invoice_id"] {
        if let Some(value) = payment.echoed(name) {
            unit[name] = value.into();
        }
    }
    if status(payment) == "COMPLETED" {
        unit["payments"] = json!({ "captures": [capture(house, payment)] });
    }
    let mut order = order_in_short(house, payment);
    order["intent"] = "CAPTURE".into();
    order["purchase_units"] = json!([unit]);
    order["create_time"] = told(payment.created_at).into();
    order["update_time"] = told(payment.changed_at).into();
    order
}

/// The capture of an order that has one (developer.paypal.com/docs/api/payments/v2#captures_get).
pub fn capture(house: &House, payment: &Payment) -> Value {
    let status = match payment.state {
        State::Succeeded => "COMPLETED",
        State::Reversed => "REFUNDED",
        State::Failed => "DECLINED",
        _ => "PENDING",
    };
    let id = id_of(house, payment, "capture", 17);
    let captures = format!("{}/paypal/v2/payments/captures/{id}", house.public_url);
    let mut capture = json!({
        "id": id,
        "status": status,
        "amount": amount(payment.money_told()),
        "final_capture": true,
        "seller_protection": { "status": "NOT_ELIGIBLE" },
        "create_time": told(payment.changed_at),
        "update_time": told(payment.changed_at),
        "links": [link(captures, "self", "GET"), link(order_url(house, payment), "up", "GET")],
    });
    if status == "PENDING" {
        capture["status_details"] = json!({ "reason": "PENDING_REVIEW" });
    }
    for name in ["custom_id", "invoice_id"] {
        if let Some(value) = payment.echoed(name) {
            capture[name] = value.into();
        }
    }
    capture
}

pub fn batch_url(house: &House, payment: &Payment) -> String {
    format!("{}/paypal/v1/payments/payouts/{}", house.public_url, payment.reference)
}

fn payout_amount(money: Money) -> Value {
    json!({ "currency": money.currency.code(), "value": money.to_decimal() })
}

fn no_fee(money: Money) -> Value {
    payout_amount(Money::new(0, money.currency))
}

/// What a new batch is answered with.
pub fn batch_in_short(house: &House, payment: &Payment) -> Value {
    json!({
        "batch_header": {
            "payout_batch_id": payment.reference,
            "batch_status": "PENDING",
            "time_created": told(payment.created_at),
            "sender_batch_header": { "sender_batch_id": payment.key },
        },
        "links": [link(batch_url(house, payment), "self", "GET")],
    })
}

pub fn batch(house: &House, payment: &Payment) -> Value {
    let finished = payment.state != State::Pending;
    let mut header = json!({
        "payout_batch_id": payment.reference,
        "batch_status": if finished { "SUCCESS" } else { "PENDING" },
        "time_created": told(payment.created_at),
        "sender_batch_header": { "sender_batch_id": payment.key },
        "funding_source": "BALANCE",
        "amount": payout_amount(payment.money_told()),
        "fees": no_fee(payment.money_told()),
    });
    if finished {
        header["time_completed"] = told(payment.changed_at).into();
    }
    json!({
        "batch_header": header,
        "items": [item(house, payment)],
        "links": [link(batch_url(house, payment), "self", "GET")],
    })
}

/// The batch's one item. Its receiver is not kept.
pub fn item(house: &House, payment: &Payment) -> Value {
    let status = match payment.state {
        State::Succeeded => "SUCCESS",
        State::Reversed => "REVERSED",
        State::Pending => "PENDING",
        _ => "FAILED",
    };
    let id = id_of(house, payment, "item", 13);
    let items = format!("{}/paypal/v1/payments/payouts-item/{id}", house.public_url);
    let mut item = json!({
        "payout_item_id": id,
        "transaction_id": id_of(house, payment, "transaction", 17),
        "activity_id": id_of(house, payment, "activity", 17),
        "transaction_status": status,
        "payout_item_fee": no_fee(payment.money_told()),
        "payout_batch_id": payment.reference,
        "sender_batch_id": payment.key,
        "payout_item": {
            "recipient_type": "EMAIL",
            "amount": payout_amount(payment.money_told()),
            "sender_item_id": payment.echoed("sender_item_id"),
        },
        "time_processed": told(payment.changed_at),
        "links": [link(items, "item", "GET")],
    });
    if status == "FAILED" {
        item["errors"] = json!({
            "name": "RECEIVER_ACCOUNT_LOCKED",
            "message": "The recipient's account is locked.",
            "information_link": "https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#error-RECEIVER_ACCOUNT_LOCKED",
        });
    }
    item
}
