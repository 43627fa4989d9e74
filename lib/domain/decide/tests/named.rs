//! The rules that money hangs on, by name.

use super::*;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::rung;
use crate::domain::event::{Act, Command};

fn command(transaction: &Transaction, act: Act) -> Command {
    let next = i16::from(transaction.status == Status::Created);
    Command {
        transaction_id: transaction.id,
        act,
        attempt: transaction.attempt + next,
        gateway: transaction.gateway.clone(),
        version: transaction.version,
        calls: act.operation().map_or(0, |operation| transaction.calls(transaction.attempt + next, operation)),
    }
}

fn begun(transaction: &Transaction, command: &Command) -> Begin {
    within(NOW, |context| begin(transaction, command, Uuid::now_v7(), context))
}

const CALLED: Source = Source::Call { operation: Operation::Create, begun: 7, calls: 1 };
const CALLED_AGAIN: Source = Source::Call { operation: Operation::Create, begun: 7, calls: 2 };

fn refused() -> Outcome {
    Outcome::Unreachable { why: "connection refused".into() }
}

fn commanded(decision: &Decision) -> Command {
    serde_json::from_slice(&step(decision).command.as_ref().expect("a command").payload).unwrap()
}

#[test]
fn a_call_is_allowed_only_by_a_committed_attempt() {
    let transaction = payment(Kind::Deposit, Status::Created);
    let Begin::Call { change, attempt, .. } = begun(&transaction, &command(&transaction, Act::Create)) else {
        panic!("a created payment may be sent")
    };
    assert_eq!(change.to, Status::Submitting);
    assert_eq!(change.attempt_change.as_ref().unwrap().id, attempt);
    assert!(change.operation_change.is_some());
}

#[test]
fn a_command_given_again_calls_nobody() {
    let transaction = payment(Kind::Deposit, Status::Created);
    let order = command(&transaction, Act::Create);
    let Begin::Call { change, .. } = begun(&transaction, &order) else { panic!() };
    let after = change.applied_to(&transaction, NOW);
    assert!(matches!(begun(&after, &order), Begin::Instead(Decision::Nothing(_))));
}

#[test]
fn a_command_for_another_gateway_or_attempt_or_a_later_version_is_moot() {
    let transaction = payment(Kind::Deposit, Status::Created);
    let mut elsewhere = command(&transaction, Act::Create);
    elsewhere.gateway = "bank".into();
    let mut earlier = command(&transaction, Act::Create);
    earlier.attempt -= 1;
    let mut later = command(&transaction, Act::Create);
    later.version += 1;
    for order in [elsewhere, earlier, later] {
        assert!(matches!(begun(&transaction, &order), Begin::Instead(Decision::Nothing(_))));
    }
}

/// Asked again and again, a gateway goes on saying that the customer has approved, or that it does not know the payment: a worker that is far
/// behind would else find each order made moot by the next, and never call.
#[test]
fn a_resend_or_capture_is_carried_out_by_whichever_order_is_consumed_first_and_by_none_given_before_a_call() {
    let answer = |minutes: u64| Source::Answer { asked_at: NOW + Duration::from_secs(60 * minutes), delivered: true };
    let (approved, not_found) = (Outcome::Approved { reference: "pi_1".into() }, Outcome::NotFound);
    for (status, says) in [(Status::RequiresAction, approved), (Status::Unknown, not_found)] {
        let transaction = payment(Kind::Deposit, status);
        let told = |transaction: &Transaction, minutes: u64| told_at(NOW, transaction, answer(minutes), &says);
        let first = told(&transaction, 2);
        let standing = step(&first).applied_to(&transaction, NOW);
        let second = told(&standing, 4);
        let standing = step(&second).applied_to(&standing, NOW);
        let (first, second) = (commanded(&first), commanded(&second));
        assert!(first.version < second.version && first.calls == second.calls);
        for (sooner, later) in [(&first, &second), (&second, &first)] {
            let Begin::Call { change, .. } = begun(&standing, sooner) else { panic!("{sooner:?} is not carried out") };
            let calling = change.applied_to(&standing, NOW);
            assert!(matches!(begun(&calling, later), Begin::Instead(Decision::Nothing(_))));
            // The call was lost: it is asked about before it is made again.
            let mut lost = calling.clone();
            lost.status = Status::Unknown;
            assert!(matches!(begun(&lost, later), Begin::Instead(Decision::Nothing(_))), "called again unasked");
        }
    }
}

