//! Guarantees of the doorbell.

use std::time::Duration;

use payfleet::outbox::doorbell::{CHANNEL, Doorbell};
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::road::Road;
use crate::harness::{Database, eventually};

async fn listener(database: &Database) -> PgListener {
    let mut listener = PgListener::connect_with(&database.app).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    listener
}

async fn heard(listener: &mut PgListener) {
    tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.expect("a ring within 10 s").unwrap();
}

async fn ticks(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM outbox_ticks").fetch_one(&database.owner).await.unwrap()
}

async fn append_anything(database: &Database) {
    sqlx::query(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload) VALUES (0, 0, gen_random_uuid(), 1, 't', 't', '')",
    )
    .execute(&database.app)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_ring_is_heard_and_leaves_a_tick_when_rows_were_appended() {
    let database = Database::new().await;
    let mut listener = listener(&database).await;
    let stop = CancellationToken::new();
    let doorbell = Doorbell::start(&database.settings(), &TaskTracker::new(), stop.clone());
    append_anything(&database).await;
    doorbell.ring();
    heard(&mut listener).await;
    eventually("the tick", Duration::from_secs(10), async || (ticks(&database).await == 1).then_some(())).await;
    stop.cancel();
}

#[tokio::test]
async fn rings_at_once_become_one() {
    let database = Database::new().await;
    let mut listener = listener(&database).await;
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let doorbell = Doorbell::start(&database.settings(), &tracker, stop.clone());
    for _ in 0..1_000 {
        doorbell.ring();
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    heard(&mut listener).await;
    let more = tokio::time::timeout(Duration::from_millis(100), listener.recv()).await;
    assert!(more.is_err(), "a thousand rings before the first was served are one notification");
}

#[tokio::test]
async fn processes_that_ring_together_share_the_ticks() {
    let database = Database::new().await;
    let stop = CancellationToken::new();
    let mut listener = listener(&database).await;
    for _ in 0..4 {
        append_anything(&database).await;
        let doorbell = Doorbell::start(&database.settings(), &TaskTracker::new(), stop.clone());
        doorbell.ring();
        heard(&mut listener).await;
    }
    // Each ringer ticks right after its first ring; another ring of it says that the tick's turn is over.
    eventually("a tick", Duration::from_secs(10), async || (ticks(&database).await >= 1).then_some(())).await;
    let crowded: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox_ticks a JOIN outbox_ticks b ON a.id < b.id AND b.at - a.at < interval '200 ms'",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(crowded, 0, "ticks of one fleet are a quarter of a second apart");
    stop.cancel();
}

#[tokio::test]
async fn the_doorbell_rings_again_after_its_connection_was_cut() {
    let database = Database::new().await;
    let mut listener = listener(&database).await;
    let stop = CancellationToken::new();
    let doorbell = Doorbell::start(&database.settings(), &TaskTracker::new(), stop.clone());
    doorbell.ring();
    heard(&mut listener).await;
    let cut: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'doorbell'",
    )
    .fetch_one(&database.owner)
    .await
    .unwrap();
    assert_eq!(cut, 1);
    doorbell.ring();
    heard(&mut listener).await;
    stop.cancel();
}

#[tokio::test]
async fn the_doorbell_rings_again_after_its_server_has_vanished_without_a_word() {
    let (database, road) = (Database::new().await, Road::new().await);
    let mut listener = listener(&database).await;
    let stop = CancellationToken::new();
    let doorbell = Doorbell::start(&road.settings(&database), &TaskTracker::new(), stop.clone());
    doorbell.ring();
    heard(&mut listener).await;
    road.fall_silent();
    doorbell.ring();
    heard(&mut listener).await;
    stop.cancel();
}
