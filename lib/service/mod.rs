//! The process shell: configuration, telemetry, health, shutdown. Imports nothing of ours.

pub mod config;
pub mod failpoint;
pub mod health;
pub mod http;
pub mod instance;
pub mod planted;
pub mod process;
pub mod retry;
pub mod secret;
pub mod shares;
pub mod shutdown;
pub mod telemetry;
