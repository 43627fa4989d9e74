//! Guarantees of idempotency.
