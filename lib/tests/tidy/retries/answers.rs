//! What the rules of payments make of each of a gateway's answers is what the table of answers says.

use std::time::Duration;

use payfleet::domain::change::Change;
use payfleet::domain::decide::news::{News, Source, learn};
use payfleet::domain::decide::{Context, Decision, Policy};
use payfleet::domain::ids::{Kind, Operation};
use payfleet::domain::money::Money;
use payfleet::domain::outcome::{Outcome, Reversal};
use payfleet::domain::route::GatewayState;
use payfleet::domain::transaction::{Attempt, AttemptState, OperationState, Status, Transaction};
use payfleet::service::retry::policy::{ANSWERS, Answer, Follows, NOT_SENT, Rule};
use payfleet::settlement::{Policies, Settings};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::assert_none;
use crate::harness::scripted::{Script, Scripted};

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05 UTC);

/// What a gateway that says "later" asks for: longer than anybody would wait otherwise, and a wait of the query schedule.
const TOLD: Duration = Duration::from_secs(60);

/// One of each kind. An outcome that is new does not compile here until it has its place in the order, and is red without its row.
fn place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Accepted { .. } => 0,
        Outcome::NeedsCustomer { .. } => 1,
        Outcome::Approved { .. } => 2,
        Outcome::Succeeded { .. } => 3,
        Outcome::Declined { .. } => 4,
        Outcome::Expired { .. } => 5,
        Outcome::Rejected { .. } => 6,
        Outcome::Unreachable { .. } => 7,
        Outcome::Later { .. } => 8,
        Outcome::NotFound => 9,
        Outcome::Unseen => 10,
        Outcome::Reversed { .. } => 11,
        Outcome::Unknown { .. } => 12,
    }
}

fn outcomes() -> Vec<Outcome> {
    let (reference, code, message) = (String::from("pi_1"), String::from("code"), String::from("message"));
    let redirect_url = "https://gateway.example/approve".into();
    vec![
        Outcome::Accepted { reference: reference.clone() },
        Outcome::NeedsCustomer { reference: reference.clone(), redirect_url, expires_at: None },
        Outcome::Approved { reference: reference.clone() },
        Outcome::Succeeded { reference: reference.clone(), money: euros() },
        Outcome::Declined { reference: None, code: code.clone(), message: message.clone() },
        Outcome::Expired { reference: None },
        Outcome::Rejected { code: code.clone(), message },
        Outcome::Unreachable { why: code.clone() },
        Outcome::Later { retry_after_ms: Some(TOLD.as_millis() as u64), code: code.clone() },
        Outcome::NotFound,
        Outcome::Unseen,
        Outcome::Reversed { reference, money: euros(), how: Reversal::Chargeback },
        Outcome::Unknown { why: code },
    ]
}

fn euros() -> Money {
    Money::new(1_000, "EUR".parse().unwrap())
}

/// A deposit that was sent once, to the first of its gateways; and was sent a while ago, if it is asked about.
fn payment(status: Status) -> Transaction {
    let sent_at = if status == Status::Submitting { NOW } else { NOW - Duration::from_secs(300) };
    let create = OperationState { kind: Operation::Create, calls: 1, send_by: sent_at, rejected: false };
    let attempt = Attempt {
        id: Uuid::now_v7(),
        number: 1,
        round: 0,
        gateway: "stripe".into(),
        state: AttemptState::Unknown,
        reference: Some("pi_1".into()),
        not_found: 0,
        not_found_at: None,
        created_at: sent_at,
        operations: vec![create],
    };
    Transaction {
        id: Uuid::now_v7(),
        kind: Kind::Deposit,
        user_id: Uuid::now_v7(),
        account_id: 1,
        available: 0,
        owed: 0,
        money: euros(),
        country: "DE".into(),
        pinned_gateway: None,
        destination_kind: None,
        return_url: None,
        status,
        substatus: None,
        gateway: "stripe".into(),
        attempt: 1,
        round: 0,
        next_action_url: None,
        next_action_expires_at: None,
        version: 3,
        asks: 0,
        is_due: true,
        contradicted: false,
        came_back_when_asked: false,
        reason: None,
        submit_until: NOW + Duration::from_secs(24 * 3_600),
        created_at: sent_at,
        updated_at: sent_at,
        attempts: vec![attempt],
    }
}

/// As the settings have it by default.
fn policy() -> Policy {
    let gateway = Scripted { name: "stripe", script: Script::default() };
    Policies::new(&Settings::default()).unwrap().of(&gateway, Kind::Deposit)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    OnlyCall,
    Question,
}

