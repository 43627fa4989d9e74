//! Guarantees of gateways.
