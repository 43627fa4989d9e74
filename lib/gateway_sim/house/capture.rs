//! Taking the money of a payment that the customer has approved: once per payment, once per key.

use std::sync::Arc;

use super::order::{Capture, Served, Uncapturable};
use super::{House, now};
use crate::domain::ids::Operation;
use crate::gateway_sim::behaviour::{Mishap, Pace, Plan, Verdict};
use crate::gateway_sim::books::{Books, Payment, State};
use crate::gateway_sim::charge_log::{Answer, Closed, Entry, StateName};

impl House {
    /// Serves a capture to its end, whether or not the caller stays to hear of it.
    pub async fn capture(self: &Arc<Self>, capture: Capture) -> Result<Served, Closed> {
        let house = self.clone();
        self.to_the_end(async move { house.capture_to_the_end(capture).await }).await
    }

    async fn capture_to_the_end(&self, capture: Capture) -> Result<Served, Closed> {
        let admitted = {
            let mut books = self.books();
            match self.judge_capture(&books, &capture) {
                Ok(place) => {
                    books.begin(capture.vendor, &capture.key);
                    books.begin(capture.vendor, &capture.reference);
                    Ok(place)
                }
                Err((answer, served)) => {
                    let payment = books.by_reference(capture.vendor, &capture.reference);
                    let line = Entry::Request(capture.request(payment, answer));
                    Err((self.record(&mut books, &[line]), served))
                }
            }
        };
        self.latency("capture", &capture.key).await;
        let place = match admitted {
            Ok(place) => place,
            Err((on_disk, served)) => {
                on_disk.await?;
                return Ok(served);
            }
        };
        let (step, plan, on_disk) = {
            let mut books = self.books();
            let plan = self.plan(books.payment(place));
            let line = Entry::Request(capture.request(Some(books.payment(place)), executed(plan)));
            let (changed, step) = self.change(&books, place, captured(plan), Some(&capture.key));
            let entries: Vec<Entry> = std::iter::once(line).chain(changed).collect();
            let on_disk = self.record(&mut books, &entries);
            (step(&books), plan, on_disk)
        };
        on_disk.await?;
        {
            let mut books = self.books();
            books.end(capture.vendor, &capture.key);
            books.end(capture.vendor, &capture.reference);
        }
        self.conclude(step, plan, plan.mishap).await
    }

    /// The place of the payment to be captured, or what is answered without doing it.
    fn judge_capture(&self, books: &Books, capture: &Capture) -> Result<usize, (Answer, Served)> {
        let (vendor, key) = (capture.vendor, capture.key.as_str());
        let not = |why| Err((Answer::Refused, Served::Uncapturable(why)));
        let Some(place) = books.place_of(vendor, &capture.reference) else {
            return Err((Answer::NotFound, Served::Uncapturable(Uncapturable::NotFound)));
        };
        let payment = books.payment(place);
        // Of two captures with different keys one is executed, the other has to come again.
        if books.is_in_progress(vendor, key) || books.is_in_progress(vendor, &capture.reference) {
            return Err((Answer::InProgress, Served::InProgress));
        }
        let lifetime = self.settings.key_lifetime(vendor, payment.kind);
        if let Some(used) = books.honoured(vendor, key, lifetime, now()) {
            return Err(match used.operation == Operation::Capture && used.payment == place {
                true => (Answer::Replayed, Served::Replayed(Box::new(payment.clone()))),
                false => (Answer::KeyMisused, Served::KeyMisused(Box::new(books.payment(used.payment).clone()))),
            });
        }
        match payment.state {
            State::Approved => self.mishap_before(books, capture, payment).map_or(Ok(place), Err),
            State::AwaitingCustomer | State::Cancelled => not(Uncapturable::NotApproved),
            State::Expired => not(Uncapturable::NotFound),
            _ => not(Uncapturable::AlreadyCaptured),
        }
    }

    /// What goes wrong with the first capture of this key, before it is executed.
    fn mishap_before(&self, books: &Books, capture: &Capture, payment: &Payment) -> Option<(Answer, Served)> {
        let mishap = self.plan(payment).mishap;
        if books.turned_away(capture.vendor, &capture.key) >= mishap.turns_away() {
            return None;
        }
        match mishap {
            Mishap::LostBefore => Some((Answer::LostBefore, Served::Unanswered)),
            Mishap::FailedBefore => Some((Answer::FailedBefore, Served::ServerError)),
            _ => None,
        }
    }
}

fn executed(plan: Plan) -> Answer {
    match plan.mishap {
        Mishap::LostAfter => Answer::LostAfter,
        Mishap::FailedAfter => Answer::FailedAfter,
        _ => Answer::Executed,
    }
}

fn captured(plan: Plan) -> StateName {
    match (plan.pace, plan.verdict) {
        (Pace::Later, _) => StateName::Capturing,
        (Pace::Usual, Verdict::Succeeds) => StateName::Captured,
        (Pace::Usual, _) => StateName::Failed,
    }
}
