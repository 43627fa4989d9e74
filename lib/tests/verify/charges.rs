//! I5 and I25: books that do not agree with the gateways' own log.

use payfleet::domain::ids::{Kind, Operation};
use payfleet::gateway_sim::charge_log::{Entry, read};
use payfleet::ops::verify::{Finding, Invariant, Rest, Verdict};
use serde_json::{Value, json};
use uuid::Uuid;

use super::books::{World, now};
use super::payments::{Payment, Step};

/// The charge of this payment in the simulator's log.
pub(super) fn charge_of<'a>(world: &'a mut World, payment: &Payment) -> &'a mut Value {
    let attempt = payment.attempt.to_string();
    let of = |line: &&mut Value| line["entry"] == "charge" && line["attempt_id"] == attempt;
    world.charges.iter_mut().find(of).unwrap()
}

pub(super) fn said(finding: &Finding, saying: &str) {
    assert_eq!(finding.verdict(), Verdict::Violated, "{saying}: {finding:?}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

async fn rejects(corrupt: impl AsyncFnOnce(&mut World, Payment), saying: &str) {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Deposit, 4_200).await;
    assert_eq!(world.judge_only(Invariant::I5, Rest::Live).await.verdict(), Verdict::Held);
    corrupt(&mut world, payment).await;
    said(&world.judge_only(Invariant::I5, Rest::Live).await, saying);
}

#[tokio::test]
async fn a_payment_charged_twice_is_found() {
    rejects(
        async |world: &mut World, mut payment: Payment| {
            // A second attempt under a second key, beside the one that settled.
            (payment.attempt, payment.number) = (Uuid::now_v7(), 2);
            world.attempt(&payment).await;
            world.charge(&payment, "succeeded", 4_200);
        },
        "was charged 2 times",
    )
    .await;
}

#[tokio::test]
async fn a_charge_on_another_attempt_than_the_settling_one_is_found() {
    rejects(
        async |world: &mut World, mut payment: Payment| {
            world.charges.retain(|line| line["attempt_id"] != payment.attempt.to_string());
            (payment.attempt, payment.number) = (Uuid::now_v7(), 2);
            world.attempt(&payment).await;
            world.charge(&payment, "succeeded", 4_200);
        },
        "attempt 1 settled the payment, this is attempt 2",
    )
    .await;
}

#[tokio::test]
async fn a_success_that_the_gateway_never_charged_is_found() {
    rejects(
        async |world: &mut World, payment: Payment| {
            world.charges.retain(|line| line["entry"] != "charge" || line["attempt_id"] != payment.attempt.to_string());
        },
        "charged nothing for it",
    )
    .await;
}

#[tokio::test]
async fn a_charge_that_nobody_asked_for_is_found() {
    rejects(
        async |world: &mut World, mut payment: Payment| {
            payment.attempt = Uuid::now_v7();
            world.charge(&payment, "succeeded", 4_200);
        },
        "no attempt explains it",
    )
    .await;
}

#[tokio::test]
async fn a_charge_of_another_amount_or_currency_is_found() {
    let (ledger, deposit) = ("the ledger has 4200 EUR", "the payment is a deposit");
    for (field, value, saying) in [
        ("amount", Value::from(4_100), ledger),
        ("currency", "USD".into(), ledger),
        ("gateway", "paypal".into(), "its attempt was at stripe"),
        ("direction", "withdrawal".into(), deposit),
    ] {
        rejects(async |world: &mut World, payment: Payment| charge_of(world, &payment)[field] = value, saying).await;
    }
}

#[tokio::test]
async fn a_withdrawal_paid_out_in_another_amount_than_was_posted_is_found() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Withdrawal, 120).await;
    assert_eq!(world.judge_only(Invariant::I5, Rest::AtRest).await.verdict(), Verdict::Held);
    charge_of(&mut world, &payment)["amount"] = 1_200.into();
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 120 EUR");
}

#[tokio::test]
async fn a_payment_settled_or_booked_at_another_gateway_than_the_one_that_charged_it_is_found() {
    rejects(
        async |world: &mut World, payment: Payment| {
            world.sql(&format!("UPDATE transactions SET gateway = 'bank' WHERE id = '{}'", payment.id)).await;
        },
        "the payment was settled at bank",
    )
    .await;
    rejects(
        async |world: &mut World, payment: Payment| {
            let of = format!("gateway IS NOT NULL AND transaction_id = '{}'", payment.id);
            world.sql(&format!("UPDATE ledger_entries SET gateway = 'bank' WHERE {of}")).await;
        },
        "the ledger has it at bank",
    )
    .await;
}

