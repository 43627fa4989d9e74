//! What holds for every status, every news and every source.

use super::*;
use crate::domain::change::CONTRADICTS;
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::event::{self, StatusChanged};
use crate::domain::posting::{Effect, on_failure, on_reversal, on_success};

/// What a step may never do, wherever it comes from.
fn check(transaction: &Transaction, change: &Change, what: &str) {
    assert!(change.from.may_become(change.to), "illegal {:?} → {:?} by {what}", change.from, change.to);
    assert_eq!(change.expected_version, transaction.version, "{what}");
    let event: StatusChanged = serde_json::from_slice(&change.event.payload).unwrap();
    assert_eq!((event.version, event.transaction_id), (transaction.version + 1, transaction.id), "{what}");
    assert_eq!(event.status, change.to.public().0, "{what}");
    assert_eq!(change.to == Status::RequiresAction, change.next_action.is_some(), "{what}");

    let moved = change.from != change.to;
    let postings = &change.postings;
    match change.to {
        Status::Succeeded if moved => assert_eq!(*postings, on_success(transaction), "{what}"),
        Status::Reversed if moved => assert_eq!(*postings, on_reversal(transaction), "{what}"),
        Status::Failed | Status::Expired if moved => assert_eq!(*postings, on_failure(transaction), "{what}"),
        _ => assert!(postings.is_empty(), "{what} posts {postings:?}"),
    }
    let released = postings.iter().any(|posting| posting.effect == Effect::Release);
    assert!(!released || change.from.holds(), "{what} releases a hold that has ended");
    assert_eq!(change.expected_owed.is_some(), !postings.is_empty(), "{what}");

    let waits = !change.to.is_final() && change.to != Status::Review;
    let confirms = change.to == Status::Succeeded && moved && change.cause.starts_with("callback:");
    let asks = change.command.is_some() || confirms || (change.cause.ends_with(CONTRADICTS) && !moved);
    assert!(!waits || change.due_in.is_some(), "{what} forgets the payment");
    assert!(waits || change.due_in.is_none() || asks, "{what} wakes a payment that has ended");
    if let Some(command) = &change.command {
        let command: event::Command = serde_json::from_slice(&command.payload).unwrap();
        assert_eq!(command.version, transaction.version + 1, "{what}");
    }
}

#[test]
fn every_news_at_every_status_leads_to_a_lawful_step_or_to_none() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in Status::ALL {
            for outcome in outcomes() {
                for source in sources() {
                    let transaction = payment(kind, status);
                    let what = format!("{} by {source:?} at {status:?} of a {}", outcome.name(), kind.as_str());
                    if let Decision::Step(change) = told(&transaction, source, &outcome) {
                        check(&transaction, &change, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn every_payment_that_falls_due_is_asked_about_moved_or_looked_at_again() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in Status::ALL {
            for (asks, late) in [(0, false), (0, true), (99, false), (99, true)] {
                let mut transaction = payment(kind, status);
                transaction.asks = asks;
                let now = if late { NOW + Duration::from_secs(100_000) } else { NOW };
                let what = format!("due at {status:?}, {asks} asks, late: {late}");
                match within(now, |context| fell_due(&transaction, true, context)) {
                    Due::Ask => assert!(transaction.attempt > 0, "{what}"),
                    Due::StepThenAsk(change) => check(&transaction, &change, &what),
                    Due::Decided(Decision::Step(change)) => check(&transaction, &change, &what),
                    Due::Decided(Decision::LookAgain { due_in, .. }) => {
                        let ended = transaction.status.is_final() || status == Status::Review;
                        assert!(due_in.is_some() || ended, "{what} is forgotten");
                    }
                    Due::Decided(other) => panic!("{what}: {other:?} leaves it due for ever"),
                }
            }
        }
    }
}

#[test]
fn no_step_but_a_final_answer_ends_a_payment_at_its_gateway() {
    let vague = |outcome: &Outcome| {
        !matches!(outcome, Outcome::Succeeded { .. } | Outcome::Declined { .. } | Outcome::Expired { .. })
    };
    // A gateway that was asked and says that it has taken the payment back, says that it had succeeded.
    let is_final =
        |source, outcome: &Outcome| matches!((source, outcome), (Source::Answer { .. }, Outcome::Reversed { .. }));
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in [Status::AwaitingGateway, Status::RequiresAction, Status::Unknown] {
            for outcome in outcomes().into_iter().filter(vague) {
                for source in sources().into_iter().filter(|source| !is_final(*source, &outcome)) {
                    if let Decision::Step(change) = told(&payment(kind, status), source, &outcome) {
                        assert!(!change.to.is_final(), "{} by {source:?} ends {status:?}", outcome.name());
                    }
                }
            }
        }
    }
}

#[test]
fn the_same_news_again_changes_nothing_more() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown] {
            for outcome in [succeeded(), declined()] {
                let transaction = payment(kind, status);
                let first = told(&transaction, ANSWER, &outcome);
                let after = step(&first).applied_to(&transaction, NOW);
                let again = told(&after, ANSWER, &outcome);
                assert!(
                    !matches!(again, Decision::Step(_)),
                    "{} again at {:?}: {again:?}",
                    outcome.name(),
                    after.status
                );
            }
        }
    }
}
