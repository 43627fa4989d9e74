//! PaymentIntent and Payout as Stripe shows them (docs.stripe.com/api/payment_intents/object, docs.stripe.com/api/payouts/object).

use serde_json::{Value, json};

use super::amount;
use crate::domain::ids::Kind;
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::books::{Payment, State};
use crate::gateway_sim::customer;
use crate::gateway_sim::house::House;

pub fn object(house: &House, payment: &Payment) -> Value {
    match payment.kind {
        Kind::Deposit => payment_intent(house, payment),
        Kind::Withdrawal => payout(house, payment),
    }
}

/// A part of a payment that has an id of its own.
fn id_of(house: &House, payment: &Payment, prefix: &str) -> String {
    format!("{prefix}_{}", dice::text(house.settings.seed, prefix, &payment.reference, dice::BASE62, 24))
}

/// The error of a card payment that is on the books as declined; None for any other payment.
pub fn declined(house: &House, payment: &Payment) -> Option<Value> {
    if payment.kind != Kind::Deposit || payment.state != State::Failed {
        return None;
    }
    let mut error = payment_error(house, payment);
    error["payment_intent"] = payment_intent(house, payment);
    Some(error)
}

fn payment_error(house: &House, payment: &Payment) -> Value {
    match payment.state {
        State::Failed => json!({
            "charge": id_of(house, payment, "ch"),
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://docs.stripe.com/error-codes/card-declined",
            "message": "Your card was declined.",
            "type": "card_error",
        }),
        State::Cancelled => json!({
            "code": "payment_intent_authentication_failure",
            "doc_url": "https://docs.stripe.com/error-codes/payment-intent-authentication-failure",
            "message": "The provided payment method has failed authentication.",
            "type": "invalid_request_error",
        }),
        _ => Value::Null,
    }
}

fn payment_intent(house: &House, payment: &Payment) -> Value {
    let status = match payment.state {
        State::AwaitingCustomer | State::Approved => "requires_action",
        State::Pending | State::Capturing => "processing",
        State::Succeeded | State::Reversed => "succeeded",
        State::Failed | State::Cancelled => "requires_payment_method",
        State::Expired => "canceled",
    };
    let moved = status == "succeeded";
    let charged = moved || payment.state == State::Failed;
    let next_action = match status {
        "requires_action" => json!({
            "type": "redirect_to_url",
            "redirect_to_url": { "url": customer::url_of(house, payment), "return_url": payment.return_url },
        }),
        _ => Value::Null,
    };
    json!({
        "id": payment.reference,
        "object": "payment_intent",
        "amount": amount::shown(payment.money_told()),
        "amount_capturable": 0,
        "amount_received": if moved { amount::shown(payment.money_told()) } else { 0 },
        "automatic_payment_methods": { "allow_redirects": "always", "enabled": true },
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic_async",
        "client_secret": format!("{}_secret_{}", payment.reference, id_of(house, payment, "secret")),
        "confirmation_method": "automatic",
        "created": payment.created_at.unix_timestamp(),
        "currency": payment.money_told().currency.code().to_ascii_lowercase(),
        "customer": null,
        "description": null,
        "last_payment_error": payment_error(house, payment),
        "latest_charge": if charged { Value::from(id_of(house, payment, "ch")) } else { Value::Null },
        "livemode": false,
        "metadata": payment.echo,
        "next_action": next_action,
        "payment_method": if status == "requires_payment_method" { Value::Null } else { id_of(house, payment, "pm").into() },
        "payment_method_types": ["card"],
        "processing": null,
        "status": status,
        "transfer_group": null,
    })
}

fn payout(house: &House, payment: &Payment) -> Value {
    let status = match payment.state {
        State::Succeeded | State::Reversed => "paid",
        State::Failed | State::Expired => "failed",
        State::Cancelled => "canceled",
        _ => "pending",
    };
    let failed = status == "failed";
    let only_if_failed = |value: &str| if failed { Value::from(value) } else { Value::Null };
    let created = payment.created_at.unix_timestamp();
    json!({
        "id": payment.reference,
        "object": "payout",
        "amount": amount::shown(payment.money_told()),
        "application_fee": null,
        "arrival_date": created - created.rem_euclid(86_400) + 86_400,
        "automatic": false,
        "balance_transaction": id_of(house, payment, "txn"),
        "created": created,
        "currency": payment.money_told().currency.code().to_ascii_lowercase(),
        "description": null,
        "destination": id_of(house, payment, "ba"),
        "failure_balance_transaction": only_if_failed(&id_of(house, payment, "txn_failed")),
        "failure_code": only_if_failed("account_closed"),
        "failure_message": only_if_failed("The bank account has been closed."),
        "livemode": false,
        "metadata": payment.echo,
        "method": "standard",
        "original_payout": null,
        "reconciliation_status": "not_applicable",
        "reversed_by": null,
        "source_type": "card",
        "statement_descriptor": null,
        "status": status,
        "type": "bank_account",
    })
}
