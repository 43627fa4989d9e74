//! I5 and I25, and I7 in [`settled`]: the gateways' own log against the books.
//!
//! The books are read first, the log after them: what the books say was charged is then in the log. An attempt or operation that the log
//! knows and the books did not is looked up once more in the books as they are afterwards.

mod by_hand;
mod ended;
mod settled;

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Rest;
use super::charge_log::{Charge, ChargeLog, Fate, Moving};
use super::invariant::Invariant;
use super::report::Finding;
use crate::domain::ids::Operation;
use crate::domain::transaction::Status;

#[derive(Debug)]
pub struct Payment {
    kind: String,
    status: Option<Status>,
    /// Why it stands so, where that is not plain.
    reason: Option<String>,
    /// The number of the settling attempt, once it is settled.
    attempt: i16,
    gateway: String,
    amount: i64,
    currency: String,
    booked: i64,
    taken_back: i64,
    /// The gateways whose accounts the ledger has it on.
    booked_at: Vec<String>,
    /// What the ledger says that each gateway has for us by it, suspense included.
    at_gateway: HashMap<String, i64>,
    /// A person has decided how it ends, and may have known more than the log.
    by_hand: bool,
    /// It has come to a person because its gateway was silent, whatever was told since.
    was_silent: bool,
    age_s: i64,
}

#[derive(Clone, Debug)]
struct Attempt {
    payment: Uuid,
    number: i16,
    gateway: String,
    created_at: OffsetDateTime,
    /// How often its gateway, asked in time, did not know it.
    not_found: i16,
}

/// An operation, under its key.
#[derive(Clone, Debug)]
struct Allowed {
    attempt: Uuid,
    /// When it was committed where the server knows that, else when it was written.
    at: OffsetDateTime,
    /// Times that it may have been sent.
    calls: u64,
}

/// Attempts and what may have been sent for them.
#[derive(Default, Debug)]
pub struct Intents {
    attempts: HashMap<Uuid, Attempt>,
    operations: HashMap<String, Allowed>,
}

impl Intents {
    /// All, or those of the attempts given.
    pub async fn load(books: &mut PgConnection, of: Option<&[Uuid]>) -> Result<Self, sqlx::Error> {
        let mut intents = Self::default();
        let mut rows = sqlx::query_file!("lib/ops/sql/attempts.sql", of).fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            let attempt = Attempt {
                payment: row.transaction_id,
                number: row.number,
                gateway: row.gateway,
                created_at: row.created_at,
                not_found: row.not_found,
            };
            intents.attempts.insert(row.id, attempt);
        }
        drop(rows);
        let mut rows = sqlx::query_file!("lib/ops/sql/operations.sql", of).fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            let lawful = row.kind.parse::<Operation>().is_ok_and(|operation| operation.key(row.attempt_id) == row.key);
            if lawful {
                let at = row.committed_at.unwrap_or(row.first_at);
                let calls = u64::try_from(row.calls).unwrap_or(0);
                intents.operations.insert(row.key, Allowed { attempt: row.attempt_id, at, calls });
            }
        }
        Ok(intents)
    }

    fn join(&mut self, later: Self) {
        self.attempts.extend(later.attempts);
        self.operations.extend(later.operations);
    }
}

/// What the books say, held against the log.
#[derive(Default, Debug)]
pub struct Books {
    payments: HashMap<Uuid, Payment>,
    intents: Intents,
}

impl Books {
    pub async fn load(books: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut payments = HashMap::new();
        let mut rows = sqlx::query_file!("lib/ops/sql/settlements.sql").fetch(&mut *books);
        while let Some(row) = rows.try_next().await? {
            let payment = Payment {
                kind: row.kind,
                status: row.status.parse().ok(),
                reason: row.reason_code,
                attempt: row.attempt,
                gateway: row.gateway,
                amount: row.amount,
                currency: row.currency,
                booked: row.booked,
                taken_back: row.taken_back,
                booked_at: row.booked_at,
                at_gateway: row.gateways.into_iter().zip(row.at_gateway).collect(),
                by_hand: row.by_hand,
                was_silent: row.was_silent,
                age_s: row.age_s,
            };
            payments.insert(row.id, payment);
        }
        drop(rows);
        Ok(Self { payments, intents: Intents::load(books, None).await? })
    }

