//! What happens without a request: payments finish, customers act or let their time run out, callbacks go out.

use std::sync::Arc;

use super::{House, Step};
use crate::gateway_sim::agenda::Due;
use crate::gateway_sim::behaviour::Verdict;
use crate::gateway_sim::books::{Payment, State};
use crate::gateway_sim::charge_log::{Closed, StateName};
use crate::gateway_sim::settings::Customer;
use crate::gateway_sim::vendor::Vendor;

/// What a customer decides about a payment that needs their approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    Approve,
    Cancel,
}

impl House {
    /// Puts on the agenda whatever the books, just read back, leave open.
    pub fn resume(&self) {
        let books = self.books();
        for (place, payment) in books.payments() {
            self.foresee(place, payment);
        }
        for (event_id, owed) in books.owed() {
            let when = self.delivery_due(event_id, owed, books.payment(owed.payment));
            self.agenda.add(when, Due::Delivery(event_id.clone()));
        }
    }

    /// Carries out what falls due, until the house is told to stop.
    pub async fn keep_agenda(self: Arc<Self>) {
        loop {
            let due = tokio::select! {
                () = self.stop.cancelled() => return,
                due = self.agenda.next() => due,
            };
            let house = self.clone();
            self.tasks.spawn(async move { house.carry_out(due).await });
        }
    }

    async fn carry_out(&self, due: Due) {
        // When the log is closed the server itself ends with the reason; there is nothing to add here.
        let done = match due {
            Due::Settles(place) => self.step(place, settled).await,
            Due::CustomerActs(place) => {
                let decision =
                    if self.settings.customer == Customer::Cancel { Decision::Cancel } else { Decision::Approve };
                self.step(place, |payment, verdict| decided(payment, verdict, decision)).await
            }
            Due::CustomerIsLate(place) => {
                self.step(place, |payment, _| (payment.state == State::AwaitingCustomer).then_some(StateName::Expired))
                    .await
            }
            Due::Delivery(event_id) => {
                self.deliver(&event_id).await;
                return;
            }
            Due::Forgery(place) => {
                self.forge(place).await;
                return;
            }
        };
        done.ok();
    }

    /// The customer decides on the payment's page. None: there is no such payment; else how it stands now, whether or not the
    /// decision still counted.
    pub async fn decide(
        self: &Arc<Self>,
        vendor: Vendor,
        reference: &str,
        decision: Decision,
    ) -> Result<Option<Payment>, Closed> {
        let Some(place) = self.books().place_of(vendor, reference) else { return Ok(None) };
        let house = self.clone();
        self.to_the_end(async move {
            house.step(place, |payment, verdict| decided(payment, verdict, decision)).await?;
            Ok(Some(house.books().payment(place).clone()))
        })
        .await
    }

    /// Takes a payment to the state that `next` says, if it says one, and sets in motion what follows.
    async fn step(
        &self,
        place: usize,
        next: impl FnOnce(&Payment, Verdict) -> Option<StateName>,
    ) -> Result<(), Closed> {
        if let Some(step) = self.take(place, next).await? {
            self.follow(&step);
        }
        Ok(())
    }

    /// As [`House::step`], but what follows is the caller's.
    pub(super) async fn take(
        &self,
        place: usize,
        next: impl FnOnce(&Payment, Verdict) -> Option<StateName>,
    ) -> Result<Option<Step>, Closed> {
        let (step, on_disk) = {
            let mut books = self.books();
            let payment = books.payment(place);
            let Some(name) = next(payment, self.plan(payment).verdict) else { return Ok(None) };
            let (entries, step) = self.change(&books, place, name, None);
            let on_disk = self.record(&mut books, &entries);
            (step(&books), on_disk)
        };
        on_disk.await?;
        Ok(Some(step))
    }
}

/// A payment that was accepted finishes.
pub(super) fn settled(payment: &Payment, verdict: Verdict) -> Option<StateName> {
    let open = matches!(payment.state, State::Pending | State::Capturing);
    open.then_some(if verdict == Verdict::Succeeds { StateName::Captured } else { StateName::Failed })
}

fn decided(payment: &Payment, verdict: Verdict, decision: Decision) -> Option<StateName> {
    if payment.state != State::AwaitingCustomer {
        return None;
    }
    Some(match (decision, payment.vendor, verdict) {
        (Decision::Cancel, _, _) => StateName::Cancelled,
        (Decision::Approve, Vendor::Paypal, _) => StateName::Approved,
        (Decision::Approve, _, Verdict::Succeeds) => StateName::Captured,
        (Decision::Approve, _, _) => StateName::Failed,
    })
}
