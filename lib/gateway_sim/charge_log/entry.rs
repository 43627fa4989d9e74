//! The lines of the charge log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Currency;
use crate::gateway_sim::lies::Lie;
use crate::gateway_sim::vendor::Vendor;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    Begun(BegunEntry),
    Request(RequestEntry),
    Charge(ChargeEntry),
    State(StateEntry),
    Callback(CallbackEntry),
    Lied(LiedEntry),
}

/// The log's first line: nothing that came to the gateways after this is missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BegunEntry {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A request reached the gateway. Of one that was not let in, or could not be read, only whose counter it came to and when is told: what
/// else it says may be anything, secrets included. That is also all there is to tell of a request for a token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestEntry {
    pub gateway: Vendor,
    /// What it wants done; None when it only asks.
    pub operation: Option<Operation>,
    /// Whether it could move money: a repeat and a refused one included, a PayPal order (which only asks the customer) not.
    pub money_moving: bool,
    /// The idempotency key: `Operation::key` of the attempt when the fleet sent it.
    pub key: Option<String>,
    pub attempt_id: Option<Uuid>,
    pub transaction_id: Option<Uuid>,
    /// The gateway's own id of the payment, where the request names it.
    pub reference: Option<String>,
    /// Minor units.
    pub amount: Option<i64>,
    pub currency: Option<Currency>,
    /// To the microsecond, by this machine's clock, before anything was done about it.
    #[serde(with = "time::serde::rfc3339")]
    pub arrived_at: OffsetDateTime,
    pub answer: Answer,
}

/// What the gateway did about a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, and answered so.
    Executed,
    /// The key was known: nothing was done, the first answer (or how it stands now) was given.
    Replayed,
    /// A question, answered.
    Told,
    /// A question about a payment that is not on the books.
    NotFound,
    /// Credentials were exchanged for a token.
    TokenIssued,
    /// No credentials, or wrong ones; not executed.
    Unauthenticated,
    /// Not a request that this gateway documents; not executed.
    Unreadable,
    /// A documented refusal; nothing went onto the books.
    Refused,
    /// 429, not executed.
    TooMany,
    /// The key's first request is still under way; not executed.
    InProgress,
    /// The key was used for another payment; not executed.
    KeyMisused,
    /// Executed, but never answered.
    LostAfter,
    /// Neither executed nor answered.
    LostBefore,
    /// Executed, answered with a server error.
    FailedAfter,
    /// Not executed, answered with a server error.
    FailedBefore,
    /// Served, but its answer was cut off, made endless, packed, slow or nonsense on the way.
    Garbled,
}

impl Answer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Told => "told",
            Self::NotFound => "not_found",
            Self::TokenIssued => "token_issued",
            Self::Unauthenticated => "unauthenticated",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
            Self::TooMany => "too_many",
            Self::InProgress => "in_progress",
            Self::KeyMisused => "key_misused",
            Self::LostAfter => "lost_after",
            Self::LostBefore => "lost_before",
            Self::FailedAfter => "failed_after",
            Self::FailedBefore => "failed_before",
            Self::Garbled => "garbled",
        }
    }
}

/// A gateway took a payment onto its books under a key. One per key for as long as the gateway remembers keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChargeEntry {
    pub gateway: Vendor,
    /// The gateway's own id of the payment; later lines refer to it.
    pub reference: String,
    pub key: String,
    pub attempt_id: Option<Uuid>,
    pub transaction_id: Option<Uuid>,
    pub direction: Kind,
    /// Minor units.
    pub amount: i64,
    pub currency: Currency,
    pub result: ChargeResult,
    /// Proof that a repeated key comes with the same request: a keyed digest, so that no account can be read from it.
    pub fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// Until when the customer may agree.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub customer_until: Option<OffsetDateTime>,
    /// What the caller sent along and the gateway repeats in answers and callbacks (metadata, custom ids); never accounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub echo: BTreeMap<String, String>,
    /// What will be lied about it; each is told of as `lied` when it comes to that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lies: Vec<Lie>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeResult {
    /// The money has moved.
    Succeeded,
    /// On the books as failed; no money moved.
    Declined,
    /// Accepted; a `captured` or `failed` state follows.
    Pending,
    /// Nothing moves until the customer agrees.
    AwaitingCustomer,
}

/// A payment on the books changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateEntry {
    pub gateway: Vendor,
    pub reference: String,
    pub state: StateName,
    /// The key of the request that caused it; None when it came about by itself or by the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// The customer agreed; the money waits to be captured.
    Approved,
    /// The capture was accepted; `captured` or `failed` follows.
    Capturing,
    /// The money has moved.
    Captured,
    /// The customer declined to pay.
    Cancelled,
    /// The customer's time is over.
    Expired,
    /// No money moved, and none will.
    Failed,
    /// All of it was taken back after it had moved.
    Reversed,
}

/// What became of a callback. `queued` is durable with the change it tells of, so that a restart sends it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallbackEntry {
    pub gateway: Vendor,
    pub reference: String,
    /// Unique at the gateway; every delivery of the event carries it.
    pub event_id: String,
    /// As the gateway names it: `payment_intent.succeeded`.
    pub event_type: String,
    pub state: CallbackState,
    /// Deliveries tried so far.
    pub tries: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    Queued,
    /// Answered with 2xx.
    Delivered,
    /// Not sent any more: too old, or too many were waiting.
    GivenUp,
}

/// A gateway lied, or was not there to be asked. Whether somebody who was at a loss had reason to be can be told by these lines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LiedEntry {
    pub gateway: Vendor,
    /// Of the request that met the lie, or of the payment that it is about; None where neither can be told.
    pub key: Option<String>,
    pub attempt_id: Option<Uuid>,
    pub reference: Option<String>,
    pub kind: Lie,
    /// What is told instead of the truth, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_amount: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_currency: Option<Currency>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}
