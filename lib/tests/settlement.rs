//! Guarantees of settlement.
