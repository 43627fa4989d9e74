//! Guarantees of the outbox.

mod doorbell;
