//! Commands into calls at gateways.
