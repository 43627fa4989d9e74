//! Guarantees about records that Kafka does not take.

use payfleet::domain::lane::lane_of;
use payfleet::kafka::Compression;
use payfleet::outbox::parked::{self, Pair};
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::fleet::{Fleet, LIMIT};
use crate::harness::topics::alter_limit;
use crate::harness::{eventually, journal};

async fn parked_rows(pool: &PgPool) -> Vec<(Uuid, String, i64)> {
    sqlx::query_as("SELECT aggregate, topic, seq FROM parked ORDER BY aggregate, topic, seq")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Waits until so many rows are parked and everything else is behind the cursors.
async fn settled_with(fleet: &Fleet, expected: usize) {
    let pool = fleet.pool();
    eventually("the poison to be parked and the rest to be sent", LIMIT, async || {
        let parked = parked_rows(pool).await.len();
        let passed = journal::is_passed(pool).await;
        (parked == expected && passed).then_some(())
    })
    .await;
}

async fn step(fleet: &Fleet, aggregates: &[Uuid], bytes: i32) {
    journal::step(&mut fleet.database.app.acquire().await.unwrap(), aggregates, bytes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_parked_unsent_with_its_followers_and_holds_up_nobody_else() {
    let mut fleet = Fleet::new(200).await;
    fleet.topics.settings.message_max_bytes = 20_000;
    let poisoned = fleet.journal.aggregates[0];
    let relay = fleet.relay("a");
    fleet.step_all(100).await;
    step(&fleet, &[poisoned], 30_000).await;
    fleet.step_all(100).await;
    // Both topics of the step were too large for: two events each, and the two that followed.
    settled_with(&fleet, 4).await;
    let rows = parked_rows(fleet.pool()).await;
    assert!(rows.iter().all(|(aggregate, ..)| *aggregate == poisoned), "{rows:?}");
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.missing, verdict.unknown, verdict.disordered), (4, 0, 0), "{verdict:?}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_brokers_refuse_is_parked_alone_and_sent_in_order_when_it_is_tried_again() {
    let mut fleet = Fleet::new(400).await;
    // The topics take less than the producer believes, and nothing is packed smaller.
    fleet.topics.settings.compression = Compression::None;
    alter_limit(&fleet.topics.settings, 60_000).await;
    let poisoned = fleet.journal.aggregates[0];
    let neighbours: Vec<Uuid> = fleet.journal.of_lane(lane_of(poisoned));
    let relay = fleet.relay("a");
    fleet.step_all(100).await;
    let mut writing = fleet.database.app.begin().await.unwrap();
    journal::step(&mut writing, &neighbours, 200).await.unwrap();
    journal::step(&mut writing, &[poisoned], 300_000).await.unwrap();
    journal::step(&mut writing, &neighbours, 200).await.unwrap();
    writing.commit().await.unwrap();
    settled_with(&fleet, 4).await;
    let verdict = fleet.verdict().await;
    assert_eq!(
        (verdict.missing, verdict.disordered),
        (4, 0),
        "neighbours of the refused record are neither lost nor overtaken"
    );

    alter_limit(&fleet.topics.settings, 1_048_588).await;
    let pair = |topic: &str| Pair { aggregate: poisoned, topic: topic.to_owned() };
    assert_eq!(parked::retry(&fleet.database.app, &pair("payments.events")).await.unwrap(), 2);
    assert_eq!(parked::retry(&fleet.database.app, &pair("payments.commands.stripe")).await.unwrap(), 2);
    fleet.drained().await;
    fleet.step_all(100).await;
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_pair_stays_parked_when_its_lane_changes_hands() {
    let mut fleet = Fleet::new(50).await;
    fleet.topics.settings.message_max_bytes = 20_000;
    let poisoned = fleet.journal.aggregates[0];
    let first = fleet.relay("first");
    step(&fleet, &[poisoned], 30_000).await;
    settled_with(&fleet, 2).await;
    first.kill().await;
    let second = fleet.relay("second");
    step(&fleet, &[poisoned], 10).await;
    settled_with(&fleet, 4).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_a_topic_that_is_missing_is_parked_and_arrives_once_there_is_one() {
    let fleet = Fleet::new(50).await;
    let (stray, lane) = (fleet.journal.aggregates[0], lane_of(fleet.journal.aggregates[0]));
    sqlx::query("INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload) VALUES (0, $1, $2, 99, 'payments.commands.new', 't', '{}')")
        .bind(lane)
        .bind(stray)
        .execute(&fleet.database.app)
        .await
        .unwrap();
    let relay = fleet.relay("a");
    fleet.step_all(10).await;
    settled_with(&fleet, 1).await;
    fleet.verdict().await.assert_clean();
    let again: bool =
        sqlx::query_scalar("SELECT retry_at > clock_timestamp() FROM parked").fetch_one(fleet.pool()).await.unwrap();
    assert!(again, "it is tried again by itself");
    payfleet::kafka::topics::ensure(&fleet.topics.settings, &["payments.commands.new".to_owned()]).await.unwrap();
    parked::retry_all(&fleet.database.app).await.unwrap();
    fleet.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_found_out_once_and_not_for_each_of_its_events() {
    let fleet = Fleet::new(640).await;
    let lane = 5;
    let strays = fleet.journal.of_lane(lane)[..20].to_vec();
    sqlx::query(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         SELECT 0, $1, stray, 99, 'payments.commands.new', 't', '{}' FROM unnest($2::uuid[]) AS stray",
    )
    .bind(lane)
    .bind(&strays)
    .execute(&fleet.database.app)
    .await
    .unwrap();
    let relay = fleet.relay("a");
    // Each of them alone would be waited for five seconds.
    fleet.step_all(10).await;
    settled_with(&fleet, 20).await;
    fleet.verdict().await.assert_clean();

    // Nor when all of them are to be tried again.
    parked::retry_all(&fleet.database.app).await.unwrap();
    eventually("all of them to be put off", LIMIT, async || {
        let due: i64 = sqlx::query_scalar("SELECT count(*) FROM parked WHERE retry_at <= clock_timestamp()")
            .fetch_one(fleet.pool())
            .await
            .unwrap();
        (due == 0).then_some(())
    })
    .await;
    fleet.step_all(10).await;
    settled_with(&fleet, 20).await;
    fleet.verdict().await.assert_clean();

    payfleet::kafka::topics::ensure(&fleet.topics.settings, &["payments.commands.new".to_owned()]).await.unwrap();
    parked::retry_all(&fleet.database.app).await.unwrap();
    fleet.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_parked_pairs_are_sent_again_while_their_lane_goes_on() {
    let fleet = Fleet::new(160).await;
    sqlx::query(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         SELECT 0, 5, stray, seq, 'payments.commands.new', 't', '{}'
         FROM (SELECT gen_random_uuid() AS stray FROM generate_series(1, 150)) strays, generate_series(1, 2) seq",
    )
    .execute(&fleet.database.app)
    .await
    .unwrap();
    let relay = fleet.relay("a");
    settled_with(&fleet, 300).await;
    payfleet::kafka::topics::ensure(&fleet.topics.settings, &["payments.commands.new".to_owned()]).await.unwrap();
    parked::retry_all(&fleet.database.app).await.unwrap();
    fleet.step_all(10).await;
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}
