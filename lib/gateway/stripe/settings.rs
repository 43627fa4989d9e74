use serde::{Deserialize, Serialize};

use crate::gateway::Limits;
use crate::service::secret::Secret;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `https://api.stripe.com` for the real one: a test key makes it Stripe's sandbox.
    pub base_url: String,
    /// `sk_test_…` or `sk_live_…`, better a restricted `rk_…`.
    pub secret_key: Secret,
    /// The signing secret of the webhook endpoint, `whsec_…`, used as it stands.
    pub callback_key: Secret,
    /// The one before or after it, while the two are being rotated. Empty: none.
    pub other_callback_key: Secret,
    /// What a deposit is paid with: payfleet takes no card data, so this is one of Stripe's test payment methods.
    pub payment_method: String,
    /// Where the customer comes back to when the deposit itself names no page. Empty: methods that redirect are not offered then.
    pub return_url: String,
    /// How long the customer may take to act. Stripe itself sets no end; a later success is still taken.
    pub customer_s: u64,
    /// Stripe keeps idempotency keys for at least 24 hours (docs.stripe.com/api/idempotent_requests).
    pub key_lifetime_s: u64,
    /// How far Stripe's clock and the database's may be apart. A call whose answer was lost is looked for among everything that was
    /// created around it, so the narrower, the cheaper each question is under load; too narrow, and a payment is not found.
    pub clock_skew_s: u32,
    /// PEM of an authority to trust besides the public ones. Empty: none.
    pub authority_certificate: String,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:15010/stripe".into(),
            secret_key: Secret::default(),
            callback_key: Secret::default(),
            other_callback_key: Secret::default(),
            payment_method: "pm_card_visa".into(),
            return_url: String::new(),
            customer_s: 3_600,
            key_lifetime_s: 24 * 3_600,
            clock_skew_s: 300,
            authority_certificate: String::new(),
            limits: Limits::default(),
        }
    }
}
