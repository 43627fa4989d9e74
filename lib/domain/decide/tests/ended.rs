//! News of payments that have ended here, or have gone on to another attempt.

use super::*;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::event::{Act, Command};

pub const ENDED: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Expired];

pub fn reference() -> String {
    "pi_1".into()
}

pub fn page() -> Outcome {
    Outcome::NeedsCustomer { reference: reference(), redirect_url: "https://gateway.example".into(), expires_at: None }
}

/// Every answer to a question either says when to look again, or that the payment ended so and nobody need look.
#[test]
fn a_question_about_a_payment_that_has_ended_always_leads_on_or_to_rest() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in ENDED {
            for outcome in outcomes() {
                let decision = told(&payment(kind, status), ANSWER, &outcome);
                let leads_on = matches!(decision, Decision::Step(_) | Decision::LookAgain { .. });
                assert!(leads_on, "{} at {status:?}: {decision:?} is asked about for ever", outcome.name());
            }
        }
    }
}

#[test]
fn nothing_to_pay_at_the_gateway_confirms_an_end_without_success_and_never_a_success() {
    for outcome in [Outcome::NotFound, page()] {
        for status in ENDED {
            let mut transaction = payment(Kind::Deposit, status);
            transaction.updated_at = NOW - policy().settle_window;
            let decision = told(&transaction, ANSWER, &outcome);
            let rests = matches!(decision, Decision::LookAgain { due_in: None, .. });
            assert_eq!(rests, status != Status::Succeeded, "{} at {status:?}: {decision:?}", outcome.name());
        }
    }
}

/// As of a PayPal payout whose batch id was lost: nobody has asked PayPal anything.
#[test]
fn that_a_payment_cannot_be_seen_confirms_no_end() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in ENDED {
            let mut transaction = payment(kind, status);
            transaction.attempts[0].reference = None;
            let decision = told(&transaction, ANSWER, &Outcome::Unseen);
            assert!(matches!(decision, Decision::LookAgain { due_in: Some(_), .. }), "{status:?}: {decision:?}");
        }
    }
}

/// The sweep had taken it, or its question was out, when something else ended it.
#[test]
fn a_payment_that_has_ended_is_asked_about_only_for_a_reason() {
    for (kind, status) in ENDED.into_iter().flat_map(|status| [(Kind::Deposit, status), (Kind::Withdrawal, status)]) {
        let mut transaction = payment(kind, status);
        transaction.attempts[0].reference = None;
        assert_eq!(within(NOW, |context| fell_due(&transaction, true, context)), Due::Ask, "{status:?}");
        transaction.is_due = false;
        let due = within(NOW, |context| fell_due(&transaction, true, context));
        assert!(matches!(due, Due::Decided(Decision::Nothing(_))), "{status:?}: {due:?}");
        for outcome in [Outcome::Unseen, Outcome::Unknown { why: "time-out".into() }] {
            let decision = told(&transaction, ANSWER, &outcome);
            assert!(matches!(decision, Decision::Nothing(_)), "{} at {status:?}: {decision:?}", outcome.name());
        }
    }
}

#[test]
fn a_payment_still_under_way_at_the_gateway_after_its_end_is_asked_about_again() {
    let (accepted, approved) =
        (Outcome::Accepted { reference: reference() }, Outcome::Approved { reference: reference() });
    for status in ENDED {
        for outcome in [&accepted, &approved] {
            let decision = told(&payment(Kind::Deposit, status), ANSWER, outcome);
            let asked_again = (step(&decision).to, step(&decision).due_in.is_some(), step(&decision).asks);
            assert_eq!(asked_again, (status, true, 1));
        }
    }
    let called = Source::Call { operation: Operation::Create, begun: 2, calls: 1 };
    for status in [Status::Failed, Status::Expired] {
        let decision = told(&payment(Kind::Withdrawal, status), called, &accepted);
        let command: Command = serde_json::from_slice(&step(&decision).command.as_ref().unwrap().payload).unwrap();
        assert_eq!((step(&decision).to, command.act), (status, Act::Ask));
    }
}

