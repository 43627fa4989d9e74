//! Guarantees of relay.
