//! Guarantees of callbacks: stored once, applied once, whatever their order and number.

mod hostile;
mod http;

use futures_util::future::join_all;
use payfleet::callbacks::{NewCallback, Storing, ignore};
use payfleet::domain::decide::news::Source;
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::{Notice, Outcome};
use payfleet::domain::transaction::Status;
use payfleet::ops::verify::{Inputs, Invariant, Rest, verify};
use payfleet::postgres::combiner::Batch;
use payfleet::settlement::Committed;
use payfleet::worker::attempt::Attempts;
use uuid::Uuid;

use crate::harness::payments::{Fleet, sealer};
use crate::harness::scripted::Called;
use crate::settlement::{decided, succeeded};
use crate::worker::latest_command;

/// Traces: of the request that brought a callback, and of the one that ordered its payment.
const OF_THE_MESSAGE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OF_THE_PAYMENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn notice(event: &str, attempt: Option<Uuid>, claim: Option<Outcome>) -> Notice {
    Notice { event_id: event.into(), event_type: "test".into(), attempt, reference: None, claim }
}

/// Stores it as the ingress does; gives its id and whether it was new.
async fn stored(fleet: &Fleet, notice: Notice) -> (Uuid, bool) {
    let id = Uuid::now_v7();
    let raw = sealer().seal(&payfleet::sealing::aad(id, "raw"), b"{}");
    let mut connection = fleet.database.app.acquire().await.unwrap();
    let callback = NewCallback { id, gateway: "stripe", notice, raw, traceparent: Some(OF_THE_MESSAGE.into()) };
    let reply = Storing.run(&mut connection, &[callback]).await.unwrap();
    (id, reply[0].new)
}

/// A payment that the gateway has accepted, and its attempt.
async fn awaiting(fleet: &Fleet, kind: Kind, minor: i64) -> (Uuid, Uuid) {
    let id = fleet.accepted(kind, minor).await;
    fleet.stripe.then(Outcome::Accepted { reference: format!("pi_{id}") });
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    let (transaction, _) = fleet.settlement.load(id).await.unwrap();
    (id, transaction.current_attempt().unwrap().id)
}

