//! HTTP in: what clients may rely on, whatever they send.

pub mod client;

mod acceptance;
pub mod orders;
mod server;
