//! Guarantees about stored progress.

use payfleet::outbox::checkpoint::{self, Progress};
use payfleet::outbox::history::{self, History};
use payfleet::outbox::lanes::{self, Held};
use payfleet::outbox::position::Position;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use uuid::Uuid;

use crate::harness::Database;

const LEASE: Duration = Duration::from_secs(5);

async fn connect(database: &Database) -> PgConnection {
    database.settings().connect("test").await.unwrap()
}

async fn here(connection: &mut PgConnection) -> History {
    history::here(connection).await.unwrap().0
}

fn progress(held: Held, last_id: i64) -> Progress {
    Progress { lane: held.lane, epoch: held.epoch, position: Position { last_id, ..Position::beginning() } }
}

async fn rows(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM checkpoints").fetch_one(&database.owner).await.unwrap()
}

#[tokio::test]
async fn the_newest_checkpoint_of_the_newest_epoch_counts() {
    let database = Database::new().await;
    let mut connection = connect(&database).await;
    let history = here(&mut connection).await;
    let first = lanes::claim(&mut connection, Uuid::now_v7(), 16, LEASE).await.unwrap();
    checkpoint::append(&mut connection, history, &[progress(first[3], 7)]).await.unwrap();
    checkpoint::append(&mut connection, history, &[progress(first[3], 9)]).await.unwrap();
    let stored = checkpoint::latest(&mut connection, &[first[3].lane, first[4].lane]).await.unwrap();
    let position = stored[&first[3].lane].clone().map(|stored| stored.position.last_id);
    assert_eq!((position, &stored[&first[4].lane]), (Some(9), &None));
}

#[tokio::test]
async fn a_checkpoint_of_an_older_epoch_is_refused_and_the_others_of_its_statement_are_not() {
    let database = Database::new().await;
    let mut connection = connect(&database).await;
    let history = here(&mut connection).await;
    let mine = lanes::claim(&mut connection, Uuid::now_v7(), 2, LEASE).await.unwrap();
    // Nobody registered, so the next relay takes the first lane.
    let taken = lanes::claim(&mut connection, Uuid::now_v7(), 1, LEASE).await.unwrap();
    assert_eq!((taken[0].lane, taken[0].epoch), (mine[0].lane, mine[0].epoch + 1));
    let both = [progress(mine[0], 5), progress(mine[1], 5)];
    assert_eq!(checkpoint::append(&mut connection, history, &both).await.unwrap(), [mine[1].lane]);
    assert_eq!(rows(&database).await, 1);
}

#[tokio::test]
async fn a_lane_is_not_taken_while_a_checkpoint_of_it_is_being_committed() {
    let database = Database::new().await;
    let (mut owner, mut taker) = (connect(&database).await, connect(&database).await);
    let history = here(&mut owner).await;
    let mine = lanes::claim(&mut owner, Uuid::now_v7(), 16, LEASE).await.unwrap();
    sqlx::query("BEGIN").execute(&mut owner).await.unwrap();
    checkpoint::append(&mut owner, history, &[progress(mine[0], 5)]).await.unwrap();
    let taken = lanes::claim(&mut taker, Uuid::now_v7(), 16, LEASE).await.unwrap();
    assert_eq!(taken.len(), 15, "all but the one whose checkpoint is under way");
    sqlx::query("COMMIT").execute(&mut owner).await.unwrap();
    let rest = lanes::claim(&mut taker, Uuid::now_v7(), 1, LEASE).await.unwrap();
    assert_eq!(rest[0].lane, 0);
    let stored = checkpoint::latest(&mut taker, &[0]).await.unwrap();
    assert_eq!(
        stored[&0].clone().map(|stored| stored.position.last_id),
        Some(5),
        "the taker starts from what was stored"
    );
    assert!(checkpoint::append(&mut owner, history, &[progress(mine[0], 6)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_heartbeat_from_before_the_clock_was_set_back_keeps_no_lane() {
    let database = Database::new().await;
    let (mut holder, mut taker) = (connect(&database).await, connect(&database).await);
    let (frozen, other) = (Uuid::now_v7(), Uuid::now_v7());
    lanes::register(&mut holder, frozen, "frozen").await.unwrap();
    assert_eq!(lanes::claim(&mut holder, frozen, 16, LEASE).await.unwrap().len(), 16);
    assert!(lanes::claim(&mut taker, other, 16, LEASE).await.unwrap().is_empty(), "its holder lives");
    sqlx::query("UPDATE relays SET beat_at = beat_at + interval '1 hour'").execute(&database.owner).await.unwrap();
    assert!(lanes::look(&mut taker, LEASE).await.unwrap().relays.is_empty());
    assert_eq!(lanes::claim(&mut taker, other, 16, LEASE).await.unwrap().len(), 16);
    assert!(lanes::beat(&mut holder, frozen).await.unwrap());
    assert_eq!(lanes::look(&mut taker, LEASE).await.unwrap().relays, [frozen], "its heart beats again");
}

#[tokio::test]
async fn trimming_keeps_the_first_and_the_last_of_each_epoch_as_evidence() {
    let database = Database::new().await;
    let mut connection = connect(&database).await;
    let history = here(&mut connection).await;
    for epoch in 1..=2 {
        let held = lanes::claim(&mut connection, Uuid::now_v7(), 1, LEASE).await.unwrap()[0];
        assert_eq!((held.lane, held.epoch), (0, epoch));
        for last_id in 1..=1_500 {
            checkpoint::append(&mut connection, history, &[progress(held, last_id)]).await.unwrap();
        }
    }
    let low = checkpoint::trim(&mut connection, 0).await.unwrap();
    assert_eq!(low, 1_000);
    let oldest: Vec<(i64, i64)> = sqlx::query_as("SELECT epoch, last_id FROM checkpoints ORDER BY id LIMIT 2")
        .fetch_all(&database.owner)
        .await
        .unwrap();
    assert_eq!(oldest, [(1, 1), (1, 1_001)]);
    assert_eq!(checkpoint::trim(&mut connection, low).await.unwrap(), low, "there is nothing new to trim");
    let stored = checkpoint::latest(&mut connection, &[0]).await.unwrap();
    assert_eq!(stored[&0].clone().map(|stored| stored.position.last_id), Some(1_500));
}
