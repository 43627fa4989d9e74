//! HTTP in: what clients may rely on, whatever they send.

pub mod client;

pub mod acceptance;
pub mod api;
mod cancelling;
mod limits;
mod locked;
pub mod orders;
mod payments;
mod production;
mod secrets;
mod server;
pub mod silent_gateway;
mod strained;
