//! The edge to Kafka: topics, producer, consumer, the embedded broker.
