//! Stripe: deposits are PaymentIntents, withdrawals are Payouts.
//!
//! | what | how |
//! |---|---|
//! | deposit | form `POST /v1/payment_intents`, `confirm=true` |
//! | withdrawal | form `POST /v1/payouts` to a `destination` that Stripe already knows |
//! | key | `Idempotency-Key`: the operation's key; `metadata[attempt_id]`, `metadata[transaction_id]`: hyphenated UUIDs |
//! | ask | `GET /v1/payment_intents/{id}`, `GET /v1/payouts/{id}`, or a list of the created window |
//! | callbacks | `payment_intent.*` and `payout.*`, signed in `Stripe-Signature` (t, v1) |
//!
//! `fixtures/` was written from the formats that Stripe publishes: docs.stripe.com/api/payment_intents/object,
//! docs.stripe.com/api/payouts/object, docs.stripe.com/api/errors, docs.stripe.com/error-codes, docs.stripe.com/api/events/object.

mod settings;

pub use settings::Settings;
