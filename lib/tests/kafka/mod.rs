//! Guarantees of the consumer and the embedded broker.

mod bounds;
mod embedded;
mod gates;
mod offsets;
mod order;
mod rebalance;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use payfleet::kafka::consumer::{self, Death, Graveyard, Handler, Member, Record, Settings};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::kafka_brokers;

/// Longer than a rebalance and a refetch take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

pub fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", kafka_brokers());
    client
}

/// A topic of the test's own, and a group that nobody else is in.
pub struct Topic {
    pub name: String,
    pub group: String,
    pub partitions: i32,
    client: ClientConfig,
    producer: FutureProducer,
}

impl Topic {
    pub fn named() -> String {
        format!("test.{}", Uuid::now_v7().simple())
    }

    pub async fn new(partitions: i32) -> Self {
        Self::make(Self::named(), partitions).await
    }

    pub async fn make(name: String, partitions: i32) -> Self {
        Self::make_at(client(), name, partitions).await
    }

    /// Likewise, on the brokers that this client reaches.
    pub async fn make_at(client: ClientConfig, name: String, partitions: i32) -> Self {
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let producer = client.clone().set("linger.ms", "0").create().unwrap();
        Self { group: format!("group.{name}"), name, partitions, client, producer }
    }

    /// Puts a record on a partition; gives its offset.
    pub async fn put(&self, partition: i32, key: &str, value: &[u8]) -> i64 {
        let record = FutureRecord::to(&self.name).partition(partition).key(key).payload(value);
        self.producer.send(record, Timeout::Never).await.unwrap().offset
    }

    pub async fn put_owned(self: Arc<Self>, partition: i32, key: String) {
        self.put(partition, &key, b"{}").await;
    }

    /// Puts `count` records on each partition, each of a key of its own.
    pub async fn fill(&self, count: i64) {
        let puts = (0..self.partitions).flat_map(|partition| (0..count).map(move |n| (partition, n)));
        futures_util::future::join_all(puts.map(async |(partition, n)| {
            self.put(partition, &format!("{partition}-{n}"), n.to_string().as_bytes()).await;
        }))
        .await;
    }

    /// What the group has committed, by partition.
    pub async fn committed(&self) -> BTreeMap<i32, i64> {
        let (name, partitions) = (self.name.clone(), self.partitions);
        let client = self.client.clone().set("group.id", &self.group).clone();
        let asking = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&name, 0, partitions - 1);
            let begin = Instant::now();
            let committed = loop {
                match consumer.committed_offsets(list.clone(), Duration::from_secs(10)) {
                    Ok(committed) => break committed,
                    // A broker that has just come up is still taking over its groups.
                    Err(error) if is_taking_over(&error) && begin.elapsed() < Duration::from_secs(30) => {}
                    Err(error) => panic!("what the group has committed: {error}"),
                }
            };
            let elements = committed.elements();
            elements
                .iter()
                .filter_map(|element| match element.offset() {
                    Offset::Offset(offset) => Some((element.partition(), offset)),
                    _ => None,
                })
                .collect()
        });
        asking.await.unwrap()
    }

    /// True once all of `count` records per partition are committed.
    pub async fn is_committed_to(&self, count: i64) -> bool {
        let committed = self.committed().await;
        (0..self.partitions).all(|partition| committed.get(&partition) == Some(&count))
    }

    /// How many members the brokers count to the group, and what they say of its state.
    pub async fn members(&self) -> (usize, String) {
        let (client, group) = (self.client.clone(), self.group.clone());
        let asking = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create().unwrap();
            let groups = consumer.fetch_group_list(Some(&group), Duration::from_secs(10)).unwrap();
            groups.groups().first().map(|group| (group.members().len(), group.state().to_owned())).unwrap_or_default()
        });
        asking.await.unwrap()
    }

    pub fn member(&self) -> Member {
        Member {
            group: self.group.clone(),
            topics: vec![self.name.clone()],
            concurrency: 256.into(),
            settings: Settings::default(),
            client: self.client.clone(),
        }
    }
}

fn is_taking_over(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    error
        .rdkafka_error_code()
        .is_some_and(|code| matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator))
}

/// A running member of a group.
pub struct Running {
    pub stop: CancellationToken,
    task: JoinHandle<Result<(), consumer::Error>>,
}

impl Running {
    pub fn start<H: Handler>(member: Member, handler: H) -> Self {
        Self::with_graveyard(member, handler, Arc::new(NoGraves))
    }

    pub fn with_graveyard<H: Handler>(member: Member, handler: H, graveyard: Arc<dyn Graveyard>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(consumer::run(member, handler, graveyard, stop.clone()));
        Self { stop, task }
    }

    /// As SIGTERM: finishes what is in hand, commits, leaves.
    pub async fn stop(self) -> Result<(), consumer::Error> {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn ended(self) -> Result<(), consumer::Error> {
        self.task.await.unwrap()
    }

    /// As kill -9, as far as offsets go: nothing more is committed.
    pub async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

/// For handlers that never call a record dead.
pub struct NoGraves;

#[async_trait]
impl Graveyard for NoGraves {
    async fn bury(&self, death: Death<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        panic!("{:?} was buried: {}", death.record, death.reason);
    }
}

/// (partition, offset)
pub type Where = (i32, i64);

pub fn place(record: &Record) -> Where {
    (record.partition, record.offset)
}
