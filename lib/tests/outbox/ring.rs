//! Guarantees about the ring of slots.

use std::time::Duration;

use payfleet::outbox::checkpoint::{self, Progress};
use payfleet::outbox::history::{self, History};
use payfleet::outbox::position::Position;
use payfleet::outbox::ring::{self, Limits, Rotation, Truncation};
use payfleet::outbox::{lanes, ticks};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::harness::journal::{self, Journal};
use crate::harness::{Database, eventually};

const NOW: Limits = Limits { bytes: 1, age_ms: 0 };

struct Ring {
    database: Database,
    journal: Journal,
    connection: PgConnection,
    history: History,
}

impl Ring {
    async fn new() -> Self {
        let database = Database::new().await;
        let journal = Journal::new(&database.owner, 100).await;
        let mut connection = database.settings().connect("test").await.unwrap();
        let history = history::here(&mut connection).await.unwrap().0;
        Self { database, journal, connection, history }
    }

    async fn step(&mut self) {
        journal::step(&mut self.connection, &self.journal.aggregates, 10).await.unwrap();
    }

    /// Every lane stores a cursor that has passed whatever is committed now.
    async fn pass_everything(&mut self) {
        let relay = Uuid::now_v7();
        let held = lanes::claim(&mut self.connection, relay, 16, Duration::from_secs(5)).await.unwrap();
        let (_, now) = history::here(&mut self.connection).await.unwrap();
        let position = Position { from: now, to: None, last_id: 0 };
        let progress: Vec<Progress> = held
            .iter()
            .map(|held| Progress { lane: held.lane, epoch: held.epoch, position: position.clone() })
            .collect();
        assert_eq!(checkpoint::append(&mut self.connection, self.history, &progress).await.unwrap().len(), 16);
    }

    async fn truncate(&mut self, slot: i16) -> Truncation {
        ring::truncate(&mut self.connection, slot, self.history).await.unwrap()
    }

    async fn rows(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.database.owner).await.unwrap()
    }
}

#[tokio::test]
async fn a_slot_is_truncated_once_every_lane_has_passed_it_and_not_before() {
    let mut ring = Ring::new().await;
    ring.step().await;
    assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(1));
    assert_eq!(ring.truncate(0).await, Truncation::NotPassed, "no lane has a cursor yet");
    ring.pass_everything().await;
    ring.step().await;
    assert_eq!(ring::behind(&mut ring.connection).await.unwrap(), [0]);
    assert_eq!(ring.truncate(1).await, Truncation::NotPassed, "it is written to");
    assert_eq!(ring.truncate(0).await, Truncation::Done);
    assert_eq!(ring.rows().await, 200);
}

#[tokio::test]
async fn a_row_that_one_lane_has_not_passed_keeps_its_slot() {
    let mut ring = Ring::new().await;
    ring.step().await;
    ring.pass_everything().await;
    let one = ring.journal.aggregates[0];
    journal::step(&mut ring.connection, &[one], 10).await.unwrap();
    assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(1));
    assert_eq!(ring.truncate(0).await, Truncation::NotPassed);
}

#[tokio::test]
async fn a_cursor_of_another_history_proves_nothing() {
    let mut ring = Ring::new().await;
    ring.step().await;
    ring.pass_everything().await;
    assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(1));
    sqlx::query("UPDATE checkpoints SET timeline = timeline + 1 WHERE lane = 5")
        .execute(&ring.database.owner)
        .await
        .unwrap();
    assert_eq!(ring.truncate(0).await, Truncation::NotPassed);
}

