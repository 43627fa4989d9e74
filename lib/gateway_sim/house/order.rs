//! What callers want, and how it was served: the part that the three protocols have in common.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::gateway_sim::books::Payment;
use crate::gateway_sim::charge_log::{Answer, Entry, LiedEntry, RequestEntry};
use crate::gateway_sim::lies::Lie;
use crate::gateway_sim::vendor::Vendor;

use super::now;

/// A payment to be made.
#[derive(Clone, Debug)]
pub struct Order {
    pub vendor: Vendor,
    pub key: String,
    pub attempt_id: Option<Uuid>,
    pub transaction_id: Option<Uuid>,
    pub kind: Kind,
    pub money: Money,
    /// A digest of everything the request asks for.
    pub fingerprint: String,
    pub return_url: Option<String>,
    pub cancel_url: Option<String>,
    /// Until when the caller lets the customer agree.
    pub customer_until: Option<OffsetDateTime>,
    pub echo: BTreeMap<String, String>,
    pub arrived_at: OffsetDateTime,
}

/// An approved payment's money to be taken.
#[derive(Clone, Debug)]
pub struct Capture {
    pub vendor: Vendor,
    pub reference: String,
    pub key: String,
    pub arrived_at: OffsetDateTime,
}

/// How an order or a capture was served. The payment is as it stands after it.
#[derive(Clone, Debug)]
pub enum Served {
    Executed(Box<Payment>),
    /// The key was known; nothing was done.
    Replayed(Box<Payment>),
    /// A documented refusal; nothing is on the books.
    Refused,
    InProgress,
    /// The key belongs to this payment, which is another one.
    KeyMisused(Box<Payment>),
    /// Only for captures: no such payment, or not in a state to be captured.
    Uncapturable(Uncapturable),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uncapturable {
    NotFound,
    NotApproved,
    AlreadyCaptured,
}

impl Order {
    /// The line that says it arrived.
    pub(super) fn request(&self, answer: Answer) -> RequestEntry {
        RequestEntry {
            gateway: self.vendor,
            operation: Some(Operation::Create),
            money_moving: self.vendor.money_call(self.kind) == Operation::Create,
            key: Some(self.key.clone()),
            attempt_id: self.attempt_id,
            transaction_id: self.transaction_id,
            reference: None,
            amount: Some(self.money.minor),
            currency: Some(self.money.currency),
            arrived_at: self.arrived_at,
            answer,
        }
    }

    pub(super) fn lied(&self, kind: Lie) -> Entry {
        let lied = lied(self.vendor, kind, None);
        Entry::Lied(LiedEntry { key: Some(self.key.clone()), attempt_id: self.attempt_id, ..lied })
    }
}

impl Capture {
    pub(super) fn lied(&self, payment: Option<&Payment>, kind: Lie) -> Entry {
        Entry::Lied(LiedEntry { key: Some(self.key.clone()), ..lied(self.vendor, kind, payment) })
    }

    pub(super) fn request(&self, payment: Option<&Payment>, answer: Answer) -> RequestEntry {
        RequestEntry {
            operation: Some(Operation::Capture),
            money_moving: true,
            key: Some(self.key.clone()),
            ..question(self.vendor, Some(&self.reference), payment, self.arrived_at, answer)
        }
    }
}

/// The line of a request that only asks.
pub(super) fn question(
    vendor: Vendor,
    reference: Option<&str>,
    payment: Option<&Payment>,
    arrived_at: OffsetDateTime,
    answer: Answer,
) -> RequestEntry {
    RequestEntry {
        gateway: vendor,
        operation: None,
        money_moving: false,
        key: None,
        attempt_id: payment.and_then(|payment| payment.attempt_id),
        transaction_id: payment.and_then(|payment| payment.transaction_id),
        reference: reference.map(str::to_owned),
        amount: payment.map(|payment| payment.money.minor),
        currency: payment.map(|payment| payment.money.currency),
        arrived_at,
        answer,
    }
}

/// The line that tells of a lie, about this payment if it is about one.
pub(in crate::gateway_sim) fn lied(vendor: Vendor, kind: Lie, payment: Option<&Payment>) -> LiedEntry {
    LiedEntry {
        gateway: vendor,
        key: payment.map(|payment| payment.key.clone()),
        attempt_id: payment.and_then(|payment| payment.attempt_id),
        reference: payment.map(|payment| payment.reference.clone()),
        kind,
        told_amount: None,
        told_currency: None,
        at: now(),
    }
}
