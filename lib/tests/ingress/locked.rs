//! Accounts that another session has locked: whoever wants their money comes again, and nobody else notices.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use payfleet::domain::ids::Kind;
use payfleet::postgres::combiner::{Layout, Refused};
use payfleet::transactions::accept::{Acceptor, Verdict};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::acceptance::{acceptor, acceptor_of};
use super::orders::{self, User};
use crate::harness::Database;

async fn lock(pool: &PgPool, user: User) -> Transaction<'static, Postgres> {
    let mut holding = pool.begin().await.unwrap();
    let account = sqlx::query("SELECT FROM accounts WHERE id = $1 FOR UPDATE").bind(user.account);
    account.execute(&mut *holding).await.unwrap();
    holding
}

fn withdraws(acceptor: &Acceptor, user: User, key: &str) -> JoinHandle<Result<Verdict, Refused>> {
    let (acceptor, entry) = (acceptor.clone(), orders::entry(user, Kind::Withdrawal, 1, "EUR", key));
    tokio::spawn(async move { acceptor.accept(entry).await })
}

fn with_patience(patience: Duration, database: &Database) -> Acceptor {
    acceptor_of(Layout { connections: 1, patience, ..Layout::default() }, database, &TaskTracker::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_holds_up_nobody_else_and_is_served_once_it_is_free() {
    let database = Database::new().await;
    let acceptor = acceptor(&database, 2, &TaskTracker::new());
    let locked = orders::user_with(&database.owner, 100).await;
    let other = orders::user_with(&database.owner, 100).await;
    let holding = lock(&database.owner, locked).await;
    let held_up: Vec<_> = (0..20).map(|n| withdraws(&acceptor, locked, &format!("k{n}"))).collect();
    let begin = Instant::now();
    for verdict in try_join_all((0..100).map(|n| withdraws(&acceptor, other, &format!("k{n}")))).await.unwrap() {
        assert_eq!(verdict.unwrap(), Verdict::Accepted);
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "held up for {:?}", begin.elapsed());
    assert!(held_up.iter().all(|task| !task.is_finished()));
    holding.rollback().await.unwrap();
    for verdict in try_join_all(held_up).await.unwrap() {
        assert_eq!(verdict.unwrap(), Verdict::Accepted);
    }
    assert_eq!(orders::balance(&database.owner, locked).await, (80, 20));
}

#[tokio::test]
async fn an_account_locked_for_longer_than_anybody_waits_refuses_leaves_nothing_and_never_says_short() {
    let database = Database::new().await;
    let acceptor = with_patience(Duration::from_secs(3), &database);
    let user = orders::user_with(&database.owner, 0).await;
    let holding = lock(&database.owner, user).await;
    let refused = withdraws(&acceptor, user, "k").await.unwrap();
    assert!(matches!(refused, Err(Refused::Unavailable)), "{refused:?}");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&database.owner).await.unwrap();
    assert_eq!(rows, 0);
    holding.rollback().await.unwrap();
    assert_eq!(withdraws(&acceptor, user, "k").await.unwrap().unwrap(), Verdict::InsufficientFunds);
}

/// A statement whose session was lost may still run, and be the one that has the account.
#[tokio::test]
async fn a_request_whose_session_was_lost_is_never_told_that_nothing_was_committed() {
    let database = Database::new().await;
    let acceptor = with_patience(Duration::from_secs(3), &database);
    let user = orders::user_with(&database.owner, 100).await;
    let _holding = lock(&database.owner, user).await;
    let refused = withdraws(&acceptor, user, "k");
    let ending = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE application_name = 'accept' AND datname = current_database() AND query LIKE '%WITH request AS%'";
    let ended: i64 = crate::harness::eventually("its session to be lost", Duration::from_secs(10), || async {
        Some(sqlx::query_scalar(ending).fetch_one(&database.owner).await.unwrap()).filter(|ended| *ended > 0)
    })
    .await;
    assert_eq!(ended, 1);
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Err(Refused::OutcomeUnknown)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_served_in_time_by_one_account_that_is_hardly_ever_free() {
    let database = Database::new().await;
    let tasks = TaskTracker::new();
    let acceptors = [acceptor(&database, 2, &tasks), acceptor(&database, 2, &tasks)];
    let user = orders::user_with(&database.owner, 1_000).await;
    let orders: Vec<_> = (0..1_000).map(|n| withdraws(&acceptors[n % 2], user, &format!("k{n}"))).collect();
    // As settlement does: it posts to the same account all the time.
    let posting = tokio::spawn({
        let pool = database.owner.clone();
        async move {
            let mut turns = tokio::time::interval(Duration::from_millis(6));
            loop {
                let mut holding = lock(&pool, user).await;
                sqlx::query("SELECT pg_sleep(0.003)").execute(&mut *holding).await.unwrap();
                holding.rollback().await.unwrap();
                turns.tick().await;
            }
        }
    });
    for verdict in join_all(orders).await {
        assert_eq!(verdict.unwrap().unwrap(), Verdict::Accepted);
    }
    posting.abort();
    assert_eq!(orders::balance(&database.owner, user).await, (0, 1_000));
}

/// As when its session was lost and the first run is still under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_is_committed_twice_at_once_is_accepted_once_and_told_so_twice() {
    let database = Database::new().await;
    let tasks = TaskTracker::new();
    let acceptors = [acceptor(&database, 1, &tasks), acceptor(&database, 1, &tasks)];
    let user = orders::user_with(&database.owner, 0).await;
    for n in 0..200 {
        let entry = orders::entry(user, Kind::Deposit, 1, "EUR", &format!("k{n}"));
        for verdict in join_all(acceptors.each_ref().map(|acceptor| acceptor.accept(entry.clone()))).await {
            assert_eq!(verdict.unwrap(), Verdict::Accepted);
        }
    }
}