async fn state(fleet: &Fleet, id: Uuid) -> String {
    sqlx::query_scalar("SELECT state FROM callbacks WHERE id = $1")
        .bind(id)
        .fetch_one(&fleet.database.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_delivered_a_hundred_times_at_once_is_stored_and_enqueued_once() {
    let fleet = Fleet::with(0).await;
    let (_, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
    let deliveries = (0..100).map(|_| stored(&fleet, notice("evt_1", Some(attempt), Some(succeeded(500)))));
    let new = join_all(deliveries).await.into_iter().filter(|(_, new)| *new).count();
    assert_eq!(new, 1);
    assert_eq!(fleet.count("SELECT count(*) FROM outbox WHERE topic = 'payments.callbacks'").await, 1);
}

async fn trace_of_record(fleet: &Fleet, callback: Uuid) -> Option<String> {
    sqlx::query_scalar("SELECT traceparent FROM outbox WHERE topic = 'payments.callbacks' AND aggregate = $1")
        .bind(callback)
        .fetch_one(&fleet.database.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_callback_is_part_of_its_payments_trace_or_of_its_own() {
    let fleet = Fleet::with(0).await;
    let (_, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
    let (early, _) = stored(&fleet, notice("evt_1", Some(attempt), None)).await;
    sqlx::query("UPDATE transactions SET traceparent = $1")
        .bind(OF_THE_PAYMENT)
        .execute(&fleet.database.owner)
        .await
        .unwrap();
    let (matched, _) = stored(&fleet, notice("evt_2", Some(attempt), None)).await;
    let (unmatched, _) = stored(&fleet, notice("evt_3", Some(Uuid::now_v7()), None)).await;
    for (callback, trace) in [(early, OF_THE_MESSAGE), (matched, OF_THE_PAYMENT), (unmatched, OF_THE_MESSAGE)] {
        assert_eq!(trace_of_record(&fleet, callback).await.as_deref(), Some(trace));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_callback_posts_nothing() {
    let fleet = Fleet::with(0).await;
    let (payment, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
    let (first, _) = stored(&fleet, notice("evt_1", Some(attempt), Some(succeeded(500)))).await;
    let (second, _) = stored(&fleet, notice("evt_2", Some(attempt), Some(succeeded(500)))).await;
    for applied in join_all([first, second, first, second].map(|id| fleet.settlement.apply_callback(id))).await {
        applied.unwrap();
    }
    assert_eq!(fleet.balances().await, (500, 0, 0));
    assert_eq!(fleet.status(payment).await.0, "succeeded");
    let mut states = [state(&fleet, first).await, state(&fleet, second).await];
    states.sort();
    assert_eq!(states, ["applied", "ignored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_apply_one_callback_whoever_takes_a_step_outranks_whoever_finds_that_nothing_follows() {
    let fleet = Fleet::with(0).await;
    for (event, ignored_first) in [("evt_1", true), ("evt_2", false)] {
        let (payment, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
        let (callback, _) = stored(&fleet, notice(event, Some(attempt), Some(succeeded(500)))).await;
        // Both have it open.
        let step = decided(&fleet, payment, Source::Callback { id: callback }, &succeeded(500)).await;
        let ignoring = ignore(&fleet.database.app, callback, "nothing follows");
        if ignored_first {
            ignoring.await.unwrap();
            assert_eq!(fleet.settlement.commit(step).await.unwrap(), Committed::Applied);
        } else {
            assert_eq!(fleet.settlement.commit(step).await.unwrap(), Committed::Applied);
            ignoring.await.unwrap();
        }
        assert_eq!(state(&fleet, callback).await, "applied", "ignored first: {ignored_first}");
    }
    assert_eq!(fleet.count("SELECT count(*) FROM callbacks WHERE state_reason IS NOT NULL").await, 0);
    let (postgres, only) = (fleet.database.settings(), [Invariant::I15].into());
    let inputs = Inputs { postgres, kafka: None, charge_log: None, load_log: None, rest: Rest::Live, only };
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!((report.findings[0].checked, report.findings[0].violations), (4, 0), "{}", report.table());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_its_payment_is_known_is_kept_and_applied_later() {
    let fleet = Fleet::with(0).await;
    let (payment, _) = awaiting(&fleet, Kind::Deposit, 500).await;
    let early = Notice { reference: Some("pi_unheard_of".into()), ..notice("evt_1", None, Some(succeeded(500))) };
    let (callback, _) = stored(&fleet, early).await;
    fleet.settlement.apply_callback(callback).await.unwrap();
    assert_eq!(state(&fleet, callback).await, "unmatched");
    let due = "SELECT count(*) FROM callbacks WHERE due_at > now()";
    assert_eq!(fleet.count(due).await, 1);
    sqlx::query("UPDATE attempts SET reference = 'pi_unheard_of'").execute(&fleet.database.owner).await.unwrap();
    fleet.settlement.apply_callback(callback).await.unwrap();
    assert_eq!((state(&fleet, callback).await, fleet.status(payment).await.0), ("applied".into(), "succeeded".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_can_never_match_is_given_up_at_once_and_any_other_after_a_month() {
    let fleet = Fleet::with(0).await;
    let (nameless, _) = stored(&fleet, notice("evt_1", None, None)).await;
    let (early, _) = stored(&fleet, notice("evt_2", Some(Uuid::now_v7()), None)).await;
    for callback in [nameless, early] {
        fleet.settlement.apply_callback(callback).await.unwrap();
    }
    assert_eq!([state(&fleet, nameless).await, state(&fleet, early).await], ["ignored", "unmatched"]);
    sqlx::query("UPDATE callbacks SET received_at = now() - interval '31 days'")
        .execute(&fleet.database.owner)
        .await
        .unwrap();
    fleet.settlement.apply_callback(early).await.unwrap();
    assert_eq!(state(&fleet, early).await, "ignored");
    let reasons = "SELECT count(*) FROM callbacks WHERE state_reason IS NOT NULL AND due_at IS NULL";
    assert_eq!(fleet.count(reasons).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_the_synchronous_answer_settles_and_the_answer_changes_nothing() {
    let fleet = Fleet::with(700).await;
    let id = fleet.accepted(Kind::Withdrawal, 700).await;
    let (transaction, now) = fleet.settlement.load(id).await.unwrap();
    let attempt = Uuid::now_v7();
    let begun = fleet
        .settlement
        .decide(&transaction, now, |context| {
            payfleet::domain::decide::begin::begin(&transaction, &Fleet::first_command(id), attempt, context)
        })
        .unwrap();
    let payfleet::domain::decide::begin::Begin::Call { change, operation, .. } = begun else { panic!("{begun:?}") };
    fleet.settlement.commit(*change).await.unwrap();
    let (callback, _) = stored(&fleet, notice("evt_1", Some(attempt), Some(succeeded(700)))).await;
    fleet.settlement.apply_callback(callback).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "succeeded");
    let answer = Outcome::Accepted { reference: "po_1".into() };
    let source = Source::Call { operation, begun: 2, calls: 1 };
    fleet.settlement.learn(id, attempt, source, &answer, None).await.unwrap();
    assert_eq!(fleet.status(id).await, ("succeeded".into(), 3));
    assert_eq!(fleet.balances().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_only_rings_has_the_gateway_asked_before_anything_is_posted() {
    let fleet = Fleet::with(0).await;
    let (payment, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
    let (callback, _) = stored(&fleet, notice("evt_1", Some(attempt), None)).await;
    fleet.settlement.apply_callback(callback).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(payment).await.0), ((0, 0, 0), "awaiting_gateway".into()));
    let payload: Vec<u8> = sqlx::query_scalar(
        "SELECT payload FROM outbox WHERE topic = 'payments.commands.stripe' ORDER BY id DESC LIMIT 1",
    )
    .fetch_one(&fleet.database.owner)
    .await
    .unwrap();
    fleet.stripe.then(succeeded(500));
    Attempts::new(fleet.settlement.clone()).handle(serde_json::from_slice(&payload).unwrap()).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(payment).await.0), ((500, 0, 0), "succeeded".into()));
}

/// As of PayPal, whose callbacks only ring, and which can be asked about a payout only by an id.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_asked_for_by_the_id_that_a_callback_named_which_is_kept_only_once_the_gateway_has_confirmed_it() {
    let fleet = Fleet::with(500).await;
    let payment = fleet.accepted(Kind::Withdrawal, 500).await;
    fleet.stripe.then(Outcome::Unknown { why: "time-out".into() });
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(payment)).await.unwrap();
    let (transaction, _) = fleet.settlement.load(payment).await.unwrap();
    let attempt = transaction.current_attempt().unwrap().id;
    for (event, reference) in [("evt_1", "batch_1"), ("evt_2", "batch_2")] {
        let bell = Notice { reference: Some(reference.into()), ..notice(event, Some(attempt), None) };
        let (callback, _) = stored(&fleet, bell).await;
        fleet.settlement.apply_callback(callback).await.unwrap();
    }
    let known = "SELECT count(*) FROM attempts WHERE reference IS NOT NULL";
    fleet.settlement.fell_due(payment).await.unwrap();
    assert_eq!(fleet.count(known).await, 0);
    fleet.stripe.then(succeeded(500));
    fleet.settlement.fell_due(payment).await.unwrap();
    assert_eq!((fleet.count(known).await, fleet.status(payment).await.0), (1, "succeeded".into()));
    let asked = fleet.stripe.asked.lock().unwrap();
    assert!(asked.iter().all(|payment| payment.reference.is_none() && payment.candidate.as_deref() == Some("batch_2")));
    assert_eq!(asked.len(), 2);
}

/// It executed what it had told to have refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_attempt_that_is_rung_about_is_asked_about_beside_the_one_that_paid_until_its_gateway_has_told() {
    let fleet = Fleet::with(0).await;
    let payment = fleet.accepted(Kind::Deposit, 500).await;
    fleet.stripe.then(Outcome::Unreachable { why: "connection refused".into() });
    fleet.bank.then(Outcome::Accepted { reference: "tr_1".into() });
    let attempts = Attempts::new(fleet.settlement.clone());
    attempts.handle(Fleet::first_command(payment)).await.unwrap();
    let (refused, _) = fleet.settlement.load(payment).await.unwrap();
    attempts.handle(latest_command(&fleet).await).await.unwrap();
    let (bell, _) = stored(&fleet, notice("evt_1", Some(refused.current_attempt().unwrap().id), None)).await;
    fleet.settlement.apply_callback(bell).await.unwrap();
    attempts.handle(latest_command(&fleet).await).await.unwrap();
    assert_eq!((fleet.stripe.asked.lock().unwrap().len(), fleet.bank.asked.lock().unwrap().len()), (1, 0));

    for _ in 0..2 {
        fleet.bank.then(succeeded(500));
        fleet.settlement.fell_due(payment).await.unwrap();
        assert_eq!((fleet.balances().await, fleet.status(payment).await.0), ((500, 0, 0), "succeeded".into()));
        assert!(fleet.settlement.load(payment).await.unwrap().0.is_due, "nobody would ask about it again");
    }
    fleet.stripe.then(succeeded(500));
    fleet.settlement.fell_due(payment).await.unwrap();
    let reason: String =
        sqlx::query_scalar("SELECT reason_code FROM transactions").fetch_one(&fleet.database.owner).await.unwrap();
    assert_eq!((fleet.status(payment).await.0.as_str(), reason.as_str()), ("review", "second_success"));
}

/// The second gateway declines what the first may have carried out after all.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_keeps_its_hold_and_returns_to_the_gateway_that_may_have_carried_out_what_it_refused() {
    let declined = || Outcome::Declined { reference: None, code: "account_closed".into(), message: "No.".into() };
    for goes_on in [true, false] {
        let fleet = Fleet::with(800).await;
        let payment = fleet.accepted(Kind::Withdrawal, 500).await;
        fleet.stripe.then(Outcome::Unreachable { why: "connection refused".into() });
        fleet.bank.then(Outcome::Accepted { reference: "tr_1".into() });
        let attempts = Attempts::new(fleet.settlement.clone());
        attempts.handle(Fleet::first_command(payment)).await.unwrap();
        let (refused, _) = fleet.settlement.load(payment).await.unwrap();
        let onward = latest_command(&fleet).await;
        if goes_on {
            attempts.handle(onward.clone()).await.unwrap();
        }
        let (bell, _) = stored(&fleet, notice("evt_1", Some(refused.current_attempt().unwrap().id), None)).await;
        fleet.settlement.apply_callback(bell).await.unwrap();
        fleet.bank.then(declined());
        fleet.settlement.fell_due(payment).await.unwrap();
        // Waiting or gone on, it is the first gateway's again, and the order to go on has lost its point.
        attempts.handle(onward).await.unwrap();
        let (returned, _) = fleet.settlement.load(payment).await.unwrap();
        assert_eq!((returned.status, returned.attempt, returned.gateway.as_str()), (Status::Unknown, 1, "stripe"));
        assert_eq!(fleet.balances().await, (300, 500, 0), "gone on: {goes_on}");
        let created = |called: &&Called| called.0 == "create";
        assert_eq!(fleet.bank.calls.lock().unwrap().iter().filter(created).count(), usize::from(goes_on));

        fleet.stripe.then(if goes_on { succeeded(500) } else { declined() });
        fleet.settlement.fell_due(payment).await.unwrap();
        let (ended, _) = fleet.settlement.load(payment).await.unwrap();
        let (status, available) = if goes_on { (Status::Succeeded, 300) } else { (Status::Failed, 800) };
        assert_eq!((ended.status, ended.gateway.as_str()), (status, "stripe"));
        assert_eq!(fleet.balances().await, (available, 0, 0), "gone on: {goes_on}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateways_callback_never_matches() {
    let fleet = Fleet::with(0).await;
    let (payment, attempt) = awaiting(&fleet, Kind::Deposit, 500).await;
    sqlx::query("UPDATE attempts SET gateway = 'bank'").execute(&fleet.database.owner).await.unwrap();
    let (callback, _) = stored(&fleet, notice("evt_1", Some(attempt), Some(succeeded(500)))).await;
    fleet.settlement.apply_callback(callback).await.unwrap();
    assert_eq!(
        (state(&fleet, callback).await, fleet.status(payment).await.0),
        ("unmatched".into(), "awaiting_gateway".into())
    );
}
