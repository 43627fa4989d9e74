//! What librdkafka calls back, inside `poll` and therefore on the poll thread, or where the client is closed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics};

use super::assignment::Assignment;

pub(super) struct Context {
    group: String,
    assignment: Mutex<Assignment>,
}

impl Context {
    pub(super) fn new(group: &str, assignment: Assignment) -> Self {
        Self { group: group.to_owned(), assignment: Mutex::new(assignment) }
    }

    /// Never held over a `poll`, whose callbacks take it.
    pub(super) fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_lag(&self, topic: &str, partition: i32, records: i64) {
        let labels = [("group", self.group.clone()), ("topic", topic.to_owned()), ("partition", partition.to_string())];
        metrics::gauge!("payfleet_consumer_lag_records", &labels).set(records as f64);
    }
}

/// Records between what is committed and the end of the partition; of the whole log, while nothing was ever committed.
fn lag_of(partition: &Partition) -> i64 {
    match partition.consumer_lag {
        unknown if unknown < 0 => (partition.hi_offset - partition.lo_offset.max(0)).max(0),
        lag => lag,
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let assignment = self.assignment();
        for (name, topic) in &statistics.topics {
            let owned = topic.partitions.iter().filter(|(partition, _)| assignment.owns(name, **partition));
            for (partition, numbers) in owned {
                self.report_lag(name, *partition, lag_of(numbers));
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(group = self.group, facility, message, "librdkafka"),
            _ => tracing::debug!(group = self.group, facility, message, "librdkafka"),
        }
    }

    /// Errors come out of `poll` too, and are heeded there.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let kind = match rebalance {
            Rebalance::Assign(new) => {
                tracing::info!(group = self.group, partitions = ?names(new), "partitions assigned");
                self.assignment().assign(consumer, new);
                "assign"
            }
            Rebalance::Revoke(gone) => {
                tracing::info!(group = self.group, partitions = ?names(gone), "partitions revoked");
                self.assignment().revoke(consumer, gone);
                // Another member reports them from now on; the sum over members must not count them twice.
                for element in gone.elements() {
                    self.report_lag(element.topic(), element.partition(), 0);
                }
                "revoke"
            }
            Rebalance::Error(error) => {
                tracing::error!(group = self.group, %error, "rebalance failed");
                "error"
            }
        };
        metrics::counter!("payfleet_consumer_rebalances_total", "group" => self.group.clone(), "kind" => kind)
            .increment(1);
    }
}

fn names(list: &TopicPartitionList) -> Vec<String> {
    list.elements().iter().map(|element| format!("{}[{}]", element.topic(), element.partition())).collect()
}
