//! One charge per key, whatever happens in between.

use futures_util::future::join_all;
use payfleet::domain::ids::Operation;
use payfleet::gateway_sim::charge_log::{Answer, Entry, Fate, StateName, standings};
use payfleet::gateway_sim::{Error, GatewaySim};
use time::OffsetDateTime;
use uuid::Uuid;

use super::running::{Running, SOON, Way, told};
use crate::harness::eventually;

#[tokio::test]
async fn a_hundred_identical_requests_at_once_make_one_charge() {
    let sim = Running::start_with(|settings| settings.latency_ms = 5).await;
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        let requests = join_all((0..100).map(|_| sim.create(way, attempt, 1_250))).await;
        let answers = join_all(requests.into_iter().map(told)).await;
        let key = Operation::Create.key(attempt);
        assert_eq!(sim.charges().iter().filter(|charge| charge.key == key).count(), 1, "{way:?}");
        // Who came while the first was under way was sent away or told to wait; nobody saw an error of the server.
        assert!(answers.iter().all(|answer| answer.status < 500), "{way:?}");
        let arrived =
            sim.log().into_iter().filter(|entry| matches!(entry, Entry::Request(it) if it.key.as_ref() == Some(&key)));
        assert_eq!(arrived.count(), 100, "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_hundred_captures_at_once_move_the_money_once() {
    let sim = Running::start_with(|settings| settings.latency_ms = 5).await;
    let attempt = Uuid::now_v7();
    let order = sim.pay(Way::PaypalIn, attempt, 1_250).await.json()["id"].as_str().unwrap().to_owned();
    sim.comes_to(Way::PaypalIn, attempt, "APPROVED").await;
    // Half of them under another key, as two processes that do not know of each other would.
    let other = Uuid::now_v7();
    join_all((0..100).map(|n| sim.capture(&order, if n % 2 == 0 { attempt } else { other }))).await;
    let captured = |entry: &Entry| matches!(entry, Entry::State(change) if change.state == StateName::Captured);
    assert_eq!(sim.log().iter().filter(|entry| captured(entry)).count(), 1);
    assert_eq!(standings(&sim.log())[0].fate, Fate::Moved);
    sim.end().await;
}

#[tokio::test]
async fn a_repeated_key_is_answered_as_the_vendor_does_it() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        let first = sim.pay(way, attempt, 1_250).await;
        let again = sim.pay(way, attempt, 1_250).await;
        match way {
            // The same answer, to the byte, however the payment stands by now.
            Way::StripeIn | Way::StripeOut => assert_eq!(again, first, "{way:?}"),
            // How it stands now.
            Way::PaypalIn => assert_eq!(again.json()["id"], first.json()["id"]),
            Way::BankIn | Way::BankOut => assert_eq!(again.element("AcctSvcrRef"), first.element("AcctSvcrRef")),
            // A refusal that links to the first.
            Way::PaypalOut => {
                let (error, batch) = (again.json(), first.json()["batch_header"]["payout_batch_id"].clone());
                assert_eq!((again.status, &error["name"]), (400, &"USER_BUSINESS_ERROR".into()));
                assert_eq!(error["details"][0]["issue"], "Batch with given sender_batch_id already exists");
                let link = error["details"][0]["link"][0]["href"].as_str().unwrap();
                assert!(link.ends_with(&format!("/v1/payments/payouts/{}", batch.as_str().unwrap())), "{link}");
            }
        }
    }
    assert_eq!(sim.charges().len(), Way::ALL.len());
    sim.end().await;
}

#[tokio::test]
async fn a_key_is_not_taken_for_another_payment() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        sim.pay(way, attempt, 1_250).await;
        let other = sim.pay(way, attempt, 1_251).await;
        let said = match way {
            Way::StripeIn | Way::StripeOut => "idempotency_error",
            Way::PaypalIn => "DUPLICATE_REQUEST_ID",
            Way::PaypalOut => "USER_BUSINESS_ERROR",
            Way::BankIn | Way::BankOut => "DU01",
        };
        assert!(other.status >= 400 && other.body.contains(said), "{way:?} {other:?}");
    }
    assert_eq!(sim.charges().len(), Way::ALL.len());
    sim.end().await;
}

