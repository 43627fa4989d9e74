//! Guarantees of outbox.
