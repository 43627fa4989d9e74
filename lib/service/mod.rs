//! The process shell: configuration, telemetry, health, shutdown. Imports nothing of ours.

pub mod secret;
