//! Commands into calls at gateways.
pub mod attempt;
