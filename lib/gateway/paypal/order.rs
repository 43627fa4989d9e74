//! Orders: what each of their states says about a deposit.
//!
//! ```text
//! CREATED, PAYER_ACTION_REQUIRED ─customer─▶ APPROVED ─capture─▶ COMPLETED: the captures tell
//!                └─ 3 hours ─▶ forgotten (404)      └─▶ VOIDED
//! ```
//! Source: developer.paypal.com/docs/api/orders/v2.

use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::amount::{self, Amount};
use super::error::{Error, Link, refusal, refused_create};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, Reversal};
use crate::gateway::answer::Answer;

#[derive(Deserialize)]
pub(super) struct Order {
    pub(super) id: String,
    status: String,
    #[serde(default)]
    purchase_units: Vec<Unit>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    create_time: Option<OffsetDateTime>,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Unit {
    custom_id: Option<String>,
    #[serde(default)]
    payments: Payments,
}

#[derive(Deserialize, Default)]
struct Payments {
    #[serde(default)]
    captures: Vec<Capture>,
    #[serde(default)]
    refunds: Vec<Refund>,
}

#[derive(Deserialize)]
struct Capture {
    id: String,
    status: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct Refund {
    amount: Amount,
}

/// What an answer is read against.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) attempt: Uuid,
    pub(super) customer: Duration,
}

/// What an answer to a capture comes to.
pub(super) enum Captured {
    Is(Outcome),
    /// PayPal says that it was captured before, or is not approved: the order itself tells the rest.
    LookAtOrder,
}

pub(super) fn to_create(answer: &Answer, expected: Expected) -> Outcome {
    match answer.status.as_u16() {
        200 | 201 => read(answer, expected),
        _ => refusal(answer).map_or_else(|outcome| outcome, |error| refused_create(answer, &error)),
    }
}

/// Asked by an id that PayPal once gave us: that it is gone means that nobody approved it in time.
pub(super) fn to_retrieve(answer: &Answer, id: &str, expected: Expected) -> Outcome {
    match answer.status.as_u16() {
        200 => read(answer, expected),
        404 => match answer.json::<Error>() {
            Ok(error) if error.name == "RESOURCE_NOT_FOUND" => Outcome::Expired { reference: Some(id.to_owned()) },
            _ => answer.unknown("no order"),
        },
        _ => answer.by_status().unwrap_or_else(|| answer.unknown("no order")),
    }
}

/// developer.paypal.com/docs/api/orders/v2/#errors: refusals of a capture after which the customer's money stays where it is. The order
/// is on the books by then, so each is a decline.
const CAPTURE_DECLINED: &[&str] = &[
    "INSTRUMENT_DECLINED",
    "PAYER_CANNOT_PAY",
    "PAYER_ACCOUNT_RESTRICTED",
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
    "PAYEE_ACCOUNT_RESTRICTED",
    "PAYEE_ACCOUNT_LOCKED_OR_CLOSED",
    "TRANSACTION_REFUSED",
    "TRANSACTION_LIMIT_EXCEEDED",
    "TRANSACTION_RECEIVING_LIMIT_EXCEEDED",
    "TRANSACTION_BLOCKED_BY_PAYEE",
    "COMPLIANCE_VIOLATION",
    "CARD_EXPIRED",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING",
];

pub(super) fn to_capture(answer: &Answer, id: &str, expected: Expected) -> Captured {
    match answer.status.as_u16() {
        200 | 201 => Captured::Is(read(answer, expected)),
        _ => match refusal(answer) {
            Err(outcome) => Captured::Is(outcome),
            Ok(error) if error.has_issue(&["ORDER_ALREADY_CAPTURED", "ORDER_NOT_APPROVED", "ORDER_EXPIRED"]) => {
                Captured::LookAtOrder
            }
            Ok(error) if answer.status.as_u16() == 422 && error.has_issue(CAPTURE_DECLINED) => {
                Captured::Is(declined(id, error.code(), error.message()))
            }
            Ok(error) => Captured::Is(answer.unknown(error.code())),
        },
    }
}

fn read(answer: &Answer, expected: Expected) -> Outcome {
    match answer.json::<Order>() {
        Ok(order) if order.attempt() == Some(expected.attempt) => order.outcome(expected.customer),
        Ok(order) => Outcome::Unknown { why: format!("order {} was made for another attempt", order.id) },
        Err(error) => answer.unknown(error),
    }
}

fn declined(id: &str, code: String, message: String) -> Outcome {
    Outcome::Declined { reference: Some(id.to_owned()), code, message }
}

impl Order {
    pub(super) fn attempt(&self) -> Option<Uuid> {
        self.purchase_units.first().and_then(|unit| Uuid::try_parse(unit.custom_id.as_ref()?).ok())
    }

