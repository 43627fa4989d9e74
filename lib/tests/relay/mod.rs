//! Guarantees of the relay.

mod topics;
