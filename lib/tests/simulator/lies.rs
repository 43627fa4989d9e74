//! Each lie as it is seen from outside, and what the log says of it.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use payfleet::domain::ids::Operation;
use payfleet::gateway_sim::charge_log::{Entry, Fate, standings};
use payfleet::gateway_sim::lies::Lie;
use serde_json::json;
use uuid::Uuid;

use super::lying::{End, everywhere, vendor, wire};
use super::running::{Running, SOON, Way, told};
use crate::harness::eventually;

const ALL: usize = 64 * 1024 * 1024;
/// For what never comes.
const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_lie_before_or_after_the_charge_befalls_repeats_of_a_key_too_and_charges_nobody_twice() {
    let sim = Running::start_with(|settings| settings.unanswered_ms = 1).await;
    for (lie, status, charged) in [
        (Lie::LostBefore, None, 0),
        (Lie::LostAfter, None, 1),
        (Lie::FailedBefore, Some(500), 0),
        (Lie::FailedAfter, Some(500), 1),
        (Lie::RateLimited, Some(429), 0),
    ] {
        for way in Way::ALL {
            let attempt = Uuid::now_v7();
            let key = Operation::Create.key(attempt);
            let charges = || sim.charges().iter().filter(|charge| charge.key == key).count();
            let mut only = chances(0.0);
            only[lie.as_str()] = 1.0.into();
            sim.lies(&everywhere(&only)).await;
            for _ in 0..2 {
                // Over a socket of its own: a client that keeps connections repeats by itself what is lost on one.
                let request = sim.create(way, attempt, 1_250).await.header("connection", "close");
                let met = wire(request, ALL, SOON).await;
                let code = met.head.split(' ').nth(1).map(|code| code.parse().unwrap());
                assert_eq!(code, status, "{lie:?} {way:?}");
                assert!(status != Some(429) || met.header("retry-after") == Some("1"), "{}", met.head);
                assert_eq!(charges(), charged, "{lie:?} {way:?}");
            }
            sim.lies(&everywhere(&chances(0.0))).await;
            let again = sim.pay(way, attempt, 1_250).await;
            // PayPal refuses the second batch with a link to the first, which is its truth.
            assert!(again.status < 300 || (way == Way::PaypalOut && charged == 1), "{lie:?} {way:?} {again:?}");
            assert_eq!((charges(), sim.lied_to(&key)), (1, vec![lie, lie]), "{lie:?} {way:?}");
        }
    }
    sim.end().await;
}

#[tokio::test]
async fn a_reset_comes_in_the_middle_of_an_answer_to_something_done() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "reset": 1.0 }))).await;
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        let seen = wire(sim.create(way, attempt, 1_250).await, ALL, SOON).await;
        assert_eq!((seen.end, seen.body.len()), (End::Reset, seen.length() / 2), "{way:?} {}", seen.head);
        let key = Operation::Create.key(attempt);
        assert_eq!(sim.charges().iter().filter(|charge| charge.key == key).count(), 1);
        assert_eq!(sim.lied_to(&key), [Lie::Reset]);
    }
    sim.end().await;
}

#[tokio::test]
async fn a_dripping_answer_is_whole_in_the_end() {
    let sim = Running::start_with(|settings| settings.drip_ms = 0).await;
    let honest = sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    sim.lies(&everywhere(&json!({ "drip": 1.0 }))).await;
    let dripped = sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    assert_eq!((dripped.status, dripped.json()["status"].clone()), (200, honest.json()["status"].clone()));
    sim.end().await;
}

#[tokio::test]
async fn a_dripping_answer_keeps_no_simulator_from_its_end() {
    let sim = Running::start_with(|settings| settings.drip_ms = 3_600_000).await;
    sim.lies(&everywhere(&json!({ "drip": 1.0 }))).await;
    let request = sim.create(Way::BankOut, Uuid::now_v7(), 1_250).await;
    let dripping = tokio::spawn(wire(request, ALL, SOON));
    eventually("the lie", SOON, || async { (sim.lied().len() == 1).then_some(()) }).await;
    sim.end().await;
    let seen = dripping.await.unwrap();
    assert_ne!(seen.end, End::Open);
    assert_eq!(seen.body, [0; 0], "the first byte was an hour away");
}

