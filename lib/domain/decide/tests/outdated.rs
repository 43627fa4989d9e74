//! What came after a question was put, or a call was allowed, is not forgotten for its answer.

use super::ended::{ENDED, page, reference};
use super::*;
use crate::domain::decide::news::rung;

/// The answer to a question that was put so many seconds after now.
pub fn asked_after(seconds: i64, transaction: &Transaction, outcome: &Outcome) -> Decision {
    let asked_at = NOW + time::Duration::seconds(seconds);
    told_at(NOW + Duration::from_secs(10), transaction, Source::Answer { asked_at, delivered: true }, outcome)
}

pub fn after_a_bell(transaction: &Transaction) -> Transaction {
    let rang = within(NOW, |context| rung(transaction, transaction.attempts[0].id, Uuid::now_v7(), context));
    step(&rang).applied_to(transaction, NOW)
}

#[test]
fn what_is_rung_for_is_not_forgotten_for_the_answer_to_a_question_before() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for (status, same) in ENDED.into_iter().zip([succeeded(), declined(), Outcome::NotFound]) {
            let rung = after_a_bell(&payment(kind, status));
            let before = asked_after(-1, &rung, &same);
            assert!(matches!(before, Decision::Nothing(_)), "{status:?}: {before:?}");
            let unheard = asked_after(1, &rung, &silent);
            assert!(matches!(unheard, Decision::LookAgain { due_in: Some(_), .. }), "{status:?}: {unheard:?}");
            let after = asked_after(if same == Outcome::NotFound { 60 } else { 1 }, &rung, &same);
            assert!(matches!(after, Decision::LookAgain { due_in: None, .. }), "{status:?}: {after:?}");
        }
        let expired = after_a_bell(&payment(kind, Status::Expired));
        let too_soon = asked_after(59, &expired, &Outcome::NotFound);
        assert!(matches!(too_soon, Decision::LookAgain { due_in: Some(_), asks: 0, .. }), "{too_soon:?}");
    }
}

/// The customer approves while the question is out that would have ended his time.
#[test]
fn the_answer_to_a_question_before_a_bell_ends_no_payment_without_success() {
    for status in [Status::AwaitingGateway, Status::RequiresAction, Status::Unknown] {
        let mut transaction = payment(Kind::Deposit, status);
        transaction.next_action_expires_at = Some(NOW - Duration::from_secs(1));
        let rung = after_a_bell(&transaction);
        for outcome in [page(), Outcome::Expired { reference: None }, declined()] {
            let before = asked_after(-1, &rung, &outcome);
            let ends = matches!(&before, Decision::Step(change) if change.to.is_final());
            assert!(!ends, "{} at {status:?}: {before:?}", outcome.name());
        }
        assert_eq!(step(&asked_after(1, &rung, &declined())).to, Status::Failed);
        assert_eq!(step(&asked_after(-1, &rung, &succeeded())).to, Status::Succeeded);
    }
}

#[test]
fn a_contradiction_is_not_forgotten_for_the_answer_to_a_question_before_it() {
    let approved = Outcome::Approved { reference: reference() };
    for (status, same) in ENDED.into_iter().zip([succeeded(), declined(), page()]) {
        let rung = after_a_bell(&payment(Kind::Deposit, status));
        let contradicted = asked_after(4, &rung, &approved);
        let asked = step(&contradicted).applied_to(&rung, NOW + Duration::from_secs(5));
        assert!(asked.is_due && asked.contradicted, "{status:?}");
        let before = asked_after(3, &asked, &same);
        let rests = matches!(before, Decision::LookAgain { due_in: None, .. });
        assert!(!rests, "{status:?}: {before:?}");
    }
}