/// Each question would leave a step and its events in the outbox, for as long as a broker is away.
#[test]
fn while_the_last_order_waits_for_its_relay_no_answer_gives_it_again() {
    let (approved, not_found) = (Outcome::Approved { reference: "pi_1".into() }, Outcome::NotFound);
    for (status, says) in [(Status::RequiresAction, approved), (Status::Unknown, not_found)] {
        let transaction = payment(Kind::Deposit, status);
        let asked_at = NOW + Duration::from_secs(120);
        let told = |transaction: &Transaction, delivered| {
            told_at(NOW, transaction, Source::Answer { asked_at, delivered }, &says)
        };
        let ordered = step(&told(&transaction, true)).applied_to(&transaction, NOW);
        let Decision::LookAgain { due_in: Some(_), asks, .. } = told(&ordered, false) else { panic!("{status:?}") };
        assert_eq!(asks, ordered.asks + 1, "it counts as a question");
        assert!(step(&told(&ordered, true)).command.is_some(), "{status:?}: it left, and was lost");
    }
}

/// What a worker that is behind has not come to yet is not made longer by each question; and what was dropped is not missed for long.
#[test]
fn a_capture_that_is_not_made_is_ordered_again_by_every_fourth_question() {
    let mut transaction = payment(Kind::Deposit, Status::RequiresAction);
    let approved = Outcome::Approved { reference: "pi_1".into() };
    let (mut now, mut orders) = (NOW, 0);
    for _ in 0..32 {
        let due_in = match answered_at(now, &transaction, &approved) {
            Decision::Step(change) => {
                orders += i32::from(change.command.is_some());
                transaction = change.applied_to(&transaction, now);
                change.due_in
            }
            Decision::LookAgain { due_in, asks, .. } => {
                transaction.asks = asks;
                due_in
            }
            other => panic!("{other:?}"),
        };
        now += due_in.expect("nobody would ask again, should the order be lost");
    }
    assert_eq!(orders, 10, "of 32 questions");
}

/// A worker may be behind by more than the time after which a command is given again.
#[test]
fn of_a_command_and_its_copy_given_later_whichever_is_consumed_first_is_carried_out_and_the_other_calls_nobody() {
    let transaction = payment(Kind::Deposit, Status::Created);
    let first = command(&transaction, Act::Create);
    let late = NOW + Duration::from_secs(60);
    let Due::Decided(Decision::Step(again)) = within(late, |context| fell_due(&transaction, true, context)) else {
        panic!("a command that was delivered and not carried out is given again")
    };
    let standing = again.applied_to(&transaction, late);
    let copy: Command = serde_json::from_slice(&again.command.as_ref().unwrap().payload).unwrap();
    assert!(first.version < copy.version && copy.version == standing.version);
    for (sooner, later) in [(&first, &copy), (&copy, &first)] {
        let Begin::Call { change, .. } = begun(&standing, sooner) else { panic!("{sooner:?} is not carried out") };
        let after = change.applied_to(&standing, late);
        assert!(matches!(begun(&after, later), Begin::Instead(Decision::Nothing(_))));
    }
}

#[test]
fn a_definite_refusal_of_the_only_call_goes_to_the_next_gateway() {
    let transaction = payment(Kind::Deposit, Status::Submitting);
    let decision = told(&transaction, CALLED, &refused());
    assert_eq!((step(&decision).to, step(&decision).gateway.as_str()), (Status::Created, "bank"));
    assert_eq!(commanded(&decision).attempt, 2);
}

#[test]
fn a_refusal_of_a_repeated_call_is_unknown() {
    let mut transaction = payment(Kind::Deposit, Status::Submitting);
    transaction.attempts[0].operations[0].calls = 2;
    let decision = told(&transaction, CALLED_AGAIN, &refused());
    assert_eq!(step(&decision).to, Status::Unknown);
}

/// As of a worker that was frozen after its answer, and thaws while another sends the payment again.
#[test]
fn an_answer_to_an_earlier_call_ends_no_later_one_and_is_not_taken_for_its_answer() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let mut transaction = payment(kind, Status::Submitting);
        transaction.attempts[0].operations[0].calls = 3;
        let rejected = Outcome::Rejected { code: "bad".into(), message: "No.".into() };
        for outcome in [rejected, refused(), Outcome::Unknown { why: "time-out".into() }] {
            let decision = told(&transaction, CALLED, &outcome);
            assert!(matches!(decision, Decision::Nothing(_)), "{decision:?}");
        }
        // What it says for certain is heard all the same.
        let paid = told(&transaction, CALLED, &succeeded());
        assert_eq!((step(&paid).to, &step(&paid).operation_change), (Status::Succeeded, &None));
        let own = Source::Call { operation: Operation::Create, begun: 9, calls: 3 };
        let unheard = told(&transaction, own, &Outcome::Unknown { why: "time-out".into() });
        let after = step(&unheard).applied_to(&transaction, NOW);
        assert!(!after.attempts[0].operations[0].rejected);
    }
}

