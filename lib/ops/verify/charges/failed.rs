//! I5 of what has failed: a payment comes to nothing because its gateway said so, not because somebody gave it up.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Attempt, Books, Payment};
use crate::domain::transaction::Status;
use crate::ops::verify::charge_log::ChargeLog;
use crate::ops::verify::report::Finding;

/// "No such payment" proves nothing when it is told once.
const TOLD_TWICE: i16 = 2;

impl Books {
    pub(super) fn failed_for_cause(&self, older: &HashSet<Uuid>, log: &ChargeLog, finding: &mut Finding) {
        let attempts: HashMap<(Uuid, i16), (&Uuid, &Attempt)> =
            self.intents.attempts.iter().map(|one| ((one.1.payment, one.1.number), one)).collect();
        for (id, payment) in &self.payments {
            let has_failed = matches!(payment.status, Some(Status::Failed | Status::Expired));
            if !has_failed || payment.by_hand || older.contains(id) {
                continue;
            }
            finding.checked += 1;
            let attempt = attempts.get(&(*id, payment.attempt)).copied();
            let mut all = (1..=payment.attempt).filter_map(|number| attempts.get(&(*id, number)));
            let stands = all.any(|(attempt, _)| log.standing.contains(attempt));
            if let Some(wrong) = without_cause(payment, attempt, stands, log) {
                let status = payment.status.map_or("?", Status::as_str);
                finding.violation(|| format!("payment {id} stands at {status}, and {wrong}"));
            }
        }
    }
}

/// `stands`: some attempt is on its gateway's books, and has not ended there.
fn without_cause(
    payment: &Payment,
    attempt: Option<(&Uuid, &Attempt)>,
    stands: bool,
    log: &ChargeLog,
) -> Option<String> {
    let Payment { gateway, .. } = payment;
    match (payment.reason.as_deref(), attempt) {
        (Some("not_sent"), _) => stands.then(|| "is on the books of a gateway that was sent it".to_owned()),
        // The gateway was asked after the customer's time, and had nothing that was paid; it may keep such a payment for long.
        (Some("customer_expired"), Some((id, _))) if log.standing.contains(id) => None,
        (_, None) => Some("was never sent".to_owned()),
        (Some("not_executed"), Some((_, Attempt { not_found, .. }))) => (*not_found < TOLD_TWICE)
            .then(|| format!("{gateway} was heard {not_found} times, not {TOLD_TWICE}, not to know it")),
        (_, Some((id, _))) => (!log.denied(id)).then(|| format!("{gateway} has neither refused nor ended it")),
    }
}
