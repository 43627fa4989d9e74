//! The outbox: what the fleet has decided to tell Kafka, committed with the change that decided it. Rows are only appended; relays
//! find new ones by comparing snapshots, and whole slots of the ring are truncated once every lane has passed them.

pub mod doorbell;
pub mod ticks;
