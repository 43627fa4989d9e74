//! Guarantees of the simulated gateways, asked over real HTTP.

mod adapters;
mod amounts;
mod asking;
mod callbacks;
mod customer;
mod keys;
mod running;
mod signatures;
