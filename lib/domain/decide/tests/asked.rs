//! The question schedule: what uses it up, and how old an answer is.

use super::*;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::event::{Act, Command};

fn due(transaction: &Transaction, now: OffsetDateTime) -> Due {
    within(now, |context| fell_due(transaction, true, context))
}

#[test]
fn questions_asked_out_of_turn_never_send_a_payment_to_a_human_before_its_time() {
    let open = [Status::AwaitingGateway, Status::RequiresAction, Status::Unknown];
    let ended = [Status::Succeeded, Status::Failed, Status::Expired];
    let whole: Duration = policy().schedule.iter().sum();
    for status in open.into_iter().chain(ended) {
        let mut transaction = payment(Kind::Deposit, status);
        transaction.contradicted = status.is_final();
        transaction.asks = 99;
        let begun = transaction.attempts[0].created_at;
        assert_eq!(due(&transaction, begun + whole - Duration::from_secs(1)), Due::Ask, "{status:?}");
        let Due::Decided(decision) = due(&transaction, begun + whole) else {
            panic!("{status:?} is asked about for ever")
        };
        assert_eq!(step(&decision).to, Status::Review, "{status:?}");
        transaction.asks = 2;
        assert_eq!(due(&transaction, begun + whole * 9), Due::Ask, "{status:?}: not all was asked");
    }
}

#[test]
fn beyond_the_schedule_a_payment_is_asked_about_in_its_last_interval() {
    let mut transaction = payment(Kind::Deposit, Status::AwaitingGateway);
    transaction.asks = 99;
    transaction.attempts[0].created_at = NOW - policy().schedule.iter().sum::<Duration>();
    let told = told(&transaction, ANSWER, &Outcome::Unknown { why: "time-out".into() });
    let last = policy().schedule.last().copied();
    assert!(matches!(told, Decision::LookAgain { due_in, .. } if due_in == last), "{told:?}");
}

#[test]
fn questions_asked_out_of_turn_do_not_put_off_those_of_the_schedule() {
    let mut transaction = payment(Kind::Deposit, Status::AwaitingGateway);
    let silent = Outcome::Unknown { why: "time-out".into() };
    for (asks, age, due_in) in [(0, 5, 15), (6, 5, 15), (6, 19, 1), (6, 20, 60), (0, 70, 10), (1, 20, 60), (0, 25, 15)]
    {
        transaction.asks = asks;
        transaction.attempts[0].created_at = NOW - Duration::from_secs(age);
        let Decision::LookAgain { due_in: Some(told), asks: asked, .. } = told(&transaction, ANSWER, &silent) else {
            panic!("{asks} asked, {age} s old")
        };
        assert_eq!((told.as_secs(), asked), (due_in, asks + 1), "{asks} asked, {age} s old");
    }
}

/// The question left before the last call's time was over; the answer took longer.
#[test]
fn no_such_payment_is_as_old_as_its_question() {
    let window = policy().settle_window;
    let mut transaction = payment(Kind::Deposit, Status::Unknown);
    transaction.attempts[0].operations[0].send_by = NOW;
    let (early, late) = (NOW + window - Duration::from_secs(1), NOW + window + Duration::from_secs(9));
    let stale = told_at(late, &transaction, Source::Answer { asked_at: early, delivered: true }, &Outcome::NotFound);
    assert!(matches!(stale, Decision::LookAgain { .. }), "{stale:?}");
    assert!(matches!(answered_at(late, &transaction, &Outcome::NotFound), Decision::Step(_)));

    transaction.submit_until = NOW;
    let first = answered_at(late, &transaction, &Outcome::NotFound);
    let counted = step(&first).applied_to(&transaction, late);
    let stale = Source::Answer { asked_at: late + window - Duration::from_secs(1), delivered: true };
    let again = told_at(late + window * 2, &counted, stale, &Outcome::NotFound);
    assert!(matches!(again, Decision::LookAgain { .. }), "{again:?}");
}

/// As at Stripe in a window that holds more payments than one question reads.
#[test]
fn a_payment_that_cannot_be_seen_is_sent_again_under_its_key_and_never_taken_for_missing() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let mut transaction = payment(kind, Status::Unknown);
        assert!(matches!(told(&transaction, ANSWER, &Outcome::Unseen), Decision::LookAgain { .. }), "on its way");
        let later = NOW + Duration::from_secs(70);
        let decision = answered_at(later, &transaction, &Outcome::Unseen);
        let command: Command = serde_json::from_slice(&step(&decision).command.as_ref().unwrap().payload).unwrap();
        assert_eq!((command.act, command.attempt), (Act::Create, 1));
        let never_sent = |transaction: &Transaction| {
            for minutes in 2..60 {
                let told = answered_at(NOW + Duration::from_secs(60 * minutes), transaction, &Outcome::Unseen);
                assert!(matches!(told, Decision::LookAgain { due_in: Some(_), .. }), "{told:?}");
            }
        };
        transaction.submit_until = NOW;
        never_sent(&transaction);
        transaction.submit_until = NOW + Duration::from_secs(100_000);
        transaction.attempts[0].created_at = NOW - Duration::from_secs(24 * 3600);
        never_sent(&transaction);
    }
}

