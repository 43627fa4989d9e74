//! The payment that all fixtures are about.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::{Uuid, uuid};

use super::{Payment, Settings};
use crate::domain::destination::Destination;
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::service::secret::Secret;

pub(super) const ATTEMPT: Uuid = uuid!("01920000-0000-7000-8000-000000000001");
pub(super) const OTHER_ATTEMPT: Uuid = uuid!("01920000-0000-7000-8000-000000000002");
pub(super) const AT: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
/// A key as Standard Webhooks writes it.
pub(super) const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(super) fn key() -> String {
    Operation::Create.key(ATTEMPT)
}

pub(super) fn money(minor: i64, code: &str) -> Money {
    Money::new(minor, code.parse().unwrap())
}

pub(super) fn deposit() -> Payment {
    Payment {
        transaction_id: uuid!("01920000-0000-7000-8000-00000000000a"),
        attempt_id: ATTEMPT,
        kind: Kind::Deposit,
        money: money(1250, "EUR"),
        country: "DE".into(),
        destination: None,
        return_url: Some("https://shop.example/back".into()),
        reference: None,
        candidate: None,
        attempted_at: AT,
        last_send_by: AT + Duration::from_secs(5),
    }
}

pub(super) fn withdrawal(destination: Destination) -> Payment {
    Payment { kind: Kind::Withdrawal, destination: Some(destination), return_url: None, ..deposit() }
}

/// Settings with which every gateway can be made.
pub(super) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.stripe.secret_key = Secret::new("sk_test_fixture");
    settings.stripe.callback_key = Secret::new("whsec_fixture");
    settings.paypal.client_id = "client".into();
    settings.paypal.client_secret = Secret::new("secret");
    settings.paypal.webhook_id = "1JE4291016473214C".into();
    settings.paypal.callback_certificate = include_str!("paypal/fixtures/certificate.pem").into();
    settings.bank.username = "payfleet".into();
    settings.bank.password = Secret::new("secret");
    settings.bank.callback_key = Secret::new(WHSEC);
    settings.bank.account_iban = "DE02120300000000202051".into();
    settings.bank.account_owner = "Payfleet & Co".into();
    settings.bank.account_bic = "BYLADEM1001".into();
    settings
}

pub(super) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// An outcome in the few words that a table of tests has room for.
pub(super) fn told(outcome: &Outcome) -> String {
    let name = outcome.name();
    match outcome {
        Outcome::Succeeded { reference, money } | Outcome::Reversed { reference, money, .. } => {
            format!("{name} {reference} {money}")
        }
        Outcome::NeedsCustomer { reference, redirect_url, expires_at } => {
            let minutes = expires_at.map(|at| (at - AT).whole_minutes());
            format!("{name} {reference} {redirect_url} {minutes:?}")
        }
        Outcome::Accepted { reference } | Outcome::Approved { reference } => format!("{name} {reference}"),
        Outcome::Declined { reference, code, .. } => {
            format!("{name} {} {code}", reference.as_deref().unwrap_or("-"))
        }
        Outcome::Expired { reference } => format!("{name} {}", reference.as_deref().unwrap_or("-")),
        Outcome::Rejected { code, .. } | Outcome::Later { code, .. } => format!("{name} {code}"),
        Outcome::Unreachable { .. } | Outcome::NotFound | Outcome::Unseen | Outcome::Unknown { .. } => name.to_owned(),
    }
}
