//! May this command be carried out? If so, the change that must be committed first.

use uuid::Uuid;

use super::build::{Step, attempt_now};
use super::{Context, Decision};
use crate::domain::change::{Actor, AttemptChange, Change, OperationChange};
use crate::domain::event::{Act, Command};
use crate::domain::ids::Operation;
use crate::domain::route::{GatewayState, Next};
use crate::domain::transaction::{Attempt, AttemptState, Status, Transaction};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begin {
    /// Commit this; only if it was applied, make the call.
    Call { change: Box<Change>, attempt: Uuid, operation: Operation },
    /// Ask the gateway about this attempt. Moves no money, so nothing has to be committed first.
    Ask { attempt: Uuid },
    /// No call: this follows instead.
    Instead(Decision),
}

/// `fresh` is a new identifier: the attempt's, if one is made. A command whose attempt or gateway are not the payment's
/// any more is moot, and one whose call was made since; a question can do no harm and must not be lost, so it is always carried out.
pub fn begin(transaction: &Transaction, command: &Command, fresh: Uuid, context: Context<'_>) -> Begin {
    let moot = |why| Begin::Instead(Decision::Nothing(why));
    if command.act == Act::Ask {
        let asked = |attempt: &&Attempt| attempt.number == command.attempt && attempt.gateway == command.gateway;
        return match transaction.attempts.iter().find(asked) {
            Some(attempt) => Begin::Ask { attempt: attempt.id },
            None => moot("there is no such attempt to ask about"),
        };
    }
    if command.gateway != transaction.gateway {
        return moot("the payment has gone to another gateway");
    }
    // Given again while its first copy waited on a long topic: whichever is consumed first is carried out, and none once the call was made.
    // Else a worker that is far behind would find each command made moot by the next.
    let uncalled = |operation| transaction.calls(command.attempt, operation) == command.calls;
    let given_again = command.version < transaction.version && command.act.operation().is_some_and(uncalled);
    if command.version != transaction.version && !given_again {
        return moot("the payment has moved on since the command was given");
    }
    match (command.act, transaction.status) {
        (Act::Create, Status::Created) if command.attempt == transaction.attempt + 1 => {
            first_call(transaction, fresh, context)
        }
        (Act::Create, Status::Unknown) if command.attempt == transaction.attempt => {
            call_again(transaction, Operation::Create, fresh, context)
        }
        (Act::Capture, Status::RequiresAction | Status::Unknown) if command.attempt == transaction.attempt => {
            match transaction.current_attempt() {
                Some(attempt) if attempt.state == AttemptState::Approved => {
                    call_again(transaction, Operation::Capture, fresh, context)
                }
                _ => moot("the customer has not approved"),
            }
        }
        _ => moot("the payment does not stand where the command wants it"),
    }
}

fn first_call(transaction: &Transaction, fresh: Uuid, context: Context<'_>) -> Begin {
    if context.now >= transaction.submit_until {
        return Begin::Instead(super::due::fell_due(transaction, true, context).into_decision());
    }
    if standing(transaction, context).is_some_and(|gateway| !gateway.takes_payments()) {
        return Begin::Instead(reroute(transaction, fresh, context));
    }
    let attempt = AttemptChange {
        id: fresh,
        number: transaction.attempt + 1,
        round: transaction.round,
        gateway: transaction.gateway.clone(),
        state: AttemptState::Open,
        reference: None,
        gateway_code: None,
        gateway_text: None,
        not_found: None,
    };
    let policy = context.policy;
    let change = Step::new(transaction, Status::Submitting, format!("begin:create:{fresh}"), Actor::Worker)
        .attempt_number(attempt.number)
        .attempt(attempt)
        .operation(OperationChange::MayBeSent { kind: Operation::Create, for_at_most: policy.send_within })
        .due_in(Some(policy.call_within + policy.margin))
        .done();
    Begin::Call { change: Box::new(change), attempt: fresh, operation: Operation::Create }
}

/// The same operation with the same key once more, or a capture: the attempt stands already.
fn call_again(transaction: &Transaction, operation: Operation, fresh: Uuid, context: Context<'_>) -> Begin {
    let Some(attempt) = transaction.current_attempt() else {
        return Begin::Instead(Decision::Nothing("there is no attempt to go on with"));
    };
    // It was sent, so it goes nowhere else. Its question comes when it is due, and leads here again.
    if standing(transaction, context).is_some_and(|gateway| gateway.away) {
        return Begin::Instead(Decision::Nothing("calls to the gateway fail"));
    }
    if transaction.is_in_doubt() {
        return Begin::Instead(Decision::Nothing("another attempt is in doubt"));
    }
    let policy = context.policy;
    if operation == Operation::Create
        && let Some(why) = no_resend(transaction, attempt, context)
    {
        return Begin::Instead(Decision::Nothing(why));
    }
    // What the gateway did not know before this call says nothing of this call.
    let attempt_change = AttemptChange { not_found: Some(0), ..attempt_now(attempt, attempt.state) };
    let change =
        Step::new(transaction, Status::Submitting, format!("begin:{}:{fresh}", operation.as_str()), Actor::Worker)
            .asks(transaction.asks_kept_by(operation))
            .attempt(attempt_change)
            .operation(OperationChange::MayBeSent { kind: operation, for_at_most: policy.send_within })
            .due_in(Some(policy.call_within + policy.margin))
            .done();
    Begin::Call { change: Box::new(change), attempt: attempt.id, operation }
}

/// Why a payment may not be sent again, though it could be when the command was given. The sweep goes on asking.
fn no_resend(transaction: &Transaction, attempt: &Attempt, context: Context<'_>) -> Option<&'static str> {
    if context.now + context.policy.call_within >= attempt.created_at + context.policy.key_lifetime {
        return Some("the gateway may have forgotten the key");
    }
    if context.now >= transaction.submit_until {
        return Some("the time for sending is over");
    }
    // What was approved was on the books: sending it again would be a second order.
    if attempt.operation(Operation::Capture).is_some() {
        return Some("its capture was sent");
    }
    standing(transaction, context).is_some_and(|gateway| gateway.paused).then_some("the gateway is paused")
}

fn standing<'a>(transaction: &Transaction, context: Context<'a>) -> Option<&'a GatewayState> {
    context.gateways.iter().find(|gateway| gateway.name == transaction.gateway)
}

/// The gateway takes no payment now and nothing was sent: the next one, or wait. Never one before it, which the sweep may choose: processes
/// that see the gateways differently would throw the payment to and fro. The look that gave the command has been counted.
fn reroute(transaction: &Transaction, fresh: Uuid, context: Context<'_>) -> Decision {
    let cause = format!("reroute:{fresh}");
    let step = Step::new(transaction, Status::Created, cause, Actor::Worker);
    let here = context.candidates.iter().position(|name| *name == transaction.gateway);
    let wait = context.wait_for(transaction);
    let onward = Context { candidates: &context.candidates[here.map_or(0, |here| here + 1)..], ..context };
    match onward.next_route(transaction, None) {
        Next::Try { gateway, round } => Decision::step(
            step.route(gateway, round).command(Act::Create).due_in(Some(context.policy.retry_in(0))).done(),
        ),
        Next::Wait { .. } | Next::Nowhere => {
            Decision::LookAgain { version: transaction.version, due_in: Some(wait), asks: transaction.asks }
        }
    }
}
