//! Payouts: batches of one item. What the states of batch and item say about a withdrawal.
//!
//! Source: developer.paypal.com/docs/api/payments.payouts-batch/v1.

use serde::Deserialize;

use super::amount::Amount;
use super::error::{Error, refusal, refused_create};
use crate::domain::outcome::{Outcome, Reversal};
use crate::gateway::answer::Answer;

#[derive(Deserialize)]
struct Batch {
    batch_header: Header,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) payout_batch_id: String,
    batch_status: String,
    pub(super) sender_batch_header: SenderHeader,
}

#[derive(Deserialize)]
pub(super) struct SenderHeader {
    pub(super) sender_batch_id: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    transaction_status: Option<String>,
    payout_item: Payee,
    errors: Option<Error>,
}

#[derive(Deserialize)]
struct Payee {
    amount: Amount,
    sender_item_id: Option<String>,
}

/// What the answer to a create comes to.
pub(super) enum Created {
    Is(Outcome),
    /// The same `sender_batch_id` was used before: this batch tells the rest.
    LookAtBatch(String),
}

/// `key`: our `sender_batch_id`.
pub(super) fn to_create(answer: &Answer, key: &str) -> Created {
    if answer.status.as_u16() == 201 || answer.status.as_u16() == 200 {
        return Created::Is(read(answer, key));
    }
    let error = match refusal(answer) {
        Ok(error) => error,
        Err(outcome) => return Created::Is(outcome),
    };
    if !is_duplicate(&error) {
        return Created::Is(refused_create(answer, &error));
    }
    match earlier_batch(&error) {
        Some(id) => Created::LookAtBatch(id),
        None => Created::Is(answer.unknown("the sender_batch_id was used before, but for which batch is not said")),
    }
}

/// "If you specify a sender_batch_id that was used in the last 30 days, the API rejects the request with an error message that shows the
/// duplicate and includes a HATEOAS link to the original payout."
fn is_duplicate(error: &Error) -> bool {
    let of_key = |field: &Option<String>| {
        field.as_deref().is_some_and(|field| field.to_ascii_lowercase().contains("sender_batch_id"))
    };
    error.name == "DUPLICATE_REQUEST_ID"
        || error.details.iter().any(|detail| of_key(&detail.field) && detail.issue.contains("already exists"))
}

/// The id at the end of the link; the link itself is never followed.
fn earlier_batch(error: &Error) -> Option<String> {
    let mut links = error.details.iter().flat_map(|detail| &detail.link);
    let path = links.find_map(|link| link.href.split_once("/v1/payments/payouts/"))?.1;
    let id: String = path.chars().take_while(char::is_ascii_alphanumeric).collect();
    (!id.is_empty()).then_some(id)
}

/// The answer to a question by batch id.
pub(super) fn to_retrieve(answer: &Answer, key: &str) -> Outcome {
    match answer.status.as_u16() {
        200 => read(answer, key),
        _ => answer.by_status().unwrap_or_else(|| answer.unknown("no batch")),
    }
}

/// The answer to a question by a batch id that is only said to be ours: another payout's batch, or none, leaves us
/// where we were, and sending again under the same `sender_batch_id` is safe.
pub(super) fn to_candidate(answer: &Answer, key: &str) -> Outcome {
    match answer.json::<Batch>() {
        Ok(batch) if answer.status.as_u16() == 200 && !batch.is_under(key) => Outcome::Unseen,
        _ if answer.status.as_u16() == 404 => Outcome::Unseen,
        _ => to_retrieve(answer, key),
    }
}

fn read(answer: &Answer, key: &str) -> Outcome {
    match answer.json::<Batch>() {
        Ok(batch) => batch.outcome(key),
        Err(error) => answer.unknown(error),
    }
}

impl Batch {
    fn is_under(&self, key: &str) -> bool {
        self.batch_header.sender_batch_header.sender_batch_id.as_deref() == Some(key)
    }

    fn outcome(&self, key: &str) -> Outcome {
        let reference = self.batch_header.payout_batch_id.clone();
        let unknown = |why: String| Outcome::Unknown { why: format!("batch {reference}: {why}") };
        if !self.is_under(key) {
            return unknown("made under another sender_batch_id".into());
        }
        match (self.batch_header.batch_status.as_str(), self.items.as_slice()) {
            (status @ ("DENIED" | "CANCELED"), _) => Outcome::Declined {
                reference: Some(reference),
                code: status.to_ascii_lowercase(),
                message: format!("the batch was {}", status.to_ascii_lowercase()),
            },
            (_, [item]) if item.payout_item.sender_item_id.as_deref() == Some(key) => item.outcome(&reference),
            ("NEW" | "PENDING" | "PROCESSING", []) => Outcome::Accepted { reference },
            (status, items) => unknown(format!("status {status} with {} items", items.len())),
        }
    }
}

