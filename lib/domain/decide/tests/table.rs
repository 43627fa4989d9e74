//! Every event at every status: what follows stands in `table.txt`, one row for each event, one column for each status. An event or a
//! status that is not in it fails, and so does one that leads elsewhere.
//!
//! A cell is the status that the payment steps to (C created, S submitting, A awaiting gateway, R requires action, U unknown, + succeeded,
//! F failed, X cancelled, E expired, ? review, - reversed), with the command that goes out with it: c create, k capture, a ask; `!` is a call.
//! Without a step: `a` the gateway is asked, `~` looked at again, `z` nobody need look, `n` noted with the attempt, `=` done before,
//! `.` nothing follows.

use std::collections::BTreeSet;

use super::*;
use crate::domain::change::Word;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::cancel::{Cancel, cancel};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::decide::resolve::{Booked, End, Ruling, resolve};
use crate::domain::event::{Act, Command};
use crate::domain::posting::Effect;

#[derive(Clone, Debug)]
enum Event {
    Command(Act),
    /// Of a payment that its customer has approved.
    Capture,
    News(Source, Outcome),
    Bell,
    Due {
        late: bool,
    },
    Cancel,
    Resolve(End, Ledger),
}

/// What a payment in review has in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ledger {
    Open,
    Booked,
}

fn letter(status: Status) -> char {
    match status {
        Status::Created => 'C',
        Status::Submitting => 'S',
        Status::AwaitingGateway => 'A',
        Status::RequiresAction => 'R',
        Status::Unknown => 'U',
        Status::Succeeded => '+',
        Status::Failed => 'F',
        Status::Cancelled => 'X',
        Status::Expired => 'E',
        Status::Review => '?',
        Status::Reversed => '-',
    }
}

fn stepped(change: &Change) -> String {
    let act = change.command.as_ref().map(|command| {
        let command: Command = serde_json::from_slice(&command.payload).unwrap();
        match command.act {
            Act::Create => 'c',
            Act::Capture => 'k',
            Act::Ask => 'a',
        }
    });
    [Some(letter(change.to)), act].into_iter().flatten().collect()
}

fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Step(change) => stepped(change),
        Decision::LookAgain { due_in: Some(_), .. } => "~".into(),
        Decision::LookAgain { due_in: None, .. } => "z".into(),
        Decision::Note(_) => "n".into(),
        Decision::Nothing(_) => ".".into(),
    }
}

fn begun(transaction: &Transaction, act: Act, context: Context<'_>) -> String {
    let next = i16::from(transaction.status == Status::Created);
    let command = Command {
        transaction_id: transaction.id,
        act,
        attempt: transaction.attempt + if act == Act::Create { next } else { 0 },
        gateway: transaction.gateway.clone(),
        version: transaction.version,
        calls: 0,
    };
    match begin(transaction, &command, Uuid::now_v7(), context) {
        Begin::Call { change, .. } => format!("{}!", letter(change.to)),
        Begin::Ask { .. } => "a".into(),
        Begin::Instead(decision) => decided(&decision),
    }
}

fn resolved(transaction: &Transaction, end: End, ledger: Ledger) -> String {
    let effects = match (transaction.kind, ledger) {
        (Kind::Deposit, Ledger::Open) => Vec::new(),
        (Kind::Deposit, Ledger::Booked) => vec![Effect::Credit],
        (Kind::Withdrawal, Ledger::Open) => vec![Effect::Hold],
        (Kind::Withdrawal, Ledger::Booked) => vec![Effect::Hold, Effect::Post],
    };
    let word = Word { operator: "ada".into(), says: "seen in their console".into() };
    let ruling = Ruling { id: Uuid::now_v7(), end, moved: None, seen: None, word };
    resolve(transaction, &Booked { effects, ..Booked::default() }, &ruling)
        .map_or(".".into(), |change| stepped(&change))
}

