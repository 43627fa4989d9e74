//! The whole fleet in one process, and the local servers it stands on.

pub mod fleet;
pub mod secrets;
pub mod servers;
