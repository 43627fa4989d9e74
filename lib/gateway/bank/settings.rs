use serde::{Deserialize, Serialize};

use crate::gateway::Limits;
use crate::service::secret::Secret;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The bank's SOAP endpoint: every message is posted to exactly this URL.
    pub base_url: String,
    /// HTTP Basic authentication.
    pub username: String,
    pub password: Secret,
    /// The Standard Webhooks secret: `whsec_` and the key in base64.
    pub callback_key: Secret,
    /// The one before or after it, while the two are being rotated. Empty: none.
    pub other_callback_key: Secret,
    /// The account that withdrawals leave from and deposits arrive at, its owner's name, and the bank's BIC.
    pub account_iban: String,
    pub account_owner: String,
    pub account_bic: String,
    /// How far the bank's clock is from UTC, in minutes, at its furthest east (in summer, where there is one). Execution dates are the
    /// bank's own days: one that has passed there is refused, while a day that is an hour early is not.
    pub utc_offset_min: i16,
    /// How long the customer may take to answer a request to pay: its expiry date. The bank then says so by itself.
    pub customer_s: u64,
    /// How long the bank recognises a MsgId that it has seen.
    pub key_lifetime_s: u64,
    /// PEM of an authority to trust besides the public ones. Empty: none.
    pub authority_certificate: String,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:15010/bank".into(),
            username: String::new(),
            password: Secret::default(),
            callback_key: Secret::default(),
            other_callback_key: Secret::default(),
            account_iban: String::new(),
            account_owner: String::new(),
            account_bic: String::new(),
            utc_offset_min: 0,
            customer_s: 3_600,
            key_lifetime_s: 30 * 24 * 3_600,
            authority_certificate: String::new(),
            limits: Limits::default(),
        }
    }
}
