//! Guarantees about what arrives.

use super::fleet::{Fleet, LIMIT};
use crate::harness::{eventually, journal};

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_event_arrives_once_in_order_on_its_lane_when_nothing_fails() {
    let fleet = Fleet::new(200).await;
    let relay = fleet.relay("a");
    for _ in 0..5 {
        fleet.step_all(100).await;
    }
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert_eq!((verdict.records, verdict.repeated), (2_000, 0));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_passed_over() {
    let fleet = Fleet::new(64).await;
    let relay = fleet.relay("a");
    let mut late = fleet.database.app.begin().await.unwrap();
    journal::step(&mut late, &fleet.journal.aggregates[..8], 10).await.unwrap();
    let mut prompt = fleet.database.app.acquire().await.unwrap();
    journal::step(&mut prompt, &fleet.journal.aggregates[8..], 10).await.unwrap();
    fleet.drained().await;
    assert_eq!(fleet.verdict().await.records, 112, "an open transaction holds up nobody");
    late.commit().await.unwrap();
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert_eq!(verdict.records, 128);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_rolls_back_leaves_nothing() {
    let fleet = Fleet::new(64).await;
    let relay = fleet.relay("a");
    let mut undone = fleet.database.app.begin().await.unwrap();
    journal::step(&mut undone, &fleet.journal.aggregates, 10).await.unwrap();
    undone.rollback().await.unwrap();
    fleet.step_all(10).await;
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert_eq!(verdict.records, 128);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_progress_could_not_be_stored_goes_on_once_it_can_be() {
    let fleet = Fleet::new(100).await;
    sqlx::query("REVOKE INSERT ON checkpoints FROM payfleet_app").execute(fleet.pool()).await.unwrap();
    let relay = fleet.relay("a");
    fleet.step_all(10).await;
    eventually("the relay to have begun anew", LIMIT, async || {
        let taken: Option<i64> =
            sqlx::query_scalar("SELECT max(epoch) FROM lanes").fetch_one(fleet.pool()).await.unwrap();
        (taken >= Some(3)).then_some(())
    })
    .await;
    sqlx::query("GRANT INSERT ON checkpoints TO payfleet_app").execute(fleet.pool()).await.unwrap();
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}
