//! `payfleet dead list`, `show` and `replay`: the records that nobody could handle, for the person they wait for.
//!
//! If it dies here: each letter is replayed by itself, see [`replay`]; the command is given again.

use std::process::ExitCode;

use rdkafka::error::KafkaError;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::arguments::{Output, Replay};
use super::audited;
use super::output::{self, Bytes, Table, shown};
use super::settings::Settings;
use crate::dead_letters::letter::{self, Letter};
use crate::dead_letters::replay::{self, Order, Replayed};
use crate::kafka::again::Again;
use crate::kafka::consumer::Record;
use crate::postgres;

/// As PostgreSQL shows it to others.
const APPLICATION: &str = "payfleet-dead";

/// Letters that are asked for at once.
const PAGE: i64 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("no producer can be made: {0}")]
    Kafka(#[from] KafkaError),
    #[error("there is no dead letter {0}; nothing was done")]
    NoSuchLetter(Uuid),
    #[error("another `payfleet dead replay` is at work; nothing was done")]
    UnderWay,
}

/// Letters in the order of their burial.
#[derive(Debug, Serialize)]
pub struct List(Vec<Letter>);

pub async fn list(settings: &postgres::Settings) -> Result<List, Error> {
    Ok(List(letters(&mut settings.connect(APPLICATION).await?, None).await?))
}

/// All letters, or those of these ids.
async fn letters(connection: &mut PgConnection, of: Option<&[Uuid]>) -> Result<Vec<Letter>, sqlx::Error> {
    let mut all: Vec<Letter> = Vec::new();
    loop {
        let after = all.last().map_or(Uuid::nil(), |letter| letter.id);
        let page = letter::list(&mut *connection, after, of, PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn origin(letter: &Letter) -> String {
    format!("{}[{}]@{}", letter.topic, letter.partition, letter.offset)
}

/// What became of it.
fn fate(letter: &Letter) -> String {
    match (letter.replayed_at, letter.replay_begun_at) {
        (Some(at), _) => format!("replayed {}", shown(at)),
        (None, Some(at)) => format!("begun {}, not known to be sent", shown(at)),
        (None, None) => "waits".to_owned(),
    }
}

impl List {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        if self.0.is_empty() {
            return println!("there are no dead letters");
        }
        let mut table = Table::new(&["letter", "buried at", "origin", "consumer", "attempts", "fate", "reason"]);
        for letter in &self.0 {
            table.row([
                letter.id.to_string(),
                shown(letter.at),
                origin(letter),
                letter.consumer.clone().unwrap_or_default(),
                letter.attempts.to_string(),
                fate(letter),
                letter.reason.clone(),
            ]);
        }
        table.print();
    }
}

/// One letter with its record.
#[derive(Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    letter: Letter,
    /// None: the record has none.
    key: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    payload: Option<Bytes>,
}

pub async fn show(settings: &postgres::Settings, id: Uuid) -> Result<Whole, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    let letter = letters(&mut connection, Some(&[id])).await?.pop().ok_or(Error::NoSuchLetter(id))?;
    let record = letter::record(&mut connection, id).await?.ok_or(Error::NoSuchLetter(id))?;
    Ok(Whole::of(letter, &record))
}

impl Whole {
    fn of(letter: Letter, record: &Record) -> Self {
        let shown = |bytes: &bytes::Bytes| Bytes::of(bytes);
        Self {
            letter,
            key: record.key.as_ref().map(shown),
            headers: record.headers.iter().map(|(name, value)| (name.clone(), Bytes::of(value))).collect(),
            payload: record.payload.as_ref().map(shown),
        }
    }

    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        let letter = &self.letter;
        let none = || "none".to_owned();
        println!("letter    {}", letter.id);
        println!("buried    {}", shown(letter.at));
        println!("origin    {}", origin(letter));
        println!("consumer  {}", letter.consumer.as_deref().unwrap_or("not known"));
        println!("attempts  {}", letter.attempts);
        println!("reason    {}", letter.reason);
        println!("fate      {}", fate(letter));
        if let (Some(by), Some(because)) = (&letter.replayed_by, &letter.replayed_because) {
            println!("          by {by}: {because}");
        }
        println!("key       {}", self.key.as_ref().map_or_else(none, Bytes::line));
        for (name, value) in &self.headers {
            println!("header    {name}: {}", value.line());
        }
        println!("payload   {}", self.payload.as_ref().map_or_else(none, Bytes::line));
    }
}

/// What became of each letter that was to be replayed.
#[derive(Debug, Serialize)]
pub struct Replays(Vec<Line>);

#[derive(Debug, Serialize)]
struct Line {
    letter: Uuid,
    result: Came,
    /// Where the record stands now.
    offset: Option<i64>,
    /// Why not, or since when.
    note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    Replayed,
    ReplayedBefore,
    /// Nothing is lost: it is replayed again by the same command.
    Failed,
}

/// Replays what was asked for, in the order of topics, partitions and offsets. All of them must exist.
pub async fn replay(settings: &Settings, asked: &Replay) -> Result<Replays, Error> {
    let mut connection = settings.postgres.connect(APPLICATION).await?;
    if !replay::take_turn(&mut connection).await? {
        return Err(Error::UnderWay);
    }
    let of = (!asked.all).then_some(asked.ids.as_slice());
    let mut wanted = letters(&mut connection, of).await?;
    if let Some(missing) = asked.ids.iter().find(|id| !wanted.iter().any(|letter| letter.id == **id)) {
        return Err(Error::NoSuchLetter(*missing));
    }
    wanted.retain(|letter| !asked.all || letter.replayed_at.is_none());
    wanted.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    let again = Again::new(&settings.kafka)?;
    let actor = audited::actor(&asked.word);
    let order = Order { actor: &actor, reason: &asked.word.reason };
    let mut lines = Vec::new();
    let mut stuck: Vec<(String, i32)> = Vec::new();
    for letter in wanted {
        let place = (letter.topic, letter.partition);
        // What comes behind one that was not taken would overtake it.
        if stuck.contains(&place) {
            let note = Some("not tried: an earlier one of its partition was not taken".to_owned());
            lines.push(Line { letter: letter.id, result: Came::Failed, offset: None, note });
            continue;
        }
        let line = match replay::replay(&mut connection, &again, letter.id, order).await {
            Ok(Replayed::Now { offset }) => (Came::Replayed, Some(offset), None),
            Ok(Replayed::Before { at, offset }) => (Came::ReplayedBefore, Some(offset), Some(shown(at))),
            Err(replay::Error::Postgres(error)) => return Err(Error::Postgres(error)),
            Err(error) => {
                stuck.push(place);
                (Came::Failed, None, Some(error.to_string()))
            }
        };
        let (result, offset, note) = line;
        lines.push(Line { letter: letter.id, result, offset, note });
    }
    Ok(Replays(lines))
}

impl Replays {
    /// A failure if any was not replayed.
    pub fn exit_code(&self) -> ExitCode {
        let failed = self.0.iter().any(|line| line.result == Came::Failed);
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        if self.0.is_empty() {
            return println!("no dead letter waits to be replayed");
        }
        let mut table = Table::new(&["letter", "result", "offset", "note"]);
        for line in &self.0 {
            let result = match line.result {
                Came::Replayed => "replayed",
                Came::ReplayedBefore => "replayed before, left alone",
                Came::Failed => "NOT REPLAYED",
            };
            table.row([
                line.letter.to_string(),
                result.to_owned(),
                line.offset.map(|offset| offset.to_string()).unwrap_or_default(),
                line.note.clone().unwrap_or_default(),
            ]);
        }
        table.print();
    }
}
