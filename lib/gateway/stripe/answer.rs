//! Every answer of Stripe, read into an [`Outcome`]. Pure: status, headers and body in, outcome out.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::Duration;
use uuid::Uuid;

use super::object::{Booked, ErrorBody, List, PaymentIntent};
use crate::domain::outcome::Outcome;
use crate::gateway::answer::Answer;

/// What an answer is read against.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) attempt: Uuid,
    pub(super) customer: Duration,
}

impl Expected {
    fn outcome<T: Booked>(self, object: &T) -> Outcome {
        if object.attempt() == Some(self.attempt) {
            object.outcome(self.customer)
        } else {
            Outcome::Unknown { why: format!("{} was made for another attempt", object.id()) }
        }
    }
}

/// The answer to a create.
pub(super) fn to_create<T: Booked + DeserializeOwned>(answer: &Answer, expected: Expected) -> Outcome {
    match answer.status.as_u16() {
        200 | 201 => object::<T>(answer, expected),
        400..500 => refused(answer, expected),
        _ => answer.by_status().unwrap_or_else(|| answer.unknown("not documented")),
    }
}

/// The answer to a question by id. That the id is not known means nothing: it was known once.
pub(super) fn to_retrieve<T: Booked + DeserializeOwned>(answer: &Answer, expected: Expected) -> Outcome {
    match answer.status.as_u16() {
        200 => object::<T>(answer, expected),
        _ => answer.by_status().unwrap_or_else(|| answer.unknown("no payment")),
    }
}

/// The answer to a question by an id that is only said to be this payment's. None: it is not, or cannot be read; the list may tell.
pub(super) fn to_candidate<T: Booked + DeserializeOwned>(answer: &Answer, expected: Expected) -> Option<Outcome> {
    let object = answer.json::<T>().ok().filter(|_| answer.status.as_u16() == 200)?;
    (object.attempt() == Some(expected.attempt)).then(|| object.outcome(expected.customer))
}

/// A page of a list: the payment if it is there, else the id after which the next page begins.
pub(super) enum Page {
    Found(Outcome),
    Next(String),
    Last,
}

pub(super) fn to_list<T: Booked + DeserializeOwned>(answer: &Answer, expected: Expected) -> Result<Page, Outcome> {
    if answer.status.as_u16() != 200 {
        return Err(answer.by_status().unwrap_or_else(|| answer.unknown("no list")));
    }
    let list: List<T> = answer.json().map_err(|error| answer.unknown(error))?;
    if let Some(object) = list.data.iter().find(|object| object.attempt() == Some(expected.attempt)) {
        return Ok(Page::Found(object.outcome(expected.customer)));
    }
    match list.data.last() {
        Some(last) if list.has_more => Ok(Page::Next(last.id().to_owned())),
        None if list.has_more => Err(answer.unknown("an empty page with more to come")),
        _ => Ok(Page::Last),
    }
}

fn object<T: Booked + DeserializeOwned>(answer: &Answer, expected: Expected) -> Outcome {
    match answer.json::<T>() {
        Ok(object) => expected.outcome(&object),
        Err(error) => answer.unknown(error),
    }
}

/// A refusal (docs.stripe.com/api/errors). What names a payment, or may concern an earlier request under the same key, proves nothing;
/// so the body is looked at before the status.
fn refused(answer: &Answer, expected: Expected) -> Outcome {
    let error = answer.json::<ErrorBody>().map(|body| body.error);
    if let Ok(Some(booked)) = error.as_ref().map(|error| error.payment_intent.as_ref()) {
        return declined(answer, booked, expected);
    }
    if let Some(outcome) = answer.by_status() {
        return outcome;
    }
    let error = match error {
        Ok(error) => error,
        Err(unreadable) => return answer.unknown(unreadable),
    };
    let code = error.code();
    match (answer.status.as_u16(), error.kind.as_str()) {
        // Our own balance at Stripe is too low: not the payment's fault, and different tomorrow.
        (400, "invalid_request_error") if code == "balance_insufficient" => {
            Outcome::Later { retry_after_ms: None, code }
        }
        (400 | 404, "invalid_request_error") => Outcome::Rejected { code, message: error.message() },
        _ => answer.unknown(format_args!("{} {code}", error.kind)),
    }
}

