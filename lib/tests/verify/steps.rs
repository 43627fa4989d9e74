//! I7, I12, I16 and I19: corrupted histories.

use std::time::Duration;

use payfleet::domain::ids::{Kind, Operation};
use payfleet::domain::transaction::Status;
use payfleet::ops::verify::{Finding, Inputs, Invariant, Rest, Sightings, Verdict, verify};
use payfleet::outbox::rebase::rebase;
use serde_json::json;
use uuid::Uuid;

use super::books::{World, now};
use super::payments::{Payment, Step};

async fn corrupted(invariant: Invariant, corruption: &str) -> Finding {
    let world = World::lawful().await;
    world.sql(corruption).await;
    world.judge_only(invariant, Rest::Live).await
}

async fn rejects(invariant: Invariant, corruption: &str, saying: &str) {
    let finding = corrupted(invariant, corruption).await;
    assert_eq!(finding.verdict(), Verdict::Violated, "after {corruption}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

#[tokio::test]
async fn a_second_step_for_one_cause_is_found() {
    rejects(
        Invariant::I12,
        "ALTER TABLE transitions DROP CONSTRAINT transitions_effect_once_per_cause;
         UPDATE transitions SET cause = 'step:1'",
        "steps for the cause",
    )
    .await;
    rejects(
        Invariant::I12,
        "ALTER TABLE transitions DROP CONSTRAINT transitions_effect_once_per_cause",
        "transitions_effect_once_per_cause of transitions is gone",
    )
    .await;
}

#[tokio::test]
async fn an_illegal_step_is_found() {
    rejects(
        Invariant::I16,
        "ALTER TABLE transitions DROP CONSTRAINT transitions_legal;
         UPDATE transitions SET to_status = 'expired' WHERE from_status = 'submitting' AND to_status = 'failed';
         UPDATE transactions SET status = 'expired', substatus = NULL WHERE status = 'failed';
         ALTER TABLE transitions ADD CONSTRAINT transitions_legal CHECK (version > 0)",
        "submitting → expired",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_allows_illegal_steps_is_found() {
    rejects(
        Invariant::I16,
        "ALTER TABLE transitions DROP CONSTRAINT transitions_legal, ADD CONSTRAINT transitions_legal CHECK (version > 0)",
        "the rule transitions_legal says",
    )
    .await;
}

/// The rules' text stands in the checker as well; this is the database as its migrations have left it.
#[tokio::test]
async fn the_database_allows_exactly_the_steps_that_the_rules_know() {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I16, Rest::Live).await.verdict(), Verdict::Held);
    let definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'transitions_legal'";
    let definition: String = sqlx::query_scalar(definition).fetch_one(world.owner()).await.unwrap();
    let (cases, end) = definition.split_once("ELSE").unwrap();
    assert!(end.contains("from_status IS NULL") && end.contains("to_status = 'created'"), "{definition}");
    let words =
        |text: &str| -> Vec<Status> { text.split('\'').skip(1).step_by(2).map(|word| word.parse().unwrap()).collect() };
    let listed: Vec<(Status, Status)> = cases
        .split("WHEN")
        .skip(1)
        .flat_map(|case| {
            let (from, to) = case.split_once("THEN").unwrap();
            let from = words(from)[0];
            words(to).into_iter().map(move |to| (from, to))
        })
        .collect();
    for from in Status::ALL {
        for to in Status::ALL {
            assert_eq!(from.may_become(to), listed.contains(&(from, to)), "{from:?} → {to:?}");
        }
    }
}

#[tokio::test]
async fn a_gap_in_the_versions_is_found() {
    rejects(
        Invariant::I16,
        "DELETE FROM transitions WHERE version = 2 AND to_status = 'submitting'",
        "steps with versions from 1 to 3",
    )
    .await;
    rejects(Invariant::I16, "DELETE FROM transitions WHERE version = 1", "with versions from 2 to").await;
}

#[tokio::test]
async fn a_step_that_begins_elsewhere_than_the_one_before_ended_is_found() {
    rejects(
        Invariant::I16,
        "UPDATE transitions SET from_status = 'unknown' WHERE version = 3 AND to_status = 'succeeded'",
        "begin elsewhere",
    )
    .await;
}

#[tokio::test]
async fn a_payment_that_stands_elsewhere_than_its_last_step_led_is_found() {
    rejects(
        Invariant::I16,
        "UPDATE transactions SET status = 'review', substatus = NULL WHERE status = 'failed'",
        "its last step led to failed",
    )
    .await;
    rejects(
        Invariant::I16,
        "UPDATE transactions SET substatus = 'rejected' WHERE status = 'failed'",
        "its last step led to failed declined",
    )
    .await;
    rejects(Invariant::I16, "UPDATE transactions SET version = version + 1", "its last step is").await;
}

#[tokio::test]
async fn a_payment_without_steps_and_steps_without_a_payment_are_found() {
    rejects(
        Invariant::I16,
        "DELETE FROM transitions WHERE transaction_id = (SELECT id FROM transactions LIMIT 1)",
        "has no steps",
    )
    .await;
    rejects(
        Invariant::I16,
        "UPDATE transitions SET transaction_id = gen_random_uuid()
         WHERE transaction_id = (SELECT transaction_id FROM transitions LIMIT 1) AND version = 1",
        "is no payment, yet has steps",
    )
    .await;
}

#[tokio::test]
async fn a_checkpoint_of_an_older_owner_is_found() {
    let world = World::lawful().await;
    let before = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!(before.verdict(), Verdict::Held);
    world.checkpoint(0, 2).await;
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!((finding.violations, finding.checked), (1, before.checked + 1));
    assert!(finding.examples[0].contains("has epoch 2 after one with 3"), "{finding:?}");
}

#[tokio::test]
async fn a_checkpoint_of_an_older_owner_is_found_before_the_new_one_has_written_any() {
    let world = World::lawful().await;
    world.checkpoint(5, 3).await;
    world.sql("UPDATE lanes SET epoch = 4, taken_at = clock_timestamp() WHERE lane = 5").await;
    assert_eq!(world.judge_only(Invariant::I19, Rest::Live).await.verdict(), Verdict::Held);
    world.checkpoint(5, 3).await;
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!(finding.violations, 1, "{finding:?}");
    assert!(finding.examples[0].contains("was written after the lane was taken with 4"), "{finding:?}");
}

/// The clock was an hour ahead when the older owner wrote its last one.
#[tokio::test]
async fn a_checkpoint_from_before_the_clock_was_set_back_accuses_nobody() {
    let world = World::lawful().await;
    world.checkpoint(5, 3).await;
    world.sql("UPDATE checkpoints SET at = at + interval '1 hour'").await;
    world.sql("UPDATE lanes SET epoch = 4, taken_at = clock_timestamp() WHERE lane = 5").await;
    assert_eq!(world.judge_only(Invariant::I19, Rest::Live).await.verdict(), Verdict::Held);
    world.sql("UPDATE checkpoints SET at = at - interval '1 hour'").await;
    world.sql("UPDATE lanes SET taken_at = taken_at - interval '1 hour' WHERE lane = 5").await;
    assert_eq!(world.judge_only(Invariant::I19, Rest::Live).await.verdict(), Verdict::Violated);
}

#[tokio::test]
async fn progress_that_goes_back_is_found() {
    let world = World::lawful().await;
    world.checkpoint_at(7, 3, "4:4:").await;
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!(finding.violations, 1, "{finding:?}");
    assert!(finding.examples[0].contains("and goes back to transaction 4 after"), "{finding:?}");
}

#[tokio::test]
async fn only_a_rebase_sends_a_lane_back_to_the_beginning() {
    let world = World::lawful().await;
    world.sql("UPDATE lanes SET taken_at = clock_timestamp() - interval '1 hour'").await;
    rebase(&mut world.owner().acquire().await.unwrap()).await.unwrap();
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    world.checkpoint(7, 4).await;
    world.checkpoint_at(7, 4, "1:1:").await;
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert_eq!(finding.violations, 1, "{finding:?}");
    assert!(finding.examples[0].contains("goes back to transaction 1 after"), "{finding:?}");
    world.sql("UPDATE checkpoints SET rebased = true WHERE id = (SELECT max(id) FROM checkpoints)").await;
    let finding = world.judge_only(Invariant::I19, Rest::Live).await;
    assert!(finding.examples[0].contains("says that it was a rebase's, which there was not"), "{finding:?}");
}

#[tokio::test]
async fn a_checkpoint_ahead_of_its_lane_is_found() {
    let world = World::lawful().await;
    world.checkpoint(5, 4).await;
    assert_eq!(world.judge_only(Invariant::I19, Rest::Live).await.violations, 1);
}

#[tokio::test]
async fn at_rest_a_payment_that_is_not_final_is_found() {
    let mut world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I7, Rest::AtRest).await.verdict(), Verdict::Held);
    let mut stuck = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut stuck).await;
    let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
    assert_eq!(finding.examples, [format!("{} still stands at submitting", stuck.id)]);
}

