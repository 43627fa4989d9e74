//! Guarantees of the relay.

mod delivery;
mod fleet;
mod topics;
