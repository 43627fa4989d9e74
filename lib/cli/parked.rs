//! `payfleet outbox parked` and `payfleet outbox retry-parked`: the events that Kafka refused, for the person they wait for.
//!
//! If it dies here: asking for a retry is one statement, and may be asked again.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::arguments::Output;
use super::output::{self, Table};
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

/// To the second.
fn shown(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// What is to be sent again.
#[derive(Debug, Serialize)]
pub struct Retried {
    pub rows: u64,
}

/// The owners of the lanes send them, as soon as they look.
pub async fn retry(settings: &Settings) -> Result<Retried, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    Ok(Retried { rows: parked::retry_all(&mut connection).await? })
}

impl Retried {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        println!("rows to be sent again  {}", self.rows);
    }
}