#[tokio::test]
async fn a_reversal_agrees_with_money_taken_back_and_only_with_as_much_of_it() {
    let mut world = World::lawful().await;
    let mut payment = world.settled(Kind::Deposit, 4_200).await;
    let entries = vec![("reverse", "available", "debit", 4_200), ("reverse", "clearing", "credit", 4_200)];
    let step = Step { to: "reversed", substatus: Some("chargeback"), entries, ..Step::default() };
    world.take(&mut payment, step).await;
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "it stands, and the payment stands at reversed");
    world.state(&payment, "reversed");
    let finding = world.judge_only(Invariant::I5, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    charge_of(&mut world, &payment)["amount"] = 4_100.into();
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "the ledger has 4200 EUR");
}

#[tokio::test]
async fn a_charge_for_a_payment_that_failed_is_found() {
    rejects(
        async |world: &mut World, _: Payment| {
            let failed = world.declined(Kind::Withdrawal, 50).await;
            world.state(&failed, "captured");
        },
        "it stands, and the payment stands at failed",
    )
    .await;
}

#[tokio::test]
async fn a_failure_that_its_gateway_contradicts_may_still_become_a_success_while_the_fleet_works() {
    let mut world = World::lawful().await;
    let failed = world.declined(Kind::Deposit, 50).await;
    world.state(&failed, "captured");
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "it stands, and the payment stands at failed");
    let key = Operation::Create.key(failed.attempt);
    let lied =
        json!({ "entry": "lied", "gateway": "stripe", "key": key, "kind": "callback_contradicting", "at": now() });
    world.charges.push(lied);
    let live = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "{live:?}");
    said(&world.judge_only(Invariant::I5, Rest::AtRest).await, "it stands, and the payment stands at failed");
}

#[tokio::test]
async fn money_taken_back_from_a_success_is_found_at_rest() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Deposit, 4_200).await;
    world.state(&payment, "reversed");
    let live = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "its message may be on the way: {live:?}");
    said(
        &world.judge_only(Invariant::I5, Rest::AtRest).await,
        "it was taken back, and the payment stands at succeeded",
    );
}

#[tokio::test]
async fn what_a_human_looks_at_is_not_judged_by_its_amount_but_must_say_why() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "succeeded", 1);
    world.take(&mut payment, Step { to: "review", reason: Some("amount_differs"), ..Step::default() }).await;
    assert_eq!(world.judge_only(Invariant::I5, Rest::AtRest).await.verdict(), Verdict::Held);
    world.sql("UPDATE transactions SET reason_code = NULL WHERE status = 'review'").await;
    said(&world.judge_only(Invariant::I5, Rest::Live).await, "the payment is under review without a reason");
}

#[tokio::test]
async fn a_request_that_moves_money_without_an_operation_is_found() {
    let mut world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I25, Rest::Live).await.verdict(), Verdict::Held);
    let attempt = Uuid::now_v7();
    world.request(&Operation::Create.key(attempt), attempt);
    said(&world.judge_only(Invariant::I25, Rest::Live).await, "no operation has it");
    world.charges.pop();
    world.charges.last_mut().unwrap()["key"] = Value::Null;
    world.request("not one of ours", attempt);
    assert_eq!(world.judge_only(Invariant::I25, Rest::Live).await.violations, 1);
}

#[tokio::test]
async fn a_request_without_a_key_is_found() {
    let mut world = World::lawful().await;
    world.request("", Uuid::now_v7());
    world.charges.last_mut().unwrap()["key"] = Value::Null;
    said(&world.judge_only(Invariant::I25, Rest::Live).await, "without a key");
}

#[tokio::test]
async fn a_request_that_arrived_before_its_operation_was_committed_is_found() {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I25, Rest::Live).await.verdict(), Verdict::Held);
    // Written before the request came, committed after it.
    world.sql("UPDATE transitions SET xid = pg_current_xact_id()").await;
    let finding = world.judge_only(Invariant::I25, Rest::Live).await;
    assert_eq!(finding.violations, finding.checked);
    said(&finding, "its operation is of");
}

