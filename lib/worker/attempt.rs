//! One command, one outcome: intent committed, call made, result committed.
//!
//! ```text
//! begin ──commit──▶ submitting ──call──▶ outcome ──commit──▶ what follows
//! ```
//! If it dies after the first commit, nobody knows whether the gateway was called: the command, given again, is moot (the version has
//! moved on), and once the call's time is over the reconciler takes over and asks. The gateway is never called blind a second time.

use std::time::Instant;

use time::OffsetDateTime;
use uuid::Uuid;

use super::run::show_limit;
use crate::domain::change::Change;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::news::{News, Source};
use crate::domain::event::Command;
use crate::domain::ids::Operation;
use crate::domain::outcome::Outcome;
use crate::domain::transaction::{Attempt, Transaction};
use crate::gateway::breaker::Pass;
use crate::gateway::{Deadline, Gateway, Payment};
use crate::kafka::consumer::Room;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};
use crate::service::retry::policy;
use crate::settlement::{Committed, Error, Settlement};

/// A call that may be made as soon as its intent is on record.
struct Ready<'a> {
    gateway: &'a dyn Gateway,
    payment: Payment,
    operation: Operation,
    /// While it lives a call is expected at the gateway.
    pass: Pass,
    /// Before the commit: the database's `send_by` is then never earlier than ours.
    begun_at: Instant,
}

impl Ready<'_> {
    /// Sends it once, or not at all if it has become too late.
    async fn exchange(&self) -> Outcome {
        let limit = self.gateway.call_limit();
        let deadline = Deadline { send_by: self.begun_at + limit / 2, answer_by: self.begun_at + limit };
        match self.operation {
            Operation::Create => self.gateway.create(&self.payment, deadline).await,
            Operation::Capture => self.gateway.capture(&self.payment, deadline).await,
            Operation::Cancel => Outcome::Unknown { why: "no command cancels at a gateway".into() },
        }
    }
}

/// Carries commands through. Cheap to clone.
#[derive(Clone)]
pub struct Attempts {
    settlement: Settlement,
}

impl Attempts {
    pub fn new(settlement: Settlement) -> Self {
        Self { settlement }
    }

    /// Ok when the command is done or moot. An error is the infrastructure's: the same command may be handed in again.
    pub async fn handle(&self, command: Command) -> Result<(), Error> {
        self.handle_in(&mut Room::default(), command).await
    }

