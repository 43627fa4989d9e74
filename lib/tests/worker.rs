//! Guarantees of the worker: intent before the call, one call per commit, nothing blind.

use futures_util::future::join_all;
use payfleet::domain::decide::begin::{Begin, begin};
use payfleet::domain::event::{Command, kind};
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::Outcome;
use payfleet::settlement::Error;
use payfleet::worker;
use payfleet::worker::attempt::Attempts;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dead_letters::{graveyard, put};
use crate::harness::eventually;
use crate::harness::payments::Fleet;
use crate::harness::topics::Topics;
use crate::kafka::LIMIT;
use crate::settlement::succeeded;

fn unreachable() -> Outcome {
    Outcome::Unreachable { why: "connection refused".into() }
}

/// The latest command of the payment, as its worker would get it.
pub async fn latest_command(fleet: &Fleet) -> Command {
    let payload: Vec<u8> = sqlx::query_scalar(
        "SELECT payload FROM outbox WHERE topic LIKE 'payments.commands.%' ORDER BY id DESC LIMIT 1",
    )
    .fetch_one(&fleet.database.owner)
    .await
    .unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_handled_by_many_at_once_calls_the_gateway_once() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 500).await;
    fleet.stripe.then(succeeded(500));
    let attempts = Attempts::new(fleet.settlement.clone());
    for handled in join_all((0..20).map(|_| attempts.handle(Fleet::first_command(id)))).await {
        handled.unwrap();
    }
    assert_eq!(fleet.stripe.calls.lock().unwrap().len(), 1);
    assert_eq!(fleet.balances().await, (500, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payment_goes_to_the_next_gateway_and_is_paid_once() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 500).await;
    fleet.stripe.then(unreachable());
    fleet.bank.then(succeeded(500));
    let attempts = Attempts::new(fleet.settlement.clone());
    attempts.handle(Fleet::first_command(id)).await.unwrap();
    attempts.handle(latest_command(&fleet).await).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    assert_eq!(fleet.balances().await, (500, 0, 0));
    assert_eq!((fleet.stripe.calls.lock().unwrap().len(), fleet.bank.calls.lock().unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_every_gateway_declines_nobody() {
    let fleet = Fleet::with(800).await;
    let id = fleet.accepted(Kind::Withdrawal, 800).await;
    fleet.stripe.then(unreachable());
    fleet.bank.then(unreachable());
    let attempts = Attempts::new(fleet.settlement.clone());
    attempts.handle(Fleet::first_command(id)).await.unwrap();
    attempts.handle(latest_command(&fleet).await).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "created");
    assert_eq!(fleet.balances().await, (0, 800, 0));
    // Later, the gateway is back.
    fleet.passed().await;
    fleet.settlement.fell_due(id).await.unwrap();
    fleet.stripe.then(succeeded(800));
    attempts.handle(latest_command(&fleet).await).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    assert_eq!(fleet.balances().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_asked_about_and_never_sent_elsewhere() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    fleet.stripe.then(Outcome::Unknown { why: "time-out".into() }).then(succeeded(700));
    let attempts = Attempts::new(fleet.settlement.clone());
    attempts.handle(Fleet::first_command(id)).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "unknown");
    fleet.settlement.fell_due(id).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    let calls: Vec<&str> = fleet.stripe.calls.lock().unwrap().iter().map(|(call, _)| *call).collect();
    assert_eq!(calls, ["create", "ask"]);
    assert!(fleet.bank.calls.lock().unwrap().is_empty());
}

/// A worker committed the intent and died: nobody knows whether it called. Gives the attempt.
async fn died_before_the_call(fleet: &Fleet, id: Uuid) -> Uuid {
    let (transaction, now) = fleet.settlement.load(id).await.unwrap();
    let attempt = Uuid::now_v7();
    let begun = fleet
        .settlement
        .decide(&transaction, now, |context| begin(&transaction, &Fleet::first_command(id), attempt, context))
        .unwrap();
    let Begin::Call { change, .. } = begun else { panic!("{begun:?}") };
    fleet.settlement.commit(*change).await.unwrap();
    attempt
}

/// Until nothing of a call can be under way any more.
async fn its_time_passes(fleet: &Fleet) {
    sqlx::query("UPDATE operations SET send_by = now() - interval '5 min'")
        .execute(&fleet.database.owner)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_before_the_call_leaves_a_payment_that_is_sent_once_with_the_same_key() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    // Its relay has not passed the command yet, and may not for long; but it was consumed, and its repetition orders nothing.
    let attempt = died_before_the_call(&fleet, id).await;
    its_time_passes(&fleet).await;
    fleet.stripe.then(Outcome::NotFound).then(succeeded(700));
    fleet.settlement.fell_due(id).await.unwrap();
    Attempts::new(fleet.settlement.clone()).handle(latest_command(&fleet).await).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    let calls = fleet.stripe.calls.lock().unwrap().clone();
    assert_eq!(calls, [("ask", attempt), ("create", attempt)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_there_is_no_broker_a_payment_is_ordered_to_be_sent_again_once_however_often_it_is_asked_about() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    fleet.passed().await;
    died_before_the_call(&fleet, id).await;
    its_time_passes(&fleet).await;
    let commands = async || fleet.count("SELECT count(*) FROM outbox WHERE topic LIKE 'payments.commands.%'").await;
    for _ in 0..3 {
        fleet.stripe.then(Outcome::NotFound);
        fleet.settlement.fell_due(id).await.unwrap();
        assert_eq!(commands().await, 1);
    }
    // It left, and was not heard of.
    fleet.passed().await;
    fleet.stripe.then(Outcome::NotFound);
    fleet.settlement.fell_due(id).await.unwrap();
    assert_eq!(commands().await, 2);
}

/// A payout that cannot be seen would be asked about to the end of its schedule, and then be a human's.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_ended_after_the_sweep_had_taken_it_is_not_asked_about() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    fleet.stripe.then(Outcome::Declined { reference: None, code: "no".into(), message: "No.".into() });
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "failed");
    fleet.stripe.then(Outcome::Unseen);
    fleet.settlement.fell_due(id).await.unwrap();
    assert_eq!(fleet.stripe.calls.lock().unwrap().len(), 1, "it was asked about");
    assert_eq!(fleet.count("SELECT count(*) FROM transactions WHERE due_at IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_consumed_again_after_its_worker_died_calls_nobody() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    died_before_the_call(&fleet, id).await;
    fleet.stripe.then(succeeded(700));
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    assert!(fleet.stripe.calls.lock().unwrap().is_empty(), "it was called blind");
    assert_eq!(fleet.status(id).await, ("submitting".into(), 2));
}

/// Whether the first call arrived, nobody knows: that the second is refused says nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_payment_that_was_sent_before_sends_it_nowhere_else() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    died_before_the_call(&fleet, id).await;
    its_time_passes(&fleet).await;
    fleet.stripe.then(Outcome::NotFound).then(Outcome::Rejected { code: "no".into(), message: "No.".into() });
    fleet.settlement.fell_due(id).await.unwrap();
    Attempts::new(fleet.settlement.clone()).handle(latest_command(&fleet).await).await.unwrap();
    let calls: Vec<&str> = fleet.stripe.calls.lock().unwrap().iter().map(|(call, _)| *call).collect();
    assert_eq!(calls, ["ask", "create"]);
    assert_eq!(fleet.status(id).await.0, "unknown");
    let to_others = "SELECT count(*) FROM outbox WHERE topic = 'payments.commands.bank'";
    assert_eq!(fleet.count(to_others).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_whose_call_times_out_keeps_its_hold_until_its_gateway_says_how_it_ended() {
    let fleet = Fleet::with(800).await;
    let id = fleet.accepted(Kind::Withdrawal, 800).await;
    fleet.stripe.then(Outcome::Unknown { why: "time-out".into() }).then(succeeded(800));
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 800, 0), "unknown".into()));
    fleet.settlement.fell_due(id).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 0, 0), "succeeded".into()));
}

