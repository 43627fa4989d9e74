//! What each gateway needs to know: where it is, how we prove who we are, how it proves who it is, and how long things last.
//!
//! Nothing is guessed: [`registry`] names every missing or unusable setting at once, and makes no gateway if there is one.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::client::{BadTarget, Client};
use super::{Gateways, bank, paypal, stripe};

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

/// Every setting that cannot be used, by its path below `gateways`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct SettingsError(pub Vec<String>);

/// Gathers what is wrong, so that all of it is told at once.
#[derive(Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn add(&mut self, path: &str, what: impl std::fmt::Display) {
        self.0.push(format!("gateways.{path} {what}"));
    }

    /// Keeps the value, or the reason why there is none.
    pub(super) fn take<T>(&mut self, path: &str, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    pub(super) fn client(&mut self, gateway: &str, client: Result<Client, BadTarget>) -> Option<Client> {
        client
            .map_err(|error| {
                let key = if matches!(error, BadTarget::Certificate) { "authority_certificate" } else { "base_url" };
                self.add(&format!("{gateway}.{key}"), error);
            })
            .ok()
    }

    /// A header's value that is never shown.
    pub(super) fn sensitive_header(&mut self, path: &str, value: &str) -> Option<HeaderValue> {
        let mut value = self.take(path, HeaderValue::from_str(value).map_err(|_| "cannot stand in a header"))?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn required(&mut self, path: &str, value: &str) {
        if value.is_empty() {
            self.add(path, "is not set");
        }
    }
}

/// Makes every gateway that this program has an adapter for.
pub fn registry(settings: &Settings) -> Result<Gateways, SettingsError> {
    let mut faults = Faults::default();
    let stripe = stripe::Stripe::new(&settings.stripe, &mut faults);
    let paypal = paypal::Paypal::new(&settings.paypal, &mut faults);
    let bank = bank::Bank::new(&settings.bank, &mut faults);
    match (stripe, paypal, bank) {
        (Some(stripe), Some(paypal), Some(bank)) if faults.0.is_empty() => {
            Ok(Gateways::new(vec![Arc::new(stripe), Arc::new(paypal), Arc::new(bank)]))
        }
        _ => Err(SettingsError(faults.0)),
    }
}
