//! Where the brokers are, and what the topics are like.

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::consumer::{self, Concurrency, Member};
use crate::service::retry::policy;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Put before every topic's name, so that fleets can share brokers.
    pub topic_prefix: String,
    /// Copies of each partition. One broker can only hold one; in production three, of which a record is on most before it counts as sent.
    pub replication: i32,
    /// How long topics keep records, in milliseconds; -1 for ever.
    pub retention_ms: i64,
    /// The largest record (and batch) that topics take, in bytes. Producers check it before they send.
    pub message_max_bytes: usize,
    pub compression: Compression,
    pub consumer: consumer::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            topic_prefix: String::new(),
            replication: 1,
            retention_ms: 7 * 24 * 3_600_000,
            message_max_bytes: 1_000_000,
            compression: Compression::default(),
            consumer: consumer::Settings::default(),
        }
    }
}

/// How producers pack their batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    /// A third of the bytes on the wire and on the brokers' disks, for little time of ours.
    #[default]
    Lz4,
}

impl Compression {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        }
    }
}

impl Settings {
    /// Copies that must have a record before it is acknowledged: most of them, so that no single broker's loss loses it.
    pub fn in_sync(&self) -> i32 {
        self.replication / 2 + 1
    }

    /// The topic's name on the brokers.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// A member of a group that consumes one topic. Both bear the prefix.
    pub fn member(&self, group: &str, topic: &str, concurrency: impl Into<Concurrency>) -> Member {
        Member {
            group: self.topic(group),
            topics: vec![self.topic(topic)],
            concurrency: concurrency.into(),
            settings: self.consumer.clone(),
            client: self.client(),
        }
    }

    /// What every client starts from.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            // The default waits up to 10 s after a broker was away, and is then back 6 s late.
            .set("reconnect.backoff.ms", policy::BROKER.first_ms().to_string())
            .set("reconnect.backoff.max.ms", policy::BROKER.longest_ms().to_string())
            // Topics are declared in one place; a name misspelt elsewhere must not make one.
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true");
        client
    }
}
