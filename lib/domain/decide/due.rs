//! A payment has fallen due: nobody has moved it in the time that its last step allowed.

use super::build::{Step, attempt_now};
use super::{Context, Decision};
use crate::domain::change::{Actor, Change, OperationChange};
use crate::domain::event::Act;
use crate::domain::reason::NOT_SENT;
use crate::domain::route::Next;
use crate::domain::transaction::{AttemptState, Status, Substatus, Transaction};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// Ask the gateways, of each attempt that is asked about.
    Ask,
    /// Commit this step; then ask.
    StepThenAsk(Box<Change>),
    Decided(Decision),
}

impl Due {
    /// For callers that cannot ask: what follows without asking.
    pub(super) fn into_decision(self) -> Decision {
        match self {
            Self::Decided(decision) => decision,
            Self::StepThenAsk(change) => Decision::Step(change),
            Self::Ask => Decision::Nothing("the gateway must be asked"),
        }
    }
}

/// `delivered`: the relay has passed the last command, so it may be given again; otherwise a broker that is away would collect copies.
pub fn fell_due(transaction: &Transaction, delivered: bool, context: Context<'_>) -> Due {
    match transaction.status {
        // It has ended since it was taken. A question that nobody wants might have no answer, and lead to a human.
        status if status.is_final() && !transaction.is_due => Due::Decided(Decision::Nothing("it has ended")),
        Status::Created => Due::Decided(not_sent_yet(transaction, delivered, context)),
        Status::Submitting => take_over(transaction, context),
        Status::AwaitingGateway | Status::RequiresAction | Status::Unknown => {
            let message = "The gateway's query schedule is used up without a final answer.";
            ask_or_hand_over(transaction, context, "gateway_silent", message)
        }
        Status::Succeeded | Status::Failed | Status::Expired if transaction.contradicted => {
            let message = "Contradicting messages, and the gateway gave no clear answer when asked.";
            ask_or_hand_over(transaction, context, "contradiction", message)
        }
        // To be confirmed, or a callback only asked to look: whatever the gateway says to the last question decides.
        Status::Succeeded | Status::Failed | Status::Expired if transaction.asked_about().next().is_some() => Due::Ask,
        _ => Due::Decided(Decision::LookAgain { version: transaction.version, due_in: None, asks: transaction.asks }),
    }
}

/// Asks as long as the schedule is not used up; then a human decides.
fn ask_or_hand_over(transaction: &Transaction, context: Context<'_>, code: &str, message: &str) -> Due {
    let begun = transaction.current_attempt().map_or(transaction.created_at, |attempt| attempt.created_at);
    if !context.policy.is_used_up(transaction.asks, begun, context.now) {
        return Due::Ask;
    }
    let step = Step::new(transaction, Status::Review, cause(transaction), Actor::Timer);
    Due::Decided(Decision::step(step.reason(code, message, None).done()))
}

fn cause(transaction: &Transaction) -> String {
    format!("due:{}", transaction.version)
}

/// Nothing is at any gateway: give the command again, or give up when the time for sending is over.
fn not_sent_yet(transaction: &Transaction, delivered: bool, context: Context<'_>) -> Decision {
    if context.now >= transaction.submit_until {
        return Decision::step(
            Step::new(transaction, Status::Failed, cause(transaction), Actor::Timer)
                .substatus(Substatus::NotSent)
                .reason(NOT_SENT, "No gateway could be reached in time; nothing was sent.", None)
                .post_failure()
                .done(),
        );
    }
    let retry_in = Some(context.not_sent_in(transaction, context.policy.retry_in(transaction.asks)));
    let asks = transaction.asks.saturating_add(1);
    if !delivered {
        return Decision::LookAgain { version: transaction.version, due_in: retry_in, asks };
    }
    let (gateway, round) = match context.next_route(transaction, None) {
        Next::Try { gateway, round } => (gateway, round),
        Next::Wait { gateway, round } if context.gateways.iter().all(|g| g.name != gateway || g.takes_payments()) => {
            (gateway, round)
        }
        Next::Wait { .. } => {
            let due_in = Some(context.wait_for(transaction));
            // A wait that doubled would outlast the fault.
            let asks = if context.one_is_away() { transaction.asks } else { asks };
            return Decision::LookAgain { version: transaction.version, due_in, asks };
        }
        Next::Nowhere => return Decision::LookAgain { version: transaction.version, due_in: retry_in, asks },
    };
    Decision::step(
        Step::new(transaction, Status::Created, cause(transaction), Actor::Timer)
            .route(gateway, round)
            .command(Act::Create)
            .asks(asks)
            .due_in(retry_in)
            .done(),
    )
}

/// Whoever was calling is gone or late: from now on it is not known what happened, and the gateway is asked.
fn take_over(transaction: &Transaction, context: Context<'_>) -> Due {
    let policy = context.policy;
    let again = |due_in| {
        Due::Decided(Decision::LookAgain { version: transaction.version, due_in: Some(due_in), asks: transaction.asks })
    };
    let Some(attempt) = transaction.current_attempt() else { return again(policy.margin) };
    let Some(operation) = attempt.operations.iter().max_by_key(|operation| operation.send_by) else {
        return again(policy.margin);
    };
    let after_sending = policy.call_within.saturating_sub(policy.send_within) + policy.margin;
    if !context.past(operation.send_by, after_sending) {
        return again(policy.margin);
    }
    let change = Step::new(transaction, Status::Unknown, cause(transaction), Actor::Timer)
        .attempt(attempt_now(attempt, still(attempt.state)))
        .operation(OperationChange::TakenOver { kind: operation.kind })
        .asks(transaction.asks_kept_by(operation.kind))
        .reason("call_unanswered", "A call to the gateway was not answered in time; it is being asked.", None)
        .due_in(Some(policy.ask_in(0)))
        .done();
    Due::StepThenAsk(Box::new(change))
}

/// An attempt under a lost call: what was known stays known.
fn still(state: AttemptState) -> AttemptState {
    if state == AttemptState::Open { AttemptState::Unknown } else { state }
}
