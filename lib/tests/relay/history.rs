//! Guarantees about cursors of another database.

use payfleet::outbox::history::Foreign;
use payfleet::outbox::rebase::rebase;
use payfleet::relay::Error;

use super::fleet::Fleet;
use crate::harness::journal;
use crate::harness::judge::{header, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_server_stops_the_relay_until_the_lanes_are_rebased() {
    let fleet = Fleet::new(100).await;
    let relay = fleet.relay("a");
    fleet.step_all(10).await;
    fleet.drained().await;
    relay.stop().await;
    fleet.step_all(10).await;
    sqlx::query("UPDATE checkpoints SET timeline = timeline + 1").execute(fleet.pool()).await.unwrap();
    let refused = fleet.relay("a").ended().await;
    assert!(matches!(refused, Err(Error::Foreign(Foreign::History { .. }))), "{refused:?}");

    let rebased = rebase(&mut fleet.pool().acquire().await.unwrap()).await.unwrap();
    assert_eq!(rebased.incarnation, 2);
    let relay = fleet.relay("a");
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    let mut incarnations = std::collections::BTreeMap::new();
    let settings = fleet.topics.settings.clone();
    tokio::task::spawn_blocking(move || {
        read(&settings, journal::TOPICS[0], &mut |message| {
            *incarnations.entry(header(message, "payfleet-incarnation")).or_insert(0) += 1;
        });
        // The first hundred were sent before; the ring still held them, so they were sent again.
        assert_eq!(incarnations, [("1".to_owned(), 100), ("2".to_owned(), 200)].into());
    })
    .await
    .unwrap();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_the_servers_future_stops_the_relay() {
    let fleet = Fleet::new(10).await;
    let relay = fleet.relay("a");
    fleet.step_all(10).await;
    fleet.drained().await;
    relay.stop().await;
    sqlx::query("UPDATE checkpoints SET from_snapshot = '900000000000:900000000000:'")
        .execute(fleet.pool())
        .await
        .unwrap();
    let refused = fleet.relay("a").ended().await;
    assert!(matches!(refused, Err(Error::Foreign(Foreign::Future { seen: 900_000_000_000, .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_restored_with_numbers_that_this_server_has_not_reached_are_sent_after_a_rebase() {
    let fleet = Fleet::new(100).await;
    fleet.step_all(10).await;
    // As a dump read into a younger server leaves them.
    sqlx::query("UPDATE outbox SET xid = (xid::text::bigint + 5000000)::text::xid8")
        .execute(fleet.pool())
        .await
        .unwrap();
    let rebased = rebase(&mut fleet.pool().acquire().await.unwrap()).await.unwrap();
    assert_eq!(rebased.renumbered, 200);
    let relay = fleet.relay("a");
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert_eq!(verdict.repeated, 0);
    relay.stop().await;
}
