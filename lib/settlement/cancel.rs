//! Calling a payment off, against a worker that may be about to send it: both commit by compare-and-set on the version, so one of them
//! misses, and finds on reading again that it came too late.

use uuid::Uuid;

use super::{Committed, Error, Settlement, TRIES};
use crate::domain::decide::cancel::{Cancel, cancel};

/// What the payment stands at now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelled {
    Now,
    Before,
    /// It may be at a gateway, or has ended otherwise.
    TooLate,
}

impl Settlement {
    /// Harmless to call again. Whose payment it is must be known already.
    pub async fn cancel(&self, id: Uuid) -> Result<Cancelled, Error> {
        for _ in 0..TRIES {
            let (transaction, _) = self.load(id).await?;
            let change = match cancel(&transaction) {
                Cancel::Already => return Ok(Cancelled::Before),
                Cancel::TooLate => return Ok(Cancelled::TooLate),
                Cancel::Step(change) => change,
            };
            if self.commit(*change).await? == Committed::Applied {
                return Ok(Cancelled::Now);
            }
        }
        Err(Error::Contended)
    }
}