#[tokio::test]
async fn where_commit_times_are_forgotten_a_request_is_held_against_the_time_of_writing() {
    let world = World::lawful().await;
    world.sql("UPDATE transitions SET xid = '3'").await;
    assert_eq!(world.judge_only(Invariant::I25, Rest::Live).await.verdict(), Verdict::Held);
    world.sql("UPDATE operations SET first_at = clock_timestamp()").await;
    let finding = world.judge_only(Invariant::I25, Rest::Live).await;
    assert_eq!(finding.violations, finding.checked);
    said(&finding, "its operation is of");
}

#[tokio::test]
async fn a_request_at_another_gateway_than_its_attempts_is_found() {
    let mut world = World::lawful().await;
    world.charges.iter_mut().find(|line| line["entry"] == "request").unwrap()["gateway"] = "bank".into();
    said(&world.judge_only(Invariant::I25, Rest::Live).await, "its attempt was at stripe");
}

#[tokio::test]
async fn a_key_that_came_more_often_than_it_may_have_been_sent_is_found() {
    let mut world = World::lawful().await;
    let again = world.charges.iter().find(|line| line["entry"] == "request").unwrap().clone();
    world.charges.push(again.clone());
    said(&world.judge_only(Invariant::I25, Rest::Live).await, "came 2 times, it may have been sent 1 times");
    world.sql("UPDATE operations SET calls = 2").await;
    assert_eq!(world.judge_only(Invariant::I25, Rest::Live).await.verdict(), Verdict::Held);
}

#[tokio::test]
async fn a_charge_log_that_cannot_be_understood_is_not_checkable() {
    let mut world = World::lawful().await;
    world.charges.insert(3, serde_json::json!({ "entry": "something new" }));
    for invariant in [Invariant::I5, Invariant::I25] {
        let finding = world.judge_only(invariant, Rest::Live).await;
        assert_eq!(finding.verdict(), Verdict::NotCheckable);
        assert!(finding.gaps[0].starts_with("line 4 of the charge log"), "{finding:?}");
    }
}

#[tokio::test]
async fn a_charge_log_without_the_charge_that_a_line_changes_is_not_checkable() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut payment).await;
    world.state(&payment, "captured");
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert!(finding.gaps[0].contains("which no line before it opened"), "{finding:?}");
}

#[tokio::test]
async fn payments_tried_before_the_charge_log_begins_are_not_checkable_however_they_ended() {
    let mut world = World::empty().await;
    world.declined(Kind::Deposit, 901).await;
    world.charges.clear();
    world.settled(Kind::Deposit, 4_200).await;
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert_eq!(finding.gaps, ["1 payments were tried before the charge log begins"]);
    // One that says when it was begun: whoever was tried since then never reached a gateway.
    let begun = json!({ "entry": "begun", "at": "2001-01-01T00:00:00Z" });
    world.charges.insert(0, begun);
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    said(&finding, "stripe has neither refused nor ended it");
    assert_eq!((finding.violations, finding.gaps.len()), (1, 0), "{finding:?}");
}

#[tokio::test]
async fn successes_from_before_the_charge_log_are_not_checkable() {
    let mut world = World::lawful().await;
    world.charges.clear();
    world.request("x", Uuid::now_v7());
    let finding = world.judge_only(Invariant::I5, Rest::Live).await;
    assert_eq!((finding.verdict(), finding.gaps.len()), (Verdict::NotCheckable, 1), "{finding:?}");
}

#[tokio::test]
async fn the_simulator_writes_what_the_checker_reads() {
    let mut world = World::lawful().await;
    let payment = world.settled(Kind::Deposit, 4_200).await;
    world.state(&payment, "reversed");
    let path = world.inputs(Rest::Live).charge_log.unwrap();
    let entries: Vec<Entry> = read(&path).unwrap();
    assert_eq!(entries.len(), world.charges.len());
    let kinds = |wanted: fn(&Entry) -> bool| entries.iter().filter(|entry| wanted(entry)).count();
    assert!(kinds(|entry| matches!(entry, Entry::Request(_))) > 5);
    assert!(kinds(|entry| matches!(entry, Entry::Charge(_))) > 5);
    assert_eq!(kinds(|entry| matches!(entry, Entry::State(_))), 2);
}
