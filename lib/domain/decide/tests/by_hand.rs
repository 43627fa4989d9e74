//! A human's word, held against what is known of the payment; and what is told of it afterwards.

use super::resolved::{back, ruled, ruled_at};
use super::*;
use crate::domain::decide::news::rung;
use crate::domain::decide::resolve::{Booked, End, Unresolvable};
use crate::domain::posting::{Account, Effect, Side};
use crate::domain::reason::{RESOLVED, Reason};

/// Two attempts, the first at stripe, the second at bank; the payment goes on with the second.
fn tried_twice(kind: Kind, status: Status) -> Transaction {
    let mut transaction = payment(kind, status);
    let mut newer = transaction.attempts[0].clone();
    (newer.id, newer.number, newer.gateway) = (Uuid::now_v7(), 2, "bank".into());
    transaction.attempts.push(newer);
    (transaction.attempt, transaction.gateway) = (2, "bank".into());
    transaction
}

fn reason(decision: &Decision) -> Option<&str> {
    step(decision).reason.as_ref().map(|reason| reason.code.as_str())
}

/// The operator saw the money in the gateway's console, or did not see it yet. Then its word comes.
#[test]
fn a_success_told_of_what_a_human_has_settled_as_failed_books_nothing_by_itself() {
    for (kind, hold) in [(Kind::Deposit, &[][..]), (Kind::Withdrawal, &[Effect::Hold][..])] {
        for moved in [None, Some(0), Some(1_000)] {
            let mut transaction = payment(kind, Status::Review);
            transaction.reason = Some(Reason { code: "gateway_silent".into(), ..Reason::default() });
            let failed = ruled(&transaction, hold, 0, End::Failed, moved).unwrap().applied_to(&transaction, NOW);
            let rang = told(&failed, Source::Callback { id: Uuid::now_v7() }, &succeeded());
            assert_eq!((step(&rang).to, step(&rang).command.is_some()), (Status::Failed, true));
            let asked = step(&rang).applied_to(&failed, NOW);
            let answered = told(&asked, ANSWER, &succeeded());
            assert_eq!((step(&answered).to, step(&answered).postings.len()), (Status::Review, 0), "{kind:?} {moved:?}");
            assert_eq!(reason(&answered), Some("late_success"));
            let reviewed = step(&answered).applied_to(&asked, NOW);
            let released = [hold, &[Effect::Release][..hold.len()]].concat();
            let (suspended, at_gateway) = match (kind, moved) {
                (Kind::Deposit, Some(1_000)) => (Some(Side::Debit), 1_000),
                (Kind::Withdrawal, Some(1_000)) => (Some(Side::Credit), -1_000),
                _ => (None, 0),
            };
            let booked = Booked {
                effects: [&released[..], &[Effect::Suspend][..usize::from(suspended.is_some())]].concat(),
                clearing: at_gateway,
                suspended: suspended.into_iter().collect(),
                suspended_at: suspended.map(|_| "stripe".into()),
            };
            let settled = ruled_at(&reviewed, &booked, End::Succeeded, None);
            // What stands in suspense is not booked a second time.
            if suspended.is_some() {
                assert_eq!(settled.map(drop), Err(Unresolvable::InSuspense));
            } else {
                assert_eq!(settled.map(|change| change.postings.len() > 1), Ok(true));
            }
            let exactly = ruled_at(&reviewed, &booked, End::Succeeded, Some(1_000)).unwrap();
            let new: i64 = exactly.postings.iter().filter(|p| p.account == Account::Clearing).map(|p| p.delta()).sum();
            assert_eq!((at_gateway + new).abs(), 1_000, "{kind:?} {moved:?}: {:?}", exactly.postings);
            assert!(ruled_at(&reviewed, &booked, End::Failed, Some(at_gateway.abs())).is_ok());
        }
    }
}

