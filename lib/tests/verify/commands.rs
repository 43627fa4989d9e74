//! I13: commands that were consumed, and left no trace.

use payfleet::domain::ids::Kind;
use payfleet::ops::verify::{Finding, Invariant, Rest, Verdict};
use uuid::Uuid;

use super::books::World;
use super::payments::Payment;
use super::topics::Record;

const COMMANDS: &str = "payments.commands.stripe";

/// A lawful world, and a payment whose first command was consumed, and nothing more.
async fn consumed() -> (World, Payment) {
    let mut world = World::lawful().await;
    world.publish().await;
    assert_eq!(world.judge_only(Invariant::I13, Rest::AtRest).await.verdict(), Verdict::Held);
    let payment = world.accepted(Kind::Deposit, 10).await;
    world.publish().await;
    (world, payment)
}

fn said(finding: &Finding, saying: &str) {
    assert_eq!(finding.verdict(), Verdict::Violated, "{saying}: {finding:?}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

#[tokio::test]
async fn a_consumed_command_of_a_payment_that_nobody_touched_is_found() {
    let (mut world, mut payment) = consumed().await;
    let saying = format!("was consumed for {} at version 1, which stands at 1", payment.id);
    said(&world.judge_only(Invariant::I13, Rest::Live).await, &saying);
    world.submitted(&mut payment).await;
    assert_eq!(world.judge_only(Invariant::I13, Rest::Live).await.verdict(), Verdict::Held);
}

#[tokio::test]
async fn a_command_that_had_to_wait_is_under_way_and_wrong_only_at_rest() {
    let (world, _) = consumed().await;
    world.sql("UPDATE transactions SET asks = 1 WHERE status = 'created'").await;
    let live = world.judge_only(Invariant::I13, Rest::Live).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "{live:?}");
    said(&world.judge_only(Invariant::I13, Rest::AtRest).await, "which stands at 1");
}

#[tokio::test]
async fn a_dead_letter_is_a_trace() {
    let (world, _) = consumed().await;
    let finding = world.judge_only(Invariant::I13, Rest::AtRest).await;
    let place = finding.examples[0].split(' ').next().unwrap().strip_prefix(COMMANDS).unwrap().to_owned();
    let (partition, offset) = place[1..].split_once('@').unwrap();
    let topic = world.kafka().unwrap().topic(COMMANDS);
    world
        .sql(&format!(
            "INSERT INTO dead_letters (id, topic, partition, \"offset\", headers, record_hash, reason, event_hash)
             VALUES (gen_random_uuid(), '{topic}', {partition}, {offset}, '{{}}', sha256('record'), 'bad', '')"
        ))
        .await;
    let finding = world.judge_only(Invariant::I13, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn a_consumed_record_that_is_no_command_and_no_dead_letter_is_found() {
    let mut world = World::lawful().await;
    world.records.push(Record::of(COMMANDS, Uuid::now_v7(), 1, b"{"));
    world.publish().await;
    said(&world.judge_only(Invariant::I13, Rest::Live).await, "is no command, and left no dead letter");
}

#[tokio::test]
async fn a_consumed_command_of_a_payment_that_is_not_there_is_found() {
    let mut world = World::lawful().await;
    let id = Uuid::now_v7();
    let command = format!(r#"{{"transaction_id":"{id}","act":"create","attempt":1,"gateway":"stripe","version":1}}"#);
    world.records.push(Record::of(COMMANDS, id, 2, command.as_bytes()));
    world.publish().await;
    said(&world.judge_only(Invariant::I13, Rest::Live).await, &format!("there is no payment {id}"));
}

#[tokio::test]
async fn commands_that_nobody_has_consumed_are_not_judged() {
    let mut world = World::empty().await;
    world.publish().await;
    let finding = world.judge_only(Invariant::I13, Rest::AtRest).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert_eq!(finding.reasons(), ["there are no consumed commands to judge by"]);
}