#[test]
fn a_payment_that_cannot_be_seen_but_was_rejected_when_sent_again_ends() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let mut transaction = payment(kind, Status::Unknown);
        (transaction.attempts[0].operations[0].calls, transaction.attempts[0].operations[0].rejected) = (2, true);
        let later = NOW + Duration::from_secs(70);
        let first = answered_at(later, &transaction, &Outcome::Unseen);
        let after = step(&first).applied_to(&transaction, later);
        let second = answered_at(later + Duration::from_secs(61), &after, &Outcome::Unseen);
        assert_eq!((step(&first).to, step(&second).to), (Status::Unknown, Status::Failed), "{kind:?}");
    }
}

/// "No such payment" proves nothing of a withdrawal, however often it is said.
#[test]
fn a_withdrawal_that_its_gateway_never_knows_is_sent_again_under_its_key_and_then_a_humans_and_never_released() {
    let mut transaction = payment(Kind::Withdrawal, Status::Unknown);
    let (mut now, mut calls) = (NOW, 0);
    for _ in 0..100 {
        now += Duration::from_secs(70);
        if transaction.status == Status::Review {
            break;
        }
        let decision = answered_at(now, &transaction, &Outcome::NotFound);
        let Decision::Step(change) = decision else { panic!("{decision:?}") };
        assert!(change.postings.is_empty());
        transaction = change.applied_to(&transaction, now);
        let Some(command) = &change.command else { continue };
        let command = serde_json::from_slice(&command.payload).unwrap();
        let begun = within(now, |context| begin(&transaction, &command, Uuid::now_v7(), context));
        let Begin::Call { change, attempt, operation } = begun else { panic!("{begun:?}") };
        assert_eq!((attempt, operation), (transaction.attempts[0].id, Operation::Create));
        transaction = change.applied_to(&transaction, now);
        calls += 1;
        let sent = transaction.attempts[0].operations[0].calls;
        let source = Source::Call { operation, begun: transaction.version, calls: sent };
        let unheard = told_at(now, &transaction, source, &Outcome::Unknown { why: "time-out".into() });
        transaction = step(&unheard).applied_to(&transaction, now);
    }
    assert_eq!(transaction.status, Status::Review);
    assert!(calls >= 2 && transaction.attempts.len() == 1, "{calls} calls");
}

#[test]
fn questions_asked_out_of_turn_do_not_put_off_a_capture() {
    let approved = Outcome::Approved { reference: "pi_1".into() };
    let mut transaction = payment(Kind::Deposit, Status::Unknown);
    transaction.attempts[0].state = AttemptState::Approved;
    transaction.asks = 60;
    let sent =
        OperationState { kind: Operation::Capture, calls: 1, send_by: NOW + policy().send_within, rejected: false };
    transaction.attempts[0].operations.push(sent);
    let (early, in_turn) = (NOW + Duration::from_secs(4), NOW + Duration::from_secs(5));
    let rests = answered_at(early, &transaction, &approved);
    assert!(matches!(rests, Decision::LookAgain { due_in: Some(rest), .. } if rest.as_secs() == 1), "{rests:?}");
    let ordered = answered_at(in_turn, &transaction, &approved);
    assert_eq!((step(&ordered).command.is_some(), step(&ordered).due_in), (true, Some(Duration::from_secs(15))));
    transaction.status = Status::Submitting;
    let source = Source::Call { operation: Operation::Capture, begun: 7, calls: 1 };
    let failed = told_at(in_turn, &transaction, source, &Outcome::Unknown { why: "422".into() });
    assert_eq!(step(&failed).due_in, Some(Duration::from_secs(5)));
}

