//! Guarantees of settlement: a step is taken once, whole, and only from where it was decided.

mod by_hand;
mod debts;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use payfleet::domain::change::{AttemptChange, Change, Word};
use payfleet::domain::decide::Decision;
use payfleet::domain::decide::news::{News, Source, learn};
use payfleet::domain::decide::resolve::{End, Ruling};
use payfleet::domain::ids::{Kind, Operation, PublicId};
use payfleet::domain::money::Money;
use payfleet::domain::outcome::{Outcome, Reversal};
use payfleet::domain::transaction::{AttemptState, Status, Transaction};
use payfleet::postgres::combiner::Batch;
use payfleet::settlement::{Applied, Applying, resolve};
use payfleet::transactions::acts;
use payfleet::worker::attempt::Attempts;
use uuid::Uuid;

use crate::harness::payments::Fleet;

pub fn succeeded(minor: i64) -> Outcome {
    Outcome::Succeeded { reference: "pi_1".into(), money: Money::new(minor, "EUR".parse().unwrap()) }
}

fn accepted() -> Outcome {
    Outcome::Accepted { reference: "pi_1".into() }
}

fn declined() -> Outcome {
    Outcome::Declined { reference: None, code: "no".into(), message: "No.".into() }
}

/// By an answer to a question that was put just now.
pub fn answered() -> Source {
    Source::Answer { asked_at: time::OffsetDateTime::now_utc(), delivered: true }
}

/// Sends the payment; the gateway accepts it. Gives its attempt.
async fn sent(fleet: &Fleet, id: Uuid) -> Uuid {
    fleet.stripe.then(accepted());
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    let (transaction, _) = fleet.settlement.load(id).await.unwrap();
    transaction.current_attempt().unwrap().id
}

