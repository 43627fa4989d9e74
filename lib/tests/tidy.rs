//! Guarantees of tidy.
