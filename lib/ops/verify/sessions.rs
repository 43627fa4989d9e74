//! I20: sessions at the database, as seen again and again for a while.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::{Instant, interval};

use super::invariant::Invariant;
use super::report::Finding;
use super::{SESSION, Sessions};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two statements of a transaction a session idles for a round trip. Longer than this it has been left there.
const LEFT_AFTER: Duration = Duration::from_secs(1);

pub async fn watch(books: &mut PgConnection, watched: &Sessions) -> Result<Finding, sqlx::Error> {
    let mut finding = Finding::new(Invariant::I20);
    let (mut left, mut most) = (HashSet::new(), 0);
    let (begun, mut look) = (Instant::now(), interval(LOOK_EVERY));
    while begun.elapsed() <= watched.over {
        look.tick().await;
        let sessions = sqlx::query_file!("lib/ops/sql/sessions.sql", SESSION).fetch_all(&mut *books).await?;
        finding.checked += sessions.len() as u64;
        most = most.max(sessions.len() as u64);
        for session in sessions {
            let idle = Duration::from_millis(session.idle_ms.unwrap_or(0).unsigned_abs());
            if idle >= LEFT_AFTER && left.insert(session.pid) {
                let (pid, name) = (session.pid, session.name);
                finding.violation(|| format!("session {pid} ({name}) has idled in a transaction for {idle:?}"));
            }
        }
    }
    match watched.most {
        Some(allowed) if most > allowed => {
            finding.violation(|| format!("{most} sessions at once; the pools have {allowed}"));
        }
        Some(_) => {}
        None => finding.gap("nobody said how many sessions all pools have together"),
    }
    Ok(finding)
}
