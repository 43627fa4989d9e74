//! Migrations under traffic. One that must wait for its lock makes everybody wait who comes after it, those included whom the lock's
//! holder would not disturb: a session forgotten inside a transaction could so stop every payment. So each try waits only shortly, gives
//! up what it has, and lets the others by before the next.
//!
//! If it dies here: each migration is a transaction; the next run goes on behind the last that was applied.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::{Error, Settings, connect};
use crate::postgres;
use crate::service::retry::policy;

/// How long a try waits for a lock: payments wait as long behind it. Longer than the server's `deadlock_timeout`, a second by default: only
/// then does it end an autovacuum that holds the lock.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '1500ms'";

/// Between two looks at who holds the lock.
const WATCH: Duration = Duration::from_millis(100);

/// Runs what is not applied yet, again and again while somebody else has a lock that it needs, for as long as patience lasts.
pub(super) async fn run(settings: &Settings, owner: &mut PgConnection) -> Result<(), Error> {
    let (begin, patience) = (Instant::now(), Duration::from_millis(settings.wait_ms));
    let mut waits = policy::MIGRATION.waits();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *owner).await?;
    let mut watching = None;
    let mut holder = None;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *owner).await?;
    loop {
        let mut seen = None;
        let tried = tokio::select! {
            tried = postgres::MIGRATIONS.run(&mut *owner) => tried,
            never = watch(settings, &mut watching, pid, &mut seen) => match never {},
        };
        match tried {
            Err(error) if is_locked_out(&error) => {
                // It may be released while the try that failed unwinds; who was seen last is still the best word.
                if seen.is_some() && seen != holder {
                    eprintln!("waiting for a lock that {} holds", seen.as_deref().unwrap_or_default());
                    holder = seen;
                }
                // A failed run keeps the migrator's own lock; others may be about to do the same.
                sqlx::raw_sql("SELECT pg_advisory_unlock_all()").execute(&mut *owner).await?;
                if begin.elapsed() >= patience {
                    let holder = holder.unwrap_or_else(|| "a session that could not be seen".into());
                    return Err(Error::Locked { waited: patience, holder });
                }
                tokio::time::sleep(waits.next_wait()).await;
            }
            tried => {
                tried?;
                sqlx::raw_sql("RESET lock_timeout").execute(&mut *owner).await?;
                return Ok(());
            }
        }
    }
}

/// Lock not available, or a deadlock with somebody who went on.
fn is_locked_out(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else { return false };
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| matches!(code.as_ref(), "55P03" | "40P01"))
}

/// Notes who keeps our session waiting, for as long as it is polled: once the try has failed it cannot be asked any more.
async fn watch(
    settings: &Settings,
    watching: &mut Option<PgConnection>,
    pid: i32,
    seen: &mut Option<String>,
) -> Infallible {
    loop {
        tokio::time::sleep(WATCH).await;
        if watching.is_none() {
            *watching = connect(&settings.owner_url).await.ok();
        }
        let Some(connection) = watching else { continue };
        match holder(connection, pid).await {
            Ok(found) => *seen = found.or(seen.take()),
            Err(_) => *watching = None,
        }
    }
}

/// The session that has kept its transaction open for longest, of those in our way.
async fn holder(watching: &mut PgConnection, waiting: i32) -> Result<Option<String>, sqlx::Error> {
    const BLOCKING: &str = "
        SELECT format('session %s (%s of %s, %s, in its transaction since %s)', pid, coalesce(nullif(application_name, ''), 'no name'),
                      coalesce(usename, 'the server'), coalesce(state, 'at work'), coalesce(xact_start::text, 'an unknown time'))
        FROM pg_stat_activity
        WHERE pid = ANY (pg_blocking_pids($1))
        ORDER BY xact_start NULLS LAST, pid
        LIMIT 1";
    sqlx::query_scalar(BLOCKING).bind(waiting).fetch_optional(watching).await
}
