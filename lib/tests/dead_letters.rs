//! Guarantees of dead_letters.