/// What follows where the payment has so many gateways left.
fn decided(to: To, outcome: &Outcome, candidates: &[&str]) -> Decision {
    let transaction = payment(if to == To::OnlyCall { Status::Submitting } else { Status::Unknown });
    let source = match to {
        To::OnlyCall => Source::Call { operation: Operation::Create, begun: 3, calls: 1 },
        To::Question => Source::Answer { asked_at: NOW, delivered: true },
    };
    let state = |name: &str| GatewayState { name: name.into(), paused: false, away: false, pays_to: Vec::new() };
    let (policy, gateways) = (policy(), ["stripe", "bank"].map(state));
    let context = Context { now: NOW, policy: &policy, candidates, gateways: &gateways };
    learn(&transaction, News { attempt: transaction.attempts[0].id, source, outcome }, context)
}

/// Whether a decision is what the rule has for it.
fn follows(rule: &Rule, decision: &Decision) -> bool {
    let step = if let Decision::Step(change) = decision { Some(change.as_ref()) } else { None };
    let waits = |change: &Change, wait: Duration| change.due_in == Some(wait) && change.command.is_none();
    match (rule.name, step) {
        ("UNKNOWN", step) => {
            let due_in = if let Decision::LookAgain { due_in, .. } = decision { *due_in } else { None };
            let due_in = step.map_or(due_in, |change| change.due_in);
            let is_open = step.is_none_or(|change| !matches!(change.to, Status::Created | Status::Failed));
            is_open && due_in.is_some_and(|wait| policy().schedule.contains(&wait) || wait == policy().settle_window)
        }
        ("ROUTE", Some(change)) => change.to == Status::Created && change.command.is_some(),
        ("NOT_SENT", Some(change)) => change.to == Status::Created && waits(change, NOT_SENT.first() * 2),
        ("LATER", Some(change)) => change.to == Status::Created && waits(change, TOLD),
        ("DECLINED", Some(change)) => change.to == Status::Failed && change.due_in.is_none(),
        _ => false,
    }
}

fn offences(answers: &[Answer]) -> Vec<String> {
    let mut found = Vec::new();
    for outcome in outcomes() {
        let Some(answer) = answers.iter().find(|answer| answer.name == outcome.name()) else {
            found.push(format!("{}: no row", outcome.name()));
            continue;
        };
        for (to, said) in [(To::OnlyCall, answer.only_call), (To::Question, answer.question)] {
            let (two, one) = (decided(to, &outcome, &["stripe", "bank"]), decided(to, &outcome, &["stripe"]));
            let is_so = match said {
                Follows::Never => matches!(one, Decision::Nothing(_) | Decision::Step(_)),
                Follows::End => {
                    matches!(&one, Decision::Step(change) if change.to == Status::Succeeded && change.due_in.is_none())
                }
                Follows::Rules([rule]) => follows(rule, &one) && follows(rule, &two),
                Follows::Rules([first, rule]) => follows(first, &two) && follows(rule, &one),
                Follows::Rules(_) => false,
            };
            if !is_so {
                found.push(format!("{answer}: {to:?} leads to {one:?}, with another gateway left to {two:?}"));
            }
        }
    }
    found
}

#[test]
fn every_outcome_has_its_row_and_leads_where_that_says() {
    let outcomes = outcomes();
    assert!(outcomes.iter().enumerate().all(|(n, outcome)| place(outcome) == n && ANSWERS[n].name == outcome.name()));
    assert_eq!(outcomes.len(), ANSWERS.len());
    assert_none(offences(&ANSWERS));
}

#[test]
fn an_answer_that_leads_elsewhere_than_its_row_says_is_found() {
    assert_eq!(offences(&ANSWERS[1..]).len(), 1);
    let with = |name: &str, only_call: Follows| {
        ANSWERS.map(|answer| if answer.name == name { Answer { only_call, ..answer } } else { answer })
    };
    let of = |name: &str| ANSWERS.iter().find(|answer| answer.name == name).unwrap().only_call;
    for (name, instead) in [
        ("unknown", of("later")),
        ("later", of("unreachable")),
        ("unreachable", of("rejected")),
        ("rejected", of("unknown")),
        ("declined", of("succeeded")),
        ("succeeded", of("declined")),
    ] {
        assert_eq!(offences(&with(name, instead)).len(), 1, "{name}");
    }
}
