//! Guarantees of fleet.
