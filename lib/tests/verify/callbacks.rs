//! I15: steps that no verified callback explains, and callbacks that no gateway sent.

use payfleet::domain::ids::{Kind, Operation};
use payfleet::ops::verify::{Invariant, Rest, Verdict};
use serde_json::json;

use super::books::{World, now};
use super::payments::Step;

async fn rejects(corruption: &str, saying: &str) {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I15, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(corruption).await;
    let finding = world.judge_only(Invariant::I15, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Violated, "after {corruption}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

#[tokio::test]
async fn a_step_of_a_callback_that_was_never_stored_is_found() {
    rejects("DELETE FROM callbacks WHERE state = 'applied'", "follows from no callback that was stored").await;
    rejects(
        "UPDATE transitions SET actor = 'callback', cause = 'callback:somebody' WHERE version = 2",
        "follows from no callback that was stored",
    )
    .await;
    rejects("UPDATE transitions SET actor = 'callback' WHERE version = 2", "follows from no callback that was stored")
        .await;
}

#[tokio::test]
async fn a_step_of_a_callback_about_something_else_is_found() {
    rejects(
        "UPDATE callbacks SET transaction_id = gen_random_uuid() WHERE state = 'applied'",
        "follows from a callback about another payment",
    )
    .await;
    rejects(
        "UPDATE attempts SET gateway = 'bank' WHERE id IN (SELECT attempt_id FROM callbacks)",
        "follows from a callback of a gateway where that attempt never was",
    )
    .await;
    rejects(
        "UPDATE callbacks SET state = 'ignored' WHERE state = 'applied'",
        "follows from a callback that is ignored",
    )
    .await;
}

#[tokio::test]
async fn an_applied_callback_from_which_no_step_follows_is_found() {
    rejects(
        "UPDATE callbacks SET state = 'applied', transaction_id = (SELECT id FROM transactions LIMIT 1) WHERE state = 'ignored'",
        "is applied, and no step follows from it",
    )
    .await;
}

#[tokio::test]
async fn a_stored_callback_that_its_gateway_never_sent_is_found() {
    let mut world = World::lawful().await;
    let mut payment = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut payment).await;
    let forged = world.callback_about(Some(&payment), "ignored").await;
    assert_eq!(world.judge_only(Invariant::I15, Rest::Live).await.verdict(), Verdict::Held);
    world.charges.pop();
    let finding = world.judge_only(Invariant::I15, Rest::Live).await;
    assert_eq!(finding.examples, [format!("callback {forged}: stripe never sent an event {forged}")]);
    // A gateway that lies sends callbacks that are on no list; badly signed ones it sends in vain.
    let key = Operation::Create.key(payment.attempt);
    let lied = |kind: &str| json!({ "entry": "lied", "gateway": "stripe", "key": key, "kind": kind, "at": now() });
    world.charges.push(lied("callback_forged"));
    assert_eq!(world.judge_only(Invariant::I15, Rest::Live).await.violations, 1);
    world.charges.push(lied("callback_contradicting"));
    assert_eq!(world.judge_only(Invariant::I15, Rest::Live).await.verdict(), Verdict::Held);
}

#[tokio::test]
async fn a_callback_that_was_thanked_for_and_is_not_stored_is_found() {
    let mut world = World::lawful().await;
    world.callback().await;
    let mut delivered = world.charges.last().unwrap().clone();
    delivered["state"] = json!("delivered");
    world.charges.push(delivered.clone());
    assert_eq!(world.judge_only(Invariant::I15, Rest::AtRest).await.verdict(), Verdict::Held);
    delivered["event_id"] = json!("evt_lost");
    world.charges.push(delivered);
    let finding = world.judge_only(Invariant::I15, Rest::AtRest).await;
    assert_eq!(finding.examples, ["stripe was thanked for event evt_lost, which is not stored"]);
    assert_eq!(world.judge_only(Invariant::I15, Rest::Live).await.verdict(), Verdict::Held);
}

#[tokio::test]
async fn callbacks_of_before_the_charge_log_are_not_checkable() {
    let mut world = World::empty().await;
    world.callback().await;
    world.charges.clear();
    world.settled(Kind::Deposit, 10).await;
    let finding = world.judge_only(Invariant::I15, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert_eq!(finding.gaps, ["1 callbacks came before the charge log begins"]);
}

#[tokio::test]
async fn a_step_that_keeps_a_contradiction_names_its_callback_too() {
    let mut world = World::lawful().await;
    let mut payment = world.settled(Kind::Deposit, 10).await;
    let callback = world.callback_about(Some(&payment), "applied").await;
    let cause = Some(format!("callback:{callback}:contradicts"));
    world.take(&mut payment, Step { to: "succeeded", cause, ..Step::default() }).await;
    let finding = world.judge_only(Invariant::I15, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}
