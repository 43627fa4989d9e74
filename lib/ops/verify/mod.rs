//! The books' judge: what must hold of money, steps, events and charges, read from the books of both sides.
//!
//! It only reads. The books are read in one snapshot, so that it may run while the fleet is live; what can have moved on between the
//! reading of two sources is looked up once more before it is called wrong. What it cannot judge it says, and never counts as held.
//!
//! If it dies here: nothing was changed; run it again.

mod callbacks;
mod canaries;
mod charge_log;
mod charges;
mod commands;
mod events;
mod evidence;
mod history;
pub mod invariant;
mod keys;
mod lanes;
mod money;
mod privileges;
mod records;
pub mod report;
mod requests;
mod rules;
mod samples;
mod sessions;
mod sightings;
mod topics;

use std::collections::BTreeSet;
use std::path::PathBuf;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub use invariant::Invariant;
pub use report::{Finding, Report, Verdict};
pub use samples::Cap;
pub use sightings::{Hunt, Samples, Sessions, Sightings};

use crate::ops::load_log;
use crate::{kafka, postgres};
use callbacks::Callbacks;
use canaries::Canaries;
use charge_log::ChargeLog;
use charges::{Books, Intents};
use evidence::Evidence;

/// What the checker's sessions are called.
const SESSION: &str = "payfleet-verify";

/// Whether what is under way will still be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// The fleet is at work: what is not done yet is not wrong.
    Live,
    /// The fleet had time to finish: whatever is not done is wrong.
    AtRest,
}

/// What to judge by. A source that is not given makes its invariants not checkable.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub postgres: postgres::Settings,
    pub kafka: Option<kafka::Settings>,
    /// The simulator's.
    pub charge_log: Option<PathBuf>,
    /// A load's, which brings I6 in.
    pub load_log: Option<PathBuf>,
    /// At rest brings I7 in.
    pub rest: Rest,
    /// Only these; empty for all.
    pub only: BTreeSet<Invariant>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the books cannot be read: {0}")]
    Books(#[from] sqlx::Error),
    #[error("the checker stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Told as it goes on, for a person who waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// All that there is to judge by.
#[derive(Clone, Copy)]
struct Asked<'a> {
    inputs: &'a Inputs,
    sightings: &'a Sightings,
}

/// What the snapshot gave, for the sources that are read after it.
struct Snapshot {
    findings: Vec<Finding>,
    evidence: Option<Evidence>,
    books: Option<Books>,
    callbacks: Option<Callbacks>,
}

impl Asked<'_> {
    /// Those that are named are judged, however little there is to judge by; if none is, those that something brings in.
    fn wants(&self, any_of: &[Invariant]) -> bool {
        let Inputs { load_log, rest, only, .. } = self.inputs;
        let brought_in = |invariant: &Invariant| match invariant {
            Invariant::I6 => load_log.is_some(),
            Invariant::I7 => *rest == Rest::AtRest || self.sightings.final_within.is_some(),
            Invariant::I20 => self.sightings.sessions.is_some(),
            Invariant::I21 => self.sightings.hunt.is_some(),
            Invariant::I24 => self.sightings.samples.is_some(),
            _ => true,
        };
        any_of.iter().any(|invariant| if only.is_empty() { brought_in(invariant) } else { only.contains(invariant) })
    }
}

/// Judges everything that the inputs allow.
pub async fn verify(inputs: &Inputs, progress: Progress<'_>) -> Result<Report, Error> {
    verify_with(inputs, &Sightings::default(), progress).await
}

/// The same, and what else was seen of the fleet.
pub async fn verify_with(inputs: &Inputs, sightings: &Sightings, progress: Progress<'_>) -> Result<Report, Error> {
    use Invariant::{I5, I7, I9, I10, I11, I13, I15, I20, I21, I25};
    let asked = Asked { inputs, sightings };
    let log = inputs.load_log.as_deref().map(load_log::read);
    let canaries = sightings.hunt.as_ref().filter(|_| asked.wants(&[I21])).map(|hunt| Canaries::read(&hunt.canaries));
    progress("reading the books");
    let Snapshot { mut findings, evidence, books, callbacks } = read_books(asked, log).await?;
    // Should the books be away by now, what they have shown stands.
    let canaries = match canaries {
        Some(Ok(canaries)) => Some(canaries),
        Some(Err(unreadable)) => {
            findings.push(Finding::not_checkable(I21, unreadable.to_string()));
            None
        }
        None => None,
    };
    if evidence.is_some() || canaries.is_some() || asked.wants(&[I13]) {
        let judged = topics::judge(asked, evidence, canaries.clone(), progress).await;
        findings.extend(judged.unwrap_or_else(|away| unjudged(&[I9, I10, I11, I13, I21], &away.to_string())));
    }
    if books.is_some() || callbacks.is_some() {
        progress("reading the charge log");
        let judged = judge_charges(asked, books, callbacks).await;
        findings.extend(judged.unwrap_or_else(|away| unjudged(&[I5, I7, I15, I25], &away.to_string())));
    }
    if let Some(canaries) = canaries {
        progress("looking for canaries");
        let found = sightings::hunt(asked, canaries).await;
        findings.extend(found.unwrap_or_else(|away| unjudged(&[I21], &away.to_string())));
    }
    if asked.wants(&[I20]) {
        progress("watching the sessions");
        let watched = sightings::sessions(asked).await;
        findings.extend(watched.unwrap_or_else(|away| unjudged(&[I20], &away.to_string())));
    }
    findings.extend(sightings::of_files(asked).await?);
    findings.retain(|finding| asked.wants(&[finding.invariant]));
    Ok(Report::joined(findings))
}

