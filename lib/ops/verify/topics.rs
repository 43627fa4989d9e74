//! Everything that is read off the topics, in one reading: I9–I11, I13, and the records' part of I21.

use rdkafka::message::Message;

use super::canaries::Canaries;
use super::commands::Commands;
use super::events::Judge;
use super::evidence::Evidence;
use super::records::{Extent, Reader, Unreadable};
use super::report::Finding;
use super::{Asked, Error, Invariant, Progress, SESSION, snapshot, unjudged};

/// Who looks at each record.
struct Readers {
    events: Option<Judge>,
    commands: Commands,
    canaries: Option<Canaries>,
    leaks: Finding,
}

impl Readers {
    fn read(mut self, reader: &Reader) -> Result<Self, Unreadable> {
        reader.read(|record, message| {
            self.commands.take(&record, message.payload());
            if let Some(canaries) = &self.canaries {
                self.leaks.checked += 1;
                // Headers are ids, numbers and traces of our own making.
                let parts = [message.key(), message.payload()];
                if let Some(canary) = parts.into_iter().flatten().find_map(|part| canaries.look(part)) {
                    let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
                    self.leaks.violation(|| format!("{canary} is in {topic}/{partition}@{offset}"));
                }
            }
            if let Some(events) = &mut self.events {
                events.take(record);
            }
        })?;
        Ok(self)
    }
}

pub async fn judge(
    asked: Asked<'_>,
    evidence: Option<Evidence>,
    canaries: Option<Canaries>,
    progress: Progress<'_>,
) -> Result<Vec<Finding>, Error> {
    use Invariant::{I9, I10, I11, I13, I21};
    let unjudged = |reason: &str| unjudged(&[I9, I10, I11, I13, I21], reason);
    let Some(brokers) = asked.inputs.kafka.clone() else { return Ok(unjudged("no brokers were given")) };
    progress("asking the brokers");
    let settings = brokers.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let reader = Reader::open(&settings)?;
        let consumed = reader.consumed()?;
        Ok::<_, Unreadable>((reader, consumed))
    });
    let (reader, consumed) = match opened.await? {
        Ok(opened) => opened,
        Err(unreadable) => return Ok(unjudged(&unreadable.to_string())),
    };
    progress(&format!("reading {} records of the topics", reader.records()));
    let reading = tokio::task::spawn_blocking(move || {
        let readers = Readers {
            events: evidence.map(|evidence| Judge::new(evidence, &reader.extents)),
            commands: Commands::new(consumed, &reader.extents),
            canaries,
            leaks: Finding::new(I21),
        };
        let readers = readers.read(&reader)?;
        Ok::<_, Unreadable>((readers, reader.extents))
    });
    match reading.await? {
        Ok((readers, extents)) => conclude(asked, readers, &extents).await,
        Err(unreadable) => Ok(unjudged(&unreadable.to_string())),
    }
}

/// In books that are younger than the records.
async fn conclude(asked: Asked<'_>, readers: Readers, extents: &[Extent]) -> Result<Vec<Finding>, Error> {
    let (Some(brokers), rest) = (&asked.inputs.kafka, asked.inputs.rest) else { return Ok(Vec::new()) };
    let unexplained = readers.events.as_ref().map(Judge::unexplained).unwrap_or_default();
    let mut connection = asked.inputs.postgres.connect(SESSION).await?;
    let mut books = snapshot(&mut connection).await?;
    let mut findings = vec![readers.commands.judge(&mut books, brokers, rest).await?];
    if readers.canaries.is_some() {
        findings.push(readers.leaks);
    }
    if let Some(events) = readers.events {
        let later = if unexplained.is_empty() {
            Evidence::default()
        } else {
            Evidence::load(&mut books, Some(&unexplained)).await?
        };
        findings.extend(events.conclude(later, brokers, extents, rest));
    }
    Ok(findings)
}
