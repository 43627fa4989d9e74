//! A bank: ISO 20022 messages in SOAP 1.1 envelopes.

mod settings;

pub use settings::Settings;