/// "It succeeded" says that all of it was moved, once; the gateway has said otherwise.
#[test]
fn a_word_of_success_that_what_is_known_contradicts_is_not_taken_without_the_amount() {
    let less = Outcome::Succeeded { reference: "pi_1".into(), money: euros(999) };
    for (transaction, news, code, known) in [
        (payment(Kind::Deposit, Status::Unknown), less.clone(), "amount_differs", "9.99 EUR"),
        (payment(Kind::Deposit, Status::Review), less, "amount_differs", "9.99 EUR"),
        (tried_twice(Kind::Deposit, Status::Unknown), succeeded(), "second_success", "given up before"),
        (payment(Kind::Deposit, Status::Succeeded), back(400), "taken_back", "took 4.00 EUR back"),
        (payment(Kind::Deposit, Status::Review), back(1_000), "taken_back", "took 10.00 EUR back"),
    ] {
        let reviewed = step(&told(&transaction, ANSWER, &news)).applied_to(&transaction, NOW);
        let effects: &[Effect] = if transaction.status == Status::Succeeded { &[Effect::Credit] } else { &[] };
        let clearing = if effects.is_empty() { 0 } else { 1_000 };
        // Whatever rings meanwhile says nothing about the reason.
        let rang = within(NOW, |context| rung(&reviewed, reviewed.attempts[0].id, Uuid::now_v7(), context));
        let reviewed = step(&rang).applied_to(&reviewed, NOW);
        let refused = ruled(&reviewed, effects, clearing, End::Succeeded, None).unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, Unresolvable::SaidOtherwise { .. }), "{code}: {said}");
        assert!(said.contains(code) && said.contains(known) && said.contains("--moved"), "{said}");
        assert!(ruled(&reviewed, effects, clearing, End::Succeeded, Some(600)).is_ok(), "{code}");
    }
}

#[test]
fn that_a_payment_came_to_nothing_told_during_review_is_kept_and_known_to_whoever_decides() {
    let gone = Outcome::Expired { reference: None };
    for (kind, hold) in [(Kind::Deposit, &[][..]), (Kind::Withdrawal, &[Effect::Hold][..])] {
        for (news, state) in [(declined(), AttemptState::Declined), (gone.clone(), AttemptState::Expired)] {
            for source in sources() {
                let transaction = payment(kind, Status::Review);
                assert!(ruled(&transaction, hold, 0, End::Succeeded, None).is_ok());
                let decision = told(&transaction, source, &news);
                let change = step(&decision);
                assert_eq!((change.to, change.postings.len(), change.due_in), (Status::Review, 0, None));
                assert_eq!(change.attempt_change.as_ref().map(|attempt| attempt.state), Some(state));
                let knowing = change.applied_to(&transaction, NOW);
                assert_eq!(knowing.version, transaction.version + 1, "a word given before would still be taken");
                let refused = ruled(&knowing, hold, 0, End::Succeeded, None).unwrap_err();
                assert_eq!(refused, Unresolvable::SaidToHaveFailed(state));
                assert!(refused.to_string().contains(state.as_str()));
                assert!(ruled(&knowing, hold, 0, End::Succeeded, Some(1_000)).is_ok());
                assert!(ruled(&knowing, hold, 0, End::Failed, None).is_ok());
                assert!(matches!(told(&knowing, source, &news), Decision::Nothing(_)), "the same again");
            }
        }
    }
    // A success is not forgotten for it.
    let mut paid = payment(Kind::Deposit, Status::Review);
    paid.attempts[0].state = AttemptState::Succeeded;
    assert!(matches!(told(&paid, ANSWER, &declined()), Decision::Nothing(_)));
}

