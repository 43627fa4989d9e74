//! The fleet's own adapters against the simulator: both were written from the vendors' formats, here they meet.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use payfleet::domain::destination::Destination;
use payfleet::domain::ids::Kind;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::{Notice, Outcome};
use payfleet::gateway::{self, Deadline, Gateways, Payment};
use payfleet::service::secret::Secret;
use time::OffsetDateTime;
use uuid::Uuid;

use super::running::{BANK_KEY, PAYPAL_CERTIFICATE, Running, SOON, STRIPE_KEY, WEBHOOK_ID, Way};
use crate::harness::eventually;

pub const CALL: Duration = Duration::from_secs(10);
/// For calls that are not answered.
pub const SHORT: Duration = Duration::from_secs(3);

pub fn gateways(sim: &Running) -> Gateways {
    gateway::registry(&settings(&sim.base)).unwrap()
}

/// Of adapters that find the simulator there.
pub fn settings(base: &str) -> gateway::Settings {
    let mut settings = gateway::Settings::default();
    settings.stripe.base_url = format!("{base}/stripe");
    settings.stripe.secret_key = Secret::new("sk_test_sim");
    settings.stripe.callback_key = Secret::new(STRIPE_KEY);
    settings.paypal.base_url = format!("{base}/paypal");
    settings.paypal.client_id = "client".into();
    settings.paypal.client_secret = Secret::new("secret");
    settings.paypal.webhook_id = WEBHOOK_ID.into();
    settings.paypal.callback_certificate = PAYPAL_CERTIFICATE.into();
    settings.bank.base_url = format!("{base}/bank");
    settings.bank.username = "payfleet".into();
    settings.bank.password = Secret::new("secret");
    settings.bank.callback_key = Secret::new(BANK_KEY);
    settings.bank.account_iban = "DE02120300000000202051".into();
    settings.bank.account_owner = "Payfleet".into();
    settings.bank.account_bic = "BYLADEM1001".into();
    settings
}

pub fn name(way: Way) -> &'static str {
    match way {
        Way::StripeIn | Way::StripeOut => "stripe",
        Way::PaypalIn | Way::PaypalOut => "paypal",
        Way::BankIn | Way::BankOut => "bank",
    }
}

fn payment(way: Way, minor: i64) -> Payment {
    let destination = match way {
        Way::StripeOut => Some(Destination::Token("ba_1".into())),
        Way::PaypalOut => Some(Destination::Email("payee@example.com".into())),
        Way::BankOut => Some(Destination::Iban("DE89370400440532013000".into())),
        _ => None,
    };
    let now = OffsetDateTime::now_utc();
    Payment {
        transaction_id: Uuid::now_v7(),
        attempt_id: Uuid::now_v7(),
        kind: if destination.is_some() { Kind::Withdrawal } else { Kind::Deposit },
        money: Money::new(minor, "EUR".parse().unwrap()),
        country: "DE".into(),
        destination,
        return_url: Some("https://shop.example/back".into()),
        reference: None,
        candidate: None,
        attempted_at: now,
        last_send_by: now + CALL,
    }
}

/// A payment on its way through an adapter.
pub struct Journey<'a> {
    sim: &'a Running,
    gateways: &'a Gateways,
    way: Way,
    pub payment: Payment,
}

impl<'a> Journey<'a> {
    pub fn new(sim: &'a Running, gateways: &'a Gateways, way: Way, ending: i64) -> Self {
        // A gateway's limit on calls counts by amount: ways that share a gateway must not share amounts.
        let base = if matches!(way, Way::StripeIn | Way::PaypalIn | Way::BankIn) { 12_000 } else { 13_000 };
        Self { sim, gateways, way, payment: payment(way, base + ending) }
    }

    pub fn gateway(&self) -> &dyn gateway::Gateway {
        self.gateways.get(name(self.way)).unwrap().as_ref()
    }

    fn learn(&mut self, outcome: Outcome) -> Outcome {
        if let Some(reference) = outcome.reference() {
            self.payment.reference = Some(reference.to_owned());
        }
        outcome
    }

    pub async fn create(&mut self, limit: Duration) -> Outcome {
        let outcome = self.gateway().create(&self.payment, Deadline::after(limit)).await;
        self.learn(outcome)
    }

    /// The call that moves the money, whatever comes before it.
    pub async fn charge(&mut self, limit: Duration) -> Outcome {
        if self.way != Way::PaypalIn {
            return self.create(limit).await;
        }
        if self.payment.reference.is_none() {
            let created = self.create(CALL).await;
            assert!(matches!(created, Outcome::NeedsCustomer { .. }), "{created:?}");
            self.comes_to("approved").await;
        }
        let outcome = self.gateway().capture(&self.payment, Deadline::after(limit)).await;
        self.learn(outcome)
    }

    pub async fn ask(&self) -> Outcome {
        self.gateway().ask(&self.payment, Deadline::after(CALL)).await
    }

    pub async fn comes_to(&self, word: &str) -> Outcome {
        eventually(&format!("{:?} to be {word}", self.way), SOON, || async {
            Some(self.ask().await).filter(|outcome| outcome.name() == word)
        })
        .await
    }

