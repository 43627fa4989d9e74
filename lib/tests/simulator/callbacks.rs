//! Callbacks arrive at least once, whoever dies in between.

use payfleet::gateway_sim::charge_log::{CallbackEntry, CallbackState, Entry};
use uuid::Uuid;
use wiremock::matchers::{any, path};
use wiremock::{Mock, ResponseTemplate};

use super::running::{Running, SOON, Way};
use crate::harness::eventually;

fn logged(sim: &Running) -> Vec<CallbackEntry> {
    let callback = |entry| if let Entry::Callback(callback) = entry { Some(callback) } else { None };
    sim.log().into_iter().filter_map(callback).collect()
}

async fn last_state(sim: &Running, state: CallbackState) -> CallbackEntry {
    eventually(&format!("a callback to be {state:?}"), SOON, || async {
        logged(sim).into_iter().find(|callback| callback.state == state)
    })
    .await
}

#[tokio::test]
async fn a_callback_is_sent_until_it_is_taken() {
    let sim = Running::start().await;
    sim.inbox.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).up_to_n_times(2).mount(&sim.inbox).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(302))
        .up_to_n_times(1)
        .with_priority(6)
        .mount(&sim.inbox)
        .await;
    Mock::given(any()).respond_with(ResponseTemplate::new(202)).with_priority(7).mount(&sim.inbox).await;
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    let delivered = last_state(&sim, CallbackState::Delivered).await;
    assert_eq!(delivered.tries, 4);
    let sent = sim.delivered().await;
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|request| request.body == sent[0].body), "an event is the same however often it is sent");
    sim.end().await;
}

#[tokio::test]
async fn a_callback_that_was_not_taken_survives_a_kill() {
    let sim = Running::start().await;
    sim.inbox.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&sim.inbox).await;
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    let before = sim.callback(&["payment_intent.succeeded"]).await;
    let sim = sim.killed_and_started().await;
    sim.inbox.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&sim.inbox).await;
    let after = sim.callback(&["payment_intent.succeeded"]).await;
    assert_eq!(after.body, before.body);
    last_state(&sim, CallbackState::Delivered).await;
    // Taken is taken: the next start sends nothing.
    let sim = sim.killed_and_started().await;
    let count = sim.delivered().await.len();
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_300).await;
    sim.callback(&["payment_intent.succeeded", "1300"]).await;
    assert_eq!(sim.delivered().await.len(), count + 1);
    sim.end().await;
}

#[tokio::test]
async fn each_gateway_posts_to_its_own_path() {
    let sim = Running::start().await;
    sim.inbox.reset().await;
    for vendor in ["stripe", "paypal", "bank"] {
        let own = path(format!("/v1/callbacks/{vendor}"));
        Mock::given(own).respond_with(ResponseTemplate::new(202)).expect(1..).mount(&sim.inbox).await;
    }
    for way in [Way::StripeIn, Way::PaypalOut, Way::BankIn] {
        sim.pay(way, Uuid::now_v7(), 1_250).await;
    }
    eventually("three deliveries", SOON, || async {
        let done = logged(&sim).into_iter().filter(|callback| callback.state == CallbackState::Delivered).count();
        (done == 3).then_some(())
    })
    .await;
    sim.inbox.verify().await;
    sim.end().await;
}

#[tokio::test]
async fn a_callback_that_nobody_takes_is_given_up_in_the_end() {
    let sim = Running::start_with(|settings| settings.callbacks.give_up_after_ms = 30).await;
    sim.inbox.reset().await;
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    assert!(last_state(&sim, CallbackState::GivenUp).await.tries >= 1);
    sim.end().await;
}

#[tokio::test]
async fn callbacks_that_wait_are_bounded() {
    let sim = Running::start_with(|settings| {
        settings.callbacks.waiting = 3;
        settings.callbacks.first_pause_ms = 3_600_000;
        settings.callbacks.longest_pause_ms = 3_600_000;
    })
    .await;
    sim.inbox.reset().await;
    for _ in 0..5 {
        sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    }
    let states: Vec<CallbackState> = logged(&sim).into_iter().map(|callback| callback.state).collect();
    assert_eq!(states.iter().filter(|state| **state == CallbackState::Queued).count(), 3);
    assert_eq!(states.iter().filter(|state| **state == CallbackState::GivenUp).count(), 2);
    sim.end().await;
}
