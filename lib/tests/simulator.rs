//! Guarantees of simulator.
