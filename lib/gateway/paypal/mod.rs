//! PayPal: deposits are Orders that we capture after the customer's approval, withdrawals are Payouts.
//!
//! | what | how |
//! |---|---|
//! | token | form `POST /v1/oauth2/token`, `grant_type=client_credentials`, HTTP Basic |
//! | deposit | JSON `POST /v2/checkout/orders`, then `POST /v2/checkout/orders/{id}/capture` |
//! | withdrawal | JSON `POST /v1/payments/payouts` with one item to an e-mail address |
//! | key | `PayPal-Request-Id`: the operation's key; `custom_id`: the attempt's hyphenated UUID; `sender_batch_id` and `sender_item_id`: the create key |
//! | ask | `GET` by id, or the create repeated under its key |
//! | callbacks | RSA-SHA256 over `transmission id|time|webhook id|CRC-32 of the body`; a doorbell only |
//!
//! `fixtures/` was written from the formats that PayPal publishes: developer.paypal.com/docs/api/orders/v2,
//! developer.paypal.com/docs/api/payments.payouts-batch/v1, developer.paypal.com/api/rest/responses,
//! developer.paypal.com/api/rest/webhooks/event-names, developer.paypal.com/api/rest/webhooks/rest.

mod settings;

pub use settings::Settings;
