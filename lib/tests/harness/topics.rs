//! Topics of a test's own on the real brokers: a prefix nobody else has, deleted with it.

use std::time::Duration;

use payfleet::kafka::{Settings, topics};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

pub struct Topics {
    pub settings: Settings,
}

impl Topics {
    /// A prefix, without any topics yet.
    pub fn none() -> Self {
        let topic_prefix = format!("test.{}.", Uuid::now_v7().simple());
        Self { settings: Settings { brokers: super::kafka_brokers(), topic_prefix, ..Settings::default() } }
    }

    /// All topics of a fleet with the gateways of these names.
    pub async fn of_gateways(gateways: &[&str]) -> Self {
        let made = Self::none();
        topics::ensure(&made.settings, &topics::declared(gateways.iter().copied())).await.unwrap();
        made
    }
}

/// Lets the topics of the journal take batches of so many bytes.
pub async fn alter_limit(settings: &Settings, bytes: usize) {
    for topic in super::journal::TOPICS {
        alter(settings, topic, "max.message.bytes", &bytes.to_string()).await;
    }
}

/// Sets one of a topic's settings, and all others to what the brokers have by default.
pub async fn alter(settings: &Settings, topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = settings.client().create().unwrap();
    let topic = settings.topic(topic);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value);
    admin.alter_configs([&change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

impl Drop for Topics {
    fn drop(&mut self) {
        let settings = self.settings.clone();
        // A thread with its own runtime: Drop cannot wait on the test's.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let admin: AdminClient<DefaultClientContext> = settings.client().create().ok()?;
            let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(5)).ok()?;
            let names: Vec<&str> = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
            let ours: Vec<&str> = names.into_iter().filter(|name| name.starts_with(&settings.topic_prefix)).collect();
            runtime.block_on(admin.delete_topics(&ours, &AdminOptions::new())).ok()
        });
        dropping.join().ok();
    }
}
