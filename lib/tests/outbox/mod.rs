//! Guarantees of the outbox.

mod checkpoints;
mod deltas;
mod doorbell;
mod parked;
mod ring;
