//! Guarantees of the gateway adapters, on real sockets: what leaves us, when, how often, and what each way to fail comes to.

mod bank;
mod client;
mod paypal;
mod stripe;
mod timing;
mod tls;
pub mod wire;
