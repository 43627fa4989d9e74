//! I5 of what has failed: a payment comes to nothing because its gateway said so, not because somebody gave it up.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Attempt, Books, Payment};
use crate::domain::transaction::Status;
use crate::ops::verify::charge_log::{Charge, ChargeLog};
use crate::ops::verify::report::Finding;

/// "No such payment" proves nothing when it is told once.
const TOLD_TWICE: i16 = 2;

impl Books {
    pub(super) fn failed_for_cause(&self, older: &HashSet<Uuid>, log: &ChargeLog, finding: &mut Finding) {
        let attempts: HashMap<(Uuid, i16), (&Uuid, &Attempt)> =
            self.intents.attempts.iter().map(|one| ((one.1.payment, one.1.number), one)).collect();
        let charges = log.of_attempts();
        for (id, payment) in &self.payments {
            let has_failed = matches!(payment.status, Some(Status::Failed | Status::Expired));
            if !has_failed || payment.by_hand || older.contains(id) {
                continue;
            }
            finding.checked += 1;
            let attempt = attempts.get(&(*id, payment.attempt)).copied();
            let all = (1..=payment.attempt).filter_map(|number| attempts.get(&(*id, number)));
            let open: Vec<&Charge> = all
                .flat_map(|(attempt, _)| charges.get(*attempt).into_iter().flatten().copied())
                .filter(|charge| charge.is_open())
                .collect();
            let denied = |attempt: &Uuid| match charges.get(attempt) {
                None => log.refused.contains(attempt),
                // A refusal says nothing where something stands: a call before it may have been executed.
                Some(charges) => charges.iter().all(|charge| charge.has_ended),
            };
            if let Some(wrong) = without_cause(payment, attempt, &open, denied) {
                let status = payment.status.map_or("?", Status::as_str);
                finding.violation(|| format!("payment {id} stands at {status}, and {wrong}"));
            }
        }
    }
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
    let lapsed = reason == Some("customer_expired") && open.iter().all(|charge| charge.awaits_customer);
    match (open, attempt) {
        ([_, ..], _) if lapsed => None,
        ([charge, ..], _) => Some(format!("{} has {} open on its books", charge.gateway, charge.reference)),
        ([], _) if reason == Some("not_sent") => None,
        ([], None) => Some("was never sent".to_owned()),
        ([], Some((_, Attempt { not_found, .. }))) if reason == Some("not_executed") => (*not_found < TOLD_TWICE)
            .then(|| format!("{gateway} was heard {not_found} times, not {TOLD_TWICE}, not to know it")),
        ([], Some((id, _))) => (!denied(id)).then(|| format!("{gateway} has neither refused nor ended it")),
    }
}
