//! The reconciler as the process runs it: settlement behind it, nudges heard.

use payfleet::domain::ids::Kind;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::reconciler::{self, Settings};
use payfleet::transactions::due;
use payfleet::worker::attempt::Attempts;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::LIMIT;
use crate::harness::eventually;
use crate::harness::payments::Fleet;

fn start(fleet: &Fleet, settings: Settings) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let (postgres, pool) = (fleet.database.settings(), fleet.database.app.clone());
    let (settlement, stopping) = (fleet.settlement.clone(), stop.clone());
    let task = tokio::spawn(async move { reconciler::run(&settings, &postgres, pool, settlement, stopping).await });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_answer_was_lost_is_asked_about_when_due_and_settled() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 700).await;
    fleet.stripe.then(Outcome::Unknown { why: "timed out".into() });
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "unknown");
    let money = Money::new(700, "EUR".parse().unwrap());
    fleet.stripe.then(Outcome::Succeeded { reference: "pi_1".into(), money });
    let (stop, task) = start(&fleet, Settings { every_ms: 20, ..Settings::default() });
    eventually("it to be due and settled", LIMIT, async || (fleet.status(id).await.0 == "succeeded").then_some(()))
        .await;
    assert_eq!(fleet.balances().await, (700, 0, 0));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_somebody_asks_for_is_looked_at_without_waiting_for_the_timer() {
    let fleet = Fleet::with(0).await;
    let (first, asked_for) = (fleet.accepted(Kind::Deposit, 700).await, fleet.accepted(Kind::Deposit, 700).await);
    assert!(due::now(&fleet.database.app, first).await.unwrap());
    let (stop, task) = start(&fleet, Settings { every_ms: 3_600_000, ..Settings::default() });
    let none_due = "SELECT count(*) FROM transactions WHERE due_at <= now()";
    eventually("the first sweep to be over", LIMIT, async || (fleet.count(none_due).await == 0).then_some(())).await;
    assert!(due::now(&fleet.database.app, asked_for).await.unwrap());
    eventually("a nudge to be heard", LIMIT, async || {
        if fleet.count(none_due).await == 0 {
            return Some(());
        }
        // Again: the first may have come before anybody listened.
        due::now(&fleet.database.app, asked_for).await.unwrap();
        None
    })
    .await;
    assert!(!due::now(&fleet.database.app, Uuid::now_v7()).await.unwrap());
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_callback_whose_record_was_lost_is_applied_when_due() {
    let fleet = Fleet::with(0).await;
    sqlx::query(
        r#"INSERT INTO callbacks (id, gateway, event_id, event_type, notice, raw_sealed, raw_key_id, due_at, event_hash)
           VALUES ($1, 'stripe', 'evt_1', 'payout.paid',
                   '{"event_id": "evt_1", "event_type": "payout.paid", "attempt": null, "reference": "po_1", "claim": null}',
                   '', 'test', now(), '')"#,
    )
    .bind(Uuid::now_v7())
    .execute(&fleet.database.owner)
    .await
    .unwrap();
    let (stop, task) = start(&fleet, Settings { every_ms: 20, ..Settings::default() });
    let looked_at = "SELECT count(*) FROM callbacks WHERE state = 'unmatched' AND tries = 1 AND due_at > now()";
    eventually("it to be looked at", LIMIT, async || (fleet.count(looked_at).await == 1).then_some(())).await;
    stop.cancel();
    task.await.unwrap();
}
