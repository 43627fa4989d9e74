//! Guarantees of `payfleet migrate` under traffic.

mod traffic;

use std::time::Duration;

use payfleet::cli::migrate::{self, Error, Settings};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use self::traffic::Traffic;
use crate::harness::{Database, eventually, postgres_url};

const LIMIT: Duration = Duration::from_secs(60);

/// The migration that is yet to be applied: it needs the payments for itself.
const PENDING: i64 = 9;

/// Takes a database back to before that migration.
async fn behind(database: &Database) -> Settings {
    sqlx::raw_sql(
        "ALTER TABLE transactions ADD CONSTRAINT transactions_account_fkey FOREIGN KEY (account_id) REFERENCES accounts;
         ALTER TABLE ledger_entries ADD CONSTRAINT ledger_entries_account_fkey FOREIGN KEY (account_id) REFERENCES accounts;
         DELETE FROM _sqlx_migrations WHERE version = 9",
    )
    .execute(&database.owner)
    .await
    .unwrap();
    let (_, name) = database.url.rsplit_once('/').unwrap();
    Settings { owner_url: format!("{}/{name}", postgres_url()), ..Settings::default() }
}

/// Somebody's session, which has written to the payments and does not end its transaction.
async fn forgotten(settings: &Settings) -> (PgConnection, i32) {
    let options: PgConnectOptions = settings.owner_url.parse().unwrap();
    let mut session = options.application_name("forgotten").connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE transactions IN ROW EXCLUSIVE MODE").execute(&mut session).await.unwrap();
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    (session, pid)
}

async fn waits_for_a_lock(database: &Database) {
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'payfleet-migrate'
                   AND datname = current_database() AND wait_event_type = 'Lock')";
    eventually("the migration to wait for its lock", LIMIT, async || {
        sqlx::query_scalar::<_, bool>(waiting).fetch_one(&database.owner).await.unwrap().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_lock_lets_payments_by_and_ends_well_when_the_lock_goes() {
    let traffic = Traffic::start().await;
    let database = &traffic.fleet.database;
    let settings = behind(database).await;
    traffic.goes_on().await;
    let (session, _) = forgotten(&settings).await;
    let paying = async {
        for _ in 0..2 {
            waits_for_a_lock(database).await;
            // Whoever comes now stands behind the migration, and is let by.
            traffic.goes_on().await;
        }
        waits_for_a_lock(database).await;
        session.close().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(tokio::time::timeout(2 * LIMIT, migrate::schema(&settings)), paying);
    assert_eq!(migrated.unwrap().unwrap(), [PENDING]);
    traffic.goes_on().await;
    traffic.nothing_failed_and_nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_kept_its_lock_for_long_would_show_in_the_traffic() {
    let traffic = Traffic::start().await;
    traffic.goes_on().await;
    let mut long = traffic.fleet.database.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE").execute(&mut *long).await.unwrap();
    eventually("something to fail", LIMIT, async || (!traffic.failures().is_empty()).then_some(())).await;
    long.rollback().await.unwrap();
    traffic.stop().await;
}

#[tokio::test]
async fn a_migration_that_never_gets_its_lock_says_who_holds_it_and_leaves_the_schema_as_it_was() {
    let database = Database::new().await;
    let settings = behind(&database).await;
    let (session, pid) = forgotten(&settings).await;
    let impatient = Settings { wait_ms: 1_500, ..settings.clone() };
    let refused = tokio::time::timeout(LIMIT, migrate::schema(&impatient)).await.unwrap();
    let Err(Error::Locked { holder, .. }) = &refused else { panic!("{refused:?}") };
    assert!(holder.starts_with(&format!("session {pid} (forgotten of ")), "{holder}");
    let applied = "SELECT EXISTS (SELECT FROM _sqlx_migrations WHERE version = $1)";
    let applied: bool = sqlx::query_scalar(applied).bind(PENDING).fetch_one(&database.owner).await.unwrap();
    assert!(!applied);
    session.close().await.unwrap();
    assert_eq!(migrate::schema(&settings).await.unwrap(), [PENDING]);
}
