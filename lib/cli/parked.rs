//! `payfleet outbox parked`, `show-parked` and `retry-parked`: the events that Kafka refused, for the person they wait for.
//!
//! If it dies here: asking for a retry is one commit with its audit row, and may be asked again.

use rdkafka::message::{Header, Headers};
use serde::Serialize;
use serde_json::json;
use sqlx::Connection;
use time::OffsetDateTime;

use super::arguments::{Output, RetryParked};
use super::audited;
use super::output::{self, Bytes, Table, shown};
use crate::audit::{self, Act};
use crate::outbox::parked::{self, Parked};
use crate::outbox::rebase;
use crate::postgres::Settings;
use crate::relay::Writer;

/// As PostgreSQL shows it to others.
const APPLICATION: &str = "payfleet-outbox";

/// Rows that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("no row {0} is parked: it was sent, or never was; `payfleet outbox parked` lists those that are")]
    NoSuchRow(i64),
}

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
        let mut table =
            Table::new(&["row", "aggregate", "seq", "topic", "bytes", "parked at", "sent again at", "reason"]);
        for row in &self.0 {
            table.row([
                row.id.to_string(),
                row.aggregate.to_string(),
                row.seq.to_string(),
                row.topic.clone(),
                row.bytes.to_string(),
                shown(row.parked_at),
                sent_again(row),
                row.reason.clone(),
            ]);
        }
        table.print();
    }
}

/// When.
fn sent_again(row: &Parked) -> String {
    row.retry_at.map_or_else(|| "when told".to_owned(), shown)
}

/// One row with its event, as a relay would send it now.
#[derive(Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    row: Parked,
    #[serde(with = "time::serde::rfc3339")]
    written_at: OffsetDateTime,
    key: Bytes,
    headers: Vec<(String, Bytes)>,
    payload: Bytes,
}

pub async fn show(settings: &Settings, id: i64) -> Result<Whole, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    let (row, event) = parked::row(&mut connection, id).await?.ok_or(Error::NoSuchRow(id))?;
    let mut writer = Writer::new(rebase::incarnation(&mut connection).await?);
    let headers = writer.headers(&event);
    let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), Bytes::of(header.value.unwrap_or_default()));
    Ok(Whole {
        row,
        written_at: event.at,
        key: Bytes::of(writer.key(&event)),
        headers: headers.iter().map(header).collect(),
        payload: Bytes::of(&event.payload),
    })
}

impl Whole {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        let row = &self.row;
        println!("row         {}", row.id);
        println!("aggregate   {}", row.aggregate);
        println!("seq         {}", row.seq);
        println!("topic       {}", row.topic);
        println!("lane        {}", row.lane);
        println!("written     {}", shown(self.written_at));
        println!("parked      {}", shown(row.parked_at));
        println!("sent again  {}", sent_again(row));
        println!("reason      {}", row.reason);
        println!("bytes       {}", row.bytes);
        println!("key         {}", self.key.line());
        for (name, value) in &self.headers {
            println!("header      {name}: {}", value.line());
        }
        println!("payload     {}", self.payload.line());
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
