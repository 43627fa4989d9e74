//! Real topics of the test's own.

use std::time::{Duration, Instant};

use payfleet::domain::event::{self, header};
use payfleet::domain::lane::{LANES, lane_of};
use payfleet::kafka::{Settings, topics};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use crate::harness;

/// A record to be produced; what the headers say can be made to differ from what it is.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub aggregate: Uuid,
    pub seq: i64,
    pub ce_id: String,
    pub incarnation: i32,
    pub payload: Vec<u8>,
}

impl Record {
    pub fn of(topic: &str, aggregate: Uuid, seq: i64, payload: &[u8]) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: i32::from(lane_of(aggregate)),
            aggregate,
            seq,
            ce_id: format!("{aggregate}/{seq}"),
            incarnation: 1,
            payload: payload.to_vec(),
        }
    }
}

pub struct Topics {
    pub settings: Settings,
}

impl Topics {
    pub async fn make() -> Self {
        Self::make_some(|_| true).await
    }

    /// Only those of the declared ones.
    pub async fn make_some(wanted: impl Fn(&str) -> bool) -> Self {
        let topic_prefix = format!("verify-{}.", Uuid::now_v7().simple());
        let settings = Settings { brokers: harness::kafka_brokers(), topic_prefix, ..Settings::default() };
        let names: Vec<String> = topics::declared(["stripe"]).into_iter().filter(|name| wanted(name)).collect();
        topics::ensure(&settings, &names).await.unwrap();
        Self { settings }
    }

    /// One after the other, each acknowledged before the next.
    pub async fn produce(&self, records: &[Record]) {
        let producer: FutureProducer = self.settings.client().set("linger.ms", "0").create().unwrap();
        for record in records {
            let topic = self.settings.topic(&record.topic);
            let (key, seq) = (record.aggregate.to_string(), record.seq.to_string());
            let incarnation = record.incarnation.to_string();
            let headers = OwnedHeaders::new()
                .insert(Header { key: header::ID, value: Some(&record.ce_id) })
                .insert(Header { key: header::SEQ, value: Some(&seq) })
                .insert(Header { key: header::INCARNATION, value: Some(&incarnation) });
            let outgoing = FutureRecord::to(&topic).partition(record.partition).key(&key).payload(&record.payload);
            producer.send(outgoing.headers(headers), Duration::from_secs(10)).await.unwrap();
        }
        self.consume().await;
    }

    /// The workers have done everything so far: their offsets are committed.
    async fn consume(&self) {
        let settings = self.settings.clone();
        let committing = tokio::task::spawn_blocking(move || {
            let group = settings.topic("payfleet.worker.stripe");
            let worker: BaseConsumer = settings.client().set("group.id", group).create().unwrap();
            let topic = settings.topic("payments.commands.stripe");
            let mut done = rdkafka::TopicPartitionList::new();
            for partition in 0..i32::from(LANES) {
                let end = end_of(&worker, &topic, partition);
                done.add_partition_offset(&topic, partition, rdkafka::Offset::Offset(end)).unwrap();
            }
            worker.commit(&done, CommitMode::Sync).unwrap();
        });
        committing.await.unwrap();
    }

    /// Drops the oldest records of a partition, as retention would.
    pub async fn forget(&self, topic: &str, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.settings.client().create().unwrap();
        let mut offsets = rdkafka::TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(before);
        offsets.add_partition_offset(&self.settings.topic(topic), partition, offset).unwrap();
        admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }
}

/// A partition that was just made has no leader for a moment.
fn end_of(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)) {
            Ok((_, end)) => return end,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{topic} {partition}: {error}"),
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let settings = self.settings.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let names: Vec<String> = topics::declared(["stripe"]).iter().map(|name| settings.topic(name)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let admin: AdminClient<DefaultClientContext> = settings.client().create().ok()?;
            runtime.block_on(admin.delete_topics(&names, &AdminOptions::new())).ok()
        });
        dropping.join().ok();
    }
}

/// Of the records on `topic`.
pub fn places(records: &[Record], topic: &str) -> Vec<usize> {
    (0..records.len()).filter(|n| records[*n].topic == topic).collect()
}

pub const EVENTS: &str = event::EVENTS;
