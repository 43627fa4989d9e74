//! Whether the brokers are there, with the topics that the fleet needs: looked at beside the flow, which waits for them without a word.
//!
//! If it dies here: nothing depends on it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::service::health::Missing;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// For the brokers' answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Looks until `stop`. `topics`: those that must be there, without prefix.
pub async fn watch(settings: Settings, topics: Vec<String>, missing: Missing, stop: CancellationToken) {
    let topics: Arc<[String]> = topics.iter().map(|topic| settings.topic(topic)).collect();
    let client: Result<BaseProducer, _> = settings.client().set("client.id", "payfleet.watch").create();
    let client = match client {
        Ok(client) => Arc::new(client),
        Err(error) => return tracing::warn!(%error, "nobody looks whether Kafka is there"),
    };
    loop {
        let (asked, wanted) = (Arc::clone(&client), Arc::clone(&topics));
        let looking = tokio::task::spawn_blocking(move || look(&asked, &wanted));
        let Some(looked) = stop.run_until_cancelled(looking).await else { return };
        let reason = looked.unwrap_or_else(|error| Some(error.to_string()));
        metrics::gauge!("payfleet_kafka_up").set(if reason.is_none() { 1.0 } else { 0.0 });
        let away = reason.clone();
        if missing.tell("Kafka", reason) {
            match away {
                Some(reason) => tracing::warn!(reason, "waiting for Kafka"),
                None => tracing::info!("Kafka is there"),
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Why it is of no use; None: all is there.
fn look(client: &BaseProducer, wanted: &[String]) -> Option<String> {
    let metadata = match client.client().fetch_metadata(None, ANSWER) {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("it does not answer: {error}")),
    };
    let is_there = |topic: &&String| metadata.topics().iter().any(|there| there.name() == topic.as_str());
    let absent = wanted.iter().find(|topic| !is_there(topic))?;
    Some(format!("there is no topic {absent}: run `payfleet migrate`"))
}