#[test]
fn an_attempt_that_was_given_up_keeps_the_reference_of_its_late_acceptance() {
    let mut gone_on = payment(Kind::Deposit, Status::Submitting);
    gone_on.attempt = 2;
    let mut waiting = payment(Kind::Deposit, Status::Created);
    waiting.attempts = gone_on.attempts.clone();
    waiting.attempt = 1;
    for transaction in [gone_on, waiting] {
        for source in sources() {
            let outcome = Outcome::Accepted { reference: "pi_late".into() };
            let decision = told(&transaction, source, &outcome);
            let news = step(&decision).attempt_change.as_ref().unwrap();
            assert_eq!((news.state, news.reference.as_deref()), (AttemptState::Unknown, Some("pi_late")));
        }
    }
}

#[test]
fn an_order_that_ran_out_after_its_capture_was_sent_fails_nobody() {
    for outcome in [Outcome::Expired { reference: None }, page()] {
        for status in [Status::Submitting, Status::RequiresAction, Status::Unknown] {
            let mut transaction = payment(Kind::Deposit, status);
            transaction.next_action_expires_at = Some(NOW - Duration::from_secs(1));
            let sent = OperationState { kind: Operation::Capture, calls: 1, send_by: NOW, rejected: false };
            transaction.attempts[0].operations.push(sent);
            for source in sources() {
                if let Decision::Step(change) = told(&transaction, source, &outcome) {
                    assert!(!change.to.is_final(), "{} by {source:?} ends {status:?}", outcome.name());
                }
            }
        }
    }
}

/// As of an order that PayPal has forgotten: its capture was lost on the way there.
#[test]
fn an_order_that_is_gone_a_settle_window_after_its_capture_twice_was_not_executed() {
    let mut transaction = payment(Kind::Deposit, Status::Unknown);
    let sent = OperationState { kind: Operation::Capture, calls: 1, send_by: NOW, rejected: false };
    transaction.attempts[0].operations.push(sent);
    let gone = Outcome::Expired { reference: Some(reference()) };
    let minutes = |minutes: u32| NOW + Duration::from_secs(61) * minutes;
    assert!(matches!(told(&transaction, ANSWER, &gone), Decision::LookAgain { .. }), "the capture may be on its way");
    let first = answered_at(minutes(1), &transaction, &gone);
    assert_eq!((step(&first).to, step(&first).command.is_none()), (Status::Unknown, true));
    let after = step(&first).applied_to(&transaction, minutes(1));
    assert!(matches!(answered_at(minutes(1), &after, &gone), Decision::LookAgain { .. }), "too soon");
    let second = answered_at(minutes(2), &after, &gone);
    assert_eq!((step(&second).to, step(&second).substatus), (Status::Failed, Some(Substatus::NotExecuted)));
}

#[test]
fn an_order_that_is_gone_while_the_customer_is_waited_for_ends_too_and_a_call_under_way_is_not_moved() {
    let gone = Outcome::Expired { reference: Some(reference()) };
    let sent = OperationState { kind: Operation::Capture, calls: 1, send_by: NOW, rejected: false };
    let mut transaction = payment(Kind::Deposit, Status::RequiresAction);
    transaction.attempts[0].operations.push(sent.clone());
    let minutes = |minutes: u32| NOW + Duration::from_secs(61) * minutes;
    let first = answered_at(minutes(1), &transaction, &gone);
    assert_eq!(step(&first).to, Status::RequiresAction);
    let after = step(&first).applied_to(&transaction, minutes(1));
    let second = answered_at(minutes(2), &after, &gone);
    assert_eq!((step(&second).to, step(&second).substatus), (Status::Failed, Some(Substatus::NotExecuted)));
    let mut calling = payment(Kind::Deposit, Status::Submitting);
    calling.attempts[0].operations.push(sent);
    assert!(matches!(answered_at(minutes(1), &calling, &gone), Decision::Nothing(_)));
}

