//! What the claiming statement does to due times and to the index.

use std::time::Duration;

use payfleet::postgres::Settings;
use payfleet::postgres::due::Search;
use payfleet::transactions::due;
use serde_json::Value;
use sqlx::{Connection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{LIMIT, payments};
use crate::harness::road::Road;
use crate::harness::{Database, eventually};

const MINUTE: Duration = Duration::from_secs(60);

fn search() -> Search {
    Search { from: None, except: Vec::new(), limit: 100, leave: MINUTE, longest: 10 * MINUTE }
}

/// How long after now each payment is due.
async fn due_in(pool: &PgPool, id: Uuid) -> Duration {
    let due_at: OffsetDateTime =
        sqlx::query_scalar("SELECT due_at FROM transactions WHERE id = $1").bind(id).fetch_one(pool).await.unwrap();
    (due_at - OffsetDateTime::now_utc()).try_into().unwrap()
}

#[tokio::test]
async fn a_claimed_payment_is_due_again_the_later_the_longer_it_has_not_moved() {
    let database = Database::new().await;
    let ids = payments(&database.owner, "bank", &[-1_000; 3]).await;
    for (id, minutes) in ids.iter().zip([0, 8, 600]) {
        sqlx::query("UPDATE transactions SET updated_at = now() - $2 * interval '1 minute' WHERE id = $1")
            .bind(id)
            .bind(minutes)
            .execute(&database.owner)
            .await
            .unwrap();
    }
    let found = due::claim(&database.app, &search(), MINUTE).await.unwrap();
    assert_eq!(found.due.len(), 3);
    for (id, expected) in ids.into_iter().zip([MINUTE, 4 * MINUTE, 10 * MINUTE]) {
        let due_in = due_in(&database.owner, id).await;
        let allowed = expected.mul_f64(0.97)..expected.mul_f64(1.21);
        assert!(allowed.contains(&due_in), "due in {due_in:?}, expected {expected:?} and up to a fifth more");
    }
}

#[tokio::test]
async fn the_longest_due_come_first_and_gateways_can_be_left_alone() {
    let database = Database::new().await;
    let bank = payments(&database.owner, "bank", &[-1_000, -9_000, -5_000]).await;
    payments(&database.owner, "stripe", &[-20_000]).await;
    let only = Search { limit: 2, except: vec!["stripe".into()], ..search() };
    let found = due::claim(&database.app, &only, MINUTE).await.unwrap();
    let ids: Vec<Uuid> = found.due.iter().map(|due| due.id).collect();
    assert_eq!(ids, [bank[1], bank[2]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_from_the_very_beginning_does_not_wait_long_for_a_server_that_has_vanished_without_a_word() {
    let (database, road) = (Database::new().await, Road::new().await);
    let pool = Settings { pool: 1, ..road.settings(&database) }.lazy_pool("test").unwrap();
    let limit = Duration::from_millis(500);
    due::claim(&pool, &search(), 20 * limit).await.unwrap();
    eventually("the connection to be back", LIMIT, async || (pool.num_idle() == 1).then_some(())).await;
    road.fall_silent();
    // The first may find its connection gone already; whatever it finds, it is found in time.
    tokio::time::timeout(LIMIT, due::claim(&pool, &search(), limit)).await.unwrap().ok();
    eventually("a claim over a connection that speaks", LIMIT, async || {
        due::claim(&pool, &search(), 20 * limit).await.ok()
    })
    .await;
}

/// A `BEGIN` may have left for a server that answers late, and nobody waits for it any more.
#[tokio::test]
async fn whatever_is_done_after_a_claim_that_was_given_up_halfway_is_committed() {
    let database = Database::new().await;
    let id = payments(&database.owner, "bank", &[60_000]).await[0];
    let pool = Settings { pool: 1, ..database.settings() }.lazy_pool("test").unwrap();
    due::claim(&pool, &search(), MINUTE).await.unwrap();
    for polls in 1..=8 {
        eventually("the connection to be back", LIMIT, async || (pool.num_idle() == 1).then_some(())).await;
        let search = search();
        let mut claim = Box::pin(due::claim(&pool, &search, MINUTE));
        for _ in 0..polls {
            if futures_util::poll!(claim.as_mut()).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(claim);
        let noted = sqlx::query("UPDATE transactions SET asks = $2 WHERE id = $1").bind(id).bind(polls);
        noted.execute(&pool).await.unwrap();
        let asks: i32 = sqlx::query_scalar("SELECT asks::int FROM transactions WHERE id = $1")
            .bind(id)
            .fetch_one(&database.owner)
            .await
            .unwrap();
        assert_eq!(asks, polls, "given up after {polls} polls");
    }
}

/// Pages that a search reads, entered at `from`.
async fn pages_read(owner: &PgPool, from: Option<OffsetDateTime>) -> i64 {
    let claim = include_str!("../../transactions/sql/claim_due.sql");
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim}");
    let plan: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
        .bind(from)
        .bind(Vec::<String>::new())
        .bind(32_i64)
        .bind(60_000_f64)
        .bind(600_000_f64)
        .fetch_one(owner)
        .await
        .unwrap();
    let plan = &plan[0]["Plan"];
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

#[tokio::test]
async fn an_old_snapshot_held_open_does_not_slow_a_sweep_that_is_entered_at_the_mark() {
    let database = Database::new().await;
    payments(&database.owner, "bank", &[-60_000; 2_000]).await;
    let mut reader = database.owner.acquire().await.unwrap();
    let mut old = reader.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *old).await.unwrap();
    sqlx::query("SELECT count(*) FROM transactions").execute(&mut *old).await.unwrap();
    for _ in 0..16 {
        let fell_due = "UPDATE transactions SET due_at = now() - interval '1 minute'";
        sqlx::query(fell_due).execute(&database.owner).await.unwrap();
    }
    sqlx::query("UPDATE transactions SET due_at = now() + interval '1 hour'").execute(&database.owner).await.unwrap();
    let whole = pages_read(&database.owner, None).await;
    let mark = OffsetDateTime::now_utc() - Duration::from_secs(5);
    let entered = pages_read(&database.owner, Some(mark)).await;
    old.rollback().await.unwrap();
    assert!(whole > 500, "the trap must be there to be avoided: {whole} pages");
    assert!(entered <= 10, "{entered} pages, from the beginning {whole}");
}