    /// Attempts of which the log has more than these books know.
    pub fn unexplained(&self, log: &ChargeLog) -> Vec<Uuid> {
        let charged = log.charges.iter().filter_map(|charge| charge.attempt_id);
        let unknown = charged.filter(|attempt| !self.intents.attempts.contains_key(attempt));
        let allowed = |key: &str| self.intents.operations.get(key).map_or(0, |operation| operation.calls);
        let unasked = arrivals(log).into_iter().filter(|(key, arrivals)| *arrivals > allowed(key));
        let unasked = unasked.filter_map(|(key, _)| Some(Operation::of_key(key)?.0));
        unknown.chain(unasked).collect::<HashSet<_>>().into_iter().collect()
    }

    /// `later`: the intents of [`Books::unexplained`], read after the log.
    pub fn judge(mut self, later: Intents, log: &ChargeLog, rest: Rest) -> Vec<Finding> {
        self.intents.join(later);
        vec![self.agree(log, rest), self.intent_first(log)]
    }

    /// I25.
    fn intent_first(&self, log: &ChargeLog) -> Finding {
        let mut finding = Finding::new(Invariant::I25);
        for Moving { arrived_at, gateway, key } in &log.moving {
            finding.checked += 1;
            let Some(key) = key else {
                finding
                    .violation(|| format!("{gateway}: a request that moves money came at {arrived_at} without a key"));
                continue;
            };
            let Some(Allowed { attempt, at, .. }) = self.intents.operations.get(key) else {
                finding.violation(|| format!("{gateway}: the key {key} came at {arrived_at}; no operation has it"));
                continue;
            };
            if at > arrived_at {
                finding
                    .violation(|| format!("{gateway}: the key {key} came at {arrived_at}, its operation is of {at}"));
            }
            let meant = self.intents.attempts.get(attempt).map_or("none", |attempt| &attempt.gateway);
            if gateway != meant {
                finding
                    .violation(|| format!("{gateway}: the key {key} came at {arrived_at}; its attempt was at {meant}"));
            }
        }
        for (key, arrivals) in arrivals(log) {
            if let Some(Allowed { calls, .. }) = self.intents.operations.get(key)
                && arrivals > *calls
            {
                finding
                    .violation(|| format!("the key {key} came {arrivals} times, it may have been sent {calls} times"));
            }
        }
        finding
    }

    /// I5.
    fn agree(&self, log: &ChargeLog, rest: Rest) -> Finding {
        let mut finding = Finding::new(Invariant::I5);
        let mut standing: HashMap<Uuid, u32> = HashMap::new();
        for charge in log.charges.iter().filter(|charge| charge.fate != Fate::NotMoved) {
            finding.checked += 1;
            let attempt = charge.attempt_id.and_then(|id| self.intents.attempts.get(&id));
            let payment = attempt.and_then(|attempt| self.payments.get(&attempt.payment));
            match (attempt, payment) {
                (None, _) => finding.violation(|| format!("{}: no attempt explains it", named(charge))),
                // Its attempt was made after the books were read.
                (Some(_), None) => finding.under_way += 1,
                (Some(attempt), Some(payment)) => {
                    *standing.entry(attempt.payment).or_default() += u32::from(charge.fate == Fate::Moved);
                    let is_contradicted = charge.attempt_id.is_some_and(|id| log.contradicted.contains(&id));
                    let may_be_late = is_contradicted || payment.customer_was_late();
                    let late = if rest == Rest::Live && may_be_late { Late::Possible } else { Late::Never };
                    match about(charge, attempt, payment, rest, late) {
                        Judgement::Agrees => {}
                        Judgement::UnderWay => finding.under_way += 1,
                        Judgement::Wrong(why) => {
                            finding.violation(|| format!("{} for payment {}: {why}", named(charge), attempt.payment));
                        }
                    }
                }
            }
        }
        for (payment, charges) in &standing {
            if *charges > 1 {
                finding.violation(|| format!("payment {payment} was charged {charges} times"));
            }
        }
        let older = self.older(log);
        self.paid_for(&standing, &older, log, rest, &mut finding);
        self.ended_for_cause(&older, log, rest, &mut finding);
        self.by_hand(&older, log, rest, &mut finding);
        if !older.is_empty() {
            finding.gap(format!("{} payments were tried before the charge log begins", older.len()));
        }
        finding
    }

    /// Payments of which the log cannot tell everything.
    fn older(&self, log: &ChargeLog) -> HashSet<Uuid> {
        // The attempt of the log's first request is older than the log, too; but the log tells of it.
        let is_older = |at: OffsetDateTime| log.begins_at.is_none_or(|begin| at < begin);
        let attempts = self.intents.attempts.iter();
        let untold = attempts.filter(|(id, attempt)| is_older(attempt.created_at) && !log.told.contains(id));
        untold.map(|(_, attempt)| attempt.payment).collect()
    }