fn follows(transaction: &Transaction, event: &Event) -> String {
    let now = if let Event::Due { late: true } = event { NOW + Duration::from_secs(100_000) } else { NOW };
    within(now, |context| match event {
        Event::Command(act) => begun(transaction, *act, context),
        Event::Capture => {
            let mut transaction = transaction.clone();
            transaction.attempts.iter_mut().for_each(|attempt| attempt.state = AttemptState::Approved);
            begun(&transaction, Act::Capture, context)
        }
        Event::News(source, outcome) => {
            let mut transaction = transaction.clone();
            if let Source::Call { operation: kind @ Operation::Capture, .. } = *source {
                let sent = OperationState { kind, calls: 1, send_by: NOW - Duration::from_secs(5), rejected: false };
                transaction.attempts.iter_mut().for_each(|attempt| attempt.operations.push(sent.clone()));
            }
            decided(&told(&transaction, *source, outcome))
        }
        Event::Bell => {
            let attempt = transaction.attempts.first().map_or(Uuid::nil(), |attempt| attempt.id);
            decided(&rung(transaction, attempt, Uuid::now_v7(), context))
        }
        Event::Due { late } => {
            let mut transaction = transaction.clone();
            transaction.asks = if *late { 99 } else { 0 };
            match fell_due(&transaction, true, context) {
                Due::Ask => "a".into(),
                Due::StepThenAsk(change) => format!("{}a", letter(change.to)),
                Due::Decided(decision) => decided(&decision),
            }
        }
        Event::Cancel => match cancel(transaction) {
            Cancel::Step(change) => stepped(&change),
            Cancel::Already => "=".into(),
            Cancel::TooLate => ".".into(),
        },
        Event::Resolve(end, ledger) => resolved(transaction, *end, *ledger),
    })
}

/// Of each kind one at least; without a wildcard, so that a new one is missed by the compiler.
fn kind_of(outcome: &Outcome) -> usize {
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

fn told_by(source: Source) -> &'static str {
    match source {
        Source::Call { operation: Operation::Create, .. } => "create answered",
        Source::Call { operation: Operation::Capture, .. } => "capture answered",
        Source::Call { operation: Operation::Cancel, .. } => "cancel answered",
        Source::Answer { .. } => "asked",
        Source::Callback { .. } => "callback",
    }
}

fn events() -> Vec<(String, Event)> {
    let acts = [(Act::Create, "create"), (Act::Capture, "capture"), (Act::Ask, "ask")];
    let mut all: Vec<(String, Event)> =
        acts.into_iter().map(|(act, name)| (format!("command {name}"), Event::Command(act))).collect();
    all.push(("command capture, approved".into(), Event::Capture));
    let part = Outcome::Reversed { reference: "pi_1".into(), money: euros(999), how: Reversal::Returned };
    let outcomes: Vec<Outcome> = outcomes().into_iter().chain([part]).collect();
    let kinds: BTreeSet<usize> = outcomes.iter().map(kind_of).collect();
    assert_eq!(kinds, (0..13).collect());
    for source in sources() {
        all.extend(outcomes.iter().map(|outcome| {
            let amount = match outcome {
                Outcome::Succeeded { money, .. } | Outcome::Reversed { money, .. } => format!(" {}", money.minor),
                _ => String::new(),
            };
            let name = format!("{} {}{amount}", told_by(source), outcome.name());
            (name, Event::News(source, outcome.clone()))
        }));
    }
    all.push(("bell".into(), Event::Bell));
    all.push(("due".into(), Event::Due { late: false }));
    all.push(("due, schedule and time used up".into(), Event::Due { late: true }));
    all.push(("cancel".into(), Event::Cancel));
    for end in [End::Succeeded, End::Failed, End::Reversed] {
        all.push((format!("resolve {}", end.as_str()), Event::Resolve(end, Ledger::Open)));
        all.push((format!("resolve {}, success booked", end.as_str()), Event::Resolve(end, Ledger::Booked)));
    }
    all
}

fn table() -> String {
    let mut text = String::new();
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let head: Vec<String> = Status::ALL.iter().map(|status| format!("{:<2}", letter(*status))).collect();
        text += &format!("{:<34} {}\n", kind.as_str(), head.join(" ").trim_end());
        for (name, event) in events() {
            let cell = |status: &Status| format!("{:<2}", follows(&payment(kind, *status), &event));
            let cells: Vec<String> = Status::ALL.iter().map(cell).collect();
            text += &format!("{name:<34} {}\n", cells.join(" ").trim_end());
        }
    }
    text
}

#[test]
fn every_event_at_every_status_leads_where_the_table_says() {
    let (told, meant) = (table(), include_str!("table.txt"));
    let apart: Vec<(&str, &str)> = told.lines().zip(meant.lines()).filter(|(told, meant)| told != meant).collect();
    assert!(apart.is_empty() && told.lines().count() == meant.lines().count(), "{apart:#?}\n{told}");
}
