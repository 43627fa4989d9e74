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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{deposit, money, settings, told, withdrawal};

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_payment_always_makes_the_same_documented_request() {
        let settings = settings().paypal;
        let order = create(&deposit(), &settings).unwrap();
        assert_eq!(order, parsed(include_str!("fixtures/request_order.json")));
        let payout = create(&withdrawal(Destination::Email("payee@example.com".into())), &settings).unwrap();
        assert_eq!(payout, parsed(include_str!("fixtures/request_payout.json")));
        assert_eq!(order.to_string(), create(&deposit(), &settings).unwrap().to_string());
    }

    #[test]
    fn what_paypal_cannot_move_is_refused_before_anything_is_sent() {
        let settings = settings().paypal;
        let to_iban = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        assert_eq!(told(&create(&to_iban, &settings).unwrap_err()), "rejected destination_not_supported");
        let mut forint = deposit();
        forint.money = money(1250, "HUF");
        assert_eq!(told(&create(&forint, &settings).unwrap_err()), "rejected amount_not_representable");
    }
}
