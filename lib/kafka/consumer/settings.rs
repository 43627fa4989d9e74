//! How a consumer behaves; the same for all groups.

use std::time::Duration;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::service::retry::policy;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A member that is silent for this long has lost its partitions: how long the records of a killed one wait.
    pub session_timeout_ms: u64,
    /// A member whose poll loop stands still for this long (a frozen process) has left the group: nobody waits longer for it to give up what it
    /// has.
    pub max_poll_ms: u64,
    /// A member whose poll thread stands still for this long, though the process runs, is left behind, and another joins in its place. At
    /// least 5 s longer than `revoke_ms`: so long a rebalance may hold it up.
    pub stall_ms: u64,
    /// Records in flight at most, over all partitions; beyond it partitions pause.
    pub records: usize,
    /// Bytes in flight at most, likewise.
    pub bytes: usize,
    /// Records in flight of one partition at most, so that one that is stuck leaves room for the others.
    pub partition_records: usize,
    /// How far one partition may run ahead of its first record that is not done.
    pub partition_span: usize,
    /// Offsets are committed this often …
    pub commit_ms: u64,
    /// … or after so many records.
    pub commit_records: usize,
    /// On a rebalance: how long partitions are kept for the records that are being handled, so that the next owner need not
    /// repeat them.
    pub revoke_ms: u64,
    /// On shutdown likewise; then others get the partitions, and the records that are still being handled a second time.
    pub hand_over_ms: u64,
    /// On shutdown: how long the records that are being handled may take.
    pub drain_ms: u64,
}

/// The longest time between two heartbeats.
const HEARTBEAT_MS: u64 = 500;

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_timeout_ms: 6_000,
            max_poll_ms: 15_000,
            stall_ms: 15_000,
            records: 4_096,
            bytes: 32 << 20,
            partition_records: 1_024,
            partition_span: 65_536,
            commit_ms: 100,
            commit_records: 1_000,
            revoke_ms: 2_000,
            hand_over_ms: 1_000,
            drain_ms: 15_000,
        }
    }
}

impl Settings {
    pub(super) fn commit_every(&self) -> Duration {
        Duration::from_millis(self.commit_ms)
    }

    /// Rebalances are cooperative: members keep what they keep, so that a worker that comes or goes does not stop the others.
    /// The price is a second round per rebalance. A group must never mix this with an eager strategy, hence no setting.
    ///
    /// The classic group protocol, not KIP-848: it is the one that Kafka 3.9 under ZooKeeper and the embedded broker know too.
    pub(super) fn configure(&self, client: &mut ClientConfig, group: &str) {
        // Members learn of a rebalance by their next heartbeat: the partitions of one that has left wait for it.
        let heartbeat_ms = (self.session_timeout_ms / 3).clamp(1, HEARTBEAT_MS).to_string();
        client
            .set("group.id", group)
            .set("client.id", format!("{group}.{}", Uuid::now_v7().simple()))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", heartbeat_ms)
            .set("max.poll.interval.ms", self.max_poll_ms.max(self.session_timeout_ms).to_string())
            // The offset rule decides what is committed, nothing else.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            // A pause throws away what was fetched ahead: fetch little ahead, and when the little is there look again soon
            // (the default waits a second).
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "8192")
            // A partition that was paused and goes on is asked for only when the brokers have answered what they were asked before: for
            // nothing, if all others are silent, after this time. With the library's 500 ms a stuck partition slowed the others down.
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", policy::FETCH.first_ms().to_string())
            // A topic that is made after the consumer has started is found within seconds.
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("statistics.interval.ms", "5000")
            .set("check.crcs", "true");
    }
}
