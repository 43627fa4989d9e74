//! Records that nobody can read, on a topic of commands: copies of what is there, under a type that does not exist. Payload, key and number
//! stay, so that the checker sees a repetition, which is allowed; and the payment's own command is there all the same.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use payfleet::domain::event::{commands_of, header};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// As it is counted and told.
pub const SPREAD: &str = "unreadable records on a topic";

const WITHIN: Duration = Duration::from_secs(3);

/// Where a record stands on the topic: (partition, offset).
pub type Stand = (i32, i64);

#[derive(Default)]
struct Arrived(Mutex<BTreeSet<Stand>>);

impl ClientContext for Arrived {}

impl ProducerContext for Arrived {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(record) = result {
            self.0.lock().unwrap().insert((record.partition(), record.offset()));
        }
    }
}

pub fn topic() -> String {
    commands_of("stripe")
}

/// What became of one on each partition of the topic that there is a record to copy on.
pub struct Spread {
    pub meant: usize,
    /// Where they stand, as far as the broker has said so.
    pub arrived: BTreeSet<Stand>,
}

pub async fn spread(brokers: &str) -> Result<Spread, KafkaError> {
    let brokers = brokers.to_owned();
    tokio::task::spawn_blocking(move || copy_last(&brokers, &topic())).await.unwrap()
}

fn copy_last(brokers: &str, topic: &str) -> Result<Spread, KafkaError> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("group.id", "chaos-poison").set("enable.auto.commit", "false");
    client.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    let consumer: BaseConsumer = client.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), WITHIN)?;
    let mut last = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), WITHIN)?;
        if high > low {
            last.add_partition_offset(topic, partition.id(), Offset::Offset(high - 1))?;
        }
    }
    consumer.assign(&last)?;
    let arrived = Arrived::default();
    let producer: BaseProducer<Arrived> = client.set("message.timeout.ms", "3000").create_with_context(arrived)?;
    let meant = last.count();
    for _ in 0..meant {
        // Whatever stands in the way of the others: those that are on their way have to be buried.
        let Some(Ok(message)) = consumer.poll(WITHIN) else { break };
        if produce(&producer, &message).is_err() {
            break;
        }
    }
    // What has not arrived by then may yet; nobody counts on it.
    producer.flush(WITHIN * 2).ok();
    let arrived = producer.context().0.lock().unwrap().clone();
    Ok(Spread { meant, arrived })
}

fn produce(producer: &BaseProducer<Arrived>, message: &BorrowedMessage<'_>) -> Result<(), KafkaError> {
    let (Some(key), Some(payload), Some(headers)) = (message.key(), message.payload(), message.headers()) else {
        return Ok(());
    };
    let mut odd = OwnedHeaders::new();
    for kept in headers.iter() {
        let value = if kept.key == header::TYPE { Some(&b"com.payfleet.unheard_of"[..]) } else { kept.value };
        odd = odd.insert(Header { key: kept.key, value });
    }
    let record = BaseRecord::to(message.topic()).partition(message.partition()).key(key).payload(payload).headers(odd);
    producer.send(record).map_err(|(error, _)| error)
}