/// The step that follows from these news, as payment and account stand now. Nobody has taken it.
pub async fn decided(fleet: &Fleet, id: Uuid, source: Source, outcome: &Outcome) -> Change {
    let (transaction, now) = fleet.settlement.load(id).await.unwrap();
    let attempt = transaction.current_attempt().unwrap().id;
    let news = News { attempt, source, outcome };
    let decision = fleet.settlement.decide(&transaction, now, |context| learn(&transaction, news, context)).unwrap();
    let Decision::Step(change) = decision else { panic!("{decision:?}") };
    *change
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_told_fifty_times_at_once_is_credited_once() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 1_250).await;
    let attempt = sent(&fleet, id).await;
    let outcome = succeeded(1_250);
    let tellings = (0..50).map(|_| fleet.settlement.learn(id, attempt, answered(), &outcome, None));
    for told in join_all(tellings).await {
        told.unwrap();
    }
    assert_eq!(fleet.balances().await, (1_250, 0, 0));
    assert_eq!(fleet.status(id).await, ("succeeded".into(), 4));
    assert_eq!(fleet.count("SELECT count(*) FROM ledger_entries").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_one_statement_on_one_account_add_up() {
    let fleet = Fleet::with(0).await;
    let mut payments = Vec::new();
    for minor in 1..=100 {
        let id = fleet.accepted(Kind::Deposit, minor).await;
        payments.push((id, sent(&fleet, id).await, succeeded(minor)));
    }
    let tellings =
        payments.iter().map(|(id, attempt, outcome)| fleet.settlement.learn(*id, *attempt, answered(), outcome, None));
    for told in join_all(tellings).await {
        told.unwrap();
    }
    assert_eq!(fleet.balances().await, (5_050, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_posted_or_released_never_both() {
    let fleet = Fleet::with(10_000).await;
    for _ in 0..20 {
        let id = fleet.accepted(Kind::Withdrawal, 100).await;
        let attempt = sent(&fleet, id).await;
        let (yes, no) = (succeeded(100), declined());
        let tellings = (0..8).map(|n| {
            let outcome = if n % 2 == 0 { &yes } else { &no };
            fleet.settlement.learn(id, attempt, answered(), outcome, None)
        });
        for told in join_all(tellings).await {
            told.unwrap();
        }
    }
    let ends = "SELECT count(*) FROM ledger_entries WHERE account = 'held' AND side = 'debit'";
    assert_eq!(fleet.count(ends).await, 20);
    let (available, held, _) = fleet.balances().await;
    let posted =
        "SELECT coalesce(sum(amount), 0)::bigint FROM ledger_entries WHERE effect = 'post' AND account = 'held'";
    assert_eq!((available, held), (10_000 - fleet.count(posted).await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_run_again_after_its_answer_was_lost_says_the_same_and_changes_nothing() {
    let fleet = Fleet::with(1_000).await;
    let id = fleet.accepted(Kind::Withdrawal, 1_000).await;
    sent(&fleet, id).await;
    let request = [Arc::new(decided(&fleet, id, answered(), &succeeded(1_000)).await)];
    let mut connection = fleet.database.app.acquire().await.unwrap();
    for _ in 0..2 {
        assert_eq!(Applying.run(&mut connection, &request).await.unwrap(), [Applied::Taken]);
    }
    assert_eq!(fleet.balances().await, (0, 0, 0));
    assert_eq!(fleet.status(id).await, ("succeeded".into(), 4));
}

/// That its step was committed was never heard of, so the news is looked at again: by then the step is one of the past.
#[tokio::test(flavor = "multi_thread")]
async fn news_that_have_led_to_a_step_are_done_however_often_they_are_looked_at() {
    let fleet = Fleet::with(1_000).await;
    let id = fleet.accepted(Kind::Withdrawal, 1_000).await;
    let attempt = sent(&fleet, id).await;
    fleet.settlement.learn(id, attempt, answered(), &declined(), None).await.unwrap();
    let (_, before) = fleet.status(id).await;
    let call = Source::Call { operation: Operation::Create, begun: 2, calls: 1 };
    for _ in 0..3 {
        fleet.settlement.learn(id, attempt, call, &accepted(), None).await.unwrap();
        assert_eq!(fleet.status(id).await, ("failed".into(), before + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_has_its_transition_and_its_events_in_sequence() {
    let fleet = Fleet::with(1_000).await;
    let id = fleet.accepted(Kind::Withdrawal, 1_000).await;
    let attempt = sent(&fleet, id).await;
    let outcome = declined();
    fleet.settlement.learn(id, attempt, Source::Callback { id: Uuid::now_v7() }, &outcome, None).await.unwrap();
    fleet.settlement.learn(id, attempt, answered(), &outcome, None).await.unwrap();
    assert_eq!(fleet.status(id).await, ("failed".into(), 5));
    assert_eq!(fleet.balances().await, (1_000, 0, 0));
    let told: Vec<i64> = sqlx::query_scalar("SELECT version FROM transitions ORDER BY version")
        .fetch_all(&fleet.database.owner)
        .await
        .unwrap();
    assert_eq!(told, [1, 2, 3, 4, 5]);
    // The two rows of acceptance (1 and 2) are not written by this test's fixture.
    let sent: Vec<(i64, String)> =
        sqlx::query_as("SELECT seq, topic FROM outbox ORDER BY id").fetch_all(&fleet.database.owner).await.unwrap();
    let topics =
        ["payments.events", "payments.events", "payments.events", "payments.commands.stripe", "payments.events"];
    let expected: Vec<(i64, String)> = (3..).zip(topics.map(String::from)).collect();
    assert_eq!(sent, expected);
    let hashes = "SELECT count(*) FROM outbox o JOIN transitions t ON t.transaction_id = o.aggregate
                  AND ((t.event_seq = o.seq AND t.event_hash = sha256(o.payload)) OR (t.command_seq = o.seq AND t.command_hash = sha256(o.payload)))";
    assert_eq!(fleet.count(hashes).await, 5);
}

#[tokio::test]
async fn the_application_cannot_rewrite_history() {
    let fleet = Fleet::with(0).await;
    for table in ["ledger_entries", "transitions", "idempotency_keys"] {
        for sql in [
            format!("UPDATE {table} SET transaction_id = transaction_id"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            let error = sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&fleet.database.app).await.unwrap_err();
            assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"), "{sql}: {error}");
        }
    }
    let amount = sqlx::query("UPDATE transactions SET amount = 1").execute(&fleet.database.app).await.unwrap_err();
    assert_eq!(amount.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"));
}

/// An account of another user, for a payment that was made with the fleet's own.
async fn move_to_another_account(fleet: &Fleet, payments: &[Uuid]) {
    sqlx::query(
        "WITH owner AS (INSERT INTO users (id, handle, country) VALUES (gen_random_uuid(), 'another', 'DE') RETURNING id),
              account AS (INSERT INTO accounts (user_id, currency) SELECT id, 'EUR' FROM owner RETURNING id)
         UPDATE transactions SET account_id = account.id FROM account WHERE transactions.id = ANY ($1)",
    )
    .bind(payments)
    .execute(&fleet.database.owner)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_or_payment_that_is_locked_holds_up_nobody_else_and_is_settled_once_it_is_free() {
    let fleet = Fleet::with(0).await;
    let mut payments = Vec::new();
    for _ in 0..60 {
        let id = fleet.accepted(Kind::Deposit, 5).await;
        payments.push((id, sent(&fleet, id).await));
    }
    // The first ten wait for their account, the eleventh is locked itself.
    let others: Vec<Uuid> = payments[10..].iter().map(|(id, _)| *id).collect();
    move_to_another_account(&fleet, &others).await;
    let mut holding = fleet.database.owner.begin().await.unwrap();
    let lock = "SELECT FROM accounts a, transactions t WHERE a.id = $1 AND t.id = $2 FOR UPDATE";
    sqlx::query(lock).bind(fleet.account).bind(payments[10].0).execute(&mut *holding).await.unwrap();
    let told = |(id, attempt): (Uuid, Uuid)| {
        let settlement = fleet.settlement.clone();
        tokio::spawn(async move { settlement.learn(id, attempt, answered(), &succeeded(5), None).await })
    };
    let held_up: Vec<_> = payments[..11].iter().copied().map(told).collect();
    let begin = std::time::Instant::now();
    for settled in join_all(payments[11..].iter().copied().map(told)).await {
        settled.unwrap().unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "held up for {:?}", begin.elapsed());
    assert!(held_up.iter().all(|task| !task.is_finished()));
    holding.rollback().await.unwrap();
    for settled in join_all(held_up).await {
        settled.unwrap().unwrap();
    }
    assert_eq!(fleet.count("SELECT count(*) FROM transactions WHERE status = 'succeeded'").await, 60);
    assert_eq!(fleet.balances().await, (50, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_leaves_the_reason_why_a_payment_failed() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 5).await;
    let attempt = sent(&fleet, id).await;
    fleet.settlement.learn(id, attempt, answered(), &declined(), None).await.unwrap();
    let callback = Source::Callback { id: Uuid::now_v7() };
    fleet.settlement.learn(id, attempt, callback, &succeeded(5), None).await.unwrap();
    assert_eq!(fleet.status(id).await, ("failed".into(), 5));
    let reason: (String, String, String) =
        sqlx::query_as("SELECT reason_code, reason_message, reason_gateway_code FROM transactions")
            .fetch_one(&fleet.database.owner)
            .await
            .unwrap();
    assert_eq!(reason, ("declined".into(), "No.".into(), "no".into()));
    assert!(fleet.settlement.load(id).await.unwrap().0.contradicted);
    fleet.settlement.learn(id, attempt, answered(), &succeeded(5), None).await.unwrap();
    assert!(!fleet.settlement.load(id).await.unwrap().0.contradicted, "it stands as was said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_that_a_callback_tells_fails_no_payment_before_its_gateway_says_so_when_asked() {
    let fleet = Fleet::with(100).await;
    for kind in [Kind::Deposit, Kind::Withdrawal] {
        for (told, end) in [(succeeded(5), "succeeded"), (declined(), "failed")] {
            let id = fleet.accepted(kind, 5).await;
            let attempt = sent(&fleet, id).await;
            let callback = Source::Callback { id: Uuid::now_v7() };
            fleet.settlement.learn(id, attempt, callback, &declined(), None).await.unwrap();
            assert_eq!(fleet.status(id).await.0, "awaiting_gateway", "{kind:?}");
            fleet.settlement.learn(id, attempt, answered(), &told, None).await.unwrap();
            assert_eq!(fleet.status(id).await.0, end, "{kind:?}");
        }
    }
    assert_eq!(fleet.balances().await, (100, 0, 0));
}

/// The payment as it is read, which is how the rules have made it up.
async fn read_as(fleet: &Fleet, mut made_up: Transaction) -> Transaction {
    let (read, _) = fleet.settlement.load(made_up.id).await.unwrap();
    (made_up.updated_at, made_up.available, made_up.owed) = (read.updated_at, read.available, read.owed);
    assert_eq!(read, made_up);
    read
}

/// Takes the step that follows from the news.
async fn heard(fleet: &Fleet, id: Uuid, source: Source, outcome: &Outcome) -> Transaction {
    let (before, now) = fleet.settlement.load(id).await.unwrap();
    let news = News { attempt: before.current_attempt().unwrap().id, source, outcome };
    let decision = fleet.settlement.decide(&before, now, |context| learn(&before, news, context)).unwrap();
    let Decision::Step(change) = decision else { panic!("{decision:?}") };
    let made_up = change.applied_to(&before, now);
    fleet.settlement.commit(*change).await.unwrap();
    read_as(fleet, made_up).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contradiction_is_read_as_the_rules_make_it_up_and_no_more_once_a_human_has_settled_it() {
    let fleet = Fleet::with(100).await;
    let rings = || Source::Callback { id: Uuid::now_v7() };
    let said = |payment: &Transaction| (payment.status, payment.contradicted, payment.came_back_when_asked);

    let id = fleet.accepted(Kind::Deposit, 5).await;
    sent(&fleet, id).await;
    heard(&fleet, id, answered(), &succeeded(5)).await;
    assert_eq!(said(&heard(&fleet, id, rings(), &declined()).await), (Status::Succeeded, true, false));
    assert_eq!(heard(&fleet, id, answered(), &declined()).await.status, Status::Review);
    let (before, now) = fleet.settlement.load(id).await.unwrap();
    let word = Word { operator: "ada".into(), says: "seen in their console".into() };
    let ruling = Ruling { id: Uuid::now_v7(), end: End::Succeeded, moved: Some(5), seen: None, word };
    let mut books = fleet.database.app.acquire().await.unwrap();
    let change = resolve(&mut books, PublicId { kind: Kind::Deposit, id }, &ruling).await.unwrap();
    let settled = read_as(&fleet, change.applied_to(&before, now)).await;
    assert_eq!((said(&settled), settled.is_resolved()), ((Status::Succeeded, false, false), true));

    let id = fleet.accepted(Kind::Withdrawal, 5).await;
    sent(&fleet, id).await;
    heard(&fleet, id, answered(), &succeeded(5)).await;
    for _ in 0..2 {
        assert_eq!(said(&heard(&fleet, id, rings(), &declined()).await), (Status::Succeeded, true, false));
        assert_eq!(said(&heard(&fleet, id, answered(), &declined()).await), (Status::Succeeded, true, true));
    }
    assert_eq!(said(&heard(&fleet, id, answered(), &declined()).await), (Status::Reversed, false, false));

    let id = fleet.accepted(Kind::Deposit, 5).await;
    sent(&fleet, id).await;
    let money = Money::new(5, "EUR".parse().unwrap());
    let back = Outcome::Reversed { reference: "pi_1".into(), money, how: Reversal::Chargeback };
    assert_eq!(said(&heard(&fleet, id, answered(), &back).await), (Status::Succeeded, true, true));

    let id = fleet.accepted(Kind::Deposit, 5).await;
    sent(&fleet, id).await;
    heard(&fleet, id, answered(), &succeeded(5)).await;
    assert_eq!(said(&heard(&fleet, id, answered(), &Outcome::NotFound).await), (Status::Succeeded, true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_an_attempt_is_never_forgotten_for_something_vaguer() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 5).await;
    let attempt = sent(&fleet, id).await;
    let (transaction, _) = fleet.settlement.load(id).await.unwrap();
    let stale = transaction.attempt_by_id(attempt).unwrap().clone();
    for (news, stands) in [
        (AttemptState::Approved, "approved"),
        (AttemptState::Accepted, "approved"),
        (AttemptState::Succeeded, "succeeded"),
        (AttemptState::Declined, "succeeded"),
        (AttemptState::Accepted, "succeeded"),
    ] {
        let change = AttemptChange {
            id: stale.id,
            number: stale.number,
            round: stale.round,
            gateway: stale.gateway.clone(),
            state: news,
            reference: None,
            gateway_code: None,
            gateway_text: None,
            not_found: None,
        };
        acts::note_attempt(&fleet.database.app, &change).await.unwrap();
        let state: (String, String) =
            sqlx::query_as("SELECT state, reference FROM attempts").fetch_one(&fleet.database.owner).await.unwrap();
        assert_eq!(state, (stands.into(), "pi_1".into()), "after {news:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_whose_key_was_retired_is_sent_nowhere_and_holds_up_no_question() {
    let fleet = Fleet::with(100).await;
    let id = fleet.accepted(Kind::Withdrawal, 100).await;
    let attempt = sent(&fleet, id).await;
    sqlx::query("UPDATE transactions SET destination_key_id = 'retired'").execute(&fleet.database.owner).await.unwrap();
    let (transaction, now) = fleet.settlement.load(id).await.unwrap();
    let to_send = fleet.settlement.payment(&transaction, transaction.current_attempt().unwrap()).await;
    assert!(to_send.is_err_and(|error| error.is_lasting()));
    fleet.stripe.then(succeeded(100));
    fleet.settlement.ask(&transaction, attempt, now, true).await.unwrap();
    assert_eq!((fleet.status(id).await.0, fleet.balances().await), ("succeeded".into(), (0, 0, 0)));
}

#[tokio::test]
async fn a_server_out_of_disk_or_memory_is_tried_again() {
    let fleet = Fleet::with(0).await;
    for (code, transient) in [("53100", true), ("53200", true), ("40P01", true), ("23505", false)] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&fleet.database.app).await.unwrap_err();
        assert_eq!(payfleet::postgres::is_transient(&error), transient, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_lacks_the_attempt_it_is_said_to_have_goes_to_a_human_like_one_of_which_nothing_is_told() {
    let fleet = Fleet::with(0).await;
    let id = fleet.accepted(Kind::Deposit, 100).await;
    let lacks =
        "UPDATE transactions SET status = 'awaiting_gateway', attempt = 1, created_at = now() - interval '3 days'";
    sqlx::query(lacks).execute(&fleet.database.owner).await.unwrap();
    let mut looks = 0;
    while fleet.status(id).await.0 == "awaiting_gateway" {
        fleet.settlement.fell_due(id).await.unwrap();
        looks += 1;
        assert!(looks < 100, "it is looked at for ever");
    }
    assert_eq!((fleet.status(id).await.0.as_str(), looks), ("review", 30));
}
