//! Asking a gateway what became of an attempt. Moves no money; the answer is news like any other.

use std::time::{Duration, Instant};

use rand::Rng;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Settlement};
use crate::callbacks;
use crate::domain::decide::Decision;
use crate::domain::decide::news::Source;
use crate::domain::destination::Destination;
use crate::domain::ids::Kind;
use crate::domain::transaction::{Attempt, Status, Transaction};
use crate::gateway::breaker::Resting;
use crate::gateway::{Deadline, Gateway, Payment};
use crate::sealing;
use crate::transactions::acts;

/// A question that was put off comes this much after the gateway may be back, at most.
const SPREAD_LIMIT: Duration = Duration::from_secs(60);

/// The sweep asks about it too: a question that is not asked now is not lost.
fn is_asked_when_due(transaction: &Transaction, attempt: &Attempt) -> bool {
    let never = [Status::Created, Status::Cancelled, Status::Review, Status::Reversed];
    let rests = transaction.status.is_final() && !transaction.is_due;
    !rests && !never.contains(&transaction.status) && transaction.asked_about().any(|asked| asked.id == attempt.id)
}

/// The payment came to rest after this question had been ordered, by an answer and not by a human's word.
fn was_asked_since(transaction: &Transaction, attempt: &Attempt) -> bool {
    let ended = matches!(transaction.status, Status::Succeeded | Status::Failed | Status::Expired);
    let rests = ended && !transaction.is_due && !transaction.is_resolved();
    rests && attempt.number == transaction.attempt
}

impl Settlement {
    /// Asks about one attempt and records the answer; `now` is the database's time of reading, and `delivered` whether the payment's last
    /// command had left by then. No transaction is open while the gateway is being called. While calls to it fail the question is put
    /// off instead.
    pub async fn ask(
        &self,
        transaction: &Transaction,
        attempt: Uuid,
        now: OffsetDateTime,
        delivered: bool,
    ) -> Result<(), Error> {
        let Some(attempt) = transaction.attempt_by_id(attempt) else { return Ok(()) };
        let gateway = self.gateway(&attempt.gateway)?;
        let pass = match gateway.admit() {
            Ok(pass) => Some(pass),
            Err(Resting(rest)) if is_asked_when_due(transaction, attempt) => {
                return self.put_off(transaction, rest, now).await;
            }
            Err(Resting(_)) if was_asked_since(transaction, attempt) => return Ok(()),
            // Nobody would ask this again.
            Err(Resting(_)) => None,
        };
        let payment = self.asked_about(transaction, attempt).await?;
        let begun = Instant::now();
        let outcome = gateway.ask(&payment, Deadline::after(gateway.call_limit())).await;
        drop(pass);
        let labels = [("gateway", gateway.name()), ("operation", "ask"), ("outcome", outcome.name())];
        metrics::histogram!("payfleet_gateway_call_seconds", &labels).record(begun.elapsed().as_secs_f64());
        self.learn(transaction.id, attempt.id, Source::Answer { asked_at: now, delivered }, &outcome, None).await
    }

    /// The question is put when the gateway may be back, and counts only then. Not all at the same moment: one of them is to find out
    /// whether it is.
    async fn put_off(&self, transaction: &Transaction, rest: Duration, now: OffsetDateTime) -> Result<(), Error> {
        let gateway = transaction.gateway.clone();
        metrics::counter!("payfleet_settlement_questions_put_off_total", "gateway" => gateway).increment(1);
        let Transaction { id, version, asks, .. } = *transaction;
        let spread = self.decide(transaction, now, |context| context.policy.ask_in(asks).min(SPREAD_LIMIT))?;
        let due_in = rest + spread.mul_f64(rand::rng().random_range(0.0..=1.0));
        self.carry_out(id, Decision::LookAgain { version, due_in: Some(due_in), asks }).await.map(drop)
    }

    pub fn gateway(&self, name: &str) -> Result<&dyn Gateway, Error> {
        self.0.gateways.get(name).map(AsRef::as_ref).ok_or_else(|| Error::NoSuchGateway(name.to_owned()))
    }

    /// The payment as an adapter needs it to send it. A withdrawal's destination is opened only here, only for a call.
    pub async fn payment(&self, transaction: &Transaction, attempt: &Attempt) -> Result<Payment, Error> {
        let destination = match transaction.kind {
            Kind::Deposit => None,
            Kind::Withdrawal => Some(self.open_destination(transaction.id).await?),
        };
        Ok(described(transaction, attempt, destination))
    }

    /// The payment as an adapter needs it to ask about it. No question needs the destination: one that cannot be opened, its key being
    /// retired, holds up none. If the gateway's id of the payment is not known, the one that a callback named may do.
    async fn asked_about(&self, transaction: &Transaction, attempt: &Attempt) -> Result<Payment, Error> {
        let payment = match self.payment(transaction, attempt).await {
            Err(Error::Sealed(id, why)) => {
                tracing::warn!(transaction = %id, %why, "the gateway is asked without the destination, which cannot be opened");
                described(transaction, attempt, None)
            }
            payment => payment?,
        };
        let candidate = match &payment.reference {
            Some(_) => None,
            None => self.bounded(callbacks::named_reference(&self.0.pool, transaction.id, attempt.id)).await?,
        };
        Ok(Payment { candidate, ..payment })
    }

    async fn open_destination(&self, id: Uuid) -> Result<Destination, Error> {
        let sealed = self.bounded(acts::sealed_destination(&self.0.pool, id)).await?;
        let (key_id, bytes) = sealed.ok_or_else(|| Error::Sealed(id, "there is none".into()))?;
        let plain = self
            .0
            .sealer
            .open(&key_id, &sealing::aad(id, "destination"), &bytes)
            .map_err(|error| Error::Sealed(id, error.to_string()))?;
        serde_json::from_slice(&plain).map_err(|_| Error::Sealed(id, "it is not a destination".into()))
    }
}

fn described(transaction: &Transaction, attempt: &Attempt, destination: Option<Destination>) -> Payment {
    Payment {
        transaction_id: transaction.id,
        attempt_id: attempt.id,
        kind: transaction.kind,
        money: transaction.money,
        country: transaction.country.clone(),
        destination,
        return_url: transaction.return_url.clone(),
        reference: attempt.reference.clone(),
        candidate: None,
        attempted_at: attempt.created_at,
        last_send_by: attempt.last_send_by().unwrap_or(attempt.created_at),
    }
}
