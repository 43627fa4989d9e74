//! Payment gateways: one folder each, all behind [`Gateway`].
//!
//! An adapter turns a payment into the gateway's own requests and every answer into one [`Outcome`]; it decides nothing and
//! stores nothing. Adding a gateway is adding a folder and a line in [`Gateways`]'s construction.

mod answer;
pub mod bank;
pub mod breaker;
mod client;
mod connection;
mod discreet;
#[cfg(test)]
mod fixture;
mod json;
pub mod paypal;
mod settings;
mod signature;
pub mod stripe;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::destination::{Destination, DestinationKind};
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::domain::outcome::{Notice, Outcome};

use breaker::{Breaker, Pass, Resting};
use discreet::Discreet;
pub use settings::{Limits, Settings, SettingsError, registry};

/// A payment as an adapter needs it to build a request.
#[derive(Clone, Debug)]
pub struct Payment {
    pub transaction_id: Uuid,
    pub attempt_id: Uuid,
    pub kind: Kind,
    pub money: Money,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Present for every withdrawal that is sent; a question does without one that cannot be opened.
    pub destination: Option<Destination>,
    /// Where the gateway's page sends the customer back to.
    pub return_url: Option<String>,
    /// The gateway's own id, once known.
    pub reference: Option<String>,
    /// While it is not known, the id that a callback named last: good to ask by, but only if the gateway's answer shows that it is this
    /// payment's. Only in questions.
    pub candidate: Option<String>,
    /// When the attempt was committed, by the database's clock: the beginning of any listing window.
    pub attempted_at: OffsetDateTime,
    /// The last moment at which bytes of any call of this attempt may have left, by the database's clock: its end.
    pub last_send_by: OffsetDateTime,
}

impl Payment {
    /// The idempotency key of an operation on this attempt.
    pub fn key(&self, operation: Operation) -> String {
        operation.key(self.attempt_id)
    }
}

/// Until when a call may run. `send_by` is checked after connecting and before the first byte of the request leaves.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub send_by: std::time::Instant,
    pub answer_by: std::time::Instant,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        let now = std::time::Instant::now();
        Self { send_by: now + limit / 2, answer_by: now + limit }
    }

    /// A question moves no money: it may leave for as long as its answer is waited for.
    fn of_question(self) -> Self {
        Self { send_by: self.answer_by, ..self }
    }
}

/// Why a callback is not taken. The first three answer 401, the last 400: it was genuine, but cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallbackRefusal {
    #[error("the signature headers are missing or malformed: {0}")]
    Unsigned(&'static str),
    #[error("no signature of the message matches a live key")]
    BadSignature,
    #[error("the message was signed more than {tolerance_s} s ago, or as far in the future")]
    Stale { tolerance_s: u64 },
    #[error("the message is signed correctly but cannot be read: {0}")]
    Unreadable(String),
}

/// Seconds by which a callback's signature time may differ from the database's clock, either way.
pub const CALLBACK_TOLERANCE: Duration = Duration::from_secs(300);

#[async_trait]
pub trait Gateway: Send + Sync {
    /// As in routes, topics, paths and metrics: `stripe`.
    fn name(&self) -> &'static str;

    /// Kinds of destination that it can pay to.
    fn pays_to(&self) -> &'static [DestinationKind];

    /// How long one call may take from now to its answer: what a worker makes the [`Deadline`] from, and what it commits before.
    fn call_limit(&self) -> Duration;

    /// How long this gateway honours the idempotency key of such a payment after first seeing it.
    fn key_lifetime(&self, kind: Kind) -> Duration;

    /// Sends the payment. Sent again with the same attempt it is the same payment.
    async fn create(&self, payment: &Payment, deadline: Deadline) -> Outcome;

    /// Takes the money of a payment that the customer has approved. Only called after [`Outcome::Approved`].
    async fn capture(&self, payment: &Payment, deadline: Deadline) -> Outcome;

    /// Asks what became of the payment. Moves no money, whatever has become of the payment since. [`Outcome::NotFound`] only when the
    /// gateway says so for certain; [`Outcome::Unseen`] when only sending it again under its key can tell.
    async fn ask(&self, payment: &Payment, deadline: Deadline) -> Outcome;

    /// What knows whether it is to be called now. None: always.
    fn breaker(&self) -> Option<&Arc<Breaker>> {
        None
    }

    /// Verifies a callback on its raw bytes and reads it. `now` is the database's clock. No network.
    fn read_callback(&self, headers: &HeaderMap, body: &Bytes, now: OffsetDateTime) -> Result<Notice, CallbackRefusal>;
}

impl dyn Gateway + '_ {
    /// Asked before a call, or a question, is begun: while the gateway fails there is no leave for one.
    pub fn admit(&self) -> Result<Pass, Resting> {
        self.breaker().map_or_else(|| Ok(Pass::free()), Breaker::admit)
    }

    /// Whether there would be leave now.
    pub fn admits(&self) -> bool {
        self.breaker().is_none_or(|breaker| breaker.admits())
    }
}

/// Both sides of a call are outcomes: what it came to, and what cut it short.
fn either(result: Result<Outcome, Outcome>) -> Outcome {
    result.unwrap_or_else(|cut_short| cut_short)
}

/// The gateways of this process, by name.
#[derive(Clone)]
pub struct Gateways(Arc<Vec<Arc<dyn Gateway>>>);

impl Gateways {
    /// Whatever gateways are given: their words leave this edge without accounts in them.
    pub fn new(gateways: Vec<Arc<dyn Gateway>>) -> Self {
        let discreet = gateways.into_iter().map(|gateway| -> Arc<dyn Gateway> { Arc::new(Discreet(gateway)) });
        Self(Arc::new(discreet.collect()))
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Gateway>> {
        self.0.iter().find(|gateway| gateway.name() == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Gateway>> {
        self.0.iter()
    }
}
