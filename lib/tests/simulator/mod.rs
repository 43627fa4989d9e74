//! Guarantees of the simulated gateways, asked over real HTTP.

pub mod adapters;
mod amounts;
mod asking;
mod callbacks;
mod customer;
mod keys;
pub mod running;
mod signatures;
