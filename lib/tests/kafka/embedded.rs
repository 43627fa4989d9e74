//! The embedded broker carries what the fleet does: the gapless idempotent producer, and a consumer group.

use std::sync::{Arc, Mutex};

use payfleet::domain::event::CALLBACKS;
use payfleet::kafka::embedded::Embedded;
use payfleet::kafka::producer::{Outgoing, Producer, Receipt};
use payfleet::kafka::{Settings, topics};
use rdkafka::message::OwnedHeaders;
use rdkafka::types::RDKafkaErrorCode;

use super::gates::Gates;
use super::{LIMIT, Running};
use crate::harness::eventually;

/// Notes that its record was acknowledged.
struct Note(usize, Arc<Mutex<Vec<usize>>>);

impl Receipt for Box<Note> {
    fn delivered(self, result: Result<(), RDKafkaErrorCode>) {
        result.unwrap();
        self.1.lock().unwrap().push(self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_serves_the_gapless_producer_and_a_group() {
    const COUNT: usize = 400;
    let unreached = Settings::default();
    let names = topics::declared(["stripe"]).iter().map(|name| unreached.topic(name)).collect();
    let broker = Embedded::start(names).unwrap();
    let settings = Settings { brokers: broker.brokers().into(), ..unreached };

    let delivered = Arc::new(Mutex::new(Vec::new()));
    let producer = Producer::new(&settings, "test").unwrap();
    let gates = Gates::default();
    let running = Running::start(settings.member("group", CALLBACKS, 16), gates.clone());
    for n in 0..COUNT {
        let key = n.to_string();
        let record = Outgoing {
            topic: CALLBACKS,
            partition: (n % 16) as i32,
            key: key.as_bytes(),
            payload: b"{}",
            headers: OwnedHeaders::new(),
        };
        producer.send(record, Box::new(Note(n, delivered.clone()))).map_err(|(error, _)| error).unwrap();
    }
    eventually("all acknowledged", LIMIT, async || (delivered.lock().unwrap().len() == COUNT).then_some(())).await;
    eventually("all consumed", LIMIT, async || {
        gates.open_all();
        (gates.done().len() == COUNT).then_some(())
    })
    .await;
    running.stop().await.unwrap();

    let second = Running::start(settings.member("group", CALLBACKS, 16), gates.clone());
    let last = Outgoing { topic: CALLBACKS, partition: 0, key: b"last", payload: b"{}", headers: OwnedHeaders::new() };
    producer.send(last, Box::new(Note(COUNT, delivered.clone()))).map_err(|(error, _)| error).unwrap();
    eventually("the last record", LIMIT, async || {
        gates.open_all();
        (gates.done().len() == COUNT + 1).then_some(())
    })
    .await;
    assert_eq!(gates.began().len(), COUNT + 1, "offsets were committed: nothing came twice");
    second.stop().await.unwrap();
}
