//! I5 of what a person has settled: what differs from the payment stands in suspense, so at each gateway the ledger has what was moved there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::{Books, Payment};
use crate::domain::ids::Kind;
use crate::domain::transaction::Status;
use crate::ops::verify::Rest;
use crate::ops::verify::charge_log::{Charge, ChargeLog, Fate};
use crate::ops::verify::report::Finding;

impl Books {
    pub(super) fn by_hand(&self, older: &HashSet<Uuid>, log: &ChargeLog, rest: Rest, finding: &mut Finding) {
        let mut charges: HashMap<Uuid, Vec<&Charge>> = HashMap::new();
        for charge in log.charges.iter().filter(|charge| charge.fate != Fate::NotMoved) {
            if let Some(attempt) = charge.attempt_id.and_then(|id| self.intents.attempts.get(&id)) {
                charges.entry(attempt.payment).or_default().push(charge);
            }
        }
        let settled = [Status::Succeeded, Status::Failed, Status::Reversed].map(Some);
        for (id, payment) in &self.payments {
            if !payment.by_hand || older.contains(id) || !settled.contains(&payment.status) {
                continue;
            }
            finding.checked += 1;
            let charges = charges.get(id).map_or(&[][..], Vec::as_slice);
            let Some(wrong) = differs(payment, charges) else { continue };
            // The gateway's message about what it gave back may still be on its way.
            if rest == Rest::Live && charges.iter().any(|charge| charge.fate == Fate::TakenBack) {
                finding.under_way += 1;
            } else {
                finding.violation(|| format!("payment {id}: a person has settled it, and {wrong}"));
            }
        }
    }
}

fn differs(payment: &Payment, charges: &[&Charge]) -> Option<String> {
    let mut moved: BTreeMap<&str, i64> = BTreeMap::new();
    for charge in charges.iter().filter(|charge| charge.fate == Fate::Moved) {
        if charge.currency != payment.currency {
            return Some(format!("{} has moved {} {}", charge.gateway, charge.amount, charge.currency));
        }
        let amount = if charge.kind == Kind::Deposit { charge.amount } else { -charge.amount };
        *moved.entry(&charge.gateway).or_default() += amount;
    }
    let gateways: BTreeSet<&str> = moved.keys().copied().chain(payment.at_gateway.keys().map(String::as_str)).collect();
    gateways.into_iter().find_map(|gateway| {
        let booked = payment.at_gateway.get(gateway).copied().unwrap_or_default();
        let moved = moved.get(gateway).copied().unwrap_or_default();
        let currency = &payment.currency;
        (booked != moved).then(|| format!("the ledger has {booked} {currency} at {gateway}, which has moved {moved}"))
    })
}
