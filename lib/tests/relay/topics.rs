//! Guarantees about the topics that relays write to.

use payfleet::domain::lane::LANES;
use payfleet::kafka::topics::{Error, Report, declared, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::harness::topics::Topics;

/// Makes a topic that is not as it should be.
async fn make_odd(topics: &Topics, name: &str, partitions: i32, max_bytes: &str) {
    let admin: AdminClient<DefaultClientContext> = topics.settings.client().create().unwrap();
    let name = topics.settings.topic(name);
    let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1)).set("max.message.bytes", max_bytes);
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

#[test]
fn every_gateway_has_a_topic_of_its_own_beside_the_three_that_all_share() {
    assert_eq!(
        declared(["stripe", "bank"]),
        [
            "payments.commands.stripe",
            "payments.commands.bank",
            "payments.callbacks",
            "payments.events",
            "payments.dead"
        ]
    );
}

#[tokio::test]
async fn missing_topics_are_made_and_existing_ones_are_left_alone() {
    let topics = Topics::none();
    let names = declared(["stripe"]);
    let full: Vec<String> = names.iter().map(|name| topics.settings.topic(name)).collect();
    let first = ensure(&topics.settings, &names).await.unwrap();
    assert_eq!(first, Report { made: full.clone(), found: vec![] });
    let second = ensure(&topics.settings, &names).await.unwrap();
    assert_eq!(second, Report { made: vec![], found: full });
}

#[tokio::test]
async fn a_topic_with_other_partitions_than_lanes_is_an_error_that_names_it() {
    let topics = Topics::none();
    make_odd(&topics, "payments.events", i32::from(LANES) + 1, "1048588").await;
    match ensure(&topics.settings, &declared([])).await {
        Err(Error::Partitions { topic, found: 17, expected: 16 }) => {
            assert_eq!(topic, topics.settings.topic("payments.events"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_topic_with_fewer_copies_than_there_are_to_be_is_an_error_that_names_it() {
    let mut topics = Topics::none();
    make_odd(&topics, "payments.events", i32::from(LANES), "1048588").await;
    ensure(&topics.settings, &declared([])).await.unwrap();
    topics.settings.replication = 3;
    match ensure(&topics.settings, &declared([])).await {
        Err(Error::Copies { topic, found: 1, expected: 3 }) => {
            assert!(topic.starts_with(&topics.settings.topic_prefix))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_topic_that_takes_less_than_the_producer_sends_is_an_error_that_names_it() {
    let topics = Topics::none();
    make_odd(&topics, "payments.dead", i32::from(LANES), "1000").await;
    match ensure(&topics.settings, &declared([])).await {
        Err(Error::RecordSize { topic, found: 1000, .. }) => {
            assert_eq!(topic, topics.settings.topic("payments.dead"));
        }
        other => panic!("{other:?}"),
    }
}
