//! PayPal: deposits are Orders that we capture after the customer's approval, withdrawals are Payouts.

mod settings;

pub use settings::Settings;
