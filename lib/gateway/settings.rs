//! What each gateway needs to know: where it is, how we prove who we are, how it proves who it is, and how long things last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{bank, paypal, stripe};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub stripe: stripe::Settings,
    pub paypal: paypal::Settings,
    pub bank: bank::Settings,
}

/// How a gateway is called. The same three numbers for all of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A call that has no answer after this is unknown.
    pub call_ms: u64,
    /// Connecting, name look-up and TLS included, takes no longer.
    pub connect_ms: u64,
    /// A kept connection is not used after it was idle for this long: shorter than any gateway's own limit, so that the gateway
    /// does not close it under a request.
    pub idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call_ms: 10_000, connect_ms: 2_000, idle_ms: 4_000 }
    }
}

impl Limits {
    pub fn call(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }

    pub fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}
