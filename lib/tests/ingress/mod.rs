//! HTTP in: what clients may rely on, whatever they send.

pub mod client;

mod server;
