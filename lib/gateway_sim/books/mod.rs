//! What the gateways know: their payments, the keys they have seen, the callbacks they still owe.
//!
//! The books are a fold of the charge log: [`Books::enter`] is the only thing that changes them, at the start from the lines
//! on disk, afterwards from each line as it is appended. So a simulator that was killed knows exactly what it had logged.

mod payment;

pub use payment::{Payment, State};

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use time::OffsetDateTime;

use super::charge_log::{Answer, CallbackEntry, CallbackState, Entry};
use super::vendor::Vendor;
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;

/// The use of an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct KeyUse {
    pub payment: usize,
    pub operation: Operation,
    pub first_at: OffsetDateTime,
}

/// A callback that is still to be delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    pub payment: usize,
    pub event_type: String,
    /// When the event happened.
    pub at: OffsetDateTime,
    pub tries: u32,
}

#[derive(Default)]
pub struct Books {
    /// In the order of their creation, which their times follow.
    payments: Vec<Payment>,
    by_reference: HashMap<(Vendor, String), usize>,
    listed: HashMap<(Vendor, Kind), Vec<usize>>,
    keys: HashMap<(Vendor, String), KeyUse>,
    /// Keys whose first request, and references whose capture, is being executed right now.
    in_progress: HashSet<(Vendor, String)>,
    /// Keys that have come, but not yet to anything.
    turned_away: HashSet<(Vendor, String)>,
    /// How many requests with an amount were told to come again since one was let in. A real limit does not know keys either.
    limited: HashMap<(Vendor, i64), u32>,
    owed: HashMap<String, Owed>,
}

impl Books {
    pub fn from_log(entries: &[Entry]) -> Self {
        let mut books = Self::default();
        for entry in entries {
            books.enter(entry);
        }
        books
    }

    /// Takes a line of the log into the books.
    pub fn enter(&mut self, entry: &Entry) {
        match entry {
            Entry::Request(request) => {
                if request.operation.is_none() {
                    return;
                }
                if let (Answer::TooMany, Some(amount)) = (request.answer, request.amount) {
                    *self.limited.entry((request.gateway, amount)).or_default() += 1;
                }
                if let Some(key) = request.key.as_deref().filter(|key| self.use_of(request.gateway, key).is_none()) {
                    self.turned_away.insert((request.gateway, key.to_owned()));
                }
            }
            Entry::Charge(charge) => {
                let place = self.payments.len();
                self.payments.push(Payment::opened(charge));
                self.by_reference.insert((charge.gateway, charge.reference.clone()), place);
                self.listed.entry((charge.gateway, charge.direction)).or_default().push(place);
                self.turned_away.remove(&(charge.gateway, charge.key.clone()));
                self.limited.remove(&(charge.gateway, charge.amount));
                let used = KeyUse { payment: place, operation: Operation::Create, first_at: charge.at };
                self.keys.insert((charge.gateway, charge.key.clone()), used);
            }
            Entry::State(change) => {
                let Some(place) = self.place_of(change.gateway, &change.reference) else { return };
                self.payments[place].change(change);
                if let Some(key) = &change.key {
                    self.turned_away.remove(&(change.gateway, key.clone()));
                    let used = KeyUse { payment: place, operation: Operation::Capture, first_at: change.at };
                    self.keys.insert((change.gateway, key.clone()), used);
                }
            }
            Entry::Begun(_) => {}
            Entry::Callback(callback) => self.enter_callback(callback),
            Entry::Lied(lied) => {
                let told = lied.told_amount.zip(lied.told_currency);
                let place = lied.reference.as_deref().and_then(|reference| self.place_of(lied.gateway, reference));
                if let Some(((minor, currency), place)) = told.zip(place) {
                    self.payments[place].told_as = Some(Money::new(minor, currency));
                }
            }
        }
    }

    fn enter_callback(&mut self, callback: &CallbackEntry) {
        match callback.state {
            CallbackState::Queued => {
                let Some(payment) = self.place_of(callback.gateway, &callback.reference) else { return };
                let owed = Owed { payment, event_type: callback.event_type.clone(), at: callback.at, tries: 0 };
                self.owed.insert(callback.event_id.clone(), owed);
            }
            CallbackState::Delivered | CallbackState::GivenUp => {
                self.owed.remove(&callback.event_id);
            }
        }
    }

