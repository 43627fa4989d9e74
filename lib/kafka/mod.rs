//! The edge to Kafka: topics, producer, consumer, the embedded broker.

pub mod again;
pub mod consumer;
pub mod embedded;
mod keyed;
mod offsets;
pub mod producer;
mod settings;
pub mod topics;
pub mod watch;

pub use settings::{Compression, Settings};
