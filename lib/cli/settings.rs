//! The root of all settings: one struct, composed of what the parts can be told.

use serde::{Deserialize, Serialize};

use crate::service::{config, process, telemetry};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub env: Env,
    pub process: process::Settings,
    pub postgres: crate::postgres::Settings,
    pub telemetry: telemetry::Settings,
}

/// Where this runs: demo keys and demo users exist only outside of production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Env {
    Dev,
    /// What is assumed if nobody says: the strict one.
    #[default]
    Production,
}

impl config::Settings for Settings {}
