//! Guarantees of readme.
