//! May this payment be called off? Only while no attempt was ever made: the commit then races the worker's, and one of them misses.

use super::build::Step;
use crate::domain::change::{Actor, Change};
use crate::domain::transaction::{Status, Transaction};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cancel {
    Step(Box<Change>),
    /// It is cancelled: whoever asks again is told the same.
    Already,
    /// It may be at a gateway, or has ended.
    TooLate,
}

pub fn cancel(transaction: &Transaction) -> Cancel {
    match transaction.status {
        Status::Cancelled => Cancel::Already,
        Status::Created if transaction.attempts.is_empty() => {
            let step = Step::new(transaction, Status::Cancelled, "cancel".into(), Actor::Client);
            let message = "Cancelled before anything was sent to a gateway.";
            Cancel::Step(Box::new(step.reason("cancelled", message, None).post_failure().done()))
        }
        _ => Cancel::TooLate,
    }
}