/// The writer has chosen the slot before it was left, and commits while truncation waits for the lock: the rows were not there when
/// it was asked whether the slot is passed.
#[tokio::test]
async fn a_row_committed_between_the_question_and_the_lock_is_not_truncated() {
    let mut ring = Ring::new().await;
    for attempt in 0.. {
        assert!(attempt < 20, "truncation never waited for the writer");
        ring.step().await;
        let mut writer = ring.database.app.begin().await.unwrap();
        let slot: i16 = sqlx::query_scalar("SELECT slot FROM outbox_ring").fetch_one(&mut *writer).await.unwrap();
        journal::step(&mut writer, &ring.journal.aggregates, 10).await.unwrap();
        assert!(matches!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(_)));
        ring.pass_everything().await;
        let committed = ring.rows().await;
        let owner = ring.database.owner.clone();
        let commit_when_waited_for = async {
            let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = format('outbox_%s', $1)::regclass)";
            let waited =
                eventually("truncation to wait for the writer, or to give up", Duration::from_secs(10), async || {
                    sqlx::query_scalar::<_, bool>(waits).bind(slot).fetch_one(&owner).await.unwrap().then_some(())
                });
            // The lock is only waited for during 50 ms; if that was missed, the next attempt may see it.
            tokio::time::timeout(Duration::from_millis(200), waited).await.ok();
            writer.commit().await.unwrap();
        };
        let (truncation, ()) =
            tokio::join!(ring::truncate(&mut ring.connection, slot, ring.history), commit_when_waited_for);
        assert_eq!(ring.rows().await, committed + 200, "what the late writer committed is gone");
        match truncation.unwrap() {
            Truncation::NotPassed => return,
            Truncation::Busy => {
                // Missed the window. Start again on an empty ring.
                ring.pass_everything().await;
                assert_eq!(ring.truncate(slot).await, Truncation::Done);
            }
            Truncation::Done => panic!("truncated under a writer"),
        }
    }
}

#[tokio::test]
async fn rotation_enters_only_an_empty_slot() {
    let mut ring = Ring::new().await;
    for slot in [1, 2, 3] {
        ring.step().await;
        assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(slot));
    }
    ring.step().await;
    assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Blocked);
    ring.step().await;
    assert_eq!(ring.rows().await, 1_000, "writers go on in the slot they are in");
    ring.pass_everything().await;
    assert_eq!(ring.truncate(0).await, Truncation::Done);
    assert_eq!(ring::rotate(&mut ring.connection, NOW).await.unwrap(), Rotation::Into(0));
}

#[tokio::test]
async fn a_slot_that_is_small_and_young_is_not_left() {
    let mut ring = Ring::new().await;
    let limits = Limits { bytes: 1 << 20, age_ms: 600_000 };
    // The ring is as old as the template that the database was made from.
    sqlx::query("UPDATE outbox_ring SET rotated_at = now()").execute(&ring.database.owner).await.unwrap();
    ring.step().await;
    assert_eq!(ring::rotate(&mut ring.connection, limits).await.unwrap(), Rotation::NotDue);
    assert_eq!(ring::rotate(&mut ring.connection, Limits { age_ms: 0, ..limits }).await.unwrap(), Rotation::Into(1));
    assert_eq!(
        ring::rotate(&mut ring.connection, Limits { age_ms: 0, ..limits }).await.unwrap(),
        Rotation::NotDue,
        "an empty slot has nothing to be left for"
    );
}

#[tokio::test]
async fn ticks_that_all_lanes_have_passed_are_trimmed_and_later_ones_stay() {
    let mut ring = Ring::new().await;
    ring.step().await;
    assert!(ticks::write(&mut ring.connection).await.unwrap());
    assert_eq!(ticks::trim(&mut ring.connection, 0).await.unwrap(), 0, "no lane has a cursor yet");
    ring.step().await;
    ring.pass_everything().await;
    let (_, passed) = history::here(&mut ring.connection).await.unwrap();
    ring.step().await;
    sqlx::query("UPDATE outbox_ticks SET at = at - interval '1 second'").execute(&ring.database.owner).await.unwrap();
    assert!(ticks::write(&mut ring.connection).await.unwrap());
    assert!(ticks::trim(&mut ring.connection, 0).await.unwrap() > 0);
    let left =
        ticks::after(&mut ring.connection, &payfleet::outbox::snapshot::Snapshot::beginning(), 10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(passed.is_before(&left[0].snapshot));
}