/// stripe was given up, bank declined, and then it was stripe that had the money.
#[test]
fn what_an_earlier_attempt_has_moved_is_booked_at_its_gateway() {
    for (kind, hold) in [(Kind::Deposit, &[][..]), (Kind::Withdrawal, &[Effect::Hold, Effect::Release][..])] {
        let transaction = tried_twice(kind, Status::Failed);
        let reviewed = step(&told(&transaction, ANSWER, &succeeded())).applied_to(&transaction, NOW);
        assert_eq!((reviewed.status, reviewed.gateway.as_str()), (Status::Review, "bank"));
        for end in [End::Failed, End::Succeeded] {
            let change = ruled(&reviewed, hold, 0, end, Some(1_000)).unwrap();
            assert_eq!((change.gateway.as_str(), change.attempt, &change.suspended_at), ("stripe", 1, &None));
            let settled = change.applied_to(&reviewed, NOW);
            let again = told(&settled, ANSWER, &succeeded());
            assert!(matches!(again, Decision::LookAgain { due_in: None, .. }), "{end:?}: {again:?}");
        }
    }
}

#[test]
fn what_a_second_attempt_has_moved_beyond_the_first_stands_in_suspense_at_its_gateway() {
    let mut transaction = tried_twice(Kind::Deposit, Status::Succeeded);
    transaction.reason = Some(Reason { code: RESOLVED.into(), ..Reason::default() });
    transaction.attempts[0].state = AttemptState::Unreachable;
    let reviewed = step(&told(&transaction, ANSWER, &succeeded())).applied_to(&transaction, NOW);
    assert_eq!(reviewed.status, Status::Review);
    let both = ruled(&reviewed, &[Effect::Credit], 1_000, End::Succeeded, Some(2_000)).unwrap();
    assert_eq!((both.gateway.as_str(), both.suspended_at.as_deref()), ("bank", Some("stripe")));
    let other = ruled(&reviewed, &[Effect::Credit], 1_000, End::Reversed, Some(1_000)).unwrap();
    assert_eq!((other.gateway.as_str(), other.suspended_at.as_deref()), ("bank", Some("stripe")));
    // It is cleared where it stands.
    let booked = Booked {
        effects: vec![Effect::Credit, Effect::Suspend],
        clearing: 2_000,
        suspended: vec![Side::Debit],
        suspended_at: Some("stripe".into()),
    };
    let cleared = ruled_at(&reviewed, &booked, End::Succeeded, Some(1_000)).unwrap();
    assert_eq!((cleared.gateway.as_str(), cleared.suspended_at.as_deref()), ("bank", Some("stripe")));
}

/// It was said to have succeeded, the operator found nothing at the gateway, and then it was executed after all.
#[test]
fn a_success_after_a_human_said_that_nothing_was_moved_is_news() {
    for (kind, hold) in [(Kind::Deposit, &[][..]), (Kind::Withdrawal, &[Effect::Hold][..])] {
        let review = payment(kind, Status::Review);
        let said = told(&review, Source::Callback { id: Uuid::now_v7() }, &succeeded());
        let knowing = step(&said).applied_to(&review, NOW);
        let failed = ruled(&knowing, hold, 0, End::Failed, Some(0)).unwrap().applied_to(&knowing, NOW);
        assert_eq!((failed.status, failed.attempts[0].state), (Status::Failed, AttemptState::NotExecuted));
        let rang = told(&failed, Source::Callback { id: Uuid::now_v7() }, &succeeded());
        assert_eq!((step(&rang).to, step(&rang).command.is_some()), (Status::Failed, true), "{kind:?}");
        let asked = step(&rang).applied_to(&failed, NOW);
        let answered = told(&asked, ANSWER, &succeeded());
        assert_eq!((step(&answered).to, reason(&answered)), (Status::Review, Some("late_success")), "{kind:?}");
    }
}

/// Both have paid, one of them gave it back, and the payment is settled as failed: what the other has stays where it is.
#[test]
fn what_is_kept_of_a_failed_payment_stands_at_the_gateway_of_its_attempt() {
    let mut transaction = tried_twice(Kind::Deposit, Status::Review);
    transaction.attempts.iter_mut().for_each(|attempt| attempt.state = AttemptState::Succeeded);
    let failed = ruled(&transaction, &[], 0, End::Failed, Some(1_000)).unwrap();
    assert_eq!((failed.gateway.as_str(), failed.suspended_at.as_deref()), ("bank", None));
}