#[tokio::test]
async fn a_huge_answer_goes_on_and_on() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "huge": 1.0 }))).await;
    for way in Way::ALL {
        let seen = wire(sim.create(way, Uuid::now_v7(), 1_250).await, 4 * 1024 * 1024, SOON).await;
        assert!(seen.head.starts_with("HTTP/1.1 200 "), "{}", seen.head);
        assert_eq!((seen.end, seen.header("content-length")), (End::Open, None), "{way:?}");
        assert!(seen.body.iter().filter(|byte| **byte == b' ').count() > seen.body.len() / 10 * 9);
    }
    sim.end().await;
}

#[tokio::test]
async fn a_bomb_unpacks_to_a_gibibyte() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "bomb": 1.0 }))).await;
    let seen =
        wire(sim.create(Way::PaypalOut, Uuid::now_v7(), 1_250).await.header("connection", "close"), ALL, SOON).await;
    assert_eq!((seen.header("content-encoding"), seen.body.len()), (Some("gzip"), seen.length()));
    // It is 64 times the same.
    let member = &seen.body[..seen.body.len() / 64];
    assert!(seen.body.chunks(member.len()).all(|other| other == member));
    let packed = std::env::temp_dir().join(format!("bomb-{}.gz", Uuid::now_v7().simple()));
    std::fs::write(&packed, member).unwrap();
    let unpacked = Command::new("gzip").arg("-dc").arg(&packed).stdin(Stdio::null()).output().unwrap();
    std::fs::remove_file(&packed).unwrap();
    assert_eq!(unpacked.stdout.len() * 64, 1 << 30);
    sim.end().await;
}

#[tokio::test]
async fn garbage_is_no_text_whatever_the_answer_would_have_been() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "garbage": 1.0 }))).await;
    for (way, minor) in Way::ALL.into_iter().map(|way| (way, 1_250)).chain([(Way::StripeIn, 12_901)]) {
        let attempt = Uuid::now_v7();
        let answer = sim.create(way, attempt, minor).await.send().await.unwrap();
        // Not even the status of a decline is left.
        assert_eq!(answer.status(), 200, "{way:?}");
        assert!(std::str::from_utf8(&answer.bytes().await.unwrap()).is_err(), "{way:?}");
        assert_eq!(sim.lied_to(&Operation::Create.key(attempt)), [Lie::Garbage]);
    }
    sim.end().await;
}

