//! Gateways and routes tables.