async fn sealed_with(fleet: &Fleet, key: &str) {
    sqlx::query("UPDATE transactions SET destination_key_id = $1")
        .bind(key)
        .execute(&fleet.database.owner)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_for_a_call_costs_the_attempt_no_call() {
    let fleet = Fleet::with(800).await;
    let id = fleet.accepted(Kind::Withdrawal, 800).await;
    let attempts = Attempts::new(fleet.settlement.clone());
    sealed_with(&fleet, "not-yet-configured").await;
    let failed = attempts.handle(Fleet::first_command(id)).await;
    assert!(matches!(failed, Err(Error::Sealed(..))), "{failed:?}");
    assert_eq!(fleet.status(id).await, ("created".into(), 1));
    assert_eq!(fleet.count("SELECT count(*) FROM operations").await, 0);
    sealed_with(&fleet, "test").await;
    fleet.stripe.then(succeeded(800));
    attempts.handle(Fleet::first_command(id)).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    assert_eq!(fleet.count("SELECT sum(calls) FROM operations").await, 1);
}

/// As long as the trigger is there, this payment's success cannot be recorded; each try is counted.
async fn refuse_success_of(fleet: &Fleet, id: Uuid) {
    let refusing = format!(
        "CREATE SEQUENCE refusals;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN PERFORM nextval('public.refusals'); RAISE EXCEPTION 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON transitions FOR EACH ROW
             WHEN (NEW.to_status = 'succeeded' AND NEW.transaction_id = '{id}') EXECUTE FUNCTION refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refusing)).execute(&fleet.database.owner).await.unwrap();
}

