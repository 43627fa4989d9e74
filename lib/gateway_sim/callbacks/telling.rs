//! What is told when a payment comes to a state: the truth, unless the payment is one that is lied about.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::{Event, Message, dice, event_id, event_type, told_state};
use crate::gateway_sim::books::{Books, Owed, Payment, State};
use crate::gateway_sim::charge_log::{CallbackEntry, CallbackState, Entry};
use crate::gateway_sim::house::{House, lied, now};
use crate::gateway_sim::lies::Lie;

#[derive(Default)]
pub struct Telling {
    /// The lines that go with the change that is told of.
    pub entries: Vec<Entry>,
    /// The ids of the callbacks that are to be delivered.
    pub events: Vec<String>,
    /// Whether a forger tells of it as well. A forgery is nothing that the gateway owes: it is sent once, and none is after a crash.
    pub forgery: bool,
}

impl Telling {
    fn queue(&mut self, callback: CallbackEntry) {
        if callback.state == CallbackState::Queued {
            self.events.push(callback.event_id.clone());
        }
        self.entries.push(Entry::Callback(callback));
    }
}

impl House {
    pub fn telling(&self, books: &Books, payment: &Payment, state: State, at: OffsetDateTime) -> Telling {
        let mut telling = Telling::default();
        let mut lies = Vec::new();
        if let Some(event_type) = event_type(payment, state) {
            if payment.meets(Lie::CallbackMissing) {
                lies.push(Lie::CallbackMissing);
            } else {
                telling.queue(self.callback(books, payment, event_type, "", at));
                lies.extend([Lie::CallbackDuplicate, Lie::CallbackDelayed].iter().filter(|lie| payment.meets(**lie)));
                let is_overtaken = payment.meets(Lie::CallbackReordered) && state.opposite().is_none();
                lies.extend(is_overtaken.then_some(Lie::CallbackReordered));
            }
        }
        if let Some((_, event_type)) = opposite(payment, state) {
            if payment.meets(Lie::CallbackContradicting) {
                telling.queue(self.callback(books, payment, event_type, "/contradicting", at));
                lies.push(Lie::CallbackContradicting);
            }
            if payment.meets(Lie::CallbackForged) {
                telling.forgery = true;
                lies.push(Lie::CallbackForged);
            }
        }
        telling.entries.extend(lies.into_iter().map(|lie| Entry::Lied(lied(payment.vendor, lie, Some(payment)))));
        telling
    }

    /// `by`: what sets its id apart from that of an event of the same type.
    fn callback(
        &self,
        books: &Books,
        payment: &Payment,
        event_type: &str,
        by: &str,
        at: OffsetDateTime,
    ) -> CallbackEntry {
        let full = books.owed_count() >= self.settings.callbacks.waiting;
        CallbackEntry {
            gateway: payment.vendor,
            reference: payment.reference.clone(),
            event_id: self.id_of(payment, event_type, by),
            event_type: event_type.to_owned(),
            state: if full { CallbackState::GivenUp } else { CallbackState::Queued },
            tries: 0,
            at,
        }
    }

    fn id_of(&self, payment: &Payment, event_type: &str, by: &str) -> String {
        let named = format!("{}/{}/{event_type}{by}", payment.vendor, payment.reference);
        event_id(self.settings.seed, payment.vendor, &named)
    }

    /// When a callback is to go out.
    pub fn delivery_due(&self, event_id: &str, owed: &Owed, payment: &Payment) -> Instant {
        let longest = self.settings.callbacks.delayed_ms;
        let is_overtaken =
            payment.meets(Lie::CallbackReordered) && told_state(payment, &owed.event_type).opposite().is_none();
        let delay_ms = if is_overtaken {
            longest
        } else if payment.meets(Lie::CallbackDelayed) {
            longest / 2 + dice::up_to(self.settings.seed, "delay", event_id, longest / 2)
        } else {
            0
        };
        let waited = Duration::try_from(now() - owed.at).unwrap_or_default();
        Instant::now() + Duration::from_millis(delay_ms).saturating_sub(waited)
    }

    /// Tells the opposite of a payment's end in the gateway's name, without its key.
    pub async fn forge(&self, place: usize) {
        let Ok(_place) = self.deliveries.acquire().await else { return };
        let payment = self.books().payment(place).clone();
        let Some((state, kind)) = opposite(&payment, payment.state) else { return };
        let shown = payment.in_state(state, payment.changed_at);
        let id = self.id_of(&payment, kind, "/forged");
        let event = Event { id: &id, kind, happened_at: payment.changed_at, payment: &shown };
        tokio::select! {
            // Whatever is answered: a forger tries once.
            _ = self.send(payment.vendor, badly_signed(self.signed(&event))) => {}
            () = self.gone.cancelled() => {}
        }
    }
}

/// What a liar says at the end of a payment, and the event that says it.
fn opposite(payment: &Payment, state: State) -> Option<(State, &'static str)> {
    let opposite = state.opposite()?;
    event_type(payment, opposite).map(|event_type| (opposite, event_type))
}

/// One digit of the signature is another. It is not one of the last, whose bits may count for nothing in base64.
fn badly_signed(mut message: Message) -> Message {
    const SIGNATURES: [&str; 3] = ["stripe-signature", "paypal-transmission-sig", "webhook-signature"];
    for (_, value) in message.headers.iter_mut().filter(|(name, _)| SIGNATURES.contains(name)) {
        if let Some(at) = value.len().checked_sub(20) {
            let other = if value.as_bytes()[at] == b'0' { "1" } else { "0" };
            value.replace_range(at..=at, other);
        }
    }
    message
}
