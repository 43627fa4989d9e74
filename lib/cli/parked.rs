//! `payfleet outbox parked` and `payfleet outbox retry-parked`: the events that Kafka refused, for the person they wait for.
//!
//! If it dies here: asking for a retry is one commit with its audit row, and may be asked again.

use serde::Serialize;
use serde_json::json;
use sqlx::Connection;

use super::arguments::{Output, RetryParked};
use super::audited;
use super::output::{self, Table, shown};
use crate::audit::{self, Act};
use crate::outbox::parked::{self, Parked};
use crate::postgres::Settings;

/// As PostgreSQL shows it to others.
const APPLICATION: &str = "payfleet-outbox";

/// Rows that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL cannot be used: {0}")]
pub struct Error(#[from] sqlx::Error);

/// Everything that is parked, in the order in which it was written.
#[derive(Debug, Serialize)]
pub struct List(Vec<Parked>);

/// On a connection of its own: a pool would hide why there is none.
pub async fn list(settings: &Settings) -> Result<List, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    let mut all: Vec<Parked> = Vec::new();
    loop {
        let after = all.last().map_or(0, |row| row.id);
        let page = parked::list(&mut connection, after, PAGE as i64).await?;
        let whole = page.len() == PAGE;
        all.extend(page);
        if !whole {
            return Ok(List(all));
        }
    }
}

impl List {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        if self.0.is_empty() {
            return println!("nothing is parked");
        }
        let mut table = Table::new(&["aggregate", "seq", "topic", "bytes", "parked at", "sent again at", "reason"]);
        for row in &self.0 {
            table.row([
                row.aggregate.to_string(),
                row.seq.to_string(),
                row.topic.clone(),
                row.bytes.to_string(),
                shown(row.parked_at),
                row.retry_at.map_or_else(|| "when told".to_owned(), shown),
                row.reason.clone(),
            ]);
        }
        table.print();
    }
}

/// What is to be sent again from now on. What was to be already is not in it.
#[derive(Debug, Serialize)]
pub struct Retried {
    pub rows: u64,
}

/// The owners of the lanes send them, as soon as they look. What nothing came of leaves no audit row.
pub async fn retry(settings: &Settings, asked: &RetryParked) -> Result<Retried, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    let mut commit = connection.begin().await?;
    let rows = parked::retry_of(&mut *commit, asked.aggregate, asked.topic.as_deref()).await?;
    if rows == 0 {
        return Ok(Retried { rows });
    }
    let subject = asked.aggregate.map_or_else(|| "every aggregate".to_owned(), |aggregate| aggregate.to_string());
    let actor = audited::actor(&asked.word);
    let details = json!({ "topic": asked.topic, "rows": rows });
    let reason = &asked.word.reason;
    let act = Act { actor: &actor, act: "parked.retry", subject: &subject, reason, details };
    audit::record(&mut commit, &act).await?;
    commit.commit().await?;
    Ok(Retried { rows })
}

impl Retried {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        println!("rows to be sent again  {}", self.rows);
    }
}
