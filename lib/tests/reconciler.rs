//! Guarantees of reconciler.
