//! The embedded broker: librdkafka's mock cluster, a real broker on the loopback that other processes can reach. For trying payfleet
//! on one machine; tests and figures use Apache Kafka.
//!
//! What it does not do: keep anything (records, offsets and groups are gone when the process ends), more than the newest 5 MiB of
//! each partition, topics by admin requests, and quick first joins (a new group waits 3 s for more members).
//!
//! If it dies here: every record is forgotten. Each open payment and callback has its `due_at`, and comes home by it.

use std::sync::mpsc;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;

use crate::domain::lane::LANES;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the embedded broker cannot be started: {0}")]
    Start(#[from] KafkaError),
    #[error("the embedded broker's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the embedded broker's thread has ended")]
    Ended,
}

/// Runs as long as this lives.
pub struct Embedded {
    brokers: String,
    /// Dropped with this; the thread waits for it.
    _alive: mpsc::Sender<()>,
}

impl Embedded {
    /// Starts a broker on a free port with these topics, one partition for each lane. `topics` as the brokers know them.
    pub fn start(topics: Vec<String>) -> Result<Self, Error> {
        let (alive, dropped) = mpsc::channel();
        let (started, start) = mpsc::channel();
        // The cluster's handle must stay on the thread that made it.
        std::thread::Builder::new().name("embedded broker".into()).spawn(move || match cluster(&topics) {
            Ok(cluster) => {
                started.send(Ok(cluster.bootstrap_servers())).ok();
                dropped.recv().ok();
            }
            Err(error) => drop(started.send(Err(error))),
        })?;
        let brokers = start.recv().map_err(|_| Error::Ended)??;
        Ok(Self { brokers, _alive: alive })
    }

    /// `host:port`, for [`super::Settings::brokers`].
    pub fn brokers(&self) -> &str {
        &self.brokers
    }
}

fn cluster(topics: &[String]) -> Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaError> {
    let cluster = MockCluster::new(1)?;
    for topic in topics {
        cluster.create_topic(topic, i32::from(LANES), 1)?;
    }
    Ok(cluster)
}