    fn outcome(&self, customer: Duration) -> Outcome {
        let reference = self.id.clone();
        match self.status.as_str() {
            "CREATED" | "SAVED" | "PAYER_ACTION_REQUIRED" => {
                match self.links.iter().find(|link| matches!(link.rel.as_str(), "payer-action" | "approve")) {
                    Some(link) => Outcome::NeedsCustomer {
                        reference,
                        redirect_url: link.href.clone(),
                        expires_at: self.create_time.and_then(|created| created.checked_add(customer)),
                    },
                    None => Outcome::Unknown { why: format!("order {reference} has no page to approve it on") },
                }
            }
            "APPROVED" => Outcome::Approved { reference },
            // Somebody ended it: the customer who cancelled, or we ourselves. That nobody came in time shows in its being forgotten.
            "VOIDED" => declined(&self.id, "voided".into(), "the order was voided".into()),
            "COMPLETED" => self.captured(),
            status => Outcome::Unknown { why: format!("order {reference}: status {status}") },
        }
    }

    /// developer.paypal.com/docs/api/payments/v2/#captures_get: the states of a capture.
    fn captured(&self) -> Outcome {
        let unknown = |why: &str| Outcome::Unknown { why: format!("order {}: {why}", self.id) };
        let captures: Vec<&Capture> = self.purchase_units.iter().flat_map(|unit| &unit.payments.captures).collect();
        let [capture] = captures.as_slice() else { return unknown("not exactly one capture") };
        let reference = self.id.clone();
        match (capture.status.as_str(), capture.amount.money()) {
            ("COMPLETED", Some(money)) => Outcome::Succeeded { reference, money },
            ("PENDING", _) => Outcome::Accepted { reference },
            (status @ ("DECLINED" | "FAILED"), _) => {
                declined(&self.id, status.to_ascii_lowercase(), format!("capture {} has failed", capture.id))
            }
            ("REFUNDED" | "PARTIALLY_REFUNDED", Some(_)) => match self.refunded() {
                Some(money) => Outcome::Reversed { reference, money, how: Reversal::Returned },
                None => unknown("refunded, but not how much"),
            },
            (status, _) => unknown(&format!("capture {status}")),
        }
    }

    fn refunded(&self) -> Option<Money> {
        let refunds = self.purchase_units.iter().flat_map(|unit| &unit.payments.refunds);
        amount::sum(refunds.map(|refund| &refund.amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{ATTEMPT, OTHER_ATTEMPT, told};

    const EXPECTED: Expected = Expected { attempt: ATTEMPT, customer: Duration::minutes(180) };
    const ID: &str = "5O190127TN364715T";

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("fixtures/", $name, ".json"))
        };
    }

    const COMPLETED: &str = fixture!("order_completed");

    #[test]
    fn every_answer_to_a_create_has_its_one_meaning() {
        let page = "needs_customer 5O190127TN364715T \
                    https://www.sandbox.paypal.com/checkoutnow?token=5O190127TN364715T Some(180)";
        let cases = [
            (200, fixture!("order_payer_action"), page),
            (201, fixture!("order_created"), page),
            (200, fixture!("order_approved"), "approved 5O190127TN364715T"),
            (200, COMPLETED, "succeeded 5O190127TN364715T 12.50 EUR"),
            (200, fixture!("order_capture_pending"), "accepted 5O190127TN364715T"),
            (200, fixture!("order_capture_declined"), "declined 5O190127TN364715T declined"),
            (200, fixture!("order_refunded"), "reversed 5O190127TN364715T 12.50 EUR"),
            (200, fixture!("order_voided"), "declined 5O190127TN364715T voided"),
            (400, fixture!("error_invalid_request"), "rejected MISSING_REQUIRED_PARAMETER"),
            (422, fixture!("error_unprocessable"), "rejected CURRENCY_NOT_SUPPORTED_FOR_RECEIVER"),
            (422, fixture!("error_duplicate_request_id"), "unknown"),
            (409, fixture!("error_in_progress"), "unknown"),
            (422, fixture!("error_in_progress"), "unknown"),
            (401, fixture!("error_invalid_token"), "later credentials_refused"),
            (403, fixture!("error_permission_denied"), "later credentials_refused"),
            (429, fixture!("error_rate_limit"), "later rate_limited"),
            (404, fixture!("error_not_found"), "unknown"),
            (500, fixture!("error_internal"), "unknown"),
            (400, fixture!("error_internal"), "unknown"),
            (302, COMPLETED, "unknown"),
            (422, COMPLETED, "unknown"),
            (200, "", "unknown"),
            (400, "<html>", "unknown"),
        ];
        for (status, body, meaning) in cases {
            assert_eq!(told(&to_create(&Answer::made(status, body), EXPECTED)), meaning, "{status} {body}");
        }
    }

