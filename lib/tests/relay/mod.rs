//! Guarantees of the relay.

mod delivery;
mod fleet;
mod history;
mod ownership;
mod poison;
mod silence;
mod slices;
mod topics;
