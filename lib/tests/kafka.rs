//! Guarantees of kafka.
