//! The requests that Stripe gets. The same attempt always makes the same bytes: a key used with others is an error.

use serde::Serialize;
use time::Duration;

use super::Settings;
use super::amount::to_stripe;
use crate::domain::destination::Destination;
use crate::domain::ids::Kind;
use crate::domain::outcome::Outcome;
use crate::gateway::Payment;

/// Objects per page of a list: a page of the largest ones stays below the limit on answers.
const PAGE_SIZE: &str = "100";

fn form<K: Serialize, V: Serialize>(fields: &[(K, V)]) -> String {
    serde_urlencoded::to_string(fields).unwrap_or_default()
}

fn rejected(code: &str, message: impl ToString) -> Outcome {
    Outcome::Rejected { code: code.to_owned(), message: message.to_string() }
}

fn money(payment: &Payment) -> Result<[(&'static str, String); 2], Outcome> {
    let amount = to_stripe(payment.money, payment.kind).map_err(|error| rejected("amount_not_representable", error))?;
    Ok([("amount", amount.to_string()), ("currency", payment.money.currency.code().to_ascii_lowercase())])
}

fn metadata(payment: &Payment) -> [(&'static str, String); 2] {
    [
        ("metadata[attempt_id]", payment.attempt_id.to_string()),
        ("metadata[transaction_id]", payment.transaction_id.to_string()),
    ]
}

/// The body of a create, or why this payment cannot be Stripe's.
pub(super) fn create(payment: &Payment, settings: &Settings) -> Result<String, Outcome> {
    let mut fields = money(payment)?.to_vec();
    match payment.kind {
        Kind::Deposit => fields.extend(confirmation(payment, settings)),
        Kind::Withdrawal => match &payment.destination {
            Some(Destination::Token(token)) => fields.push(("destination", token.clone())),
            _ => return Err(rejected("destination_not_supported", "Stripe pays out to accounts that it knows")),
        },
    }
    fields.extend(metadata(payment));
    Ok(form(&fields))
}

/// docs.stripe.com/api/payment_intents/create: without a page to come back to, only methods that need no redirect can be offered.
fn confirmation(payment: &Payment, settings: &Settings) -> Vec<(&'static str, String)> {
    let default = (!settings.return_url.is_empty()).then_some(&settings.return_url);
    let way_back = match payment.return_url.as_ref().or(default) {
        Some(url) => ("return_url", url.clone()),
        None => ("automatic_payment_methods[allow_redirects]", "never".into()),
    };
    vec![
        ("confirm", "true".into()),
        ("payment_method", settings.payment_method.clone()),
        ("automatic_payment_methods[enabled]", "true".into()),
        way_back,
    ]
}

/// The query of one page of everything that was created while the attempt's calls could have arrived.
pub(super) fn window(payment: &Payment, after: Option<&str>, skew: Duration) -> String {
    let from = (payment.attempted_at - skew).unix_timestamp().to_string();
    let to = (payment.last_send_by + skew).unix_timestamp().to_string();
    let mut fields = vec![("created[gte]", from.as_str()), ("created[lte]", to.as_str()), ("limit", PAGE_SIZE)];
    fields.extend(after.map(|id| ("starting_after", id)));
    form(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{deposit, money, settings, told, withdrawal};

    #[test]
    fn a_payment_always_makes_the_same_documented_request() {
        let settings = settings().stripe;
        let mut payment = deposit();
        assert_eq!(create(&payment, &settings).unwrap(), include_str!("fixtures/request_payment_intent.form").trim());
        payment.return_url = None;
        let form = create(&payment, &settings).unwrap();
        assert_eq!(form, include_str!("fixtures/request_payment_intent_no_return.form").trim());
        let payout = withdrawal(Destination::Token("ba_1PayfleetFixture".into()));
        assert_eq!(create(&payout, &settings).unwrap(), include_str!("fixtures/request_payout.form").trim());
    }

    #[test]
    fn what_stripe_cannot_move_is_refused_before_anything_is_sent() {
        let settings = settings().stripe;
        let to_iban = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        assert_eq!(told(&create(&to_iban, &settings).unwrap_err()), "rejected destination_not_supported");
        let mut gold = deposit();
        gold.money = money(1, "XAU");
        assert_eq!(told(&create(&gold, &settings).unwrap_err()), "rejected amount_not_representable");
    }

    #[test]
    fn the_window_reaches_from_the_attempt_to_its_last_call_and_the_clocks_beyond() {
        let payment = deposit();
        let first = window(&payment, None, Duration::minutes(5));
        let (from, to) = (payment.attempted_at.unix_timestamp() - 300, payment.last_send_by.unix_timestamp() + 300);
        assert_eq!(first, format!("created%5Bgte%5D={from}&created%5Blte%5D={to}&limit=100"));
        assert_eq!(window(&payment, Some("pi_1"), Duration::minutes(5)), format!("{first}&starting_after=pi_1"));
    }
}