#[test]
fn a_refusal_after_a_take_over_sends_nothing_elsewhere() {
    let transaction = payment(Kind::Deposit, Status::Submitting);
    let late = NOW + Duration::from_secs(3_600);
    let Due::StepThenAsk(taken) = within(late, |context| fell_due(&transaction, true, context)) else {
        panic!("a call that nobody answers is taken over")
    };
    let after = taken.applied_to(&transaction, late);
    assert_eq!((after.status, after.attempts[0].operations[0].calls), (Status::Unknown, 2));
    assert!(!matches!(told(&after, CALLED, &refused()), Decision::Step(_)));
}

#[test]
fn nobody_takes_over_while_the_call_may_be_under_way() {
    let mut transaction = payment(Kind::Deposit, Status::Submitting);
    transaction.attempts[0].operations[0].send_by = NOW;
    let due = within(NOW + Duration::from_secs(6), |context| fell_due(&transaction, true, context));
    assert!(matches!(due, Due::Decided(Decision::LookAgain { .. })), "{due:?}");
}

#[test]
fn a_time_out_never_fails_a_payment() {
    for status in Status::ALL {
        for source in sources() {
            let decision =
                told(&payment(Kind::Withdrawal, status), source, &Outcome::Unknown { why: "time-out".into() });
            if let Decision::Step(change) = decision {
                assert_eq!(change.to, Status::Unknown);
            }
        }
    }
}

#[test]
fn a_callback_alone_never_releases_a_hold() {
    for status in [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown] {
        let decision = told(&payment(Kind::Withdrawal, status), Source::Callback { id: Uuid::now_v7() }, &declined());
        assert_eq!(step(&decision).to, status);
        assert_eq!(commanded(&decision).act, Act::Ask);
    }
}

#[test]
fn a_different_amount_goes_to_a_human() {
    let other = Outcome::Succeeded { reference: "pi_1".into(), money: euros(999) };
    for status in [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown] {
        let decision = told(&payment(Kind::Deposit, status), ANSWER, &other);
        assert_eq!(step(&decision).to, Status::Review);
    }
}

#[test]
fn a_success_on_a_given_up_attempt_goes_to_a_human() {
    let mut transaction = payment(Kind::Deposit, Status::Submitting);
    let mut newer = transaction.attempts[0].clone();
    newer.id = Uuid::now_v7();
    newer.number = 2;
    transaction.attempts.push(newer);
    transaction.attempt = 2;
    assert_eq!(step(&told(&transaction, ANSWER, &succeeded())).to, Status::Review);
    assert!(matches!(told(&transaction, ANSWER, &declined()), Decision::Note(_)));
}

#[test]
fn a_late_success_of_a_deposit_counts_only_when_the_gateway_confirms_it() {
    let transaction = payment(Kind::Deposit, Status::Failed);
    let doorbell = told(&transaction, Source::Callback { id: Uuid::now_v7() }, &succeeded());
    assert_eq!((step(&doorbell).to, commanded(&doorbell).act), (Status::Failed, Act::Ask));
    assert_eq!(step(&told(&transaction, ANSWER, &succeeded())).to, Status::Succeeded);
    let withdrawal = payment(Kind::Withdrawal, Status::Failed);
    assert_eq!(step(&told(&withdrawal, ANSWER, &succeeded())).to, Status::Review);
}

#[test]
fn no_such_payment_resends_with_the_same_key_while_that_is_safe() {
    let mut transaction = payment(Kind::Withdrawal, Status::Unknown);
    transaction.attempts[0].operations[0].send_by = NOW - Duration::from_secs(61);
    let decision = told(&transaction, ANSWER, &Outcome::NotFound);
    let order = commanded(&decision);
    assert_eq!((order.act, order.attempt), (Act::Create, 1));
    let after = step(&decision).applied_to(&transaction, NOW);
    let Begin::Call { change, attempt, .. } = begun(&after, &order) else {
        panic!("the same attempt may be sent again")
    };
    assert_eq!(attempt, transaction.attempts[0].id);
    assert_eq!(change.applied_to(&after, NOW).attempts[0].operations[0].calls, 2);
}

#[test]
fn no_such_payment_is_not_believed_while_the_call_may_be_on_its_way() {
    let transaction = payment(Kind::Deposit, Status::Unknown);
    assert!(matches!(told(&transaction, ANSWER, &Outcome::NotFound), Decision::LookAgain { .. }));
}