async fn refuse_no_more(fleet: &Fleet) {
    sqlx::raw_sql("DROP TRIGGER refuse ON transitions").execute(&fleet.database.owner).await.unwrap();
}

async fn refused(fleet: &Fleet, times: i64) {
    eventually("refusals", LIMIT, async || {
        (fleet.count("SELECT last_value FROM refusals").await >= times).then_some(())
    })
    .await;
}

/// A gateway need not say it again: this answer is the only one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_kept_until_it_can_be() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    refuse_success_of(&fleet, id).await;
    fleet.stripe.then(succeeded(700));
    let attempts = Attempts::new(fleet.settlement.clone());
    let handling = tokio::spawn(async move { attempts.handle(Fleet::first_command(id)).await });
    refused(&fleet, 2).await;
    assert_eq!(fleet.status(id).await.0, "submitting");
    refuse_no_more(&fleet).await;
    handling.await.unwrap().unwrap();
    assert_eq!((fleet.status(id).await.0, fleet.balances().await), ("succeeded".into(), (700, 0, 0)));
    assert_eq!(fleet.stripe.calls.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_to_be_recorded_keeps_no_other_payment_from_its_gateway() {
    let fleet = Fleet::with(0).await;
    let topics = Topics::of_gateways(&["stripe"]).await;
    let (stuck, other) = (fleet.accepted(Kind::Deposit, 700).await, fleet.accepted(Kind::Deposit, 500).await);
    refuse_success_of(&fleet, stuck).await;
    fleet.stripe.then(succeeded(700)).then(succeeded(500));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let settings = worker::Settings { concurrency: 1, ..worker::Settings::default() };
        let (kafka, attempts) = (topics.settings.clone(), Attempts::new(fleet.settlement.clone()));
        let (graveyard, stop) = (graveyard(&fleet.database), stop.clone());
        async move { worker::run(&settings, &kafka, &["stripe"], attempts, graveyard, stop).await }
    });
    for (id, called) in [(stuck, 1), (other, 2)] {
        let command = serde_json::to_string(&Fleet::first_command(id)).unwrap();
        put(&topics, id, kind::COMMAND, Some(&command)).await;
        eventually("its call", LIMIT, async || (fleet.stripe.calls.lock().unwrap().len() == called).then_some(()))
            .await;
    }
    eventually("the other", LIMIT, async || (fleet.status(other).await.0 == "succeeded").then_some(())).await;
    assert_eq!(fleet.status(stuck).await.0, "submitting");
    refuse_no_more(&fleet).await;
    eventually("the stuck one", LIMIT, async || (fleet.status(stuck).await.0 == "succeeded").then_some(())).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(fleet.balances().await, (1_200, 0, 0));
}
