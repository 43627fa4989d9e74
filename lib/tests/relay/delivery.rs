//! Guarantees about what arrives.

use super::fleet::Fleet;
use crate::harness::journal;

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
