//! Guarantees of verify.
