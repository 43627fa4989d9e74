//! Guarantees of the simulated gateways, asked over real HTTP.

pub mod adapters;
mod amounts;
mod asking;
mod callbacks;
mod control;
mod customer;
mod keys;
mod lied_to;
mod lies;
mod lying;
pub mod running;
mod signatures;
