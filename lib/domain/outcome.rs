//! What a gateway says about an attempt: by its answer to a call, by its answer to a question, or by a callback.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::money::Money;
use super::status::Substatus;

/// Every answer of every gateway, read into the few cases that differ in what may follow.
///
/// The one rule that money hangs on: only [`Outcome::Rejected`], [`Outcome::Unreachable`] and [`Outcome::Later`] say that the
/// payment never reached the gateway's books. Whatever cannot be told for certain is [`Outcome::Unknown`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// On the gateway's books, result to come.
    Accepted { reference: String },
    /// On the gateway's books, and the customer must act at `redirect_url` first.
    NeedsCustomer {
        reference: String,
        redirect_url: String,
        #[serde(with = "time::serde::rfc3339::option")]
        expires_at: Option<OffsetDateTime>,
    },
    /// The customer has approved; the money moves only when we capture it.
    Approved { reference: String },
    /// Final: the money has moved, this much.
    Succeeded { reference: String, money: Money },
    /// Final: on the gateway's books as failed; no money moved.
    Declined { reference: Option<String>, code: String, message: String },
    /// Final: the customer's time is over, the gateway says unpaid and will not take the payment any more.
    Expired { reference: Option<String> },
    /// A documented refusal: the payment never reached the gateway's books, and the same request would be refused again.
    Rejected { code: String, message: String },
    /// No byte of the request left us: connection refused, no address, `send_by` passed.
    Unreachable { why: String },
    /// The gateway says "not now" (429): not executed.
    Later { retry_after_ms: Option<u64>, code: String },
    /// Only in answer to a question: the gateway does not know this payment.
    NotFound,
    /// Only in answer to a question: asking cannot tell whether the gateway has this payment, only sending it again under its key can.
    Unseen,
    /// Taken back after success, in whole or in part (chargeback, returned transfer).
    Reversed { reference: String, money: Money, how: Reversal },
    /// Anything else: time-out, 5xx, unreadable, same key still in progress.
    Unknown { why: String },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversal {
    Chargeback,
    Returned,
}

impl Reversal {
    /// What it makes of the payment.
    pub fn substatus(self) -> Substatus {
        match self {
            Self::Chargeback => Substatus::Chargeback,
            Self::Returned => Substatus::Returned,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chargeback => "chargeback",
            Self::Returned => "returned",
        }
    }
}

impl Outcome {
    /// How operation rows tell of [`Outcome::Rejected`].
    pub const REJECTED: &'static str = "rejected";

    /// A short name for logs, metrics and the operation row.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::NeedsCustomer { .. } => "needs_customer",
            Self::Approved { .. } => "approved",
            Self::Succeeded { .. } => "succeeded",
            Self::Declined { .. } => "declined",
            Self::Expired { .. } => "expired",
            Self::Rejected { .. } => Self::REJECTED,
            Self::Unreachable { .. } => "unreachable",
            Self::Later { .. } => "later",
            Self::NotFound => "not_found",
            Self::Unseen => "unseen",
            Self::Reversed { .. } => "reversed",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether it says anything of what became of the payment.
    pub fn tells(&self) -> bool {
        !matches!(
            self,
            Self::Rejected { .. } | Self::Unreachable { .. } | Self::Later { .. } | Self::Unseen | Self::Unknown { .. }
        )
    }

    /// The gateway's own id of the payment, where this answer carries it.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Accepted { reference }
            | Self::NeedsCustomer { reference, .. }
            | Self::Approved { reference }
            | Self::Succeeded { reference, .. }
            | Self::Reversed { reference, .. } => Some(reference),
            Self::Declined { reference, .. } | Self::Expired { reference } => reference.as_deref(),
            _ => None,
        }
    }
}

/// What a verified callback says. `claim` is None when the message is only a doorbell: the gateway must be asked
/// before anything follows from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Unique at this gateway; the same event sent again carries it again.
    pub event_id: String,
    pub event_type: String,
    /// The attempt that the message names, by the key or metadata that we sent with the payment.
    pub attempt: Option<uuid::Uuid>,
    /// The gateway's own id of the payment, for messages that do not name the attempt.
    pub reference: Option<String>,
    pub claim: Option<Outcome>,
}
