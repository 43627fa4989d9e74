//! Topics as they stand: every record from the beginning to the end at the start of reading, by a consumer of no group.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::evidence::Hash;
use crate::domain::event::{self, header};
use crate::kafka::Settings;

/// For metadata and watermarks.
const ANSWER: Duration = Duration::from_secs(15);
/// Without any record for this long the topics cannot be read.
const STALL: Duration = Duration::from_secs(30);

/// Topics of commands, and the groups that consume them: each followed by the gateway's name.
pub const COMMANDS: &str = "payments.commands.";
const GROUP: &str = "payfleet.worker.";

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the brokers do not answer: {0}")]
    Brokers(#[from] KafkaError),
    #[error("no record came for {} s; {missing} partitions were not read to their end", STALL.as_secs())]
    Stalled { missing: usize },
}

/// A record, and what it says it is.
#[derive(Debug)]
pub struct Record {
    /// Without the prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub claim: Result<Claim, &'static str>,
    pub hash: Hash,
}

#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub aggregate: Uuid,
    pub seq: i64,
    pub incarnation: i32,
}

/// What of a partition there is to read.
#[derive(Clone, Debug)]
pub struct Extent {
    pub topic: String,
    pub partition: i32,
    /// The first offset that is still there. Above 0, older records are gone.
    pub low: i64,
    pub high: i64,
}

pub struct Reader {
    consumer: BaseConsumer,
    settings: Settings,
    pub extents: Vec<Extent>,
}

/// Up to which offset the workers have consumed each partition of the commands, by topic (without the prefix) and partition.
pub type Consumed = HashMap<(String, i32), i64>;

impl Reader {
    /// Takes the watermarks. Topics are all those that begin with the prefix and `payments.`.
    pub fn open(settings: &Settings) -> Result<Self, Unreadable> {
        let consumer: BaseConsumer = settings
            .client()
            .set("client.id", "payfleet-verify")
            .set("group.id", "payfleet-verify")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", "16384")
            .create()?;
        let ours = format!("{}payments.", settings.topic_prefix);
        let metadata = consumer.fetch_metadata(None, ANSWER)?;
        let mut extents = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(&ours)) {
            for partition in topic.partitions() {
                let (low, high) = consumer.fetch_watermarks(topic.name(), partition.id(), ANSWER)?;
                let name = topic.name()[settings.topic_prefix.len()..].to_owned();
                extents.push(Extent { topic: name, partition: partition.id(), low, high });
            }
        }
        Ok(Self { consumer, settings: settings.clone(), extents })
    }

    pub fn records(&self) -> u64 {
        self.extents.iter().map(|extent| u64::try_from(extent.high - extent.low).unwrap_or(0)).sum()
    }

    /// What the workers' groups have committed by now: one group for each gateway, as `worker` has it.
    pub fn consumed(&self) -> Result<Consumed, Unreadable> {
        let mut by_gateway: HashMap<&str, Vec<&Extent>> = HashMap::new();
        for extent in &self.extents {
            if let Some(gateway) = extent.topic.strip_prefix(COMMANDS) {
                by_gateway.entry(gateway).or_default().push(extent);
            }
        }
        let mut consumed = Consumed::new();
        for (gateway, extents) in by_gateway {
            let group = self.settings.topic(&format!("{GROUP}{gateway}"));
            let member: BaseConsumer =
                self.settings.client().set("client.id", "payfleet-verify").set("group.id", group).create()?;
            let mut places = TopicPartitionList::new();
            for extent in &extents {
                places.add_partition(&self.settings.topic(&extent.topic), extent.partition);
            }
            for place in member.committed_offsets(places, ANSWER)?.elements() {
                if let (Offset::Offset(offset), Some(extent)) = (place.offset(), extents.first()) {
                    consumed.insert((extent.topic.clone(), place.partition()), offset);
                }
            }
        }
        Ok(consumed)
    }

    /// Blocks until every partition is read to its watermark; hands over each record, in the order of its partition.
    pub fn read(&self, mut take: impl FnMut(Record, &BorrowedMessage<'_>)) -> Result<(), Unreadable> {
        let mut open: HashMap<(String, i32), i64> = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for extent in self.extents.iter().filter(|extent| extent.high > extent.low) {
            let name = self.settings.topic(&extent.topic);
            assignment.add_partition_offset(&name, extent.partition, Offset::Offset(extent.low))?;
            open.insert((name, extent.partition), extent.high);
        }
        self.consumer.assign(&assignment)?;
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let place = (message.topic().to_owned(), message.partition());
                    let Some(end) = open.get(&place).copied() else { continue };
                    if message.offset() < end {
                        take(self.record(&message), &message);
                    }
                    if message.offset() + 1 >= end {
                        open.remove(&place);
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "while reading topics"),
                None => {}
            }
            if heard.elapsed() > STALL {
                return Err(Unreadable::Stalled { missing: open.len() });
            }
        }
        Ok(())
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Record {
        let payload = message.payload().unwrap_or_default();
        Record {
            topic: message.topic()[self.settings.topic_prefix.len()..].to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            claim: claim(message),
            hash: event::hash(payload).try_into().unwrap_or([0; 32]),
        }
    }
}

fn claim(message: &BorrowedMessage<'_>) -> Result<Claim, &'static str> {
    let key = message.key().ok_or("it has no key")?;
    let key = std::str::from_utf8(key).map_err(|_| "its key is not text")?;
    let aggregate = Uuid::try_parse(key).map_err(|_| "its key is not a UUID")?;
    let header = |name: &str| {
        let headers = message.headers()?;
        let value = headers.iter().find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()
    };
    let seq = header(header::SEQ).and_then(|text| text.parse().ok()).ok_or("it has no payfleet-seq")?;
    let incarnation =
        header(header::INCARNATION).and_then(|text| text.parse().ok()).ok_or("it has no payfleet-incarnation")?;
    // The first one is 1: a record cannot be excused as older than all of them.
    if incarnation < 1 {
        return Err("its payfleet-incarnation is below 1");
    }
    if header(header::ID) != Some(format!("{aggregate}/{seq}").as_str()) {
        return Err("its ce_id is not its key and number");
    }
    Ok(Claim { aggregate, seq, incarnation })
}
