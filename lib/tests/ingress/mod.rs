//! HTTP in: what clients may rely on, whatever they send.

pub mod client;

mod acceptance;
pub mod api;
mod limits;
pub mod orders;
mod payments;
mod server;
pub mod silent_gateway;
