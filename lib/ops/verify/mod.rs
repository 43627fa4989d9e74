//! The books' judge: what must hold of money, steps, events and charges, read from the books of both sides.
//!
//! It only reads. The books are read in one snapshot, so that it may run while the fleet is live; what can have moved on between the
//! reading of two sources is looked up once more before it is called wrong. What it cannot judge it says, and never counts as held.
//!
//! If it dies here: nothing was changed; run it again.

mod charge_log;
mod charges;
mod events;
mod evidence;
mod history;
pub mod invariant;
mod keys;
mod lanes;
mod money;
mod records;
pub mod report;
mod requests;
mod rules;

use std::collections::BTreeSet;
use std::path::PathBuf;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub use invariant::Invariant;
pub use report::{Finding, Report, Verdict};

use crate::ops::load_log;
use crate::{kafka, postgres};
use charge_log::ChargeLog;
use charges::{Books, Intents};
use evidence::Evidence;
use records::Reader;

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

/// What the snapshot gave, for the sources that are read after it.
struct Snapshot {
    findings: Vec<Finding>,
    evidence: Option<Evidence>,
    books: Option<Books>,
}

impl Inputs {
    fn wants(&self, any_of: &[Invariant]) -> bool {
        let asked = |invariant: &Invariant| match invariant {
            Invariant::I6 => self.load_log.is_some(),
            Invariant::I7 => self.rest == Rest::AtRest,
            _ => true,
        };
        any_of.iter().any(|invariant| asked(invariant) && (self.only.is_empty() || self.only.contains(invariant)))
    }
}

/// Judges everything that the inputs allow.
pub async fn verify(inputs: &Inputs, progress: Progress<'_>) -> Result<Report, Error> {
    use Invariant::{I5, I7, I9, I10, I11, I25};
    let log = inputs.load_log.as_deref().map(load_log::read);
    progress("reading the books");
    let Snapshot { mut findings, evidence, books } = read_books(inputs, log).await?;
    // Should the books be away by now, what they have shown stands.
    if let Some(evidence) = evidence {
        let judged = judge_events(inputs, evidence, progress).await;
        findings.extend(judged.unwrap_or_else(|away| unjudged(&[I9, I10, I11], &away.to_string())));
    }
    if let Some(books) = books {
        progress("reading the charge log");
        let judged = judge_charges(inputs, books).await;
        findings.extend(judged.unwrap_or_else(|away| unjudged(&[I5, I7, I25], &away.to_string())));
    }
    findings.retain(|finding| inputs.wants(&[finding.invariant]));
    Ok(Report::new(findings))
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
    inputs: &Inputs,
    log: Option<Result<Vec<load_log::Line>, load_log::Unreadable>>,
) -> Result<Snapshot, Error> {
    use Invariant::*;
    let mut connection = inputs.postgres.connect("payfleet-verify").await?;
    let mut books = snapshot(&mut connection).await?;
    let mut findings = Vec::new();
    if inputs.wants(&[I1, I2, I3, I4]) {
        findings.extend(money::judge(&mut books).await?);
    }
    if inputs.wants(&[I12, I16, I26]) {
        findings.extend(history::judge(&mut books).await?);
    }
    if inputs.wants(&[I6, I17]) {
        let mut replies = keys::judge(&mut books).await?;
        match log {
            Some(Ok(log)) => findings.push(requests::judge(&mut books, log, &mut replies).await?),
            Some(Err(unreadable)) => {
                findings.push(Finding::not_checkable(I6, unreadable.to_string()));
                replies.gap(unreadable.to_string());
            }
            None => {}
        }
        findings.push(replies);
    }
    if inputs.wants(&[I19]) {
        findings.push(lanes::judge(&mut books).await?);
    }
    let mut events = None;
    if inputs.wants(&[I8, I9, I10, I11]) {
        let mut known = Evidence::load(&mut books, None).await?;
        let atomic = known.judge(&mut books).await?;
        events = Some((known, atomic));
    }
    let claims = if inputs.wants(&[I5, I7, I25]) { Some(Books::load(&mut books).await?) } else { None };
    books.commit().await?;
    let mut evidence = None;
    if let Some((mut known, mut atomic)) = events {
        known.judge_awaited(&mut connection, &mut atomic).await?;
        findings.push(atomic);
        evidence = inputs.wants(&[I9, I10, I11]).then_some(known);
    }
    connection.close().await?;
    Ok(Snapshot { findings, evidence, books: claims })
}

/// I9–I11.
async fn judge_events(inputs: &Inputs, evidence: Evidence, progress: Progress<'_>) -> Result<Vec<Finding>, Error> {
    use Invariant::{I9, I10, I11};
    let unjudged = |reason: &str| unjudged(&[I9, I10, I11], reason);
    let Some(topics) = inputs.kafka.clone() else { return Ok(unjudged("no brokers were given")) };
    progress("asking the brokers");
    let asked = topics.clone();
    let reader = match tokio::task::spawn_blocking(move || Reader::open(&asked)).await? {
        Ok(reader) => reader,
        Err(unreadable) => return Ok(unjudged(&unreadable.to_string())),
    };
    progress(&format!("reading {} records of the topics", reader.records()));
    let reading = tokio::task::spawn_blocking(move || {
        let mut judge = events::Judge::new(evidence, &reader.extents);
        reader.read(|record| judge.take(record))?;
        Ok::<_, records::Unreadable>((judge, reader.extents))
    });
    let (judge, extents) = match reading.await? {
        Ok(read) => read,
        Err(unreadable) => return Ok(unjudged(&unreadable.to_string())),
    };
    let unexplained = judge.unexplained();
    let later = if unexplained.is_empty() {
        Evidence::default()
    } else {
        let mut connection = inputs.postgres.connect("payfleet-verify").await?;
        let mut books = snapshot(&mut connection).await?;
        Evidence::load(&mut books, Some(&unexplained)).await?
    };
    Ok(judge.conclude(later, &topics, &extents, inputs.rest))
}

/// I5, I7, I25.
async fn judge_charges(inputs: &Inputs, books: Books) -> Result<Vec<Finding>, Error> {
    use Invariant::{I5, I25};
    let read = inputs.charge_log.as_deref().map(ChargeLog::read);
    let log = match read {
        Some(Ok(log)) => log,
        other => {
            let reason =
                other.and_then(Result::err).map_or("no charge log was given".to_owned(), |why| why.to_string());
            return Ok([unjudged(&[I5, I25], &reason), vec![books.settled(None)]].concat());
        }
    };
    let unexplained: Vec<Uuid> = books.unexplained(&log);
    let later = if unexplained.is_empty() {
        Intents::default()
    } else {
        let mut connection = inputs.postgres.connect("payfleet-verify").await?;
        let mut later = snapshot(&mut connection).await?;
        Intents::load(&mut later, Some(&unexplained)).await?
    };
    let settled = books.settled(Some(&log));
    Ok([books.judge(later, &log, inputs.rest), vec![settled]].concat())
}
