//! Guarantees of worker.
