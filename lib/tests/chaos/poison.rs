//! Records that nobody can read, on a topic of commands: copies of what is there, under a type that does not exist. Payload, key and number
//! stay, so that the checker sees a repetition, which is allowed; and the payment's own command is there all the same.

use std::time::Duration;

use payfleet::domain::event::{commands_of, header};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const WITHIN: Duration = Duration::from_secs(3);

/// One on each partition of a topic that there is a record to copy on; how many.
pub async fn spread(brokers: &str) -> Result<usize, KafkaError> {
    let brokers = brokers.to_owned();
    tokio::task::spawn_blocking(move || copy_last(&brokers, &commands_of("stripe"))).await.unwrap()
}

fn copy_last(brokers: &str, topic: &str) -> Result<usize, KafkaError> {
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
    let producer: BaseProducer = client.set("message.timeout.ms", "3000").create()?;
    let mut left = last.count();
    let mut copied = 0;
    while left > 0 {
        let Some(message) = consumer.poll(WITHIN) else { break };
        let message = message?;
        left -= 1;
        copied += usize::from(produce(&producer, &message)?);
    }
    producer.flush(WITHIN)?;
    Ok(copied)
}

fn produce(producer: &BaseProducer, message: &BorrowedMessage<'_>) -> Result<bool, KafkaError> {
    let (Some(key), Some(payload), Some(headers)) = (message.key(), message.payload(), message.headers()) else {
        return Ok(false);
    };
    let mut odd = OwnedHeaders::new();
    for kept in headers.iter() {
        let value = if kept.key == header::TYPE { Some(&b"com.payfleet.unheard_of"[..]) } else { kept.value };
        odd = odd.insert(Header { key: kept.key, value });
    }
    let record = BaseRecord::to(message.topic()).partition(message.partition()).key(key).payload(payload).headers(odd);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(true)
}