#[test]
fn the_answer_to_the_order_does_not_end_the_call_of_its_capture() {
    let mut transaction = payment(Kind::Deposit, Status::Submitting);
    let sent = OperationState { kind: Operation::Capture, calls: 1, send_by: NOW, rejected: false };
    transaction.attempts[0].operations.push(sent);
    let ordered = Source::Call { operation: Operation::Create, begun: 2, calls: 1 };
    let approved = Outcome::Approved { reference: reference() };
    let unknown = Outcome::Unknown { why: "time-out".into() };
    for outcome in [Outcome::Accepted { reference: reference() }, approved, page(), unknown.clone()] {
        let decision = told(&transaction, ordered, &outcome);
        assert!(matches!(decision, Decision::Nothing(_)), "{}: {decision:?}", outcome.name());
    }
    let captured = Source::Call { operation: Operation::Capture, begun: 7, calls: 1 };
    assert_eq!(step(&told(&transaction, captured, &unknown)).to, Status::Unknown);
}

#[test]
fn no_such_payment_before_a_capture_does_not_count_after_it() {
    let mut transaction = payment(Kind::Deposit, Status::Unknown);
    transaction.attempts[0].state = AttemptState::Approved;
    (transaction.attempts[0].not_found, transaction.attempts[0].not_found_at) = (1, Some(NOW));
    let command = Command {
        transaction_id: transaction.id,
        act: Act::Capture,
        attempt: transaction.attempt,
        gateway: transaction.gateway.clone(),
        version: transaction.version,
        calls: 0,
    };
    let begun = within(NOW, |context| begin(&transaction, &command, Uuid::now_v7(), context));
    let Begin::Call { change, .. } = begun else { panic!("{begun:?}") };
    assert_eq!(change.applied_to(&transaction, NOW).attempts[0].not_found, 0);
}

#[test]
fn a_bell_after_success_finds_out_that_the_money_was_taken_back_and_reverses_the_payment() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let transaction = payment(kind, Status::Succeeded);
        let attempt = transaction.attempts[0].id;
        let rang = within(NOW, |context| rung(&transaction, attempt, Uuid::now_v7(), context));
        let command: Command = serde_json::from_slice(&step(&rang).command.as_ref().unwrap().payload).unwrap();
        assert_eq!((step(&rang).to, command.act), (Status::Succeeded, Act::Ask));
        let asked = step(&rang).applied_to(&transaction, NOW);
        let same = told(&asked, ANSWER, &succeeded());
        assert!(matches!(same, Decision::LookAgain { due_in: None, .. }), "{same:?}");
        let back = Outcome::Reversed { reference: reference(), money: euros(1_000), how: Reversal::Chargeback };
        let decision = told(&asked, ANSWER, &back);
        let found = (step(&decision).to, step(&decision).reason.as_ref().map(|reason| reason.code.as_str()));
        assert_eq!(found, (Status::Reversed, Some("taken_back")));
        assert!(!step(&decision).postings.is_empty());
    }
}

