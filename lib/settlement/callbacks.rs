//! Applying a stored callback: what it says is news like any other, and it is marked in the commit of the step it causes.

use uuid::Uuid;

use super::{Committed, Error, Settlement, TRIES, tell_of_second_success};
use crate::callbacks::{self, Callback};
use crate::domain::decide::Decision;
use crate::domain::decide::news::{News, Source, learn, rung};
use crate::domain::status::Status;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};

impl Settlement {
    /// Harmless to call again: a callback that was applied or ignored stays so.
    pub async fn apply_callback(&self, id: Uuid) -> Result<(), Error> {
        let pool = &self.0.pool;
        let Some(callback) = self.bounded(callbacks::open(pool, id)).await? else {
            let exists = self.bounded(callbacks::exists(pool, id)).await?;
            return if exists { Ok(()) } else { Err(Error::NoSuchCallback(id)) };
        };
        let known = callback.transaction_id.zip(callback.attempt_id);
        let matched = match known {
            Some(matched) => Some(matched),
            None => self.bounded(callbacks::find_attempt(pool, &callback)).await?,
        };
        let Some((transaction, attempt)) = matched else {
            return self.keep_or_give_up(&callback).await;
        };
        self.apply_to(&callback, transaction, attempt).await
    }

    async fn keep_or_give_up(&self, callback: &Callback) -> Result<(), Error> {
        let (pool, gateway) = (&self.0.pool, callback.gateway.clone());
        metrics::counter!("payfleet_callbacks_unmatched_total", "gateway" => gateway.clone()).increment(1);
        let dropped = planted::is(Bug::UnmatchedCallbackDropped).then_some("its payment is not known");
        let Some(why) = callback.given_up().or(dropped) else {
            return Ok(self.bounded(callbacks::unmatched(pool, callback.id)).await?);
        };
        self.bounded(callbacks::ignore(pool, callback.id, why)).await?;
        tracing::warn!(callback = %callback.id, gateway, why, "a callback is given up");
        metrics::counter!("payfleet_callbacks_given_up_total", "gateway" => gateway).increment(1);
        Ok(())
    }

    async fn apply_to(&self, callback: &Callback, transaction: Uuid, attempt: Uuid) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (transaction, now) = self.load(transaction).await?;
            let source = Source::Callback { id: callback.id };
            let decision = self.decide(&transaction, now, |context| match &callback.notice.claim {
                Some(outcome) => learn(&transaction, News { attempt, source, outcome }, context),
                None => rung(&transaction, attempt, callback.id, context),
            })?;
            // A step marks the callback in its own commit; anything else is marked after.
            let why = match &decision {
                Decision::Step(_) => None,
                Decision::LookAgain { .. } => Some("the payment is looked at again"),
                Decision::Note(_) => Some("kept with its attempt; the payment does not move"),
                Decision::Nothing(why) => Some(*why),
            };
            tell_of_second_success(&transaction, &decision);
            if self.carry_out(transaction.id, decision).await? == Committed::Applied {
                if transaction.status == Status::Submitting {
                    failpoint::reached(Window::C15).await;
                }
                return match why {
                    Some(why) => Ok(self.bounded(callbacks::ignore(&self.0.pool, callback.id, why)).await?),
                    None => Ok(()),
                };
            }
        }
        Err(Error::Contended)
    }
}
