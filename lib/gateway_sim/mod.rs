//! Simulated gateways: a server of its own, with its own charge log.

pub mod charge_log;
pub mod vendor;
