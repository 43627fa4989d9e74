//! Lanes of the outbox into Kafka.
