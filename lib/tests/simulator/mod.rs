//! Guarantees of the simulated gateways, asked over real HTTP.

mod adapters;
mod amounts;
mod asking;
mod callbacks;
mod control;
mod customer;
mod keys;
mod lied_to;
mod lies;
mod lying;
mod running;
mod signatures;
