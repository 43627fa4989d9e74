//! PayPal's errors (developer.paypal.com/api/rest/responses): what a 4xx proves, and what it does not.

use serde::Deserialize;

use crate::domain::outcome::Outcome;
use crate::gateway::answer::Answer;

#[derive(Deserialize)]
pub(super) struct Error {
    pub(super) name: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    pub(super) details: Vec<Detail>,
}

#[derive(Deserialize)]
pub(super) struct Detail {
    #[serde(default)]
    pub(super) issue: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    pub(super) field: Option<String>,
    #[serde(default, alias = "links")]
    pub(super) link: Vec<Link>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) rel: String,
}

impl Error {
    /// The most telling name of the error: its first issue, else its own.
    pub(super) fn code(&self) -> String {
        let issue = self.details.first().map(|detail| detail.issue.as_str()).filter(|issue| is_code(issue));
        issue.unwrap_or(&self.name).to_owned()
    }

    pub(super) fn message(&self) -> String {
        let description = self.details.first().and_then(|detail| detail.description.as_ref());
        description.unwrap_or(&self.message).clone()
    }

    pub(super) fn has_issue(&self, issues: &[&str]) -> bool {
        self.details.iter().any(|detail| issues.contains(&detail.issue.as_str()))
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Another request under the same key is, or was, under way: it proves nothing about this one.
const SAME_KEY: &[&str] = &["DUPLICATE_REQUEST_ID", "PREVIOUS_REQUEST_IN_PROGRESS", "DUPLICATE_TRANSACTION"];

/// A refusal as PayPal documents it, or the outcome where the status decides, or the body says nothing.
pub(super) fn refusal(answer: &Answer) -> Result<Error, Outcome> {
    if let Some(outcome) = answer.by_status() {
        return Err(outcome);
    }
    let error: Error = answer.json().map_err(|error| answer.unknown(error))?;
    if answer.status.as_u16() == 409 || error.has_issue(SAME_KEY) {
        return Err(answer.unknown(error.code()));
    }
    Ok(error)
}

/// The refusal of a create, of whatever kind: never on the books, if it is one of the documented ways to be refused.
pub(super) fn refused_create(answer: &Answer, error: &Error) -> Outcome {
    match (answer.status.as_u16(), error.name.as_str()) {
        // Our own balance at PayPal is too low: not the payment's fault, and different tomorrow.
        (400 | 422, "INSUFFICIENT_FUNDS") => Outcome::Later { retry_after_ms: None, code: error.code() },
        (400, "INVALID_REQUEST" | "VALIDATION_ERROR") | (422, "UNPROCESSABLE_ENTITY" | "VALIDATION_ERROR") => {
            Outcome::Rejected { code: error.code(), message: error.message() }
        }
        _ => answer.unknown(error.code()),
    }
}
