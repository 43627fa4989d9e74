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

fn read(answer: &Answer, key: &str) -> Outcome {
    match answer.json::<Batch>() {
        Ok(batch) => batch.outcome(key),
        Err(error) => answer.unknown(error),
    }
}

impl Batch {
    fn outcome(&self, key: &str) -> Outcome {
        let reference = self.batch_header.payout_batch_id.clone();
        let unknown = |why: String| Outcome::Unknown { why: format!("batch {reference}: {why}") };
        if self.batch_header.sender_batch_header.sender_batch_id.as_deref() != Some(key) {
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