    /// Each succeeded payment has its charge, as far as the log reaches back.
    fn paid_for(
        &self,
        standing: &HashMap<Uuid, u32>,
        older: &HashSet<Uuid>,
        log: &ChargeLog,
        rest: Rest,
        finding: &mut Finding,
    ) {
        let payment_of = |attempt: &Uuid| Some(self.intents.attempts.get(attempt)?.payment);
        // What a callback alone has told is believed, and the gateway is asked soon after.
        let told_falsely: HashSet<Uuid> = match rest {
            Rest::Live => log.lying_callbacks.iter().filter_map(payment_of).collect(),
            Rest::AtRest => HashSet::new(),
        };
        for (id, payment) in self.payments.iter().filter(|(_, payment)| payment.status == Some(Status::Succeeded)) {
            finding.checked += 1;
            if payment.by_hand || standing.contains_key(id) || older.contains(id) {
                continue;
            }
            if told_falsely.contains(id) {
                finding.under_way += 1;
                continue;
            }
            finding.violation(|| format!("payment {id} succeeded, but {} charged nothing for it", payment.gateway));
        }
    }
}

/// How often requests that move money came with each key.
fn arrivals(log: &ChargeLog) -> HashMap<&str, u64> {
    let mut arrivals = HashMap::new();
    for key in log.moving.iter().filter_map(|request| request.key.as_deref()) {
        *arrivals.entry(key).or_default() += 1;
    }
    arrivals
}

enum Judgement {
    Agrees,
    UnderWay,
    Wrong(String),
}

/// Whether a payment that failed may still be found to have succeeded: its gateway has said both, or its customer came too late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Late {
    Possible,
    Never,
}

fn named(charge: &Charge) -> String {
    let Charge { gateway, reference, amount, currency, attempt_id, .. } = charge;
    let attempt = attempt_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    format!("{gateway} {reference} ({amount} {currency}, attempt {attempt})")
}

/// A charge whose money moved, against the payment that its attempt belongs to.
fn about(charge: &Charge, attempt: &Attempt, payment: &Payment, rest: Rest, late: Late) -> Judgement {
    if charge.gateway != attempt.gateway {
        return Judgement::Wrong(format!("its attempt was at {}", attempt.gateway));
    }
    if charge.kind.as_str() != payment.kind {
        return Judgement::Wrong(format!("the payment is a {}", payment.kind));
    }
    let stands = charge.fate == Fate::Moved;
    match payment.status {
        Some(Status::Review) if payment.reason.is_none() => {
            Judgement::Wrong("the payment is under review without a reason".to_owned())
        }
        // A human decides about it.
        Some(Status::Review) => Judgement::Agrees,
        // Judged by what all its charges have moved.
        Some(Status::Succeeded | Status::Failed | Status::Reversed) if payment.by_hand => Judgement::Agrees,
        // Its gateway gave back what it had charged beside the attempt that settled the payment.
        Some(Status::Succeeded) if !stands && attempt.number != payment.attempt => Judgement::Agrees,
        Some(Status::Succeeded) if stands => settled(charge, attempt, payment, payment.booked),
        Some(Status::Reversed) if !stands => settled(charge, attempt, payment, payment.taken_back),
        // Taken back, or charged late: the gateway's message may still be on its way.
        Some(Status::Succeeded) if rest == Rest::Live => Judgement::UnderWay,
        Some(status) if !status.is_final() && rest == Rest::Live => Judgement::UnderWay,
        Some(Status::Failed | Status::Expired) if stands && late == Late::Possible => Judgement::UnderWay,
        Some(Status::Failed | Status::Cancelled | Status::Expired) if !stands => Judgement::Agrees,
        status => {
            let (fate, status) =
                (if stands { "it stands" } else { "it was taken back" }, status.map_or("?", Status::as_str));
            Judgement::Wrong(format!("{fate}, and the payment stands at {status}"))
        }
    }
}

fn settled(charge: &Charge, attempt: &Attempt, payment: &Payment, in_ledger: i64) -> Judgement {
    if attempt.number != payment.attempt {
        let (settling, this) = (payment.attempt, attempt.number);
        return Judgement::Wrong(format!("attempt {settling} settled the payment, this is attempt {this}"));
    }
    if charge.gateway != payment.gateway {
        return Judgement::Wrong(format!("the payment was settled at {}", payment.gateway));
    }
    if let Some(other) = payment.booked_at.iter().find(|gateway| **gateway != charge.gateway) {
        return Judgement::Wrong(format!("the ledger has it at {other}"));
    }
    if (charge.amount, &charge.currency) != (in_ledger, &payment.currency) {
        return Judgement::Wrong(format!("the ledger has {in_ledger} {}", payment.currency));
    }
    Judgement::Agrees
}
