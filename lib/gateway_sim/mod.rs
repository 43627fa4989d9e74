//! Simulated gateways: a server of its own, with its own charge log.
