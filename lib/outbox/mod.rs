//! The outbox: what the fleet has decided to tell Kafka, committed with the change that decided it. Rows are only appended; relays
//! find new ones by comparing snapshots, and whole slots of the ring are truncated once every lane has passed them.

pub mod checkpoint;
pub mod delta;
pub mod doorbell;
pub mod history;
pub mod lanes;
pub mod parked;
pub mod position;
pub mod rebase;
pub mod ring;
pub mod snapshot;
pub mod ticks;