/// A refusal of a payment that is on the books: with 402 it has ended if it says so itself, and is the one that we asked for.
fn declined(answer: &Answer, booked: &Value, expected: Expected) -> Outcome {
    let intent = PaymentIntent::deserialize(booked).ok().filter(|_| answer.status.as_u16() == 402);
    match intent.map(|intent| expected.outcome(&intent)) {
        Some(declined @ Outcome::Declined { .. }) => declined,
        _ => answer.unknown("refused, but a payment was made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{ATTEMPT, OTHER_ATTEMPT, told};
    use crate::gateway::stripe::object::{PaymentIntent, Payout};

    const EXPECTED: Expected = Expected { attempt: ATTEMPT, customer: Duration::minutes(60) };

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("fixtures/", $name, ".json"))
        };
    }

    const SUCCEEDED: &str = fixture!("payment_intent_succeeded");

    #[test]
    fn every_answer_to_a_deposit_has_its_one_meaning() {
        let action = "needs_customer pi_3PayfleetFixture0001 \
                      https://hooks.stripe.com/redirect/authenticate/src_fixture?client_secret=x Some(60)";
        let cases = [
            (200, SUCCEEDED, "succeeded pi_3PayfleetFixture0001 12.50 EUR"),
            (200, fixture!("payment_intent_processing"), "accepted pi_3PayfleetFixture0001"),
            (200, fixture!("payment_intent_requires_action"), action),
            (200, fixture!("payment_intent_declined"), "declined pi_3PayfleetFixture0001 insufficient_funds"),
            (200, fixture!("payment_intent_canceled"), "expired pi_3PayfleetFixture0001"),
            (402, fixture!("error_card_declined"), "declined pi_3PayfleetFixture0001 insufficient_funds"),
            (400, fixture!("error_invalid_request"), "rejected parameter_invalid_integer"),
            (400, fixture!("error_amount_too_small"), "rejected amount_too_small"),
            (400, fixture!("error_idempotency_mismatch"), "unknown"),
            (409, fixture!("error_idempotency_key_in_use"), "unknown"),
            (401, fixture!("error_authentication"), "later credentials_refused"),
            (403, fixture!("error_authentication"), "later credentials_refused"),
            (429, fixture!("error_rate_limit"), "later rate_limited"),
            (500, fixture!("error_api"), "unknown"),
            (400, fixture!("error_api"), "unknown"),
            (402, fixture!("error_invalid_request"), "unknown"),
            // An object with a status that says something else than the body proves nothing.
            (400, SUCCEEDED, "unknown"),
            (302, SUCCEEDED, "unknown"),
            (202, SUCCEEDED, "unknown"),
            (200, "", "unknown"),
            (200, "{}", "unknown"),
            (200, "<html>", "unknown"),
            (400, "<html>", "unknown"),
        ];
        for (status, body, meaning) in cases {
            let outcome = to_create::<PaymentIntent>(&Answer::made(status, body), EXPECTED);
            assert_eq!(told(&outcome), meaning, "{status} {body}");
        }
    }

    #[test]
    fn every_answer_to_a_withdrawal_has_its_one_meaning() {
        let cases = [
            (200, fixture!("payout_pending"), "accepted po_1PayfleetFixture0001"),
            (200, fixture!("payout_in_transit"), "accepted po_1PayfleetFixture0001"),
            (200, fixture!("payout_paid"), "succeeded po_1PayfleetFixture0001 12.50 EUR"),
            (200, fixture!("payout_failed"), "declined po_1PayfleetFixture0001 account_closed"),
            (200, fixture!("payout_canceled"), "declined po_1PayfleetFixture0001 canceled"),
            (400, fixture!("error_no_such_destination"), "rejected resource_missing"),
            (404, fixture!("error_no_such_destination"), "rejected resource_missing"),
            (400, fixture!("error_balance_insufficient"), "later balance_insufficient"),
        ];
        for (status, body, meaning) in cases {
            let outcome = to_create::<Payout>(&Answer::made(status, body), EXPECTED);
            assert_eq!(told(&outcome), meaning, "{status} {body}");
        }
    }

    /// A refusal that names a payment concerns one that is on the books, and so is one whose payment cannot be read.
    #[test]
    fn a_refusal_with_a_payment_in_it_is_no_refusal() {
        let declined = fixture!("error_card_declined");
        let invalid = declined.replace("\"type\": \"card_error\"", "\"type\": \"invalid_request_error\"");
        let unreadable = r#"{"error": {"type": "invalid_request_error", "payment_intent": {"id": "pi_1"}}}"#;
        for status in [400, 401, 403, 404, 409, 422, 429] {
            for body in [declined, &invalid, unreadable] {
                let outcome = to_create::<PaymentIntent>(&Answer::made(status, body), EXPECTED);
                assert_eq!(told(&outcome), "unknown", "{status} {body}");
            }
        }
    }

    #[test]
    fn a_decline_is_what_the_payment_itself_says_and_only_of_the_attempt_that_we_made() {
        let declined = fixture!("error_card_declined");
        let meaning = |body: &str, expected| told(&to_create::<PaymentIntent>(&Answer::made(402, body), expected));
        assert_eq!(meaning(declined, EXPECTED), "declined pi_3PayfleetFixture0001 insufficient_funds");
        for status in ["requires_action", "processing", "succeeded", "requires_capture"] {
            let other = declined.replace("\"requires_payment_method\"", &format!("\"{status}\""));
            assert_eq!(meaning(&other, EXPECTED), "unknown", "{status}");
        }
        assert_eq!(meaning(declined, Expected { attempt: OTHER_ATTEMPT, ..EXPECTED }), "unknown");
        assert_eq!(meaning(r#"{"error": {"type": "card_error", "code": "card_declined"}}"#, EXPECTED), "unknown");
    }

    #[test]
    fn the_amount_is_the_gateways_and_never_ours() {
        let body =
            SUCCEEDED.replace("\"amount_received\": 1250", "\"amount_received\": 1200").replace("\"eur\"", "\"usd\"");
        let outcome = to_create::<PaymentIntent>(&Answer::made(200, &body), EXPECTED);
        assert_eq!(told(&outcome), "succeeded pi_3PayfleetFixture0001 12.00 USD");
        let body = SUCCEEDED.replace("\"eur\"", "\"zzz\"");
        assert_eq!(told(&to_create::<PaymentIntent>(&Answer::made(200, &body), EXPECTED)), "unknown");
    }

    #[test]
    fn another_attempts_payment_says_nothing_about_this_one() {
        let other = Expected { attempt: OTHER_ATTEMPT, ..EXPECTED };
        assert_eq!(told(&to_create::<PaymentIntent>(&Answer::made(200, SUCCEEDED), other)), "unknown");
        assert_eq!(told(&to_retrieve::<PaymentIntent>(&Answer::made(200, SUCCEEDED), other)), "unknown");
    }

    #[test]
    fn a_known_id_that_is_missing_is_not_proof_of_absence() {
        let missing = Answer::made(404, fixture!("error_no_such_payment_intent"));
        assert_eq!(told(&to_retrieve::<PaymentIntent>(&missing, EXPECTED)), "unknown");
        let there = Answer::made(200, SUCCEEDED);
        assert_eq!(
            told(&to_retrieve::<PaymentIntent>(&there, EXPECTED)),
            "succeeded pi_3PayfleetFixture0001 12.50 EUR"
        );
    }

    #[test]
    fn a_payment_of_a_day_that_no_calendar_has_is_read_without_an_end() {
        let mut late: Value = serde_json::from_str(fixture!("payment_intent_requires_action")).unwrap();
        late["created"] = 253_402_300_799_i64.into();
        let outcome = to_create::<PaymentIntent>(&Answer::made(200, &late.to_string()), EXPECTED);
        assert!(matches!(outcome, Outcome::NeedsCustomer { expires_at: None, .. }), "{outcome:?}");
    }

    #[test]
    fn a_list_tells_the_payment_the_next_page_or_its_end() {
        let list = fixture!("payment_intent_list");
        let page = |status, body: &str, expected| to_list::<PaymentIntent>(&Answer::made(status, body), expected);
        let other = Expected { attempt: OTHER_ATTEMPT, ..EXPECTED };
        let more = list.replace("\"has_more\": false", "\"has_more\": true");
        assert!(matches!(page(200, list, EXPECTED), Ok(Page::Found(Outcome::Succeeded { .. }))));
        assert!(matches!(page(200, list, other), Ok(Page::Last)));
        assert!(matches!(page(200, &more, other), Ok(Page::Next(id)) if id == "pi_3PayfleetFixture0001"));
        assert!(matches!(page(200, fixture!("list_empty"), EXPECTED), Ok(Page::Last)));
        for (status, body) in [(200, "{}"), (404, list), (500, list), (429, list)] {
            assert!(page(status, body, EXPECTED).is_err(), "{status}");
        }
    }
}
