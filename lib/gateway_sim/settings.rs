use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lies::Lies;
use super::vendor::{PerGateway, Vendor};
use crate::domain::ids::Kind;
use crate::service::secret::Secret;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// How callers and customers' browsers reach it; empty: `http://` and the bound address.
    pub public_url: String,
    /// Where the charge log lies. One simulator at a time.
    pub data_dir: PathBuf,
    /// Callbacks are posted to this and `/v1/callbacks/{gateway}`.
    pub callback_base_url: String,
    /// Every random decision follows from it and the payment's key, whatever the order in which requests arrive.
    pub seed: u64,
    /// Each request takes this long, and up to the jitter longer.
    pub latency_ms: u64,
    pub latency_jitter_ms: u64,
    /// The share of ordinary payments that are declined, from 0 to 1.
    pub decline_rate: f64,
    /// How customers behave when a payment needs their approval.
    pub customer: Customer,
    /// How long a customer who acts by themselves takes.
    pub customer_after_ms: u64,
    /// How long PayPal and the bank wait for a customer. Stripe waits for ever.
    pub customer_deadline_ms: u64,
    /// How long a payment that is accepted first and finished later (payouts, bank payments) takes to finish.
    pub settle_after_ms: u64,
    /// How long a request that is never answered keeps its connection.
    pub unanswered_ms: u64,
    /// Between the bytes of an answer that drips.
    pub drip_ms: u64,
    /// How long idempotency keys are remembered; unset: as long as each gateway promises.
    pub key_lifetime_ms: Option<u64>,
    /// Shown to the customer.
    pub merchant: String,
    pub callbacks: CallbackSettings,
    /// What each gateway lies about and how often, from the start; `PUT /_sim/lies` changes it while it runs.
    pub lies: PerGateway<Lies>,
    pub stripe: StripeSettings,
    pub paypal: PaypalSettings,
    pub bank: BankSettings,
}

/// What a customer does when a payment needs their approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Customer {
    Approve,
    Cancel,
    /// Never acts.
    Ignore,
    /// A person acts on the page that the payment's redirect leads to.
    Page,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackSettings {
    /// A delivery without an answer by then has failed.
    pub timeout_ms: u64,
    /// The pause after the first failed delivery; it doubles up to the longest, with jitter.
    pub first_pause_ms: u64,
    pub longest_pause_ms: u64,
    /// An event this old is not sent any more.
    pub give_up_after_ms: u64,
    /// Events that may wait at once; one more is given up.
    pub waiting: usize,
    /// Deliveries under way at once.
    pub at_once: usize,
    /// How long a callback that is delayed waits at most, and one that is to be overtaken.
    pub delayed_ms: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeSettings {
    /// What callers must show: `sk_test_…`.
    pub secret_key: Secret,
    /// What webhooks are signed with: `whsec_…`, used as it stands.
    pub callback_key: Secret,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaypalSettings {
    pub client_id: String,
    pub client_secret: Secret,
    pub token_lifetime_s: u64,
    /// Part of what is signed.
    pub webhook_id: String,
    /// PEM (PKCS #8) of the RSA key whose certificate the fleet has been given.
    pub callback_private_key: Secret,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BankSettings {
    /// HTTP Basic authentication.
    pub username: String,
    pub password: Secret,
    /// The Standard Webhooks secret: `whsec_` and the key in base64.
    pub callback_key: Secret,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 15_010)),
            public_url: String::new(),
            data_dir: ".dev/sim".into(),
            callback_base_url: "http://127.0.0.1:15001".into(),
            seed: 1,
            latency_ms: 0,
            latency_jitter_ms: 0,
            decline_rate: 0.0,
            customer: Customer::Approve,
            customer_after_ms: 1_000,
            customer_deadline_ms: 3 * 3_600_000,
            settle_after_ms: 200,
            unanswered_ms: 60_000,
            drip_ms: 1_000,
            key_lifetime_ms: None,
            merchant: "Payfleet demo".into(),
            callbacks: CallbackSettings::default(),
            lies: PerGateway::default(),
            stripe: StripeSettings::default(),
            paypal: PaypalSettings::default(),
            bank: BankSettings::default(),
        }
    }
}

impl Default for CallbackSettings {
    fn default() -> Self {
        Self {
            timeout_ms: 5_000,
            first_pause_ms: 500,
            longest_pause_ms: 60_000,
            give_up_after_ms: 24 * 3_600_000,
            waiting: 100_000,
            at_once: 64,
            delayed_ms: 5_000,
        }
    }
}

impl Default for PaypalSettings {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_secret: Secret::default(),
            token_lifetime_s: 32_400,
            webhook_id: String::new(),
            callback_private_key: Secret::default(),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Settings {
    /// How long a key is honoured. As the vendors say: Stripe 24 hours (docs.stripe.com/api/idempotent_requests), PayPal 6 hours for
    /// orders and 30 days for payouts (developer.paypal.com), banks commonly 30 days.
    pub(super) fn key_lifetime(&self, vendor: Vendor, kind: Kind) -> Duration {
        let promised = match (vendor, kind) {
            (Vendor::Stripe, _) => 24 * HOUR,
            (Vendor::Paypal, Kind::Deposit) => 6 * HOUR,
            (Vendor::Paypal, Kind::Withdrawal) | (Vendor::Bank, _) => 30 * 24 * HOUR,
        };
        self.key_lifetime_ms.map_or(promised, Duration::from_millis)
    }

    /// What is missing or makes no sense, all of it at once, as `key: why`.
    pub(super) fn problems(&self) -> Vec<String> {
        let needed = [
            ("stripe.secret_key", self.stripe.secret_key.is_empty()),
            ("stripe.callback_key", self.stripe.callback_key.is_empty()),
            ("paypal.client_id", self.paypal.client_id.is_empty()),
            ("paypal.client_secret", self.paypal.client_secret.is_empty()),
            ("paypal.webhook_id", self.paypal.webhook_id.is_empty()),
            ("paypal.callback_private_key", self.paypal.callback_private_key.is_empty()),
            ("bank.username", self.bank.username.is_empty()),
            ("bank.password", self.bank.password.is_empty()),
            ("bank.callback_key", self.bank.callback_key.is_empty()),
        ];
        let mut problems: Vec<String> =
            needed.iter().filter(|(_, missing)| *missing).map(|(key, _)| format!("{key}: is not set")).collect();
        if !(0.0..=1.0).contains(&self.decline_rate) {
            problems.push("decline_rate: is not between 0 and 1".into());
        }
        if self.callbacks.at_once == 0 {
            problems.push("callbacks.at_once: must be at least 1".into());
        }
        for vendor in Vendor::ALL {
            let bad = self.lies.of(vendor).problems();
            problems.extend(bad.into_iter().map(|problem| format!("lies.{vendor}.{problem}")));
        }
        problems
    }
}
