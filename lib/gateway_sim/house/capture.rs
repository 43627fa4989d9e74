//! Taking the money of a payment that the customer has approved: once per payment, once per key.

use std::sync::Arc;

use super::heard::{Heard, admit, logged};
use super::order::{Capture, Served, Uncapturable};
use super::{House, now};
use crate::domain::ids::Operation;
use crate::gateway_sim::behaviour::{self, Pace, Plan, Verdict};
use crate::gateway_sim::books::{Books, State};
use crate::gateway_sim::charge_log::{Answer, Closed, Entry, StateName};

impl House {
    /// Serves a capture to its end, whether or not the caller stays to hear of it.
    pub async fn capture(self: &Arc<Self>, capture: Capture) -> Result<Heard<Served>, Closed> {
        let house = self.clone();
        self.to_the_end(async move { house.capture_to_the_end(capture).await }).await
    }

    async fn capture_to_the_end(&self, capture: Capture) -> Result<Heard<Served>, Closed> {
        let admitted = {
            let mut books = self.books();
            let payment = books.by_reference(capture.vendor, &capture.reference);
            let plan = payment.map_or(behaviour::ORDINARY, |payment| self.plan(payment));
            // What is lied about the payment itself was decided when it was made.
            let is_new = books.is_new(capture.vendor, &capture.key);
            let lie = self.desk.order(capture.vendor, &capture.key, is_new, true, plan).lie;
            match admit(self.judge_capture(&books, &capture), lie) {
                Ok(place) => {
                    books.begin(capture.vendor, &capture.key);
                    books.begin(capture.vendor, &capture.reference);
                    Ok((place, plan, lie))
                }
                Err((answer, heard)) => {
                    let told_of = lie.map(|lie| capture.lied(payment, lie));
                    let line = Entry::Request(capture.request(payment, answer));
                    let lines: Vec<Entry> = std::iter::once(line).chain(told_of).collect();
                    Err((self.record(&mut books, &lines), heard))
                }
            }
        };
        self.latency("capture", &capture.key).await;
        let (place, plan, lie) = match admitted {
            Ok(admitted) => admitted,
            Err((on_disk, heard)) => {
                on_disk.await?;
                return Ok(heard);
            }
        };
        let (step, on_disk) = {
            let mut books = self.books();
            let payment = books.payment(place);
            let line = Entry::Request(capture.request(Some(payment), logged(Answer::Executed, lie)));
            let told_of = lie.map(|lie| capture.lied(Some(payment), lie));
            let (changed, step) = self.change(&books, place, captured(plan), Some(&capture.key));
            let lines: Vec<Entry> = std::iter::once(line).chain(told_of).chain(changed).collect();
            let on_disk = self.record(&mut books, &lines);
            (step(&books), on_disk)
        };
        on_disk.await?;
        {
            let mut books = self.books();
            books.end(capture.vendor, &capture.key);
            books.end(capture.vendor, &capture.reference);
        }
        self.conclude(step, lie).await
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
            State::Approved => Ok(place),
            State::AwaitingCustomer | State::Cancelled => not(Uncapturable::NotApproved),
            State::Expired => not(Uncapturable::NotFound),
            _ => not(Uncapturable::AlreadyCaptured),
        }
    }
}

fn captured(plan: Plan) -> StateName {
    match (plan.pace, plan.verdict) {
        (Pace::Later, _) => StateName::Capturing,
        (Pace::Usual, Verdict::Succeeds) => StateName::Captured,
        (Pace::Usual, _) => StateName::Failed,
    }
}
