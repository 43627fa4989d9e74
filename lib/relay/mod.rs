//! Lanes of the outbox into Kafka.

mod settings;

pub use settings::Settings;
