//! A gateway to which calls fail: what was never sent goes elsewhere or waits, what was sent waits.

use super::*;
use crate::domain::decide::begin::{Begin, begin};
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::event::{Act, Command};

const ROUTE: [&str; 3] = ["stripe", "paypal", "bank"];

/// With these gateways of the route away.
fn while_away<T>(away: &[&str], run: impl FnOnce(Context<'_>) -> T) -> T {
    let state =
        |name: &str| GatewayState { name: name.into(), paused: false, away: away.contains(&name), pays_to: Vec::new() };
    let (policy, gateways) = (policy(), ROUTE.map(state));
    run(Context { now: NOW, policy: &policy, candidates: &ROUTE, gateways: &gateways })
}

fn first_command(transaction: &Transaction) -> Command {
    let gateway = transaction.gateway.clone();
    Command {
        transaction_id: transaction.id,
        act: Act::Create,
        attempt: 1,
        gateway,
        version: transaction.version,
        calls: 0,
    }
}

fn begun(transaction: &Transaction, act: Act, away: &[&str]) -> Begin {
    let command = Command {
        transaction_id: transaction.id,
        act,
        attempt: transaction.attempt + i16::from(transaction.status == Status::Created),
        gateway: transaction.gateway.clone(),
        version: transaction.version,
        calls: 0,
    };
    while_away(away, |context| begin(transaction, &command, Uuid::now_v7(), context))
}

#[test]
fn a_payment_that_was_never_sent_goes_to_the_next_gateway_that_is_there_without_an_attempt() {
    let transaction = payment(Kind::Deposit, Status::Created);
    for (away, next) in [(&["stripe"][..], "paypal"), (&["stripe", "paypal"][..], "bank")] {
        let Begin::Instead(decision) = begun(&transaction, Act::Create, away) else { panic!("{next}") };
        let change = step(&decision);
        let command: Command = serde_json::from_slice(&change.command.as_ref().unwrap().payload).unwrap();
        assert_eq!((change.to, change.gateway.as_str(), command.gateway.as_str()), (Status::Created, next, next));
        assert_eq!((&change.attempt_change, command.attempt), (&None, 1));
    }
}

/// Two processes that see the gateways differently would throw it to and fro.
#[test]
fn a_payment_on_its_way_down_the_route_is_never_sent_back_up_at_once() {
    let mut transaction = payment(Kind::Deposit, Status::Created);
    transaction.gateway = "paypal".into();
    let Begin::Instead(decision) = begun(&transaction, Act::Create, &["paypal"]) else { panic!() };
    assert_eq!(step(&decision).gateway, "bank");
    transaction.gateway = "bank".into();
    let Begin::Instead(decision) = begun(&transaction, Act::Create, &["bank"]) else { panic!() };
    let Decision::LookAgain { due_in, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(due_in, Some(policy().retry_first));
    let Due::Decided(later) = while_away(&["bank"], |context| fell_due(&transaction, true, context)) else { panic!() };
    assert_eq!(step(&later).gateway, "stripe");
}

#[test]
fn while_every_gateway_is_away_a_payment_waits_and_no_command_is_given() {
    let transaction = payment(Kind::Withdrawal, Status::Created);
    let Begin::Instead(decision) = begun(&transaction, Act::Create, &ROUTE) else { panic!() };
    assert!(matches!(decision, Decision::LookAgain { due_in: Some(_), .. }), "{decision:?}");
    let due = while_away(&ROUTE, |context| fell_due(&transaction, true, context));
    assert!(matches!(due, Due::Decided(Decision::LookAgain { due_in: Some(_), .. })), "{due:?}");
}

#[test]
fn a_payment_that_was_sent_is_neither_sent_again_nor_elsewhere() {
    let mut approved = payment(Kind::Deposit, Status::RequiresAction);
    approved.attempts[0].state = AttemptState::Approved;
    for (transaction, act) in [(payment(Kind::Withdrawal, Status::Unknown), Act::Create), (approved, Act::Capture)] {
        let there = begun(&transaction, act, &["bank"]);
        assert!(matches!(there, Begin::Call { .. }), "{there:?}");
        let away = begun(&transaction, act, &["stripe"]);
        assert!(matches!(away, Begin::Instead(Decision::Nothing(_))), "{away:?}");
    }
}

#[test]
fn a_payment_that_is_told_to_come_later_is_sent_once_more_before_its_time_is_over() {
    for (left_s, wait_s, due_s) in [(600, 40, 40), (600, 590, 585), (10, 40, 10)] {
        let later = Outcome::Later { retry_after_ms: Some(wait_s * 1_000), code: "rate_limited".into() };
        let mut transaction = payment(Kind::Withdrawal, Status::Submitting);
        transaction.submit_until = NOW + Duration::from_secs(left_s);
        let source = Source::Call { operation: Operation::Create, begun: 7, calls: 1 };
        let news = News { attempt: transaction.attempts[0].id, source, outcome: &later };
        let there = [GatewayState { name: ROUTE[0].into(), paused: false, away: false, pays_to: Vec::new() }];
        let policy = policy();
        let context = Context { now: NOW, policy: &policy, candidates: &ROUTE[..1], gateways: &there };
        let decision = learn(&transaction, news, context);
        let change = step(&decision);
        assert_eq!((change.to, change.due_in), (Status::Created, Some(Duration::from_secs(due_s))), "{left_s} s left");
    }
}

#[test]
fn a_question_that_is_told_to_come_later_comes_no_sooner() {
    for (wait_s, due_s) in [(3, 15), (40, 40), (100_000, 600)] {
        let later = Outcome::Later { retry_after_ms: Some(wait_s * 1_000), code: "rate_limited".into() };
        let mut transaction = payment(Kind::Deposit, Status::Unknown);
        // The second question of the schedule would be due in 15 s.
        transaction.attempts[0].created_at = NOW - Duration::from_secs(5);
        let decision = told(&transaction, ANSWER, &later);
        let Decision::LookAgain { due_in: Some(due_in), .. } = decision else { panic!("{decision:?}") };
        assert_eq!(due_in.as_secs(), due_s, "told to come after {wait_s} s");
    }
}

/// The life of a payment with one gateway that was never sent, as far as the sweep and the worker, each by itself, see that gateway away:
/// after how long it is sent, or given up, and how many commands that took.
fn sent_after(
    may_wait: u64,
    sweep_sees_away: impl Fn(Duration) -> bool,
    worker_sees_away: impl Fn(Duration) -> bool,
) -> (Result<Duration, Duration>, usize) {
    let policy = policy();
    let mut transaction = payment(Kind::Deposit, Status::Created);
    (transaction.created_at, transaction.submit_until) = (NOW, NOW + Duration::from_secs(may_wait));
    let (mut now, mut commands) = (NOW, 1);
    let mut order = Some(first_command(&transaction));
    loop {
        let waited = (now - NOW).unsigned_abs();
        let gateway = |away| [GatewayState { name: ROUTE[0].into(), paused: false, away, pays_to: Vec::new() }];
        let seen = gateway(if order.is_some() { worker_sees_away(waited) } else { sweep_sees_away(waited) });
        let context = Context { now, policy: &policy, candidates: &ROUTE[..1], gateways: &seen };
        let decision = match order.take() {
            Some(order) => match begin(&transaction, &order, Uuid::now_v7(), context) {
                Begin::Call { .. } => return (Ok(waited), commands),
                Begin::Instead(decision) => decision,
                Begin::Ask { .. } => panic!("there is nothing to ask about"),
            },
            None => match fell_due(&transaction, true, context) {
                Due::Decided(decision) => decision,
                other => panic!("{other:?}"),
            },
        };
        match decision {
            Decision::LookAgain { due_in: Some(due_in), asks, .. } => {
                transaction.asks = asks;
                now += due_in;
            }
            Decision::Step(change) if change.to == Status::Created => {
                order = change.command.as_ref().map(|command| serde_json::from_slice(&command.payload).unwrap());
                transaction = change.applied_to(&transaction, now);
                commands += 1;
            }
            Decision::Step(change) if change.to == Status::Failed => return (Err(waited), commands),
            other => panic!("{other:?}"),
        }
    }
}

/// The breaker is open, or half open and lets others in first: sweep and worker of one process know the same of it, those of two do not.
#[test]
fn a_payment_kept_out_by_a_breaker_is_sent_soon_after_its_gateway_is_back() {
    let away = |waited: Duration| waited.as_secs() <= 316;
    for (who, (sent, _)) in [("the worker", sent_after(900, |_| false, away)), ("both", sent_after(900, away, away))] {
        assert!(sent.is_ok_and(|after| after.as_secs() < 340), "as {who} sees it: {sent:?}");
    }
    let (given_up, commands) = sent_after(24 * 3_600, |_| false, |_| true);
    assert!(given_up.is_err() && commands < 300, "a command every few seconds for a day: {commands}");
}

#[test]
fn a_payment_that_could_not_be_sent_is_looked_at_once_more_before_its_time_is_over_and_then_at_its_end() {
    let away = |waited: Duration| waited.as_secs() < 880;
    let last_look = Ok(Duration::from_secs(885));
    assert_eq!(sent_after(900, away, away).0, last_look, "as the sweep sees it");
    assert_eq!(sent_after(900, |_| false, away).0, last_look, "as the worker sees it");
    assert_eq!(sent_after(900, |_| true, |_| true).0, Err(Duration::from_secs(900)));
}