/// What had ended the payment was told after the question.
#[test]
fn the_answer_to_a_question_before_the_end_contradicts_no_end_and_wakes_no_human() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    let otherwise = [Outcome::Accepted { reference: reference() }, Outcome::NotFound, declined(), silent];
    for (status, outcome) in ENDED.into_iter().flat_map(|status| otherwise.clone().map(|outcome| (status, outcome))) {
        for is_due in [true, false] {
            let mut transaction = payment(Kind::Deposit, status);
            (transaction.asks, transaction.is_due) = (99, is_due);
            let late = Source::Answer { asked_at: NOW - Duration::from_secs(2), delivered: true };
            let decision = told_at(NOW + Duration::from_secs(100_000), &transaction, late, &outcome);
            let keeps = matches!(decision, Decision::Nothing(_) | Decision::LookAgain { .. });
            assert!(keeps, "{} at {status:?}, due: {is_due}: {decision:?}", outcome.name());
            let stays = matches!(decision, Decision::Nothing(_));
            assert!(stays || !is_due, "{} at {status:?} puts off what it is due for: {decision:?}", outcome.name());
        }
    }
}

#[test]
fn what_rang_while_a_success_was_on_its_way_is_asked_about_after_it() {
    for (status, source) in [
        (Status::Submitting, Source::Call { operation: Operation::Create, begun: 7, calls: 1 }),
        (Status::AwaitingGateway, Source::Answer { asked_at: NOW - Duration::from_millis(1), delivered: true }),
    ] {
        for kind in [Kind::Deposit, Kind::Withdrawal] {
            let transaction = payment(kind, status);
            let at_once = step(&told(&transaction, source, &succeeded())).clone();
            assert_eq!((at_once.to, at_once.due_in), (Status::Succeeded, None), "{source:?}");
            let after = told(&after_a_bell(&transaction), source, &succeeded());
            assert_eq!((step(&after).to, step(&after).due_in.is_some()), (Status::Succeeded, true), "{source:?}");
        }
    }
}

#[test]
fn what_contradicts_an_end_is_believed_to_be_wrong_only_when_a_gateway_s_books_had_time_to_show_it() {
    let window = policy().settle_window;
    let money = euros(1_000);
    let back = Outcome::Reversed { reference: reference(), money, how: Reversal::Chargeback };
    for (status, said, same) in [
        (Status::Succeeded, &back, &succeeded()),
        (Status::Failed, &succeeded(), &declined()),
        (Status::Expired, &succeeded(), &Outcome::NotFound),
    ] {
        let transaction = payment(Kind::Deposit, status);
        let rang = told(&transaction, Source::Callback { id: Uuid::now_v7() }, said);
        let asked = step(&rang).applied_to(&transaction, NOW);
        let early = answered_at(NOW + window - Duration::from_secs(1), &asked, same);
        let Decision::LookAgain { due_in, asks, .. } = early else { panic!("{status:?}: {early:?}") };
        assert_eq!((due_in, asks), (Some(Duration::from_secs(1)), 0), "it uses up none of the schedule");
        let late = answered_at(NOW + window, &asked, same);
        assert!(matches!(late, Decision::LookAgain { due_in: None, .. }), "{status:?}: {late:?}");
    }
}

/// Two different words: the second is the first that the money has come back.
#[test]
fn a_withdrawal_that_was_paid_comes_back_on_two_answers_that_say_so() {
    let paid = after_a_bell(&payment(Kind::Withdrawal, Status::Succeeded));
    let not_found = answered_at(NOW, &paid, &Outcome::NotFound);
    let doubted = step(&not_found).applied_to(&paid, NOW);
    let first = answered_at(NOW, &doubted, &declined());
    assert_eq!(step(&first).to, Status::Succeeded);
    let asked = step(&first).applied_to(&doubted, NOW);
    assert_eq!(step(&answered_at(NOW, &asked, &declined())).to, Status::Reversed);
}

/// Both gateways had refused, and the next round was to begin with the first, when the time for sending was over.
#[test]
fn a_late_success_is_booked_at_the_gateway_that_tells_of_it() {
    let mut transaction = payment(Kind::Deposit, Status::Failed);
    transaction.gateway = "bank".into();
    let late = told(&transaction, ANSWER, &succeeded());
    assert_eq!((step(&late).to, step(&late).gateway.as_str()), (Status::Succeeded, "stripe"));
}