/// As of a PayPal whose captures fail while its orders stay approved.
#[test]
fn a_capture_that_fails_is_ordered_again_at_the_pace_of_the_schedule_and_ends_with_it() {
    let mut transaction = payment(Kind::Deposit, Status::RequiresAction);
    let approved = Outcome::Approved { reference: "pi_1".into() };
    let (mut now, mut pauses) = (NOW, Vec::new());
    for _ in 0..20 {
        if due(&transaction, now) != Due::Ask {
            break;
        }
        let ordered = answered_at(now, &transaction, &approved);
        transaction = step(&ordered).applied_to(&transaction, now);
        let command = serde_json::from_slice(&step(&ordered).command.as_ref().unwrap().payload).unwrap();
        let begun = within(now, |context| begin(&transaction, &command, Uuid::now_v7(), context));
        let Begin::Call { change, operation, .. } = begun else { panic!("{begun:?}") };
        transaction = change.applied_to(&transaction, now);
        let calls = transaction.attempts[0].operation(operation).unwrap().calls;
        let source = Source::Call { operation, begun: transaction.version, calls };
        let later = Outcome::Later { retry_after_ms: Some(40_000), code: "429".into() };
        let patient = told_at(now, &transaction, source, &later);
        assert!(step(&patient).due_in >= Some(Duration::from_secs(40)));
        let failed = told_at(now, &transaction, source, &Outcome::Unknown { why: "422".into() });
        transaction = step(&failed).applied_to(&transaction, now);
        let early = answered_at(now + Duration::from_secs(1), &transaction, &approved);
        assert!(matches!(early, Decision::LookAgain { due_in: Some(_), .. }), "{early:?}");
        let pause = step(&failed).due_in.unwrap();
        pauses.push(pause.as_secs());
        now += pause;
    }
    assert_eq!(pauses, [5, 15, 60, 60]);
    let Due::Decided(decision) = due(&transaction, now) else { panic!("captured for ever") };
    assert_eq!(step(&decision).to, Status::Review);
}

/// Whoever has the key of a gateway's callbacks could else credit what nobody has paid; and a gateway may err.
#[test]
fn a_success_that_only_a_callback_has_told_is_booked_and_confirmed_by_a_question() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for status in [Status::Submitting, Status::AwaitingGateway, Status::Unknown] {
            let transaction = payment(kind, status);
            let rang = told(&transaction, Source::Callback { id: Uuid::now_v7() }, &succeeded());
            let change = step(&rang);
            assert_eq!(
                (change.to, change.due_in),
                (Status::Succeeded, Some(policy().ask_in(0))),
                "{kind:?} {status:?}"
            );
            assert!(!change.postings.is_empty() && change.command.is_none());
            let believed = change.applied_to(&transaction, NOW);
            assert_eq!(due(&believed, NOW + Duration::from_secs(5)), Due::Ask);
            let confirmed = told(&believed, ANSWER, &succeeded());
            assert!(matches!(confirmed, Decision::LookAgain { due_in: None, .. }), "{confirmed:?}");
            let silent = told(&believed, ANSWER, &Outcome::Unknown { why: "time-out".into() });
            assert!(matches!(silent, Decision::LookAgain { due_in: Some(_), .. }), "{silent:?}");
            if kind == Kind::Deposit {
                let denied = told(&believed, ANSWER, &declined());
                assert_eq!(step(&denied).to, Status::Review, "{status:?}");
            }
            // What its gateway says when it is called or asked needs no other word.
            for source in [ANSWER, Source::Call { operation: Operation::Create, begun: 7, calls: 1 }] {
                assert_eq!(step(&told(&transaction, source, &succeeded())).due_in, None, "{source:?}");
            }
        }
    }
}

#[test]
fn a_success_told_late_is_not_dropped_because_the_gateway_does_not_show_it_yet() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let transaction = payment(kind, Status::Failed);
        let rang = step(&told(&transaction, Source::Callback { id: Uuid::now_v7() }, &succeeded()))
            .applied_to(&transaction, NOW);
        assert!(rang.contradicted);
        let window = policy().settle_window;
        for (age, rests) in [(Duration::from_secs(1), false), (window, true)] {
            let decision = answered_at(NOW + age, &rang, &Outcome::NotFound);
            let Decision::LookAgain { due_in, .. } = decision else { panic!("{decision:?}") };
            assert_eq!(due_in.is_none(), rests, "{kind:?} after {age:?}");
        }
    }
}

#[test]
fn who_asks_to_come_later_at_once_is_not_come_to_at_once() {
    for (asked_ms, waits) in [(None, 15), (Some(0), 15), (Some(1_000), 15), (Some(40_000), 40)] {
        let transaction = payment(Kind::Withdrawal, Status::Submitting);
        let mut alone = transaction.clone();
        alone.pinned_gateway = Some("stripe".into());
        let later = Outcome::Later { retry_after_ms: asked_ms, code: "429".into() };
        let source = Source::Call { operation: Operation::Create, begun: 7, calls: 1 };
        let news = News { attempt: alone.attempts[0].id, source, outcome: &later };
        let (policy, gateways) = (policy(), gateway_states());
        let context = Context { now: NOW, policy: &policy, candidates: &["stripe"], gateways: &gateways };
        let decision = learn(&alone, news, context);
        assert_eq!(step(&decision).to, Status::Created, "{asked_ms:?}");
        assert!(step(&decision).due_in >= Some(Duration::from_secs(waits)), "{asked_ms:?}: {decision:?}");
    }
}
