//! I5 and I25: books that do not agree with the gateways' own log.

use payfleet::domain::ids::{Kind, Operation};
use payfleet::gateway_sim::charge_log::{Entry, read};
use payfleet::ops::verify::{Finding, Invariant, Rest, Verdict};
use serde_json::Value;
use uuid::Uuid;

use super::books::World;
use super::payments::{Payment, Step};

fn said(finding: &Finding, saying: &str) {
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
    let charge_of = |world: &mut World, payment: &Payment, field: &str, value: Value| {
        let attempt = payment.attempt.to_string();
        let of = |line: &&mut Value| line["entry"] == "charge" && line["attempt_id"] == attempt;
        world.charges.iter_mut().find(of).unwrap()[field] = value;
    };
    rejects(
        async |world: &mut World, payment: Payment| charge_of(world, &payment, "amount", 4_100.into()),
        "the ledger has 4200 EUR",
    )
    .await;
    rejects(
        async |world: &mut World, payment: Payment| charge_of(world, &payment, "currency", "USD".into()),
        "the ledger has 4200 EUR",
    )
    .await;
    rejects(
        async |world: &mut World, payment: Payment| charge_of(world, &payment, "gateway", "paypal".into()),
        "its attempt was at stripe",
    )
    .await;
    rejects(
        async |world: &mut World, payment: Payment| charge_of(world, &payment, "direction", "withdrawal".into()),
        "the payment is a deposit",
    )
    .await;
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
async fn what_a_human_looks_at_is_not_judged_by_its_amount() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 4_200).await;
    world.submitted(&mut payment).await;
    world.charge(&payment, "succeeded", 1);
    world.take(&mut payment, Step { to: "review", ..Step::default() }).await;
    assert_eq!(world.judge_only(Invariant::I5, Rest::AtRest).await.verdict(), Verdict::Held);
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
    world.sql("UPDATE operations SET first_at = clock_timestamp()").await;
    let finding = world.judge_only(Invariant::I25, Rest::Live).await;
    assert_eq!(finding.violations, finding.checked);
    said(&finding, "its operation is of");
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