#[tokio::test]
async fn questions_are_lied_to_as_well_one_by_one() {
    let sim = Running::start().await;
    let mut made = Vec::new();
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        sim.pay(way, attempt, 1_250).await;
        made.push((way, attempt));
    }
    for (way, attempt) in made {
        sim.script(vendor(way), &["failed_before", "none"]).await;
        let asked = std::panic::AssertUnwindSafe(sim.stands(way, attempt));
        let failed = futures_util::FutureExt::catch_unwind(asked).await;
        assert!(failed.is_err(), "{way:?}: an answer that is a server's error is none");
        assert!(sim.stands(way, attempt).await.is_some(), "{way:?}");
        let lied = sim.lied().pop().unwrap();
        assert_eq!((lied.kind, lied.attempt_id), (Lie::FailedBefore, Some(attempt)), "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_gateway_that_is_down_closes_and_one_that_is_frozen_says_nothing_and_neither_does_anything() {
    let sim = Running::start().await;
    let before = Uuid::now_v7();
    sim.pay(Way::StripeOut, before, 1_250).await;
    for (outage, kind, end) in
        [(json!({ "down": true }), Lie::Down, End::Reset), (json!({ "frozen": true }), Lie::Frozen, End::Open)]
    {
        let attempt = Uuid::now_v7();
        sim.lies(&json!({ "stripe": outage })).await;
        // A key that was honoured before, and one that is new.
        for attempt in [before, attempt] {
            let seen = wire(sim.create(Way::StripeOut, attempt, 1_250).await, ALL, SILENCE).await;
            assert_eq!((seen.end, seen.head.as_str()), (end, ""), "{kind:?}");
        }
        let unknown = wire(sim.http.get(format!("{}/stripe/v1/canary", sim.base)), ALL, SILENCE).await;
        assert_eq!(unknown.end, end);
        assert_eq!(sim.lied_to(&Operation::Create.key(attempt)), [kind]);
        assert_eq!(sim.pay(Way::BankOut, Uuid::now_v7(), 1_250).await.status, 200, "the others do not notice");
        sim.lies(&json!({ "stripe": { "down": false, "frozen": false } })).await;
        assert_eq!(sim.charges().iter().filter(|charge| charge.attempt_id == Some(attempt)).count(), 0);
        assert_eq!(sim.pay(Way::StripeOut, attempt, 1_250).await.status, 200);
    }
    sim.end().await;
}

#[tokio::test]
async fn a_flapping_gateway_is_down_and_up_in_turn() {
    let sim = Running::start().await;
    sim.lies(&json!({ "bank": { "flapping_ms": 100 } })).await;
    for _ in 0..2 {
        for up in [true, false] {
            eventually("the other half", SOON, || async {
                let sent = sim.create(Way::BankOut, Uuid::now_v7(), 1_250).await.send().await;
                (sent.is_ok() == up).then_some(())
            })
            .await;
        }
    }
    assert!(sim.lied().iter().all(|lied| lied.kind == Lie::Flapping));
    sim.end().await;
}

/// All but those that take long to read.
fn chances(share: f64) -> serde_json::Value {
    let lies = Lie::ALL.into_iter().filter(|lie| *lie != Lie::Huge);
    serde_json::Value::Object(lies.map(|lie| (lie.as_str().to_owned(), share.into())).collect())
}

#[tokio::test]
async fn who_is_lied_to_and_how_follows_from_the_seed_and_not_from_the_order() {
    let payments: Vec<(Way, Uuid)> = Way::ALL.into_iter().cycle().take(32).map(|way| (way, Uuid::now_v7())).collect();
    let mut seen = Vec::new();
    for (seed, backwards) in [(7, false), (7, true), (8, false)] {
        let sim = Running::start_with(|settings| {
            (settings.seed, settings.unanswered_ms, settings.drip_ms) = (seed, 1, 0);
        })
        .await;
        sim.lies(&everywhere(&chances(0.1))).await;
        let mut order = payments.clone();
        if backwards {
            order.reverse();
        }
        for (way, attempt) in &order {
            for _ in 0..3 {
                let sent = sim.create(*way, *attempt, 1_250).await.send().await;
                if let Ok(answer) = sent {
                    answer.bytes().await.ok();
                }
            }
        }
        sim.lies(&everywhere(&chances(0.0))).await;
        for (way, attempt) in order {
            sim.pay(way, attempt, 1_250).await;
        }
        // What is lied about callbacks is told when it comes to them; decided it is with the charge.
        let mut decided: BTreeSet<(String, Lie)> = sim
            .charges()
            .into_iter()
            .flat_map(|it| it.lies.into_iter().map(move |lie| (it.key.clone(), lie)))
            .collect();
        let told = sim.lied().into_iter().filter(|lied| !Lie::ALL[10..].contains(&lied.kind));
        decided.extend(told.map(|lied| (lied.key.unwrap(), lied.kind)));
        let charged: Vec<String> = sim.charges().into_iter().map(|charge| charge.key).collect();
        assert_eq!(charged.iter().collect::<BTreeSet<_>>().len(), charged.len(), "no key is charged twice");
        assert_eq!(charged.len(), payments.len(), "who comes again is served");
        seen.push(decided);
        sim.end().await;
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
    let kinds: BTreeSet<Lie> = seen.iter().flatten().map(|(_, lie)| *lie).collect();
    assert!(kinds.len() > 12, "{kinds:?}");
}

#[tokio::test]
async fn what_is_wrong_about_a_payment_stays_wrong_over_a_restart_and_the_log_tells_the_truth() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "wrong_amount": 1.0 }))).await;
    let attempt = Uuid::now_v7();
    let first = sim.pay(Way::StripeIn, attempt, 1_250).await;
    let told_amount = first.json()["amount"].as_i64().unwrap();
    assert_ne!(told_amount, 1_250);
    let callback: serde_json::Value =
        serde_json::from_slice(&sim.callback(&["payment_intent.succeeded"]).await.body).unwrap();
    assert_eq!(callback["data"]["object"]["amount"], told_amount);
    // Chances are as they were set from the start: none.
    let sim = sim.killed_and_started().await;
    assert_eq!(sim.pay(Way::StripeIn, attempt, 1_250).await, first);
    let reference = sim.charges()[0].reference.clone();
    let question = sim.http.get(format!("{}/stripe/v1/payment_intents/{reference}", sim.base));
    assert_eq!(told(sim.stripe(question)).await.json()["amount"], told_amount);
    let lied = &sim.lied()[0];
    assert_eq!((lied.kind, lied.told_amount, lied.attempt_id), (Lie::WrongAmount, Some(told_amount), Some(attempt)));
    let books = standings(&sim.log());
    assert_eq!((books.len(), books[0].amount, books[0].fate), (1, 1_250, Fate::Moved));
    sim.end().await;
}

