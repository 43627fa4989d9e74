//! What the ingress can be told.

use serde::{Deserialize, Serialize};

use crate::redis::Quota;
use crate::service::http::{Limits, Network};
use crate::service::secret::Secret;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the API listens.
    pub listen: String,
    pub http: Limits,
    /// The secret under which API keys are hashed, 32 bytes at least. Changing it revokes every key.
    pub api_key_pepper: Secret,
    /// Of each API key.
    pub quota: Quota,
    /// Of each address, for requests whose API key was not seen valid before.
    pub stranger_quota: Quota,
    /// Of each API key, for asking gateways by `refresh=true`.
    pub refresh_quota: Quota,
    /// Proxies whose `X-Forwarded-For` is believed, and who may have any number of connections: addresses, or ranges such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<Network>,
    /// Bytes of a request's body at most.
    pub body_bytes: usize,
    /// For a request's body to arrive.
    pub body_ms: u64,
    /// Payments being accepted at the same time. Reads and callbacks have room of their own.
    pub accepting: usize,
    /// Reads at the same time, those that wait for a change not counted.
    pub reading: usize,
    /// Clients that wait for a change at the same time, all of them and of each API key. As many again may wait for an earlier request
    /// of their Idempotency-Key; those beyond it get 409.
    pub waiting: usize,
    pub waiting_per_key: usize,
    /// Connections to PostgreSQL that accept payments.
    pub acceptors: usize,
    /// Payments that are accepted by one statement at most, up to 64. 1 shows what they cost one at a time.
    pub acceptor_batch: usize,
    /// For a payment to be committed, before the answer is 503.
    pub commit_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:15001".into(),
            http: Limits::default(),
            api_key_pepper: Secret::default(),
            quota: Quota { per_second: 200, burst: 400 },
            stranger_quota: Quota { per_second: 20, burst: 100 },
            refresh_quota: Quota { per_second: 1, burst: 5 },
            trusted_proxies: Vec::new(),
            body_bytes: 64 * 1024,
            body_ms: 3_000,
            accepting: 1_024,
            reading: 2_048,
            waiting: 2_048,
            waiting_per_key: 128,
            acceptors: 2,
            acceptor_batch: 64,
            commit_ms: 5_000,
        }
    }
}
