//! Making a payment: one charge per key for as long as the gateway remembers keys.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::by_itself::settled;
use super::order::{Order, Served};
use super::{House, Step, now, queued};
use crate::domain::ids::{Kind, Operation};
use crate::gateway_sim::behaviour::{self, Approval, Callbacks, Mishap, Pace, Plan, Verdict};
use crate::gateway_sim::books::{Books, Payment};
use crate::gateway_sim::callbacks;
use crate::gateway_sim::charge_log::{Answer, ChargeEntry, ChargeResult, Closed, Entry};

impl House {
    /// Serves an order to its end, whether or not the caller stays to hear of it.
    pub async fn place(self: &Arc<Self>, order: Order) -> Result<Served, Closed> {
        let house = self.clone();
        self.to_the_end(async move { house.place_to_the_end(order).await }).await
    }

    async fn place_to_the_end(&self, order: Order) -> Result<Served, Closed> {
        let plan = behaviour::plan(&self.settings, order.money.minor, &order.key);
        let turned_away = {
            let mut books = self.books();
            match self.judge(&books, &order, plan) {
                Some((answer, served)) => {
                    Some((self.record(&mut books, &[Entry::Request(order.request(answer))]), served))
                }
                None => {
                    books.begin(order.vendor, &order.key);
                    None
                }
            }
        };
        self.latency("create", &order.key).await;
        if let Some((on_disk, served)) = turned_away {
            on_disk.await?;
            return Ok(served);
        }
        let (step, on_disk) = {
            let mut books = self.books();
            self.open(&mut books, &order, plan)
        };
        on_disk.await?;
        self.books().end(order.vendor, &order.key);
        let mishap = if order.strikes() { plan.mishap } else { Mishap::None };
        self.conclude(step, plan, mishap).await
    }

    /// None lets the order in; else what it is answered without being executed.
    fn judge(&self, books: &Books, order: &Order, plan: Plan) -> Option<(Answer, Served)> {
        let (vendor, key) = (order.vendor, order.key.as_str());
        if books.is_in_progress(vendor, key) {
            return Some((Answer::InProgress, Served::InProgress));
        }
        let lifetime = self.settings.key_lifetime(vendor, order.kind);
        if let Some(used) = books.honoured(vendor, key, lifetime, now()) {
            let payment = books.payment(used.payment);
            let same = used.operation == Operation::Create && payment.fingerprint == order.fingerprint;
            return Some(match same {
                true => (Answer::Replayed, Served::Replayed(Box::new(payment.clone()))),
                false => (Answer::KeyMisused, Served::KeyMisused(Box::new(payment.clone()))),
            });
        }
        if plan.verdict == Verdict::Rejected {
            return Some((Answer::Refused, Served::Refused));
        }
        if let Mishap::TooMany(times) = plan.mishap {
            let limited = books.limited(vendor, order.money.minor) < times;
            return limited.then_some((Answer::TooMany, Served::TooMany));
        }
        if books.turned_away(vendor, key) >= plan.mishap.turns_away() {
            return None;
        }
        match plan.mishap {
            Mishap::LostBefore if order.strikes() => Some((Answer::LostBefore, Served::Unanswered)),
            Mishap::FailedBefore if order.strikes() => Some((Answer::FailedBefore, Served::ServerError)),
            _ => None,
        }
    }

    /// Takes the payment onto the books.
    fn open(
        &self,
        books: &mut Books,
        order: &Order,
        plan: Plan,
    ) -> (Step, impl Future<Output = Result<(), Closed>> + Send + use<>) {
        let answer = match plan.mishap {
            Mishap::LostAfter if order.strikes() => Answer::LostAfter,
            Mishap::FailedAfter if order.strikes() => Answer::FailedAfter,
            _ => Answer::Executed,
        };
        // A clock that was set back does not bring the books out of order.
        let (result, at) = (order.result(plan), now().max(books.latest()));
        let charge = ChargeEntry {
            gateway: order.vendor,
            reference: self.fresh_reference(books, order),
            key: order.key.clone(),
            attempt_id: order.attempt_id,
            transaction_id: order.transaction_id,
            direction: order.kind,
            amount: order.money.minor,
            currency: order.money.currency,
            result,
            fingerprint: order.fingerprint.clone(),
            return_url: order.return_url.clone(),
            cancel_url: order.cancel_url.clone(),
            customer_until: (result == ChargeResult::AwaitingCustomer)
                .then(|| self.customer_until(order, at))
                .flatten(),
            echo: order.echo.clone(),
            at,
        };
        let payment = Payment::opened(&charge);
        let callback = self.callback(books, &payment, payment.state, charge.at);
        let events = queued(callback.as_ref());
        let entries: Vec<Entry> = [Entry::Request(order.request(answer)), Entry::Charge(charge)]
            .into_iter()
            .chain(callback.map(Entry::Callback))
            .collect();
        let on_disk = self.record(books, &entries);
        let place = books.place_of(payment.vendor, &payment.reference).expect("it was entered just now");
        (Step { place, payment, events }, on_disk)
    }

    /// The gateway's own limit or the caller's, whichever is sooner.
    fn customer_until(&self, order: &Order, at: OffsetDateTime) -> Option<OffsetDateTime> {
        let own = at + Duration::from_millis(self.settings.customer_deadline_ms);
        order.vendor.runs_out().then(|| order.customer_until.map_or(own, |callers| own.min(callers)))
    }

    /// The gateway's id of a new payment: it follows from the key, and from how often the key was forgotten.
    fn fresh_reference(&self, books: &Books, order: &Order) -> String {
        (0_u32..)
            .map(|forgotten| callbacks::reference(self.settings.seed, order.vendor, order.kind, &order.key, forgotten))
            .find(|reference| books.place_of(order.vendor, reference).is_none())
            .expect("there are more references than payments")
    }

    /// Sets in motion what follows from a step that is on disk, and says what the caller hears of it.
    pub(super) async fn conclude(&self, step: Step, plan: Plan, mishap: Mishap) -> Result<Served, Closed> {
        if plan.callbacks == Callbacks::BeforeAnswer {
            self.deliver_all(&step.events).await;
            if let Some(settled) = self.take(step.place, settled).await? {
                self.deliver_all(&settled.events).await;
            } else {
                self.foresee(step.place, &step.payment);
            }
        } else {
            self.follow(&step);
        }
        Ok(match mishap {
            Mishap::LostAfter => Served::Unanswered,
            Mishap::FailedAfter => Served::ServerError,
            _ => Served::Executed(Box::new(step.payment)),
        })
    }

    async fn deliver_all(&self, events: &[String]) {
        for event in events {
            self.deliver(event).await;
        }
    }
}

impl Order {
    /// Whether what the plan has in store for the call that moves the money befalls this one.
    fn strikes(&self) -> bool {
        self.vendor.money_call(self.kind) == Operation::Create
    }

    fn result(&self, plan: Plan) -> ChargeResult {
        let asks = self.kind == Kind::Deposit && (self.vendor.asks_customer() || plan.approval == Approval::Needed);
        if asks {
            ChargeResult::AwaitingCustomer
        } else if plan.pace == Pace::Later || !self.vendor.answers_with_result(self.kind) {
            ChargeResult::Pending
        } else if plan.verdict == Verdict::Succeeds {
            ChargeResult::Succeeded
        } else {
            ChargeResult::Declined
        }
    }
}