#[tokio::test]
async fn a_wrong_currency_is_told_by_every_gateway() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "wrong_currency": 1.0 }))).await;
    join_all(Way::ALL.map(async |way| {
        let attempt = Uuid::now_v7();
        sim.pay(way, attempt, 1_250).await;
        let lied = sim.lied().into_iter().find(|lied| lied.attempt_id == Some(attempt)).unwrap();
        let told_currency = lied.told_currency.as_ref().map(|currency| currency.code());
        assert_eq!((lied.kind, told_currency, lied.told_amount), (Lie::WrongCurrency, Some("USD"), Some(1_250)));
        if way != Way::PaypalIn {
            let word = if matches!(way, Way::StripeIn | Way::StripeOut) { "usd" } else { "USD" };
            sim.callback(&[word, &lied.reference.unwrap()]).await;
        }
    }))
    .await;
    assert!(sim.charges().iter().all(|charge| charge.currency.code() == "EUR"));
    sim.end().await;
}

#[tokio::test]
async fn a_delayed_callback_comes_later_than_others_and_a_missing_one_never() {
    let sim = Running::start_with(|settings| settings.callbacks.delayed_ms = 3_600_000).await;
    sim.script("stripe", &["callback_delayed", "callback_missing", "none"]).await;
    for minor in [1_111, 2_222, 3_333] {
        sim.pay(Way::StripeIn, Uuid::now_v7(), minor).await;
    }
    sim.callback(&["payment_intent.succeeded", "3333"]).await;
    assert_eq!(sim.delivered().await.len(), 1);
    let sim = sim.killed_and_started_with(|settings| settings.callbacks.delayed_ms = 0).await;
    sim.callback(&["payment_intent.succeeded", "1111"]).await;
    let events = sim.log().into_iter().filter(|entry| matches!(entry, Entry::Callback(it) if it.tries == 0)).count();
    assert_eq!(events, 2, "of the missing one there is no trace but the lie");
    let kinds: Vec<Lie> = sim.lied().into_iter().map(|lied| lied.kind).collect();
    assert_eq!(kinds, [Lie::CallbackDelayed, Lie::CallbackMissing]);
    sim.end().await;
}

#[tokio::test]
async fn a_reordered_callback_is_overtaken_by_the_next() {
    let sim = Running::start_with(|settings| settings.callbacks.delayed_ms = 2_000).await;
    sim.script("paypal", &["callback_reordered"]).await;
    let attempt = Uuid::now_v7();
    let order = sim.pay(Way::PaypalIn, attempt, 1_250).await.json()["id"].as_str().unwrap().to_owned();
    sim.comes_to(Way::PaypalIn, attempt, "APPROVED").await;
    sim.capture(&order, attempt).await;
    sim.callback(&["CHECKOUT.ORDER.APPROVED"]).await;
    let types: Vec<String> = sim
        .delivered()
        .await
        .iter()
        .map(|it| {
            serde_json::from_slice::<serde_json::Value>(&it.body).unwrap()["event_type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(types, ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.APPROVED"]);
    sim.end().await;
}

#[tokio::test]
async fn a_duplicate_callback_comes_five_times_and_an_early_one_before_the_answer() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "callback_duplicate": 1.0, "callback_first": 1.0 }))).await;
    let attempt = Uuid::now_v7();
    sim.pay(Way::BankOut, attempt, 1_250).await;
    let delivered = sim.delivered().await;
    assert_eq!(delivered.len(), 5, "they are here by the time the answer is");
    assert!(delivered.iter().all(|copy| copy.headers["webhook-id"] == delivered[0].headers["webhook-id"]));
    let lied = sim.lied_to(&Operation::Create.key(attempt));
    assert_eq!(lied, [Lie::CallbackDuplicate, Lie::CallbackFirst]);
    sim.end().await;
}

#[tokio::test]
async fn where_the_true_callback_is_missing_the_contradicting_one_comes_all_the_same() {
    let sim = Running::start().await;
    sim.lies(&everywhere(&json!({ "callback_missing": 1.0, "callback_contradicting": 1.0 }))).await;
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    let told = sim.log().into_iter().filter_map(|entry| match entry {
        Entry::Callback(callback) => Some(callback.event_type),
        _ => None,
    });
    let told: BTreeSet<String> = told.collect();
    assert_eq!(told, ["payment_intent.payment_failed".to_owned()].into());
    sim.end().await;
}
