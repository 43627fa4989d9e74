//! Making a payment: one charge per key for as long as the gateway remembers keys.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::by_itself::settled;
use super::heard::{Heard, admit, logged};
use super::order::{Order, Served, lied};
use super::{House, Step, now};
use crate::domain::ids::{Kind, Operation};
use crate::gateway_sim::behaviour::{self, Approval, Pace, Plan, Verdict};
use crate::gateway_sim::books::{Books, Payment};
use crate::gateway_sim::callbacks::{self, Telling};
use crate::gateway_sim::charge_log::{Answer, ChargeEntry, ChargeResult, Closed, Entry, LiedEntry};
use crate::gateway_sim::lies::{Lie, Meets, wrong_money};

impl House {
    /// Serves an order to its end, whether or not the caller stays to hear of it.
    pub async fn place(self: &Arc<Self>, order: Order) -> Result<Heard<Served>, Closed> {
        let house = self.clone();
        self.to_the_end(async move { house.place_to_the_end(order).await }).await
    }

    async fn place_to_the_end(&self, order: Order) -> Result<Heard<Served>, Closed> {
        let plan = behaviour::plan(&self.settings, order.money.minor, &order.key);
        let admitted = {
            let mut books = self.books();
            let is_new = books.is_new(order.vendor, &order.key);
            let mut meets = self.desk.order(order.vendor, &order.key, is_new, order.strikes(), plan);
            let judged = self.judge(&books, &order, plan);
            if judged.is_ok() && meets.lie.is_none() && books.limited(order.vendor, order.money.minor) < plan.sent_away
            {
                meets.lie = Some(Lie::RateLimited);
            }
            match admit(judged, meets.lie) {
                Ok(()) => {
                    books.begin(order.vendor, &order.key);
                    Ok(meets)
                }
                Err((answer, heard)) => {
                    let told_of = meets.lie.map(|lie| order.lied(lie));
                    let lines: Vec<Entry> =
                        std::iter::once(Entry::Request(order.request(answer))).chain(told_of).collect();
                    Err((self.record(&mut books, &lines), heard))
                }
            }
        };
        self.latency("create", &order.key).await;
        let meets = match admitted {
            Ok(meets) => meets,
            Err((on_disk, heard)) => {
                on_disk.await?;
                return Ok(heard);
            }
        };
        let lie = meets.lie;
        let (step, on_disk) = {
            let mut books = self.books();
            self.open(&mut books, &order, plan, meets)
        };
        on_disk.await?;
        self.books().end(order.vendor, &order.key);
        self.conclude(step, lie).await
    }

    /// Ok lets the order in; else what an honest gateway answers without executing it.
    fn judge(&self, books: &Books, order: &Order, plan: Plan) -> Result<(), (Answer, Served)> {
        let (vendor, key) = (order.vendor, order.key.as_str());
        if books.is_in_progress(vendor, key) {
            return Err((Answer::InProgress, Served::InProgress));
        }
        let lifetime = self.settings.key_lifetime(vendor, order.kind);
        if let Some(used) = books.honoured(vendor, key, lifetime, now()) {
            let payment = books.payment(used.payment);
            let same = used.operation == Operation::Create && payment.fingerprint == order.fingerprint;
            return Err(match same {
                true => (Answer::Replayed, Served::Replayed(Box::new(payment.clone()))),
                false => (Answer::KeyMisused, Served::KeyMisused(Box::new(payment.clone()))),
            });
        }
        if plan.verdict == Verdict::Rejected {
            return Err((Answer::Refused, Served::Refused));
        }
        Ok(())
    }

    /// Takes the payment onto the books.
    fn open(
        &self,
        books: &mut Books,
        order: &Order,
        plan: Plan,
        meets: Meets,
    ) -> (Step, impl Future<Output = Result<(), Closed>> + Send + use<>) {
        let answer = logged(Answer::Executed, meets.lie);
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
            lies: meets.of_payment,
            at,
        };
        let payment = Payment::opened(&charge);
        let wrong = self.wrong_money_told(&payment);
        let Telling { entries, events, forgery } = self.telling(books, &payment, payment.state, charge.at);
        let lines: Vec<Entry> = [Entry::Request(order.request(answer)), Entry::Charge(charge)]
            .into_iter()
            .chain(meets.lie.map(|lie| order.lied(lie)))
            .chain(wrong)
            .chain(entries)
            .collect();
        let on_disk = self.record(books, &lines);
        let place = books.place_of(payment.vendor, &payment.reference).expect("it was entered just now");
        (Step { place, payment: books.payment(place).clone(), events, forgery }, on_disk)
    }

    /// The lines that say what is told of a payment's money instead of the truth.
    fn wrong_money_told(&self, payment: &Payment) -> Vec<Entry> {
        let Some(told) = wrong_money(&payment.lies, self.settings.seed, &payment.key, payment.money) else {
            return Vec::new();
        };
        let lied = |kind| LiedEntry {
            told_amount: Some(told.minor),
            told_currency: Some(told.currency),
            ..lied(payment.vendor, kind, Some(payment))
        };
        let kinds = [Lie::WrongAmount, Lie::WrongCurrency].into_iter().filter(|kind| payment.meets(*kind));
        kinds.map(|kind| Entry::Lied(lied(kind))).collect()
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
    pub(super) async fn conclude(&self, step: Step, lie: Option<Lie>) -> Result<Heard<Served>, Closed> {
        if step.payment.meets(Lie::CallbackFirst) {
            self.tell_first(&step).await?;
        } else {
            self.follow(&step);
        }
        Ok(Heard::of(Served::Executed(Box::new(step.payment)), lie))
    }

    /// Finishes the payment if that is what it waits for, and delivers its callbacks before anything is answered.
    async fn tell_first(&self, step: &Step) -> Result<(), Closed> {
        let mut events = step.events.clone();
        self.foresee_forgery(step);
        if let Some(settled) = self.take(step.place, settled).await? {
            self.foresee_forgery(&settled);
            events.extend(settled.events);
        } else {
            self.foresee(step.place, &step.payment);
        }
        if !events.is_empty() {
            let line = Entry::Lied(lied(step.payment.vendor, Lie::CallbackFirst, Some(&step.payment)));
            let on_disk = self.record(&mut self.books(), &[line]);
            on_disk.await?;
        }
        self.deliver_all(&events).await;
        Ok(())
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
