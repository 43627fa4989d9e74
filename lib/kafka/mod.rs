//! The edge to Kafka: topics, producer, consumer, the embedded broker.

pub mod consumer;
mod keyed;
mod offsets;
