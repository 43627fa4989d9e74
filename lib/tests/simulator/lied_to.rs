//! What the fleet's own adapters make of gateways that lie.

use bytes::Bytes;
use payfleet::domain::outcome::Outcome;
use payfleet::gateway::CallbackRefusal;
use payfleet::gateway_sim::lies::Lie;
use serde_json::json;
use time::OffsetDateTime;

use super::adapters::{CALL, Journey, SHORT, gateways};
use super::lying::{everywhere, vendor};
use super::running::{Running, SOON, Way};
use crate::harness::eventually;

/// The payment as far as its money can be moved by the next call.
async fn ready<'a>(sim: &'a Running, gateways: &'a payfleet::gateway::Gateways, way: Way) -> Journey<'a> {
    let mut journey = Journey::new(sim, gateways, way, 0);
    if way == Way::PaypalIn {
        journey.create(CALL).await;
        journey.comes_to("approved").await;
    }
    journey
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unknown_and_the_money_moves_once() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    for lie in [Lie::Reset, Lie::Drip, Lie::Huge, Lie::Bomb, Lie::Garbage] {
        for way in Way::ALL {
            let mut journey = ready(&sim, &gateways, way).await;
            sim.script(vendor(way), &[lie.as_str()]).await;
            let limit = if lie == Lie::Drip { SHORT } else { CALL };
            let outcome = journey.charge(limit).await;
            assert_eq!(outcome.name(), "unknown", "{lie:?} {way:?}: {outcome:?}");
            if way == Way::PaypalOut {
                // Only sending it again tells: PayPal then names the batch that it has.
                assert_eq!(journey.ask().await, Outcome::Unseen);
                journey.charge(CALL).await;
            }
            journey.succeeds().await;
            let attempt = Some(journey.payment.attempt_id);
            assert_eq!(
                sim.charges().iter().filter(|charge| charge.attempt_id == attempt).count(),
                1,
                "{lie:?} {way:?}"
            );
            let told: Vec<Lie> =
                sim.lied().into_iter().filter(|lied| lied.attempt_id == attempt).map(|lied| lied.kind).collect();
            assert_eq!(told, [lie], "{way:?}");
        }
    }
    sim.end().await;
}

#[tokio::test]
async fn a_question_whose_answer_cannot_be_read_says_nothing_of_the_payment() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    for way in Way::ALL {
        let mut journey = ready(&sim, &gateways, way).await;
        journey.charge(CALL).await;
        journey.succeeds().await;
        for lie in [Lie::Reset, Lie::Huge, Lie::Bomb, Lie::Garbage, Lie::FailedBefore] {
            sim.script(vendor(way), &[lie.as_str()]).await;
            let outcome = journey.ask().await;
            assert_eq!(outcome.name(), "unknown", "{lie:?} {way:?}: {outcome:?}");
        }
        journey.succeeds().await;
    }
    sim.end().await;
}

#[tokio::test]
async fn wrong_money_is_what_every_gateway_says_each_time_it_is_asked() {
    let sim = Running::start().await;
    let gateways = gateways(&sim);
    for lie in [Lie::WrongAmount, Lie::WrongCurrency] {
        sim.lies(&everywhere(&json!({ "wrong_amount": 0.0, "wrong_currency": 0.0, lie.as_str(): 1.0 }))).await;
        for way in Way::ALL {
            let mut journey = ready(&sim, &gateways, way).await;
            journey.charge(CALL).await;
            let Outcome::Succeeded { money, .. } = journey.comes_to("succeeded").await else { unreachable!() };
            let same = (money.minor == journey.payment.money.minor, money.currency == journey.payment.money.currency);
            assert_eq!(same, (lie != Lie::WrongAmount, lie != Lie::WrongCurrency), "{way:?} {money}");
            let Outcome::Succeeded { money: again, .. } = journey.ask().await else { unreachable!() };
            assert_eq!(again, money, "{way:?}");
        }
    }
    sim.end().await;
}

/// What the adapter reads of all callbacks at a gateway so far: the events' ids, or why they are refused.
async fn read(sim: &Running, journey: &Journey<'_>, way: Way) -> Vec<Result<String, CallbackRefusal>> {
    let path = format!("/v1/callbacks/{}", vendor(way));
    let now = OffsetDateTime::now_utc();
    let mine = sim.delivered().await.into_iter().filter(|request| request.url.path() == path);
    let read = mine.map(|it| journey.gateway().read_callback(&it.headers, &Bytes::from(it.body), now));
    read.map(|notice| notice.map(|notice| format!("{} {}", notice.event_type, notice.event_id))).collect()
}

#[tokio::test]
async fn a_contradicting_callback_is_signed_as_the_true_one_and_a_forged_one_is_refused() {
    for (lie, refused) in [(Lie::CallbackContradicting, 0), (Lie::CallbackForged, 1)] {
        for way in Way::ALL {
            let sim = Running::start().await;
            let gateways = gateways(&sim);
            sim.lies(&everywhere(&json!({ lie.as_str(): 1.0 }))).await;
            let mut journey = ready(&sim, &gateways, way).await;
            journey.charge(CALL).await;
            journey.succeeds().await;
            let attempt = journey.payment.attempt_id;
            let opposite = match way {
                Way::StripeIn => "payment_intent.payment_failed",
                Way::StripeOut => "payout.failed",
                Way::PaypalIn => "PAYMENT.CAPTURE.DENIED",
                Way::PaypalOut => "PAYMENT.PAYOUTS-ITEM.FAILED",
                Way::BankIn | Way::BankOut => "RJCT",
            };
            let told = eventually("both results", SOON, || async {
                let bodies = sim.delivered().await;
                let lied = bodies.iter().any(|it| String::from_utf8_lossy(&it.body).contains(opposite));
                let read = read(&sim, &journey, way).await;
                (lied && read.len() >= 2).then_some(read)
            })
            .await;
            let bad = told.iter().filter(|it| it.is_err()).count();
            assert_eq!(bad, refused, "{lie:?} {way:?} {told:?}");
            assert!(told.iter().flatten().count() + refused >= 2, "{lie:?} {way:?} {told:?}");
            let kinds: Vec<Lie> =
                sim.lied().into_iter().filter(|lied| lied.attempt_id == Some(attempt)).map(|lied| lied.kind).collect();
            assert_eq!(kinds, [lie], "{way:?}");
            sim.end().await;
        }
    }
}
