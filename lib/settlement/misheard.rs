//! The planted bugs of understanding what a gateway says: they stand between its word and the rules.

use crate::domain::decide::news::Source;
use crate::domain::outcome::Outcome;
use crate::domain::transaction::Transaction;
use crate::service::planted::{self, Bug};

fn declined(code: &str) -> Outcome {
    Outcome::Declined { reference: None, code: code.into(), message: "A planted bug.".into() }
}

pub(super) fn misheard(transaction: Transaction, source: Source, outcome: &Outcome) -> (Transaction, Source, Outcome) {
    let Source::Call { operation, begun, .. } = source else {
        let heard = answer_misheard(&transaction, outcome);
        return (transaction, source, heard);
    };
    match outcome {
        Outcome::Unknown { .. } if planted::is(Bug::HoldReleasedOnTimeOut) => {
            (transaction, source, declined("time_out"))
        }
        Outcome::Unknown { why } if planted::is(Bug::FallbackAfterUnknown) => {
            (transaction, source, Outcome::Unreachable { why: why.clone() })
        }
        _ if planted::is(Bug::RefusalOfASecondCall) => {
            let mut transaction = transaction;
            let operations = transaction.attempts.iter_mut().flat_map(|attempt| &mut attempt.operations);
            operations.for_each(|operation| operation.calls = 1);
            (transaction, Source::Call { operation, begun, calls: 1 }, outcome.clone())
        }
        _ => {
            let heard = answer_misheard(&transaction, outcome);
            (transaction, source, heard)
        }
    }
}

fn answer_misheard(transaction: &Transaction, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::NotFound if planted::is(Bug::NotFoundTakenForFailure) => declined("not_found"),
        Outcome::Succeeded { reference, .. } if planted::is(Bug::AmountNotCompared) => {
            Outcome::Succeeded { reference: reference.clone(), money: transaction.money }
        }
        _ => outcome.clone(),
    }
}
