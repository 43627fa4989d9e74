//! Guarantees about backlogs, which are read in slices and pages.

use payfleet::outbox::history;
use payfleet::relay;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fleet::{Fleet, LIMIT};
use crate::harness::{eventually, journal};

/// A tick although the last one was just now.
async fn tick(connection: &mut PgConnection) {
    sqlx::query("INSERT INTO outbox_ticks (snapshot, written) SELECT pg_current_snapshot(), last_value FROM outbox_id")
        .execute(connection)
        .await
        .unwrap();
}

/// Stores every page.
fn pages_of(name: &str, page_rows: i64) -> relay::Settings {
    relay::Settings { name: name.into(), page_rows, checkpoint_rows: 1, ..relay::Settings::default() }
}

/// Rows of the longest slice that any checkpoint lies in.
async fn longest_slice(fleet: &Fleet) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(max(slice.rows), 0)
         FROM (SELECT DISTINCT lane, from_snapshot::text AS earlier, to_snapshot::text AS later
               FROM checkpoints WHERE to_snapshot IS NOT NULL) stored
         CROSS JOIN LATERAL (
             SELECT count(*) AS rows FROM outbox
             WHERE outbox.lane = stored.lane AND pg_visible_in_snapshot(xid, stored.later::pg_snapshot)
               AND NOT pg_visible_in_snapshot(xid, stored.earlier::pg_snapshot)
         ) slice",
    )
    .fetch_one(fleet.pool())
    .await
    .unwrap()
}

/// More ticks than are fetched at a time lie between the two lanes.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_far_apart_are_both_read_in_slices_of_known_size() {
    const STEPS: u64 = 700;
    const AHEAD: u64 = 580;
    let fleet = Fleet::new(320).await;
    let some: Vec<Uuid> = [0, 1].into_iter().flat_map(|lane| fleet.journal.of_lane(lane)[..5].to_vec()).collect();
    let mut writer = fleet.pool().acquire().await.unwrap();
    for step in 0..STEPS {
        if step == AHEAD {
            let (here, now) = history::here(&mut writer).await.unwrap();
            sqlx::query(
                "INSERT INTO checkpoints (lane, epoch, from_snapshot, system_identifier, timeline)
                 VALUES (1, 0, $1::pg_snapshot, $2, $3)",
            )
            .bind(now.to_string())
            .bind(here.system_identifier)
            .bind(here.timeline)
            .execute(&mut *writer)
            .await
            .unwrap();
        }
        journal::step(&mut writer, &some, 10).await.unwrap();
        tick(&mut writer).await;
    }
    let relay = fleet.relay_with(pages_of("a", 20));
    fleet.drained().await;
    relay.stop().await;
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.records, verdict.missing), ((2 * STEPS - AHEAD) * 10, AHEAD * 10), "{verdict:?}");
    assert_eq!((verdict.disordered, verdict.repeated), (0, 0), "{verdict:?}");
    let longest = longest_slice(&fleet).await;
    // A page of every lane and a tick: 240 rows and 20, half of them of either lane.
    assert!((1..=130).contains(&longest), "the longest slice had {longest} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_was_being_paged_when_the_relay_was_killed_is_gone_on_with_after_its_last_stored_page() {
    let fleet = Fleet::new(160).await;
    // One transaction is one slice.
    let mut writing = fleet.database.app.begin().await.unwrap();
    for _ in 0..20 {
        journal::step(&mut writing, &fleet.journal.aggregates, 10).await.unwrap();
    }
    writing.commit().await.unwrap();
    let small = |name| relay::Settings { flight_rows: 10, ..pages_of(name, 10) };
    let first = fleet.relay_with(small("first"));
    let passed = "SELECT count(*) FROM outbox JOIN LATERAL (
            SELECT to_snapshot, last_id FROM checkpoints WHERE checkpoints.lane = outbox.lane ORDER BY epoch DESC, id DESC LIMIT 1
        ) latest ON latest.to_snapshot IS NOT NULL AND outbox.id <= latest.last_id";
    let passed = async || sqlx::query_scalar::<_, i64>(passed).fetch_one(fleet.pool()).await.unwrap();
    eventually("a good part of the slice to be stored", LIMIT, async || (passed().await >= 1_600).then_some(())).await;
    first.kill().await;
    assert!(passed().await >= 1_600, "the slice was over before the relay was killed");
    let second = fleet.relay_with(small("second"));
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert!(verdict.repeated <= 16 * 20, "more than what was on its way was sent again: {verdict:?}");
    second.stop().await;
}

/// The second page holds an event for a topic that nobody knows: that is waited for, while the first is acknowledged and stored.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_when_a_relay_is_killed_is_sent_by_the_next() {
    let fleet = Fleet::new(160).await;
    let some = fleet.journal.of_lane(3)[..5].to_vec();
    let first = fleet.relay_with(pages_of("first", 10));
    fleet.step_all(10).await;
    fleet.drained().await;
    let mut writing = fleet.database.app.begin().await.unwrap();
    journal::step(&mut writing, &some, 10).await.unwrap();
    let stray: i64 = sqlx::query_scalar(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         VALUES (0, 3, $1, 99, 'payments.commands.new', 't', '{}') RETURNING id",
    )
    .bind(some[0])
    .fetch_one(&mut *writing)
    .await
    .unwrap();
    journal::step(&mut writing, &some, 10).await.unwrap();
    writing.commit().await.unwrap();
    eventually("the first page to be stored", LIMIT, async || {
        let stored: bool = sqlx::query_scalar("SELECT max(last_id) >= $1 - 1 FROM checkpoints WHERE lane = 3")
            .bind(stray)
            .fetch_one(fleet.pool())
            .await
            .unwrap();
        stored.then_some(())
    })
    .await;
    first.kill().await;
    payfleet::kafka::topics::ensure(&fleet.topics.settings, &["payments.commands.new".to_owned()]).await.unwrap();
    let second = fleet.relay("second");
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    second.stop().await;
}
