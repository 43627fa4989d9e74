//! Guarantees about cursors of another database.

use std::collections::BTreeMap;

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
    // The first hundred were sent before; the ring still held them, so they were sent again.
    assert_eq!(incarnations(&fleet).await, [("1".to_owned(), 100), ("2".to_owned(), 200)].into());
    relay.stop().await;
}

/// How many events carry which incarnation.
async fn incarnations(fleet: &Fleet) -> BTreeMap<String, usize> {
    let settings = fleet.topics.settings.clone();
    let counting = move || {
        let mut incarnations = BTreeMap::new();
        read(&settings, journal::TOPICS[0], &mut |message| {
            *incarnations.entry(header(message, "payfleet-incarnation")).or_insert(0) += 1;
        });
        incarnations
    };
    tokio::task::spawn_blocking(counting).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_running_when_the_lanes_were_rebased_sends_under_the_new_incarnation() {
    let fleet = Fleet::new(100).await;
    let relay = fleet.relay("a");
    fleet.step_all(10).await;
    fleet.drained().await;
    rebase(&mut fleet.pool().acquire().await.unwrap()).await.unwrap();
    fleet.held_as(&[("a", 16)]).await;
    fleet.step_all(10).await;
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    // Before it noticed, it may have taken rows with a new number for new ones.
    assert_eq!(incarnations(&fleet).await["2"], 200);
    relay.stop().await;
}

/// The ring is in use meanwhile: rows are appended, ticks are written, and a transaction that was open before is open after.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebase_under_writers_loses_and_overtakes_nothing() {
    let fleet = Fleet::new(160).await;
    let (slow, busy) = fleet.journal.aggregates.split_at(16);
    let relay = fleet.relay("a");
    let (mut first, mut second) =
        (fleet.database.app.acquire().await.unwrap(), fleet.database.app.acquire().await.unwrap());
    for _ in 0..3 {
        fleet.step_all(10).await;
        let mut late = fleet.database.app.begin().await.unwrap();
        journal::step(&mut late, slow, 10).await.unwrap();
        let mut owner = fleet.pool().acquire().await.unwrap();
        let rebasing = rebase(&mut owner);
        let writing = async {
            for _ in 0..20 {
                journal::step(&mut first, busy, 10).await.unwrap();
            }
        };
        let ticking = async {
            for _ in 0..20 {
                sqlx::query("INSERT INTO outbox_ticks (snapshot, written) SELECT pg_current_snapshot(), last_value FROM outbox_id")
                    .execute(&mut *second)
                    .await
                    .unwrap();
            }
        };
        let (rebased, (), ()) = tokio::join!(rebasing, writing, ticking);
        rebased.unwrap();
        late.commit().await.unwrap();
        fleet.drained().await;
    }
    fleet.verdict().await.assert_clean();
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