impl Item {
    /// An unclaimed payout is claimed within 30 days or comes back (RETURNED) without ever having been paid.
    fn outcome(&self, batch: &str) -> Outcome {
        let reference = batch.to_owned();
        let status = self.transaction_status.as_deref().unwrap_or("PENDING");
        match (status, self.payout_item.amount.money()) {
            ("SUCCESS", Some(money)) => Outcome::Succeeded { reference, money },
            ("PENDING" | "NEW" | "ONHOLD" | "UNCLAIMED", _) => Outcome::Accepted { reference },
            ("FAILED" | "BLOCKED" | "DENIED" | "RETURNED" | "CANCELED", _) => Outcome::Declined {
                reference: Some(reference),
                code: self.errors.as_ref().map_or_else(|| status.to_ascii_lowercase(), Error::code),
                message: self.errors.as_ref().map(Error::message).unwrap_or_default(),
            },
            ("REFUNDED" | "REVERSED", Some(money)) => Outcome::Reversed { reference, money, how: Reversal::Returned },
            (status, _) => Outcome::Unknown { why: format!("batch {batch}: item {status}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{key, told};

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("fixtures/", $name, ".json"))
        };
    }

    fn created(status: u16, body: &str) -> String {
        match to_create(&Answer::made(status, body), &key()) {
            Created::Is(outcome) => told(&outcome),
            Created::LookAtBatch(id) => format!("look {id}"),
        }
    }

    #[test]
    fn every_answer_to_a_payout_has_its_one_meaning() {
        let cases = [
            (201, fixture!("payout_created"), "accepted 5UXD2E8A7EBQJ"),
            (400, fixture!("error_payout_duplicate"), "look 5UXD2E8A7EBQJ"),
            (400, fixture!("error_payout_validation"), "rejected VALIDATION_ERROR"),
            (422, fixture!("error_payout_insufficient_funds"), "later INSUFFICIENT_FUNDS"),
            (422, fixture!("error_duplicate_request_id"), "unknown"),
            (409, fixture!("error_in_progress"), "unknown"),
            (403, fixture!("error_permission_denied"), "later credentials_refused"),
            (429, fixture!("error_rate_limit"), "later rate_limited"),
            (500, fixture!("error_internal"), "unknown"),
            (307, fixture!("payout_created"), "unknown"),
            (201, "{}", "unknown"),
        ];
        for (status, body, meaning) in cases {
            assert_eq!(created(status, body), meaning, "{status} {body}");
        }
    }

    #[test]
    fn the_earlier_batch_is_named_by_its_id_and_its_link_is_never_followed() {
        let duplicate = fixture!("error_payout_duplicate");
        let elsewhere = duplicate.replace("https://api-m.sandbox.paypal.com", "http://169.254.169.254");
        assert_eq!(created(400, &elsewhere), "look 5UXD2E8A7EBQJ");
        let climbing = duplicate.replace("5UXD2E8A7EBQJ", "../../secrets");
        assert_eq!(created(400, &climbing), "unknown");
        let unnamed = duplicate.replace("/v1/payments/payouts/", "/elsewhere/");
        assert_eq!(created(400, &unnamed), "unknown");
    }

    #[test]
    fn every_state_of_batch_and_item_has_its_one_meaning() {
        let cases = [
            (fixture!("payout_created"), "accepted 5UXD2E8A7EBQJ"),
            (fixture!("payout_processing"), "accepted 5UXD2E8A7EBQJ"),
            (fixture!("payout_success"), "succeeded 5UXD2E8A7EBQJ 12.50 EUR"),
            (fixture!("payout_failed"), "declined 5UXD2E8A7EBQJ RECEIVER_ACCOUNT_LOCKED"),
            (fixture!("payout_unclaimed"), "accepted 5UXD2E8A7EBQJ"),
            (fixture!("payout_returned"), "declined 5UXD2E8A7EBQJ RECEIVER_UNREGISTERED"),
            (fixture!("payout_reversed"), "reversed 5UXD2E8A7EBQJ 12.50 EUR"),
            (fixture!("payout_denied"), "declined 5UXD2E8A7EBQJ denied"),
        ];
        for (body, meaning) in cases {
            assert_eq!(told(&to_retrieve(&Answer::made(200, body), &key())), meaning, "{body}");
        }
        let missing = Answer::made(404, fixture!("error_not_found"));
        assert_eq!(told(&to_retrieve(&missing, &key())), "unknown");
    }

    #[test]
    fn a_batch_that_is_only_said_to_be_ours_counts_only_if_it_was_made_under_our_key() {
        let candidate = |status, body: &str, key: &str| told(&to_candidate(&Answer::made(status, body), key));
        let success = fixture!("payout_success");
        assert_eq!(candidate(200, success, &key()), "succeeded 5UXD2E8A7EBQJ 12.50 EUR");
        assert_eq!(candidate(200, success, "another"), "unseen");
        assert_eq!(candidate(404, fixture!("error_not_found"), &key()), "unseen");
        for (status, body) in [(500, success), (200, "{}")] {
            assert_eq!(candidate(status, body, &key()), "unknown", "{status} {body}");
        }
    }

    #[test]
    fn another_payouts_batch_says_nothing_about_this_one() {
        let success = fixture!("payout_success");
        assert_eq!(told(&to_retrieve(&Answer::made(200, success), "another")), "unknown");
        let items = success.replacen("\"sender_item_id\": \"0192", "\"sender_item_id\": \"0193", 1);
        assert_eq!(told(&to_retrieve(&Answer::made(200, &items), &key())), "unknown");
    }
}
