//! Guarantees of the state machine: over every (status, news, source), and by name for the rules that money hangs on.

mod apart;
mod asked;
mod books;
mod by_hand;
mod doubt;
mod ended;
mod every;
mod named;
mod orders;
mod outdated;
mod resolved;
mod table;

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::news::{News, Source, learn};
use super::{Context, Decision, Policy};
use crate::domain::change::Change;
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, Reversal};
use crate::domain::route::GatewayState;
use crate::domain::transaction::{Attempt, AttemptState, OperationState, Status, Substatus, Transaction};

pub const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05 UTC);
/// The answer to a question that was put just now.
pub const ANSWER: Source = Source::Answer { asked_at: NOW, delivered: true };
pub const GATEWAYS: [&str; 2] = ["stripe", "bank"];

pub fn euros(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

pub fn policy() -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        send_within: seconds(5),
        call_within: seconds(10),
        margin: seconds(2),
        schedule: vec![seconds(5), seconds(15), seconds(60)],
        settle_window: seconds(60),
        key_lifetime: seconds(24 * 3600),
        retry_first: seconds(15),
        retry_longest: seconds(600),
    }
}

pub fn gateway_states() -> Vec<GatewayState> {
    GATEWAYS.map(|name| GatewayState { name: name.into(), paused: false, away: false, pays_to: Vec::new() }).into()
}

/// With the context of `now`; the policy and gateways are the tests' own.
pub fn within<T>(now: OffsetDateTime, run: impl FnOnce(Context<'_>) -> T) -> T {
    let (policy, gateways) = (policy(), gateway_states());
    run(Context { now, policy: &policy, candidates: &GATEWAYS, gateways: &gateways })
}

fn attempt_state(status: Status) -> AttemptState {
    match status {
        Status::Submitting => AttemptState::Open,
        Status::AwaitingGateway => AttemptState::Accepted,
        Status::RequiresAction => AttemptState::NeedsCustomer,
        Status::Succeeded | Status::Reversed => AttemptState::Succeeded,
        Status::Failed => AttemptState::Declined,
        Status::Expired => AttemptState::Expired,
        _ => AttemptState::Unknown,
    }
}

/// A payment over 10.00 EUR that stands at `status`, with one attempt at stripe unless nothing was sent yet.
pub fn payment(kind: Kind, status: Status) -> Transaction {
    let sent = !matches!(status, Status::Created | Status::Cancelled);
    let attempt = Attempt {
        id: Uuid::now_v7(),
        number: 1,
        round: 0,
        gateway: "stripe".into(),
        state: attempt_state(status),
        reference: Some("pi_1".into()),
        not_found: 0,
        not_found_at: None,
        created_at: NOW - Duration::from_secs(60),
        operations: vec![OperationState {
            kind: Operation::Create,
            calls: 1,
            send_by: NOW - Duration::from_secs(55),
            rejected: false,
        }],
    };
    Transaction {
        id: Uuid::now_v7(),
        kind,
        user_id: Uuid::now_v7(),
        account_id: 1,
        available: 1_000,
        owed: 0,
        money: euros(1_000),
        country: "DE".into(),
        pinned_gateway: None,
        destination_kind: None,
        return_url: None,
        status,
        substatus: (status == Status::Failed).then_some(Substatus::Declined),
        gateway: "stripe".into(),
        attempt: i16::from(sent),
        round: 0,
        next_action_url: (status == Status::RequiresAction).then(|| "https://gateway.example/approve".into()),
        next_action_expires_at: None,
        version: 7,
        asks: 0,
        is_due: true,
        contradicted: false,
        came_back_when_asked: false,
        reason: None,
        submit_until: NOW + Duration::from_secs(600),
        created_at: NOW - Duration::from_secs(61),
        updated_at: NOW - Duration::from_secs(1),
        attempts: if sent { vec![attempt] } else { Vec::new() },
    }
}

pub fn succeeded() -> Outcome {
    Outcome::Succeeded { reference: "pi_1".into(), money: euros(1_000) }
}

pub fn declined() -> Outcome {
    Outcome::Declined { reference: None, code: "card_declined".into(), message: "No.".into() }
}

pub fn outcomes() -> Vec<Outcome> {
    let reference = || "pi_1".to_owned();
    vec![
        Outcome::Accepted { reference: reference() },
        Outcome::NeedsCustomer {
            reference: reference(),
            redirect_url: "https://gateway.example/a".into(),
            expires_at: None,
        },
        Outcome::Approved { reference: reference() },
        succeeded(),
        Outcome::Succeeded { reference: reference(), money: euros(999) },
        declined(),
        Outcome::Expired { reference: None },
        Outcome::Rejected { code: "bad".into(), message: "No.".into() },
        Outcome::Unreachable { why: "refused".into() },
        Outcome::Later { retry_after_ms: Some(1_000), code: "429".into() },
        Outcome::NotFound,
        Outcome::Unseen,
        Outcome::Reversed { reference: reference(), money: euros(1_000), how: Reversal::Chargeback },
        Outcome::Unknown { why: "time-out".into() },
    ]
}

pub fn sources() -> [Source; 4] {
    [
        Source::Call { operation: Operation::Create, begun: 7, calls: 1 },
        Source::Call { operation: Operation::Capture, begun: 7, calls: 1 },
        ANSWER,
        Source::Callback { id: Uuid::now_v7() },
    ]
}

/// What follows from news of the payment's first attempt.
pub fn told(transaction: &Transaction, source: Source, outcome: &Outcome) -> Decision {
    told_at(NOW, transaction, source, outcome)
}

pub fn told_at(now: OffsetDateTime, transaction: &Transaction, source: Source, outcome: &Outcome) -> Decision {
    let attempt = transaction.attempts.first().map_or(Uuid::nil(), |attempt| attempt.id);
    within(now, |context| learn(transaction, News { attempt, source, outcome }, context))
}

/// The answer to a question that was put, and answered, at `now`.
pub fn answered_at(now: OffsetDateTime, transaction: &Transaction, outcome: &Outcome) -> Decision {
    told_at(now, transaction, Source::Answer { asked_at: now, delivered: true }, outcome)
}

pub fn step(decision: &Decision) -> &Change {
    match decision {
        Decision::Step(change) => change,
        other => panic!("expected a step, got {other:?}"),
    }
}