#[test]
fn no_such_payment_twice_ends_a_deposit_and_hands_a_withdrawal_to_a_human() {
    for (kind, end) in [(Kind::Deposit, Status::Failed), (Kind::Withdrawal, Status::Review)] {
        let mut transaction = payment(kind, Status::Unknown);
        transaction.submit_until = NOW;
        transaction.attempts[0].operations[0].send_by = NOW - Duration::from_secs(61);
        let first = told(&transaction, ANSWER, &Outcome::NotFound);
        assert_eq!(step(&first).to, Status::Unknown);
        let after = step(&first).applied_to(&transaction, NOW);
        assert!(matches!(told(&after, ANSWER, &Outcome::NotFound), Decision::LookAgain { .. }), "too soon");
        let second = answered_at(NOW + Duration::from_secs(61), &after, &Outcome::NotFound);
        assert_eq!(step(&second).to, end);
    }
}

/// As a worker leaves it that was killed in a call which the gateway would have rejected.
#[test]
fn a_payment_rejected_when_sent_again_is_sent_no_more_and_ends_once_the_gateway_twice_does_not_know_it() {
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        let mut transaction = payment(kind, Status::Submitting);
        transaction.attempts[0].operations[0].calls = 2;
        transaction.attempts[0].operations[0].send_by = NOW - Duration::from_secs(61);
        let rejected = Outcome::Rejected { code: "bad".into(), message: "No.".into() };
        let unknown = told(&transaction, CALLED_AGAIN, &rejected);
        assert_eq!(step(&unknown).to, Status::Unknown);
        let after = step(&unknown).applied_to(&transaction, NOW);
        let first = told(&after, ANSWER, &Outcome::NotFound);
        assert_eq!((step(&first).to, step(&first).command.is_none()), (Status::Unknown, true));
        let after = step(&first).applied_to(&after, NOW);
        let second = answered_at(NOW + Duration::from_secs(61), &after, &Outcome::NotFound);
        assert_eq!((step(&second).to, step(&second).substatus), (Status::Failed, Some(Substatus::NotExecuted)));
        assert_eq!(step(&second).postings.is_empty(), kind == Kind::Deposit);
    }
}

#[test]
fn approval_orders_exactly_one_capture_however_often_it_is_told() {
    let transaction = payment(Kind::Deposit, Status::RequiresAction);
    let approved = Outcome::Approved { reference: "pi_1".into() };
    let callback = || Source::Callback { id: Uuid::now_v7() };
    let decision = told(&transaction, callback(), &approved);
    let order = commanded(&decision);
    assert_eq!(order.act, Act::Capture);
    let after = step(&decision).applied_to(&transaction, NOW);
    assert!(matches!(told(&after, callback(), &approved), Decision::Nothing(_)));
    let Begin::Call { change, operation, .. } = begun(&after, &order) else {
        panic!("an approved payment is captured")
    };
    assert_eq!((operation, change.to), (Operation::Capture, Status::Submitting));
}

#[test]
fn a_customer_who_never_comes_lets_the_payment_expire_only_when_the_gateway_says_unpaid() {
    let mut transaction = payment(Kind::Deposit, Status::RequiresAction);
    transaction.next_action_expires_at = Some(NOW - Duration::from_secs(1));
    let due = within(NOW, |context| fell_due(&transaction, true, context));
    assert_eq!(due, Due::Ask);
    let unpaid = Outcome::NeedsCustomer {
        reference: "pi_1".into(),
        redirect_url: "https://gateway.example".into(),
        expires_at: None,
    };
    assert_eq!(step(&told(&transaction, ANSWER, &unpaid)).to, Status::Expired);
}

#[test]
fn nothing_sent_in_time_fails_and_releases_in_the_same_commit() {
    let mut transaction = payment(Kind::Withdrawal, Status::Created);
    transaction.submit_until = NOW;
    let Due::Decided(decision) = within(NOW, |context| fell_due(&transaction, true, context)) else { panic!() };
    assert_eq!(step(&decision).substatus, Some(Substatus::NotSent));
    assert!(!step(&decision).postings.is_empty());
}

#[test]
fn a_command_that_the_relay_still_has_is_not_given_again() {
    let transaction = payment(Kind::Deposit, Status::Created);
    let due = within(NOW, |context| fell_due(&transaction, false, context));
    assert!(matches!(due, Due::Decided(Decision::LookAgain { .. })));
    let due = within(NOW, |context| fell_due(&transaction, true, context));
    assert!(matches!(due, Due::Decided(Decision::Step(_))));
}

#[test]
fn a_doorbell_asks_the_gateway_and_moves_nothing() {
    for status in [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown, Status::Failed]
    {
        let transaction = payment(Kind::Deposit, status);
        let attempt = transaction.attempts[0].id;
        let decision = within(NOW, |context| rung(&transaction, attempt, Uuid::now_v7(), context));
        assert_eq!((step(&decision).to, commanded(&decision).act), (status, Act::Ask));
    }
}