#[test]
fn a_bell_that_leads_to_no_answer_is_let_be_after_success_and_else_a_humans_as_is_a_contradiction() {
    let silent = Outcome::Unknown { why: "time-out".into() };
    let late = NOW + Duration::from_secs(3_600);
    for status in ENDED {
        let transaction = payment(Kind::Deposit, status);
        let attempt = transaction.attempts[0].id;
        let rang = within(NOW, |context| rung(&transaction, attempt, Uuid::now_v7(), context));
        let mut asked = step(&rang).applied_to(&transaction, NOW);
        asked.asks = 1;
        assert!(matches!(answered_at(late, &asked, &silent), Decision::LookAgain { due_in: Some(_), .. }));
        asked.asks = 2;
        let last = answered_at(late, &asked, &silent);
        if status == Status::Succeeded {
            assert!(matches!(last, Decision::LookAgain { due_in: None, .. }), "{status:?}: {last:?}");
        } else {
            let reason = step(&last).reason.as_ref().map(|reason| reason.code.as_str());
            assert_eq!((step(&last).to, reason), (Status::Review, Some("bell_unanswered")), "{status:?}");
        }
        let still_open = answered_at(late, &asked, &Outcome::Accepted { reference: reference() });
        assert_eq!(step(&still_open).to, Status::Review, "{status:?}");

        let otherwise = if status == Status::Succeeded { declined() } else { succeeded() };
        let claimed = told(&transaction, Source::Callback { id: Uuid::now_v7() }, &otherwise);
        let mut asked = step(&claimed).applied_to(&transaction, NOW);
        asked.asks = 2;
        let last = answered_at(late, &asked, &silent);
        assert!(matches!(last, Decision::LookAgain { due_in: Some(_), asks: 3, .. }), "{status:?}: {last:?}");
        asked.asks = 3;
        let due = within(late, |context| fell_due(&asked, true, context));
        let Due::Decided(decision) = due else { panic!("{status:?}: {due:?}") };
        assert_eq!(step(&decision).to, Status::Review, "{status:?}");
    }
}

fn sent_again(transaction: &Transaction, now: OffsetDateTime, paused: bool) -> Begin {
    let command = Command {
        transaction_id: transaction.id,
        act: Act::Create,
        attempt: transaction.attempt,
        gateway: transaction.gateway.clone(),
        version: transaction.version,
        calls: 0,
    };
    let (policy, mut gateways) = (policy(), gateway_states());
    gateways[0].paused = paused;
    let context = Context { now, policy: &policy, candidates: &GATEWAYS, gateways: &gateways };
    begin(transaction, &command, Uuid::now_v7(), context)
}

#[test]
fn nothing_is_sent_again_after_its_time_or_to_a_paused_gateway() {
    let transaction = payment(Kind::Withdrawal, Status::Unknown);
    assert!(matches!(sent_again(&transaction, NOW, false), Begin::Call { .. }));
    for (now, paused) in [(transaction.submit_until, false), (NOW, true)] {
        let begun = sent_again(&transaction, now, paused);
        assert!(matches!(begun, Begin::Instead(Decision::Nothing(_))), "{begun:?}");
    }
}

/// Its answer was lost, and an order to send the payment again, given before, is consumed once more.
#[test]
fn nothing_is_sent_again_whose_capture_was_sent() {
    let mut transaction = payment(Kind::Deposit, Status::Unknown);
    assert!(matches!(sent_again(&transaction, NOW, false), Begin::Call { .. }));
    let sent = OperationState { kind: Operation::Capture, calls: 1, send_by: NOW, rejected: false };
    transaction.attempts[0].operations.push(sent);
    let begun = sent_again(&transaction, NOW, false);
    assert!(matches!(begun, Begin::Instead(Decision::Nothing(_))), "{begun:?}");
}

#[test]
fn what_a_gateway_says_is_kept_only_as_long_as_it_fits() {
    let transaction = payment(Kind::Deposit, Status::Submitting);
    let called = Source::Call { operation: Operation::Create, begun: 7, calls: 1 };
    for (length, kept) in [(255, true), (256, false)] {
        let accepted = Outcome::Accepted { reference: "é".repeat(length) };
        let decision = told(&transaction, called, &accepted);
        assert_eq!(step(&decision).attempt_change.as_ref().unwrap().reference.is_some(), kept, "{length}");
    }
    let text = "é".repeat(100_000);
    let declined = Outcome::Declined { reference: None, code: text.clone(), message: text };
    let decision = told(&transaction, called, &declined);
    let (news, reason) = (step(&decision).attempt_change.as_ref().unwrap(), step(&decision).reason.as_ref().unwrap());
    let kept = [&news.gateway_code, &news.gateway_text, &reason.gateway_code, &Some(reason.message.clone())];
    assert!(kept.into_iter().all(|text| text.as_ref().is_some_and(|text| text.chars().count() == 500)));
}
