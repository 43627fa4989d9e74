//! I7: what is neither final nor excused by the gateways' misbehaviour.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::{Attempt, Books};
use crate::domain::transaction::Status;
use crate::ops::verify::Rest;
use crate::ops::verify::charge_log::ChargeLog;
use crate::ops::verify::invariant::Invariant;
use crate::ops::verify::report::Finding;

impl Books {
    /// `within`: a live fleet may take this long for a payment; without it, as long as it likes.
    pub fn settled(&self, log: Option<&ChargeLog>, rest: Rest, within: Option<Duration>) -> Finding {
        let mut finding = Finding { checked: self.payments.len() as u64, ..Finding::new(Invariant::I7) };
        let excused = log.map(|log| self.excused(log));
        let (mut untold, mut open) = (0_u64, 0_u64);
        for (id, payment) in &self.payments {
            match (payment.status, &excused) {
                (Some(Status::Review), None) => untold += 1,
                (Some(Status::Review), Some(excused)) if excused.contains(id) => {}
                (Some(Status::Review), Some(_)) => {
                    finding.violation(|| format!("{id} waits for a human without a reason at the gateway"));
                }
                (Some(status), _) if status.is_final() => {}
                (status, _) => {
                    let status = status.map_or("?", Status::as_str);
                    let late = within.filter(|within| payment.age_s.unsigned_abs() > within.as_secs());
                    match (rest, late) {
                        (Rest::AtRest, _) => finding.violation(|| format!("{id} still stands at {status}")),
                        (Rest::Live, Some(within)) => {
                            let (age, within) = (payment.age_s, within.as_secs());
                            finding.violation(|| format!("{id} still stands at {status} after {age} s, not {within}"));
                        }
                        (Rest::Live, None) => open += 1,
                    }
                }
            }
        }
        finding.under_way += open;
        if untold > 0 {
            finding.gap(format!("{untold} payments wait for a human, and no charge log tells what the gateways did"));
        }
        finding
    }

    /// A gateway charged or told something else than was ordered, told two things, or did not answer.
    fn excused(&self, log: &ChargeLog) -> HashSet<Uuid> {
        let payment_of = |attempt: Uuid| Some(self.intents.attempts.get(&attempt)?.payment);
        let charged_otherwise = log.charges.iter().filter_map(|charge| {
            let attempt = charge.attempt_id?;
            let payment = self.payments.get(&payment_of(attempt)?)?;
            let differs = charge.amount != payment.amount || charge.currency != payment.currency;
            differs.then_some(attempt)
        });
        let attempts = log.unanswered.iter().chain(&log.contradicted).copied().chain(charged_otherwise);
        let of_attempts = attempts.filter_map(payment_of);
        // Of whichever attempt: a payment may wait for a human because of one that it has left.
        let met_silence = |attempt: &&Attempt| {
            let was_silent = self.payments.get(&attempt.payment).is_some_and(|payment| payment.was_silent);
            was_silent && log.silent.contains(&attempt.gateway)
        };
        let of_gateways = self.intents.attempts.values().filter(met_silence).map(|attempt| attempt.payment);
        of_attempts.chain(of_gateways).collect()
    }
}
