//! What can be seen of a fleet beside its books, topics and logs: sessions, sizes, and what must not be seen at all.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::Connection;

use super::canaries::{self, Canaries};
use super::report::Finding;
use super::samples::{self, Cap};
use super::{Asked, Error, Invariant, SESSION, sessions, snapshot};
use crate::redis;

/// Each brings its invariant in.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// I7 of a fleet at work: however busy it is, a payment is final within this time.
    pub final_within: Option<Duration>,
    /// I20.
    pub sessions: Option<Sessions>,
    /// I21.
    pub hunt: Option<Hunt>,
    /// I24.
    pub samples: Option<Samples>,
}

/// Sessions are watched for a while.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub over: Duration,
    /// As many as all pools and single connections of the fleet have together.
    pub most: Option<u64>,
}

/// Strings that went in, and where else than in topics and tables to look for them.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// A file with one canary a line.
    pub canaries: PathBuf,
    pub redis: Option<redis::Settings>,
    /// Directories; everything below them is looked into.
    pub logs: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Samples {
    /// A file, or a directory of files, of answers of `/metrics`.
    pub path: PathBuf,
    pub caps: Vec<Cap>,
}

/// I20.
pub(super) async fn sessions(asked: Asked<'_>) -> Result<Vec<Finding>, Error> {
    let Some(watched) = &asked.sightings.sessions else {
        return Ok(vec![Finding::not_checkable(Invariant::I20, "nobody said how long to watch the sessions")]);
    };
    let mut books = asked.inputs.postgres.connect(SESSION).await?;
    Ok(vec![sessions::watch(&mut books, watched).await?])
}

/// I21 but for the topics.
pub(super) async fn hunt(asked: Asked<'_>, canaries: Canaries) -> Result<Vec<Finding>, Error> {
    let Some(Hunt { redis, logs, .. }) = asked.sightings.hunt.clone() else { return Ok(Vec::new()) };
    let mut finding = Finding::new(Invariant::I21);
    let mut connection = asked.inputs.postgres.connect(SESSION).await?;
    let mut books = snapshot(&mut connection).await?;
    canaries::look_in_tables(&mut books, &canaries, &mut finding).await?;
    books.commit().await?;
    connection.close().await?;
    match redis {
        Some(redis) => canaries::look_in_redis(redis.url.expose(), &canaries, &mut finding).await,
        None => finding.gap("no Redis was given"),
    }
    if logs.is_empty() {
        finding.gap("no logs were given");
    } else {
        finding.join(tokio::task::spawn_blocking(move || canaries::look_in_files(&logs, &canaries)).await?);
    }
    Ok(vec![finding])
}

/// I24; and I21 where there is nothing to look for.
pub(super) async fn of_files(asked: Asked<'_>) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    match asked.sightings.samples.clone() {
        Some(Samples { path, caps }) => {
            findings.push(tokio::task::spawn_blocking(move || samples::judge(&path, &caps)).await?);
        }
        None => findings.push(Finding::not_checkable(Invariant::I24, "no samples were given")),
    }
    if asked.sightings.hunt.is_none() {
        findings.push(Finding::not_checkable(Invariant::I21, "no canaries were given"));
    }
    Ok(findings)
}