#[tokio::test]
async fn review_is_excused_only_by_what_the_gateway_did() {
    let mut world = World::lawful().await;
    let review = Step { to: "review", ..Step::default() };
    let mut groundless = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut groundless).await;
    world.take(&mut groundless, review.clone()).await;
    let mut wrong_amount = world.accepted(Kind::Deposit, 20).await;
    world.submitted(&mut wrong_amount).await;
    world.charge(&wrong_amount, "succeeded", 19);
    world.take(&mut wrong_amount, review.clone()).await;
    let mut unanswered = world.accepted(Kind::Deposit, 30).await;
    world.submitted(&mut unanswered).await;
    world.charges.last_mut().unwrap()["answer"] = "lost_before".into();
    world.take(&mut unanswered, review).await;
    let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
    assert_eq!(finding.examples, [format!("{} waits for a human without a reason at the gateway", groundless.id)]);
}

/// A payment in review, after a call that was answered as it should be.
async fn under_review(world: &mut World, reason: &'static str) -> Payment {
    let mut payment = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut payment).await;
    world.take(&mut payment, Step { to: "review", reason: Some(reason), ..Step::default() }).await;
    payment
}

#[tokio::test]
async fn review_is_excused_by_what_the_gateway_is_known_to_have_lied_about() {
    for (kind, excuses) in [
        ("wrong_amount", true),
        ("wrong_currency", true),
        ("callback_contradicting", true),
        ("frozen", true),
        ("callback_duplicate", false),
        ("callback_forged", false),
    ] {
        let mut world = World::lawful().await;
        let payment = under_review(&mut world, "contradiction").await;
        assert_eq!(world.judge_only(Invariant::I7, Rest::AtRest).await.violations, 1, "{kind}");
        let key = Operation::Create.key(payment.attempt);
        world.charges.push(json!({ "entry": "lied", "gateway": "stripe", "key": key, "kind": kind, "at": now() }));
        let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
        assert_eq!(finding.verdict() == Verdict::Held, excuses, "{kind}: {finding:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_was_away_excuses_only_the_reviews_of_those_whom_it_never_answered() {
    let mut world = World::lawful().await;
    under_review(&mut world, "gateway_silent").await;
    let other = under_review(&mut world, "contradiction").await;
    assert_eq!(world.judge_only(Invariant::I7, Rest::AtRest).await.violations, 2);
    world.charges.push(json!({ "entry": "lied", "gateway": "bank", "kind": "down", "at": now() }));
    assert_eq!(world.judge_only(Invariant::I7, Rest::AtRest).await.violations, 2);
    world.charges.push(json!({ "entry": "lied", "gateway": "stripe", "kind": "down", "at": now() }));
    let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
    assert_eq!(finding.examples, [format!("{} waits for a human without a reason at the gateway", other.id)]);
}

#[tokio::test]
async fn a_gateway_that_was_away_excuses_the_review_of_a_payment_that_has_left_it() {
    let mut world = World::lawful().await;
    let payment = under_review(&mut world, "bell_unanswered").await;
    world.charges.push(json!({ "entry": "lied", "gateway": "bank", "kind": "down", "at": now() }));
    assert_eq!(world.judge_only(Invariant::I7, Rest::AtRest).await.violations, 1);
    let left = Payment { attempt: Uuid::now_v7(), number: 2, ..payment };
    world.attempt(&left).await;
    world.sql("UPDATE attempts SET gateway = 'bank' WHERE number = 2").await;
    let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn what_is_told_during_review_does_not_take_away_the_excuse_of_a_gateway_that_was_away() {
    let mut world = World::lawful().await;
    let mut payment = under_review(&mut world, "gateway_silent").await;
    world.charges.push(json!({ "entry": "lied", "gateway": "stripe", "kind": "down", "at": now() }));
    world.take(&mut payment, Step { to: "review", reason: Some("taken_back"), ..Step::default() }).await;
    let finding = world.judge_only(Invariant::I7, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn review_without_a_log_of_the_gateways_is_not_checkable() {
    let mut world = World::lawful().await;
    under_review(&mut world, "contradiction").await;
    let inputs = Inputs { charge_log: None, only: [Invariant::I7].into(), ..world.inputs(Rest::AtRest) };
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!(report.exit_code(), 2, "{}", report.table());
    assert!(report.findings[0].gaps[0].contains("no charge log tells what the gateways did"), "{}", report.table());
}

#[tokio::test]
async fn at_work_a_payment_is_under_way_until_it_is_older_than_it_may_be() {
    let mut world = World::lawful().await;
    let mut open = world.accepted(Kind::Deposit, 10).await;
    world.submitted(&mut open).await;
    let within = Sightings { final_within: Some(Duration::from_secs(60)), ..Sightings::default() };
    let live = world.judge_seen(Invariant::I7, Rest::Live, &within).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "{live:?}");
    world.sql("UPDATE transactions SET created_at = now() - interval '100 seconds'").await;
    let late = world.judge_seen(Invariant::I7, Rest::Live, &within).await;
    assert_eq!(late.violations, 1, "those that are final may be as old as they like: {late:?}");
    assert!(late.examples[0].starts_with(&format!("{} still stands at submitting after 1", open.id)), "{late:?}");
    assert_eq!(world.judge_only(Invariant::I7, Rest::Live).await.under_way, 1);
}