    /// The room of a consumer is for the intent and the call. An answer that has to wait until it can be recorded, since somebody has
    /// locked the account, keeps no other payment out.
    pub async fn handle_in(&self, room: &mut Room<'_>, command: Command) -> Result<(), Error> {
        for _ in 0..policy::MOVED.tries() {
            let begun_at = Instant::now();
            let (transaction, now) = self.settlement.load(command.transaction_id).await?;
            #[cfg(feature = "planted-bugs")]
            let (transaction, command) = redelivered(transaction, command.clone());
            let fresh = Uuid::now_v7();
            let begin =
                self.settlement.decide(&transaction, now, |context| begin(&transaction, &command, fresh, context))?;
            let committed = match begin {
                // The command that led here has left. Should a later one wait, it may be given twice, which costs little.
                Begin::Ask { attempt } => return self.settlement.ask(&transaction, attempt, now, true).await,
                Begin::Instead(decision) => self.settlement.carry_out(transaction.id, decision).await?,
                Begin::Call { change, attempt, operation } => {
                    let after = change.applied_to(&transaction, now);
                    // Whatever can fail on our side does so before the intent is on record, and then the attempt has no call.
                    let Some(attempt) = after.attempt_by_id(attempt) else { return Ok(()) };
                    // Its breaker has opened since, or another tries it: what follows then is decided again.
                    let Ok(pass) = self.settlement.gateway(&attempt.gateway)?.admit() else { continue };
                    let ready = self.ready(&after, attempt, operation, (begun_at, pass)).await?;
                    failpoint::reached(Window::C8).await;
                    let early = if planted::is(Bug::AttemptAfterCall) { Some(ready.exchange().await) } else { None };
                    let committed = self.settlement.commit(Change::clone(&change)).await?;
                    if committed == Committed::Applied {
                        return self.call(room, ready, early, (after, now)).await;
                    }
                    committed
                }
            };
            if committed == Committed::Applied {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    async fn ready(
        &self,
        after: &Transaction,
        attempt: &Attempt,
        operation: Operation,
        (begun_at, pass): (Instant, Pass),
    ) -> Result<Ready<'_>, Error> {
        let gateway = self.settlement.gateway(&attempt.gateway)?;
        let mut payment = self.settlement.payment(after, attempt).await?;
        if planted::is(Bug::NewKeyOnRetry) && attempt.operation(operation).is_some_and(|standing| standing.calls > 1) {
            payment.attempt_id = Uuid::now_v7();
        }
        Ok(Ready { gateway, payment, operation, pass, begun_at })
    }

    /// The payment stands in `submitting` by our own commit: this call, and only this one, may be made.
    async fn call(
        &self,
        room: &mut Room<'_>,
        ready: Ready<'_>,
        early: Option<Outcome>,
        known: (Transaction, OffsetDateTime),
    ) -> Result<(), Error> {
        failpoint::reached(Window::C9).await;
        let called_at = Instant::now();
        let outcome = match early {
            Some(outcome) => outcome,
            None => ready.exchange().await,
        };
        let Ready { gateway, payment, operation, pass, begun_at } = ready;
        drop(pass);
        follow_latency(room, gateway, called_at, &outcome);
        failpoint::reached(Window::C11).await;
        let labels = [("gateway", gateway.name()), ("operation", operation.as_str()), ("outcome", outcome.name())];
        metrics::histogram!("payfleet_gateway_call_seconds", &labels).record(begun_at.elapsed().as_secs_f64());
        let calls = known.0.attempt_by_id(payment.attempt_id).and_then(|attempt| attempt.operation(operation));
        let calls = calls.map_or(0, |operation| operation.calls);
        let source = Source::Call { operation, begun: known.0.version, calls };
        self.record(room, known, News { attempt: payment.attempt_id, source, outcome: &outcome }).await
    }

    /// What the gateway has said once it may never say again, and the command, handed in again, is moot: the answer is kept until it is
    /// recorded, however long the database is away.
    async fn record(
        &self,
        room: &mut Room<'_>,
        known: (Transaction, OffsetDateTime),
        news: News<'_>,
    ) -> Result<(), Error> {
        let id = known.0.id;
        let mut known = Some(known);
        let mut waits = policy::ANSWER.waits();
        loop {
            match self.settlement.learn(id, news.attempt, news.source, news.outcome, known.take()).await {
                Err(error) if !error.is_lasting() && !planted::is(Bug::AnswerDropped) => {
                    tracing::warn!(transaction = %id, %error, "an answer could not be recorded; it will be");
                    room.give_back();
                    tokio::time::sleep(waits.next_wait()).await;
                }
                recorded => return recorded,
            }
        }
    }
}

/// The planted bug: a payment under a call looks as if its command had just been given.
#[cfg(feature = "planted-bugs")]
fn redelivered(mut transaction: Transaction, mut command: Command) -> (Transaction, Command) {
    use crate::domain::event::Act;
    use crate::domain::status::Status;

    let is_under_way = transaction.status == Status::Submitting && command.act == Act::Create;
    if planted::is(Bug::RedeliveryWithoutAsking) && is_under_way {
        transaction.status = Status::Unknown;
        command.version = transaction.version;
    }
    (transaction, command)
}

/// How much is sent to the gateway at once follows from how long it took, and from whether it could not cope.
fn follow_latency(room: &Room<'_>, gateway: &dyn Gateway, called_at: Instant, outcome: &Outcome) {
    let strained = matches!(outcome, Outcome::Unreachable { .. } | Outcome::Unknown { .. } | Outcome::Later { .. });
    if let Some(limit) = room.took(called_at.elapsed(), strained) {
        show_limit(gateway.name(), limit);
    }
}