    #[test]
    fn every_answer_to_a_capture_has_its_one_meaning() {
        let cases = [
            (201, COMPLETED, "succeeded 5O190127TN364715T 12.50 EUR"),
            (201, fixture!("order_capture_pending"), "accepted 5O190127TN364715T"),
            (201, fixture!("order_capture_declined"), "declined 5O190127TN364715T declined"),
            (422, fixture!("error_instrument_declined"), "declined 5O190127TN364715T INSTRUMENT_DECLINED"),
            (422, fixture!("error_already_captured"), "look"),
            (422, fixture!("error_not_approved"), "look"),
            (422, fixture!("error_unprocessable"), "unknown"),
            (422, fixture!("error_duplicate_request_id"), "unknown"),
            (409, fixture!("error_in_progress"), "unknown"),
            (404, fixture!("error_not_found"), "unknown"),
            (429, fixture!("error_rate_limit"), "later rate_limited"),
            (503, fixture!("error_internal"), "unknown"),
        ];
        for (status, body, meaning) in cases {
            let captured = match to_capture(&Answer::made(status, body), ID, EXPECTED) {
                Captured::Is(outcome) => told(&outcome),
                Captured::LookAtOrder => "look".into(),
            };
            assert_eq!(captured, meaning, "{status} {body}");
        }
    }

    #[test]
    fn an_order_that_paypal_has_forgotten_was_never_approved() {
        let retrieve = |status, body| told(&to_retrieve(&Answer::made(status, body), ID, EXPECTED));
        assert_eq!(retrieve(404, fixture!("error_not_found")), "expired 5O190127TN364715T");
        assert_eq!(retrieve(404, "<html>not found</html>"), "unknown");
        assert_eq!(retrieve(404, fixture!("error_internal")), "unknown");
        assert_eq!(retrieve(200, COMPLETED), "succeeded 5O190127TN364715T 12.50 EUR");
    }

    #[test]
    fn the_amount_is_the_captures_and_never_ours() {
        let less = COMPLETED.replace("\"value\": \"12.50\"", "\"value\": \"12.00\"");
        assert_eq!(told(&to_create(&Answer::made(200, &less), EXPECTED)), "succeeded 5O190127TN364715T 12.00 EUR");
        let finer = COMPLETED.replace("\"value\": \"12.50\"", "\"value\": \"12.505\"");
        assert_eq!(told(&to_create(&Answer::made(200, &finer), EXPECTED)), "unknown");
        let none = fixture!("order_approved").replace("\"APPROVED\"", "\"COMPLETED\"");
        assert_eq!(told(&to_create(&Answer::made(200, &none), EXPECTED)), "unknown");
    }

    #[test]
    fn an_order_of_a_day_that_no_calendar_has_is_read_without_an_end() {
        let late = fixture!("order_created").replace("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
        let outcome = to_create(&Answer::made(201, &late), EXPECTED);
        assert!(matches!(outcome, Outcome::NeedsCustomer { expires_at: None, .. }), "{outcome:?}");
    }

    #[test]
    fn another_attempts_order_says_nothing_about_this_one() {
        let other = Expected { attempt: OTHER_ATTEMPT, ..EXPECTED };
        assert_eq!(told(&to_create(&Answer::made(200, COMPLETED), other)), "unknown");
    }
}