    pub async fn succeeds(&self) {
        let Outcome::Succeeded { money, .. } = self.comes_to("succeeded").await else { unreachable!() };
        assert_eq!(money, self.payment.money, "{:?}", self.way);
    }

    /// The notices of all callbacks about this payment so far, read by the adapter itself.
    async fn notices(&self) -> Vec<Notice> {
        let now = OffsetDateTime::now_utc();
        let path = format!("/v1/callbacks/{}", name(self.way));
        let mine = self.sim.delivered().await.into_iter().filter(|request| request.url.path() == path);
        mine.map(|request| self.gateway().read_callback(&request.headers, &Bytes::from(request.body), now).unwrap())
            .filter(|notice| notice.attempt == Some(self.payment.attempt_id))
            .collect()
    }
}

#[tokio::test]
async fn ordinary_payments_succeed_by_every_way_and_their_callbacks_name_the_attempt() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    for way in Way::ALL {
        let mut journey = Journey::new(&sim, &gateways, way, 0);
        let outcome = journey.charge(CALL).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. } | Outcome::Accepted { .. }), "{way:?} {outcome:?}");
        journey.succeeds().await;
        let told = eventually("the callback of the success", SOON, || async {
            let notices = journey.notices().await;
            notices.into_iter().find(|it| it.claim.is_none() || matches!(it.claim, Some(Outcome::Succeeded { .. })))
        })
        .await;
        assert_eq!(told.reference.as_ref(), journey.payment.reference.as_ref(), "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn each_amount_with_a_meaning_comes_to_what_it_means() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    join_all(Way::ALL.map(async |way| {
        let mut declined = Journey::new(&sim, &gateways, way, 901);
        declined.charge(CALL).await;
        declined.comes_to("declined").await;
        for ending in [907, 908, 911, 912] {
            let mut journey = Journey::new(&sim, &gateways, way, ending);
            journey.charge(CALL).await;
            journey.succeeds().await;
        }
        for ending in [903, 905] {
            let mut journey = Journey::new(&sim, &gateways, way, ending);
            let limit = if ending == 903 { SHORT } else { CALL };
            let outcome = journey.charge(limit).await;
            assert_eq!(outcome.name(), "unknown", "{way:?} {ending}: {outcome:?}");
            if way == Way::PaypalOut {
                // Only sending it again tells: PayPal then names the batch that it has.
                assert_eq!(journey.ask().await, Outcome::Unseen);
                journey.charge(CALL).await;
            }
            journey.succeeds().await;
        }
        for ending in [904, 906] {
            let mut journey = Journey::new(&sim, &gateways, way, ending);
            let limit = if ending == 904 { SHORT } else { CALL };
            let outcome = journey.charge(limit).await;
            assert_eq!(outcome.name(), "unknown", "{way:?} {ending}: {outcome:?}");
            journey.charge(CALL).await;
            journey.succeeds().await;
        }
        let mut later = Journey::new(&sim, &gateways, way, 909);
        for _ in 0..2 {
            assert!(matches!(later.create(CALL).await, Outcome::Later { retry_after_ms: Some(1_000), .. }), "{way:?}");
        }
        later.charge(CALL).await;
        later.succeeds().await;
        let mut rejected = Journey::new(&sim, &gateways, way, 910);
        assert_eq!(rejected.create(CALL).await.name(), "rejected", "{way:?}");
    }))
    .await;
    sim.end().await;
}

#[tokio::test]
async fn a_payment_that_never_arrived_is_told_from_one_that_did() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    for way in [Way::StripeIn, Way::StripeOut, Way::BankIn, Way::BankOut] {
        let mut journey = Journey::new(&sim, &gateways, way, 904);
        assert_eq!(journey.create(SHORT).await.name(), "unknown", "{way:?}");
        assert_eq!(journey.ask().await, Outcome::NotFound, "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_customer_who_cancels_ends_the_payment() {
    let sim = Running::start_with(|settings| settings.customer = payfleet::gateway_sim::Customer::Cancel).await;
    let gateways = gateways(&sim);
    for (way, word) in [(Way::StripeIn, "declined"), (Way::PaypalIn, "declined"), (Way::BankIn, "declined")] {
        let mut journey = Journey::new(&sim, &gateways, way, 902);
        journey.create(CALL).await;
        journey.comes_to(word).await;
    }
    sim.end().await;
}

#[tokio::test]
async fn a_refusal_that_quotes_the_account_is_passed_on_without_it() {
    let sim = Running::start().await;
    let quoting = sim.pay(Way::StripeOut, Uuid::now_v7(), 12_910).await;
    assert!(quoting.body.contains("No such external account: 'ba_1'"), "{quoting:?}");
    let gateways = gateways(&sim);
    let mut journey = Journey::new(&sim, &gateways, Way::StripeOut, 910);
    journey.payment.destination = Some(Destination::Token("an account like no other".into()));
    let Outcome::Rejected { code, message } = journey.create(CALL).await else { panic!("not rejected") };
    assert_eq!((code.as_str(), message.as_str()), ("resource_missing", "No such external account: '[account]'"));
    sim.end().await;
}
