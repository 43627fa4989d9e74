//! Requests that move nothing: questions, and those that concern no payment.

use http::StatusCode;
use time::OffsetDateTime;

use super::House;
use super::heard::{Heard, logged};
use super::order::{lied, question};
use crate::gateway_sim::books::{Books, Payment};
use crate::gateway_sim::charge_log::{Answer, Closed, Entry, LiedEntry, RequestEntry};
use crate::gateway_sim::line::{Conduct, Reply};
use crate::gateway_sim::vendor::Vendor;

/// How a question names its payment.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    Reference(&'a str),
    Key(&'a str),
}

impl House {
    /// Answers a question about one payment. `visible` says whether the gateway still shows it.
    pub(in crate::gateway_sim) async fn ask(
        &self,
        vendor: Vendor,
        asked: Asked<'_>,
        arrived_at: OffsetDateTime,
        visible: fn(&Payment) -> bool,
    ) -> Result<Heard<Option<Payment>>, Closed> {
        let (Asked::Reference(about) | Asked::Key(about)) = asked;
        let (payment, lie, on_disk) = {
            let mut books = self.books();
            let payment = match asked {
                Asked::Reference(reference) => books.by_reference(vendor, reference),
                Asked::Key(key) => books.use_of(vendor, key).map(|used| books.payment(used.payment)),
            };
            let payment = payment.filter(|payment| visible(payment)).cloned();
            let lie = self.desk.question(vendor, about);
            let answer = logged(if payment.is_some() { Answer::Told } else { Answer::NotFound }, lie);
            let (reference, key) = match asked {
                Asked::Reference(reference) => (Some(reference), None),
                Asked::Key(key) => (payment.as_ref().map(|payment| payment.reference.as_str()), Some(key.to_owned())),
            };
            let asking = question(vendor, reference, payment.as_ref(), arrived_at, answer);
            let told_of = lie.map(|lie| {
                let lied = lied(vendor, lie, payment.as_ref());
                Entry::Lied(LiedEntry {
                    key: lied.key.or_else(|| key.clone()),
                    reference: reference.map(str::to_owned),
                    ..lied
                })
            });
            let asking = Entry::Request(RequestEntry { key, ..asking });
            let lines: Vec<Entry> = std::iter::once(asking).chain(told_of).collect();
            let on_disk = self.record(&mut books, &lines);
            (payment, lie, on_disk)
        };
        let who = payment.as_ref().map_or("", |payment| &payment.key);
        self.latency("ask", who).await;
        on_disk.await?;
        Ok(Heard::of(payment, lie))
    }

    /// Answers a question about many payments: what `pick` finds in the books. `about`: what is asked for.
    pub(in crate::gateway_sim) async fn list<T>(
        &self,
        vendor: Vendor,
        about: &str,
        arrived_at: OffsetDateTime,
        pick: impl FnOnce(&Books) -> T,
    ) -> Result<Heard<T>, Closed> {
        let (picked, lie, on_disk) = {
            let mut books = self.books();
            let picked = pick(&books);
            let lie = self.desk.question(vendor, about);
            let asking = Entry::Request(question(vendor, None, None, arrived_at, logged(Answer::Told, lie)));
            let told_of = lie.map(|lie| Entry::Lied(lied(vendor, lie, None)));
            let lines: Vec<Entry> = std::iter::once(asking).chain(told_of).collect();
            (picked, lie, self.record(&mut books, &lines))
        };
        self.latency("list", "").await;
        on_disk.await?;
        Ok(Heard::of(picked, lie))
    }

    /// Answers a request that concerns no payment: not let in, not understood, or only for a token.
    pub(in crate::gateway_sim) async fn dismiss(
        &self,
        vendor: Vendor,
        arrived_at: OffsetDateTime,
        reply: Reply,
    ) -> Result<Conduct, Closed> {
        let outage = self.outage(vendor);
        let answer = match reply.status {
            _ if outage.is_some() => Answer::LostBefore,
            StatusCode::UNAUTHORIZED => Answer::Unauthenticated,
            status if status.is_success() => Answer::TokenIssued,
            _ => Answer::Unreadable,
        };
        let asking = Entry::Request(question(vendor, None, None, arrived_at, answer));
        let (told_of, conduct) = outage.map_or((None, reply.into()), |(line, conduct)| (Some(line), conduct));
        let lines: Vec<Entry> = std::iter::once(asking).chain(told_of).collect();
        let on_disk = self.record(&mut self.books(), &lines);
        self.latency("dismiss", "").await;
        on_disk.await?;
        Ok(conduct)
    }
}