#[tokio::test]
async fn who_comes_while_the_first_is_under_way_is_told_so() {
    let sim = Running::start_with(|settings| settings.latency_ms = 1_500).await;
    for (way, said) in [
        (Way::StripeIn, "idempotency_key_in_use"),
        (Way::PaypalIn, "PREVIOUS_REQUEST_IN_PROGRESS"),
        (Way::BankOut, "RCVD"),
    ] {
        let attempt = Uuid::now_v7();
        let answers = join_all((0..3).map(|_| sim.pay(way, attempt, 1_250))).await;
        assert_eq!(answers.iter().filter(|answer| answer.body.contains(said)).count(), 2, "{way:?} {answers:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_killed_simulator_still_knows_its_keys_and_its_payments() {
    let sim = Running::start().await;
    let mut first = Vec::new();
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        first.push((way, attempt, sim.pay(way, attempt, 1_250).await));
    }
    let charged = sim.charges();
    let sim = sim.killed_and_started().await;
    for (way, attempt, first) in first {
        let again = sim.pay(way, attempt, 1_250).await;
        if matches!(way, Way::StripeIn | Way::StripeOut) {
            assert_eq!(again, first, "{way:?}");
        }
        assert!(sim.stands(way, attempt).await.is_some(), "{way:?}");
    }
    assert_eq!(sim.charges(), charged);
    sim.end().await;
}

#[tokio::test]
async fn a_payment_that_was_pending_when_the_simulator_was_killed_finishes_after_its_start() {
    let sim = Running::start_with(|settings| settings.settle_after_ms = 3_600_000).await;
    let attempt = Uuid::now_v7();
    sim.pay(Way::BankOut, attempt, 1_250).await;
    assert_eq!(sim.stands(Way::BankOut, attempt).await.as_deref(), Some("PDNG"));
    let sim = sim.killed_and_started_with(|settings| settings.settle_after_ms = 0).await;
    sim.comes_to(Way::BankOut, attempt, "ACSC").await;
    sim.end().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_lifetime() {
    let sim = Running::start_with(|settings| settings.key_lifetime_ms = Some(20)).await;
    for way in Way::ALL {
        let (attempt, key) = (Uuid::now_v7(), |attempt| Operation::Create.key(attempt));
        let charged = |sim: &Running| sim.charges().into_iter().filter(|it| it.key == key(attempt)).collect::<Vec<_>>();
        eventually("the key to be forgotten", SOON, || async {
            sim.pay(way, attempt, 1_250).await;
            (charged(&sim).len() == 2).then_some(())
        })
        .await;
        let charged = charged(&sim);
        assert_ne!(charged[0].reference, charged[1].reference, "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_in_the_log() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let (attempt, before) = (Uuid::now_v7(), OffsetDateTime::now_utc() - time::Duration::microseconds(1));
        sim.pay(way, attempt, 1_250).await;
        let log = sim.log();
        let request = log.iter().find_map(|entry| match entry {
            Entry::Request(request) if request.attempt_id == Some(attempt) => Some(request.clone()),
            _ => None,
        });
        let request = request.unwrap();
        assert!(before <= request.arrived_at && request.arrived_at <= OffsetDateTime::now_utc());
        assert_eq!((request.answer, request.amount), (Answer::Executed, Some(1_250)));
        assert_eq!(
            request.money_moving,
            way != Way::PaypalIn,
            "an order at PayPal asks the customer, it moves nothing"
        );
        let charge = sim.charges().into_iter().find(|charge| charge.attempt_id == Some(attempt)).unwrap();
        assert_eq!((charge.amount, charge.currency.code()), (1_250, "EUR"));
    }
    sim.end().await;
}

#[tokio::test]
async fn chance_follows_from_the_seed_and_the_key_and_not_from_the_order() {
    let attempts: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let mut seen = Vec::new();
    for backwards in [false, true] {
        let sim = Running::start_with(|settings| (settings.seed, settings.decline_rate) = (7, 0.5)).await;
        let mut order = attempts.clone();
        if backwards {
            order.reverse();
        }
        for attempt in order {
            sim.pay(Way::StripeIn, attempt, 1_250).await;
        }
        let mut fates: Vec<_> = sim.charges().into_iter().map(|it| (it.key, it.result, it.reference)).collect();
        fates.sort_by(|one, other| one.0.cmp(&other.0));
        seen.push(fates);
        sim.end().await;
    }
    assert_eq!(seen[0], seen[1]);
    let results: std::collections::HashSet<_> = seen[0].iter().map(|(_, result, _)| *result).collect();
    assert_eq!(results.len(), 2, "some are declined and some are not");
}

#[tokio::test]
async fn two_simulators_never_share_their_books() {
    let sim = Running::start().await;
    let second = GatewaySim::bind(sim.settings().clone()).await;
    assert!(matches!(second, Err(Error::ChargeLog(payfleet::gateway_sim::charge_log::Error::InUse { .. }))));
    sim.end().await;
}

#[tokio::test]
async fn all_missing_settings_are_told_at_once() {
    let Err(Error::Settings(problems)) = GatewaySim::bind(payfleet::gateway_sim::Settings::default()).await else {
        panic!("the defaults hold no secrets")
    };
    assert_eq!(problems.len(), 9, "{problems:?}");
}
