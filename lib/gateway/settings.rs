//! What each gateway needs to know: where it is, how we prove who we are, how it proves who it is, and how long things last.
//!
//! Nothing is guessed: [`registry`] names every missing or unusable setting at once, and makes no gateway if there is one.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::client::{self, Client};
use super::{Gateways, bank, breaker, paypal, stripe};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub stripe: stripe::Settings,
    pub paypal: paypal::Settings,
    pub bank: bank::Settings,
}

/// How a gateway is called. The same for all of them.
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
    /// When it is not called for a while, because too many calls fail.
    pub breaker: breaker::Settings,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call_ms: 10_000, connect_ms: 2_000, idle_ms: 4_000, breaker: breaker::Settings::default() }
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

    pub(super) fn client(
        &mut self,
        gateway: &'static str,
        base_url: &str,
        authority_certificate: &str,
        limits: Limits,
    ) -> Option<Client> {
        let origin = self.take(&format!("{gateway}.base_url"), base_url.parse());
        let connector = client::connector(authority_certificate, &limits);
        let connector = self.take(&format!("{gateway}.authority_certificate"), connector);
        if !limits.breaker.are_usable() {
            self.add(
                &format!("{gateway}.limits.breaker"),
                "needs failures from 1 to calls, and at least one of probes",
            );
        }
        Some(Client::new(gateway, origin?, connector?, limits))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture;
    use crate::service::secret::Secret;

    #[test]
    fn every_missing_setting_is_named_at_once() {
        let told = registry(&Settings::default()).err().unwrap().to_string();
        for path in [
            "stripe.secret_key",
            "stripe.callback_key",
            "paypal.client_id",
            "paypal.client_secret",
            "paypal.webhook_id",
            "paypal.callback_certificate",
            "bank.username",
            "bank.password",
            "bank.callback_key",
            "bank.account_iban",
            "bank.account_owner",
            "bank.account_bic",
        ] {
            assert!(told.contains(&format!("gateways.{path} is not set")), "{path}: {told}");
        }
    }

    #[test]
    fn unusable_settings_are_named_without_their_value() {
        let mut settings = fixture::settings();
        assert_eq!(registry(&settings).unwrap().iter().count(), 3);
        settings.stripe.base_url = "ftp://api.stripe.com".into();
        settings.stripe.authority_certificate = "not a certificate".into();
        settings.paypal.base_url = "api-m.paypal.com".into();
        settings.paypal.callback_certificate = "not a certificate".into();
        settings.bank.callback_key = Secret::new("hunter2");
        settings.bank.limits.breaker.probes = 0;
        let SettingsError(faults) = registry(&settings).err().unwrap();
        let expected = [
            "gateways.stripe.base_url is not an http or https URL without a query",
            "gateways.stripe.authority_certificate holds no readable certificate in PEM",
            "gateways.paypal.base_url is not an http or https URL without a query",
            "gateways.paypal.callback_certificate holds no readable RSA certificate in PEM",
            "gateways.bank.limits.breaker needs failures from 1 to calls, and at least one of probes",
            "gateways.bank.callback_key is not whsec_ and 24 to 64 bytes in base64",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn settings_read_back_from_what_they_are_written_as() {
        let text = serde_json::to_string(&fixture::settings()).unwrap();
        assert!(!text.contains("sk_test_fixture"), "{text}");
        assert!(serde_json::from_str::<Settings>(&text).is_ok());
        assert!(serde_json::from_str::<Settings>(r#"{"stripe": {"base_uri": ""}}"#).is_err());
    }
}
