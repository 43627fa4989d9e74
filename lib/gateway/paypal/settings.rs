use serde::{Deserialize, Serialize};

use crate::gateway::Limits;
use crate::service::secret::Secret;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `https://api-m.paypal.com`, or `https://api-m.sandbox.paypal.com` for the sandbox.
    pub base_url: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// The id that PayPal gave the webhook; part of what it signs.
    pub webhook_id: String,
    /// PEM of the certificate that signs webhooks. It is configured, never fetched from where a request says.
    pub callback_certificate: String,
    /// The one before or after it, while PayPal changes them. Empty: none.
    pub other_callback_certificate: String,
    /// Where the customer comes back to when the deposit itself names no page. Empty: PayPal shows its own.
    pub return_url: String,
    /// How long the customer may take to approve: PayPal forgets an order that is not approved within 3 hours
    /// (developer.paypal.com/docs/api/orders/v2).
    pub customer_s: u64,
    /// PayPal keeps the `PayPal-Request-Id` of an order for 6 hours (developer.paypal.com/api/rest/requests).
    pub order_key_lifetime_s: u64,
    /// PayPal refuses a `sender_batch_id` it has seen in the last 30 days (developer.paypal.com/docs/api/payments.payouts-batch/v1).
    pub payout_key_lifetime_s: u64,
    /// PEM of an authority to trust besides the public ones. Empty: none.
    pub authority_certificate: String,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:15010/paypal".into(),
            client_id: String::new(),
            client_secret: Secret::default(),
            webhook_id: String::new(),
            callback_certificate: String::new(),
            other_callback_certificate: String::new(),
            return_url: String::new(),
            customer_s: 3 * 3_600,
            order_key_lifetime_s: 6 * 3_600,
            payout_key_lifetime_s: 30 * 24 * 3_600,
            authority_certificate: String::new(),
            limits: Limits::default(),
        }
    }
}