    pub fn place_of(&self, vendor: Vendor, reference: &str) -> Option<usize> {
        self.by_reference.get(&(vendor, reference.to_owned())).copied()
    }

    pub fn payment(&self, place: usize) -> &Payment {
        &self.payments[place]
    }

    pub fn by_reference(&self, vendor: Vendor, reference: &str) -> Option<&Payment> {
        self.place_of(vendor, reference).map(|place| self.payment(place))
    }

    /// All payments with their places, in the order in which they came onto the books.
    pub fn payments(&self) -> impl Iterator<Item = (usize, &Payment)> {
        self.payments.iter().enumerate()
    }

    /// A vendor's payments of a kind that were created within the window (unix seconds, both included), newest first; `after` leaves
    /// out a payment and all that are newer.
    pub fn newest_first(
        &self,
        vendor: Vendor,
        kind: Kind,
        window: RangeInclusive<i64>,
        after: Option<&str>,
    ) -> impl Iterator<Item = &Payment> {
        let listed = self.listed.get(&(vendor, kind)).map_or(&[][..], Vec::as_slice);
        let created = |place: usize| self.payments[place].created_at.unix_timestamp();
        let older = after.map_or(listed.len(), |reference| {
            let place = self.place_of(vendor, reference);
            listed.partition_point(|listed| place.is_some_and(|place| *listed < place))
        });
        let end = listed.partition_point(|place| created(*place) <= *window.end()).min(older);
        let begin = listed.partition_point(|place| created(*place) < *window.start()).min(end);
        listed[begin..end].iter().rev().map(|place| &self.payments[*place])
    }

    /// When the youngest payment came onto the books.
    pub fn latest(&self) -> OffsetDateTime {
        self.payments.last().map_or(OffsetDateTime::UNIX_EPOCH, |payment| payment.created_at)
    }

    /// Payments that wait for their customer, newest first.
    pub fn newest_waiting(&self) -> impl Iterator<Item = &Payment> {
        self.payments.iter().rev().filter(|payment| payment.state == State::AwaitingCustomer)
    }

    /// What a key was last used for, whether or not it is still honoured.
    pub fn use_of(&self, vendor: Vendor, key: &str) -> Option<KeyUse> {
        self.keys.get(&(vendor, key.to_owned())).copied()
    }

    /// What a key was used for, while the gateway remembers it.
    pub fn honoured(&self, vendor: Vendor, key: &str, lifetime: Duration, now: OffsetDateTime) -> Option<KeyUse> {
        self.use_of(vendor, key).filter(|used| now - used.first_at < lifetime)
    }

    /// Whether no request with this key has come before.
    pub fn is_new(&self, vendor: Vendor, key: &str) -> bool {
        let key = (vendor, key.to_owned());
        !self.keys.contains_key(&key) && !self.turned_away.contains(&key) && !self.in_progress.contains(&key)
    }

    pub fn limited(&self, vendor: Vendor, amount: i64) -> u32 {
        self.limited.get(&(vendor, amount)).copied().unwrap_or(0)
    }

    pub fn begin(&mut self, vendor: Vendor, key: &str) {
        self.in_progress.insert((vendor, key.to_owned()));
    }

    pub fn is_in_progress(&self, vendor: Vendor, key: &str) -> bool {
        self.in_progress.contains(&(vendor, key.to_owned()))
    }

    pub fn end(&mut self, vendor: Vendor, key: &str) {
        self.in_progress.remove(&(vendor, key.to_owned()));
    }

    pub fn owed(&self) -> impl Iterator<Item = (&String, &Owed)> {
        self.owed.iter()
    }

    pub fn owed_event(&self, event_id: &str) -> Option<&Owed> {
        self.owed.get(event_id)
    }

    pub fn owed_count(&self) -> usize {
        self.owed.len()
    }

    /// Counts a delivery that begins; None when the callback is not owed any more.
    pub fn try_delivery(&mut self, event_id: &str) -> Option<Owed> {
        let owed = self.owed.get_mut(event_id)?;
        owed.tries += 1;
        Some(owed.clone())
    }
}
