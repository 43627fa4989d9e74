//! Records put back where they were consumed from, each awaited. For people's acts, not for the flow: one record at a time.
//!
//! If it dies here: the record may stand on its topic or not; whoever asked for it asks again.

use std::time::Duration;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::Settings;
use super::consumer::Record;

/// For the brokers' word on one record.
const ANSWER: Duration = Duration::from_secs(10);

/// It was refused, or nobody has said that it was taken.
#[derive(Debug, thiserror::Error)]
#[error("{topic}[{partition}] has not acknowledged it: {why}")]
pub struct NotTaken {
    topic: String,
    partition: i32,
    #[source]
    why: KafkaError,
}

/// See the module.
pub struct Again(FutureProducer);

impl Again {
    /// Nothing is sent yet.
    pub fn new(settings: &Settings) -> KafkaResult<Self> {
        let size = settings.message_max_bytes.to_string();
        let mut client = settings.client();
        client
            .set("client.id", "payfleet.again")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("message.timeout.ms", ANSWER.as_millis().to_string())
            .set("compression.type", settings.compression.as_str())
            .set("message.max.bytes", &size)
            .set("batch.size", &size);
        Ok(Self(client.create()?))
    }

    /// Sends the record as it was, to its topic and partition. Gives its new offset.
    pub async fn send(&self, record: &Record) -> Result<i64, NotTaken> {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
        let outgoing = FutureRecord::<[u8], [u8]> {
            topic: &record.topic,
            partition: Some(record.partition),
            payload: record.payload.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: Some(headers),
        };
        let (topic, partition) = (record.topic.to_string(), record.partition);
        let sent = self.0.send(outgoing, Timeout::After(ANSWER)).await;
        sent.map(|delivery| delivery.offset).map_err(|(why, _)| NotTaken { topic, partition, why })
    }
}
