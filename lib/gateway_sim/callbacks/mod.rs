//! Telling the fleet: an event is queued in the log with the change it tells of, then posted until it is answered with 2xx.
//!
//! If it dies here: what was queued and not logged as delivered is sent again after the start, under the same event id. The fleet
//! may therefore see an event any number of times, as it may with the real gateways.

mod signers;
mod telling;

pub use signers::{BadKey, Signers, hmac};
pub use telling::Telling;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use time::OffsetDateTime;

use super::agenda::Due;
use super::behaviour::dice;
use super::books::{Owed, Payment, State};
use super::charge_log::{CallbackEntry, CallbackState, Entry};
use super::house::{House, now};
use super::lies::Lie;
use super::vendor::Vendor;
use super::{bank, paypal, stripe};
use crate::domain::ids::Kind;

/// How often a callback is sent at once that is sent too often.
const DUPLICATES: usize = 5;

/// A state of a payment that is told of, and the name of the event that tells of it.
pub type Told = (Kind, State, &'static str);

/// A signed message, ready to be posted.
pub struct Message {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What a callback is made from. The payment is shown as it stood when the event happened.
pub struct Event<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    pub happened_at: OffsetDateTime,
    pub payment: &'a Payment,
}

fn told(vendor: Vendor) -> &'static [Told] {
    match vendor {
        Vendor::Stripe => stripe::TOLD,
        Vendor::Paypal => paypal::TOLD,
        Vendor::Bank => bank::TOLD,
    }
}

/// The event that tells of the payment's coming to a state, if there is one.
pub fn event_type(payment: &Payment, state: State) -> Option<&'static str> {
    told(payment.vendor)
        .iter()
        .find(|(kind, of, _)| (*kind, *of) == (payment.kind, state))
        .map(|(_, _, event_type)| *event_type)
}

/// The state that an event tells of. Where it may be one of several, they are final: it is the one the payment is in.
fn told_state(payment: &Payment, event_type: &str) -> State {
    let states = told(payment.vendor)
        .iter()
        .filter(|(kind, _, name)| *kind == payment.kind && *name == event_type)
        .map(|(_, state, _)| *state);
    states.clone().find(|state| *state == payment.state).or(states.clone().next()).unwrap_or(payment.state)
}

/// The id of an event: it follows from what the event tells of.
pub fn event_id(seed: u64, vendor: Vendor, named: &str) -> String {
    match vendor {
        Vendor::Stripe => format!("evt_{}", dice::text(seed, "event", named, dice::BASE62, 24)),
        Vendor::Paypal => format!("WH-{}", dice::text(seed, "event", named, dice::CAPITALS, 17)),
        Vendor::Bank => format!("msg_{}", dice::text(seed, "event", named, dice::BASE62, 24)),
    }
}

/// The gateway's own id of the payment made under a key; `forgotten` counts how often the key was used and forgotten before.
pub fn reference(seed: u64, vendor: Vendor, kind: Kind, key: &str, forgotten: u32) -> String {
    let named = format!("{vendor}/{}/{key}/{forgotten}", kind.as_str());
    let text = |alphabet, length| dice::text(seed, "reference", &named, alphabet, length);
    match (vendor, kind) {
        (Vendor::Stripe, Kind::Deposit) => format!("pi_{}", text(dice::BASE62, 24)),
        (Vendor::Stripe, Kind::Withdrawal) => format!("po_{}", text(dice::BASE62, 24)),
        (Vendor::Paypal, Kind::Deposit) => text(dice::CAPITALS, 17),
        (Vendor::Paypal, Kind::Withdrawal) => text(dice::CAPITALS, 13),
        (Vendor::Bank, _) => format!("BK{}", text(dice::CAPITALS, 18)),
    }
}

impl House {
    /// Tries a delivery, and puts the next try on the agenda if it fails.
    pub(super) async fn deliver(&self, event_id: &str) {
        let Ok(_place) = self.deliveries.acquire().await else { return };
        let Some((owed, payment)) = ({
            let mut books = self.books();
            books.try_delivery(event_id).map(|owed| (owed.clone(), books.payment(owed.payment).clone()))
        }) else {
            return;
        };
        let delivered = tokio::select! {
            delivered = self.post(event_id, &owed, &payment) => delivered,
            () = self.gone.cancelled() => return,
        };
        let result = if delivered { "delivered" } else { "failed" };
        let gateway = payment.vendor.as_str();
        metrics::counter!("payfleet_gateway_sim_deliveries_total", "gateway" => gateway, "result" => result)
            .increment(1);
        let too_old = now() - owed.at > Duration::from_millis(self.settings.callbacks.give_up_after_ms);
        let state = match (delivered, too_old) {
            (true, _) => CallbackState::Delivered,
            (false, true) => CallbackState::GivenUp,
            (false, false) => {
                let again = Instant::now() + self.pause(event_id, owed.tries);
                self.agenda.add(again, Due::Delivery(event_id.to_owned()));
                return;
            }
        };
        let entry = CallbackEntry {
            gateway: payment.vendor,
            reference: payment.reference,
            event_id: event_id.to_owned(),
            event_type: owed.event_type,
            state,
            tries: owed.tries,
            at: now(),
        };
        // Nobody waits for this line: lost in a crash, it means one delivery more.
        drop(self.record(&mut self.books(), &[Entry::Callback(entry)]));
    }

    /// True when every copy was answered with 2xx.
    async fn post(&self, event_id: &str, owed: &Owed, payment: &Payment) -> bool {
        let copies = if payment.meets(Lie::CallbackDuplicate) && owed.tries == 1 { DUPLICATES } else { 1 };
        let shown = payment.in_state(told_state(payment, &owed.event_type), owed.at);
        let event = Event { id: event_id, kind: &owed.event_type, happened_at: owed.at, payment: &shown };
        let posts = (0..copies).map(|_| self.send(payment.vendor, self.signed(&event)));
        join_all(posts).await.into_iter().all(|delivered| delivered)
    }

    /// True when it was answered with 2xx.
    async fn send(&self, vendor: Vendor, message: Message) -> bool {
        let url = format!("{}/v1/callbacks/{vendor}", self.settings.callback_base_url.trim_end_matches('/'));
        let timeout = Duration::from_millis(self.settings.callbacks.timeout_ms);
        let request = self.http.post(&url).timeout(timeout).body(message.body);
        let request = message.headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }

    fn signed(&self, event: &Event<'_>) -> Message {
        match event.payment.vendor {
            Vendor::Stripe => stripe::callback(self, event),
            Vendor::Paypal => paypal::callback(self, event),
            Vendor::Bank => bank::callback(self, event),
        }
    }

    /// Exponential, half of it jitter.
    fn pause(&self, event_id: &str, tries: u32) -> Duration {
        let settings = &self.settings.callbacks;
        let doubled = settings.first_pause_ms.saturating_mul(1_u64 << tries.saturating_sub(1).min(30));
        let longest = doubled.min(settings.longest_pause_ms);
        let jitter = dice::up_to(self.settings.seed, "pause", &format!("{event_id}/{tries}"), longest / 2);
        Duration::from_millis(longest - jitter)
    }
}
