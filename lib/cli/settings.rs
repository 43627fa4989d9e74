//! The root of all settings: one struct, composed of what the parts can be told.

use serde::{Deserialize, Serialize};

use crate::service::{config, process, telemetry};
use crate::{
    callback, gateway, gateway_sim, ingress, kafka, postgres, reconciler, redis, relay, sealing, settlement, worker,
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub env: Env,
    pub process: process::Settings,
    pub postgres: postgres::Settings,
    pub redis: redis::Settings,
    pub kafka: kafka::Settings,
    pub ingress: ingress::Settings,
    pub callback: callback::receive::Settings,
    pub relay: relay::Settings,
    pub worker: worker::Settings,
    pub applier: callback::run::Settings,
    pub reconciler: reconciler::Settings,
    pub settlement: settlement::Settings,
    pub gateways: gateway::Settings,
    pub sealing: sealing::Settings,
    pub sim: gateway_sim::Settings,
    pub migrate: super::migrate::Settings,
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
