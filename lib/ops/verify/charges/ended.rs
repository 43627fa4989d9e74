//! I5 of what has ended: a payment comes to nothing because its gateway said so, not because somebody gave it up, and leaves nothing open.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Attempt, Books, Payment};
use crate::domain::transaction::Status;
use crate::ops::verify::Rest;
use crate::ops::verify::charge_log::{Charge, ChargeLog};
use crate::ops::verify::report::Finding;

const CUSTOMER_EXPIRED: &str = "customer_expired";
/// "No such payment" proves nothing when it is told once.
const TOLD_TWICE: i16 = 2;

impl Books {
    pub(super) fn ended_for_cause(&self, older: &HashSet<Uuid>, log: &ChargeLog, rest: Rest, finding: &mut Finding) {
        let mut attempts: HashMap<Uuid, Vec<(&Uuid, &Attempt)>> = HashMap::new();
        for one in &self.intents.attempts {
            attempts.entry(one.1.payment).or_default().push(one);
        }
        let charges = log.of_attempts();
        let payments = self.payments.iter().filter(|(id, payment)| !payment.by_hand && !older.contains(*id));
        for (id, payment) in payments {
            let Some(status) = payment.status.filter(|status| status.is_final()) else { continue };
            let all = attempts.get(id).map_or(&[][..], Vec::as_slice);
            let attempt = all.iter().find(|(_, attempt)| attempt.number == payment.attempt).copied();
            let open: Vec<&Charge> = all
                .iter()
                .flat_map(|(attempt, _)| charges.get(*attempt).into_iter().flatten().copied())
                .filter(|charge| charge.is_open())
                .collect();
            let denied = |attempt: &Uuid| match charges.get(attempt) {
                None => log.refused.contains(attempt),
                // A refusal says nothing where something stands: a call before it may have been executed.
                Some(charges) => charges.iter().all(|charge| charge.has_ended),
            };
            let wrong = match (status, rest) {
                (Status::Failed | Status::Expired, _) => without_cause(payment, attempt, &open, denied),
                // What is open beside a success, or after it was taken back, may still move money.
                (_, Rest::AtRest) => open.first().map(|charge| is_open(charge)),
                (_, Rest::Live) => continue,
            };
            finding.checked += 1;
            let settling = attempt.map(|(attempt, _)| *attempt);
            let is_asked_about = settling.is_some_and(|attempt| charges.contains_key(&attempt))
                && open.iter().all(|charge| charge.attempt_id == settling);
            match wrong {
                None => {}
                Some(_) if rest == Rest::Live && payment.customer_was_late() && is_asked_about => {
                    finding.under_way += 1;
                }
                Some(wrong) => {
                    finding.violation(|| format!("payment {id} stands at {}, and {wrong}", status.as_str()));
                }
            }
        }
    }
}

impl Payment {
    /// It was given up because the customer did not come. Should he come after all, the gateway is asked, and what it says is booked.
    pub(super) fn customer_was_late(&self) -> bool {
        self.reason.as_deref() == Some(CUSTOMER_EXPIRED)
    }
}

fn is_open(charge: &Charge) -> String {
    format!("{} has {} open on its books", charge.gateway, charge.reference)
}

/// `open`: what of it, whatever the attempt, has not ended on a gateway's books.
fn without_cause(
    payment: &Payment,
    attempt: Option<(&Uuid, &Attempt)>,
    open: &[&Charge],
    denied: impl Fn(&Uuid) -> bool,
) -> Option<String> {
    let Payment { gateway, reason, .. } = payment;
    let reason = reason.as_deref();
    // The gateway was asked after the customer's time, and had nothing that was paid; it may keep such a payment for long.
    let settling = attempt.map(|(id, _)| *id);
    let is_kept = |charge: &&Charge| charge.awaits_customer && charge.attempt_id == settling;
    let lapsed = payment.customer_was_late() && open.iter().all(is_kept);
    match (open, attempt) {
        ([_, ..], _) if lapsed => None,
        ([charge, ..], _) => Some(is_open(charge)),
        ([], _) if reason == Some("not_sent") => None,
        ([], None) => Some("was never sent".to_owned()),
        ([], Some((_, Attempt { not_found, .. }))) if reason == Some("not_executed") => (*not_found < TOLD_TWICE)
            .then(|| format!("{gateway} was heard {not_found} times, not {TOLD_TWICE}, not to know it")),
        ([], Some((id, _))) => (!denied(id)).then(|| format!("{gateway} has neither refused nor ended it")),
    }
}