fn unjudged(invariants: &[Invariant], reason: &str) -> Vec<Finding> {
    invariants.iter().map(|invariant| Finding::not_checkable(*invariant, reason)).collect()
}

/// A session that sees one moment and cannot write.
async fn snapshot(books: &mut PgConnection) -> Result<sqlx::Transaction<'_, sqlx::Postgres>, sqlx::Error> {
    let mut snapshot = books.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query("SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)")
        .execute(&mut *snapshot)
        .await?;
    Ok(snapshot)
}

async fn read_books(
    asked: Asked<'_>,
    log: Option<Result<Vec<load_log::Line>, load_log::Unreadable>>,
) -> Result<Snapshot, Error> {
    use Invariant::*;
    let mut connection = asked.inputs.postgres.connect(SESSION).await?;
    let mut books = snapshot(&mut connection).await?;
    let mut findings = Vec::new();
    if asked.wants(&[I1, I2, I3, I4]) {
        findings.extend(money::judge(&mut books).await?);
    }
    if asked.wants(&[I12, I16, I26]) {
        findings.extend(history::judge(&mut books).await?);
    }
    if asked.wants(&[I6, I17]) {
        let mut replies = keys::judge(&mut books).await?;
        match log {
            Some(Ok(log)) => findings.push(requests::judge(&mut books, log, &mut replies).await?),
            Some(Err(unreadable)) => {
                findings.push(Finding::not_checkable(I6, unreadable.to_string()));
                replies.gap(unreadable.to_string());
            }
            None => findings.push(Finding::not_checkable(I6, "no log of a load was given")),
        }
        findings.push(replies);
    }
    if asked.wants(&[I18]) {
        findings.push(privileges::judge(&mut books).await?);
    }
    if asked.wants(&[I19]) {
        findings.push(lanes::judge(&mut books).await?);
    }
    let mut events = None;
    if asked.wants(&[I8, I9, I10, I11]) {
        let mut known = Evidence::load(&mut books, None).await?;
        let atomic = known.judge(&mut books).await?;
        events = Some((known, atomic));
    }
    let claims = if asked.wants(&[I5, I7, I25]) { Some(Books::load(&mut books).await?) } else { None };
    let callbacks = if asked.wants(&[I15]) { Some(Callbacks::load(&mut books).await?) } else { None };
    books.commit().await?;
    let mut evidence = None;
    if let Some((mut known, mut atomic)) = events {
        known.judge_awaited(&mut connection, &mut atomic).await?;
        findings.push(atomic);
        evidence = asked.wants(&[I9, I10, I11]).then_some(known);
    }
    connection.close().await?;
    Ok(Snapshot { findings, evidence, books: claims, callbacks })
}

/// I5, I7, I15, I25.
async fn judge_charges(
    asked: Asked<'_>,
    books: Option<Books>,
    callbacks: Option<Callbacks>,
) -> Result<Vec<Finding>, Error> {
    use Invariant::{I5, I25};
    let (inputs, within) = (asked.inputs, asked.sightings.final_within);
    let read = inputs.charge_log.as_deref().map(ChargeLog::read);
    let log = match read {
        Some(Ok(log)) => log,
        other => {
            let reason =
                other.and_then(Result::err).map_or("no charge log was given".to_owned(), |why| why.to_string());
            let settled = books.map(|books| books.settled(None, inputs.rest, within));
            let authentic = callbacks.map(|callbacks| callbacks.unsent(&reason));
            return Ok(unjudged(&[I5, I25], &reason).into_iter().chain(settled).chain(authentic).collect());
        }
    };
    let mut findings: Vec<Finding> =
        callbacks.map(|callbacks| callbacks.judge(&log, inputs.rest)).into_iter().collect();
    let Some(books) = books else { return Ok(findings) };
    let unexplained: Vec<Uuid> = books.unexplained(&log);
    let later = if unexplained.is_empty() {
        Intents::default()
    } else {
        let mut connection = inputs.postgres.connect(SESSION).await?;
        let mut later = snapshot(&mut connection).await?;
        Intents::load(&mut later, Some(&unexplained)).await?
    };
    findings.push(books.settled(Some(&log), inputs.rest, within));
    findings.extend(books.judge(later, &log, inputs.rest));
    Ok(findings)
}
