//! The requests that PayPal gets. The same attempt always makes the same bytes.

use serde_json::{Value, json};

use super::Settings;
use super::amount::to_paypal;
use crate::domain::destination::Destination;
use crate::domain::ids::{Kind, Operation};
use crate::domain::outcome::Outcome;
use crate::gateway::Payment;

fn rejected(code: &str, message: impl ToString) -> Outcome {
    Outcome::Rejected { code: code.to_owned(), message: message.to_string() }
}

/// The body of a create, or why this payment cannot be PayPal's.
pub(super) fn create(payment: &Payment, settings: &Settings) -> Result<Value, Outcome> {
    let value = to_paypal(payment.money).map_err(|error| rejected("amount_not_representable", error))?;
    match (payment.kind, &payment.destination) {
        (Kind::Deposit, _) => Ok(order(payment, value, settings)),
        (Kind::Withdrawal, Some(Destination::Email(email))) => Ok(payout(payment, value, email)),
        _ => Err(rejected("destination_not_supported", "PayPal pays out to e-mail addresses")),
    }
}

fn order(payment: &Payment, value: String, settings: &Settings) -> Value {
    let mut context = json!({ "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING" });
    let default = (!settings.return_url.is_empty()).then_some(&settings.return_url);
    if let Some(url) = payment.return_url.as_ref().or(default) {
        context["return_url"] = url.as_str().into();
        context["cancel_url"] = url.as_str().into();
    }
    json!({
        "intent": "CAPTURE",
        "purchase_units": [{
            "custom_id": payment.attempt_id,
            "amount": { "currency_code": payment.money.currency, "value": value },
        }],
        "payment_source": { "paypal": { "experience_context": context } },
    })
}

fn payout(payment: &Payment, value: String, email: &str) -> Value {
    let key = payment.key(Operation::Create);
    json!({
        "sender_batch_header": { "sender_batch_id": key },
        "items": [{
            "recipient_type": "EMAIL",
            "amount": { "currency": payment.money.currency, "value": value },
            "receiver": email,
            "sender_item_id": key,
        }],
    })
}
