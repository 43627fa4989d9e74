//! Guarantees of callback.
