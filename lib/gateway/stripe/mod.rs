//! Stripe: deposits are PaymentIntents, withdrawals are Payouts.

mod settings;

pub use settings::Settings;
