//! Guarantees of the ends that come from outside the flow: the owner calls a payment off, a gateway takes it back, a human settles it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use payfleet::domain::change::{Change, Word};
use payfleet::domain::decide::resolve::{End, Ruling, Unresolvable};
use payfleet::domain::ids::{Kind, PublicId};
use payfleet::domain::money::Money;
use payfleet::domain::outcome::{Outcome, Reversal};
use payfleet::ops::verify::{Inputs, Invariant, Rest, Verdict, verify};
use payfleet::settlement::{Cancelled, ResolveError, resolve};
use payfleet::worker::attempt::Attempts;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::harness::payments::Fleet;
use crate::settlement::{answered, succeeded};

pub fn back(minor: i64) -> Outcome {
    let money = Money::new(minor, "EUR".parse().unwrap());
    Outcome::Reversed { reference: "pi_1".into(), money, how: Reversal::Chargeback }
}

async fn told(fleet: &Fleet, id: Uuid, outcome: &Outcome) {
    let (transaction, _) = fleet.settlement.load(id).await.unwrap();
    let attempt = transaction.current_attempt().unwrap().id;
    fleet.settlement.learn(id, attempt, answered(), outcome, None).await.unwrap();
}

/// Sent and accepted by its gateway.
async fn sent(fleet: &Fleet, kind: Kind, amount: i64) -> Uuid {
    let id = fleet.accepted(kind, amount).await;
    fleet.stripe.then(Outcome::Accepted { reference: "pi_1".into() });
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    id
}

pub async fn settled(fleet: &Fleet, kind: Kind, amount: i64) -> Uuid {
    let id = sent(fleet, kind, amount).await;
    told(fleet, id, &succeeded(amount)).await;
    id
}

/// The ledger by itself, and against the statuses. Only where every balance came about by payments.
pub async fn the_books_are_right(fleet: &Fleet) {
    use Invariant::{I1, I2, I3, I4, I12, I16, I26};
    let inputs = Inputs {
        postgres: fleet.database.settings(),
        kafka: None,
        charge_log: None,
        load_log: None,
        rest: Rest::Live,
        only: [I1, I2, I3, I4, I12, I16, I26].into(),
    };
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!(report.findings.len(), 7);
    assert!(report.findings.iter().all(|finding| finding.verdict() == Verdict::Held), "{}", report.table());
}

/// So corrupted, status and ledger no longer agree.
async fn the_checker_finds(fleet: &Fleet, corruption: &'static str) {
    sqlx::raw_sql(corruption).execute(&fleet.database.owner).await.unwrap();
    let postgres = fleet.database.settings();
    let only = [Invariant::I26].into();
    let inputs = Inputs { postgres, kafka: None, charge_log: None, load_log: None, rest: Rest::Live, only };
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!(report.findings[0].verdict(), Verdict::Violated, "after {corruption}: {}", report.table());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_cancelled_first_is_sent_nowhere_and_its_money_is_back() {
    let fleet = Fleet::with(1_000).await;
    let id = fleet.accepted(Kind::Withdrawal, 400).await;
    assert_eq!(fleet.settlement.cancel(id).await.unwrap(), Cancelled::Now);
    assert_eq!((fleet.balances().await, fleet.status(id).await), ((1_000, 0, 0), ("cancelled".into(), 2)));
    Attempts::new(fleet.settlement.clone()).handle(Fleet::first_command(id)).await.unwrap();
    fleet.settlement.fell_due(id).await.unwrap();
    assert!(fleet.stripe.calls.lock().unwrap().is_empty());
    assert_eq!(fleet.settlement.cancel(id).await.unwrap(), Cancelled::Before);
    assert_eq!((fleet.balances().await, fleet.status(id).await), ((1_000, 0, 0), ("cancelled".into(), 2)));
    let told =
        "SELECT count(*) FROM outbox o JOIN transitions t ON t.transaction_id = o.aggregate AND t.event_seq = o.seq
                WHERE t.actor = 'client' AND t.to_status = 'cancelled' AND t.event_hash = sha256(o.payload)";
    assert_eq!(fleet.count(told).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_sent_first_cannot_be_cancelled_and_keeps_its_hold() {
    let fleet = Fleet::with(1_000).await;
    let id = sent(&fleet, Kind::Withdrawal, 400).await;
    assert_eq!(fleet.settlement.cancel(id).await.unwrap(), Cancelled::TooLate);
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((600, 400, 0), "awaiting_gateway".into()));
}

/// Under a recorder of its own, which knows what this work alone has met.
async fn recorded<T>(recorder: PrometheusRecorder, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| metrics::with_local_recorder(&recorder, || work.as_mut().poll(context))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_worker_and_an_owner_who_decide_at_the_same_time_exactly_one_has_the_payment() {
    let fleet = Fleet::with(4_000).await;
    let mut payments = Vec::new();
    for _ in 0..40 {
        payments.push(fleet.accepted(Kind::Withdrawal, 100).await);
        fleet.stripe.then(Outcome::Accepted { reference: "pi_1".into() });
    }
    // Nobody can commit until all have decided.
    let mut holding = fleet.database.owner.begin().await.unwrap();
    sqlx::query("SELECT FROM accounts, transactions FOR UPDATE").execute(&mut *holding).await.unwrap();
    let (mut racing, mut met) = (Vec::new(), Vec::new());
    for (n, id) in payments.iter().copied().enumerate() {
        let (attempts, settlement) = (Attempts::new(fleet.settlement.clone()), fleet.settlement.clone());
        let work = async move { attempts.handle(Fleet::first_command(id)).await.map(|()| None) };
        let call_off = async move { settlement.cancel(id).await.map(Some) };
        let both: [futures_util::future::BoxFuture<'static, _>; 2] = [Box::pin(work), Box::pin(call_off)];
        let [first, second] = both;
        let racers = if n % 2 == 0 { [first, second] } else { [second, first] };
        for racer in racers {
            let recorder = PrometheusBuilder::new().build_recorder();
            met.push(recorder.handle());
            racing.push(tokio::spawn(recorded(recorder, racer)));
        }
    }
    crate::harness::eventually("every one to have found its payment locked", Duration::from_secs(10), async || {
        met.iter().all(|told| told.render().contains("payfleet_settlement_busy_total")).then_some(())
    })
    .await;
    assert!(racing.iter().all(|task| !task.is_finished()));
    holding.rollback().await.unwrap();
    let mut cancelled = 0;
    for raced in join_all(racing).await {
        cancelled += i64::from(raced.unwrap().unwrap() == Some(Cancelled::Now));
    }
    let standing = "SELECT count(*) FROM transactions WHERE status = 'cancelled'";
    assert_eq!(fleet.count(standing).await, cancelled);
    let under_way = "SELECT count(*) FROM transactions t JOIN attempts a ON a.transaction_id = t.id WHERE t.status = 'awaiting_gateway'";
    assert_eq!(fleet.count(under_way).await, 40 - cancelled);
    assert_eq!(fleet.stripe.calls.lock().unwrap().len() as i64, 40 - cancelled);
    assert_eq!(fleet.balances().await, (cancelled * 100, (40 - cancelled) * 100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_taken_back_takes_what_is_there_and_the_rest_is_owed_until_it_is_repaid() {
    let fleet = Fleet::with(0).await;
    let kept = settled(&fleet, Kind::Deposit, 500).await;
    told(&fleet, kept, &back(500)).await;
    assert_eq!((fleet.balances().await, fleet.status(kept).await.0), ((0, 0, 0), "reversed".into()));
    let spent = settled(&fleet, Kind::Deposit, 1_000).await;
    let payout = fleet.accepted(Kind::Withdrawal, 700).await;
    told(&fleet, spent, &back(1_000)).await;
    assert_eq!((fleet.balances().await, fleet.status(spent).await.0), ((0, 700, 700), "reversed".into()));
    told(&fleet, spent, &back(1_000)).await;
    assert_eq!(fleet.balances().await, (0, 700, 700), "told twice");
    fleet.settlement.cancel(payout).await.unwrap();
    settled(&fleet, Kind::Deposit, 1_000).await;
    assert_eq!(fleet.balances().await, (1_000, 0, 0));
    the_books_are_right(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deposits_taken_back_at_once_from_one_account_never_take_the_same_money() {
    let fleet = Fleet::with(0).await;
    let mut payments = Vec::new();
    for _ in 0..10 {
        payments.push(settled(&fleet, Kind::Deposit, 100).await);
    }
    let payout = settled(&fleet, Kind::Withdrawal, 650).await;
    let outcome = back(100);
    join_all(payments.iter().map(|id| told(&fleet, *id, &outcome))).await;
    assert_eq!(fleet.balances().await, (0, 0, 650));
    // The payout comes back as well, and repays what is owed.
    let failed = Outcome::Declined { reference: None, code: "account_closed".into(), message: "Closed.".into() };
    told(&fleet, payout, &failed).await;
    assert_eq!(fleet.status(payout).await.0, "succeeded", "told once");
    told(&fleet, payout, &failed).await;
    assert_eq!((fleet.balances().await, fleet.status(payout).await.0), ((0, 0, 0), "reversed".into()));
    the_books_are_right(&fleet).await;
}

#[tokio::test]
async fn a_success_told_of_a_payment_that_was_taken_back_moves_nothing_and_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let counted = || recorder.handle().render().contains("successes_after_reversal_total{gateway=\"stripe\"} 1");
    let fleet = Fleet::with(0).await;
    let id = settled(&fleet, Kind::Deposit, 500).await;
    told(&fleet, id, &succeeded(500)).await;
    told(&fleet, id, &back(500)).await;
    assert!(!counted());
    told(&fleet, id, &succeeded(500)).await;
    assert!(counted());
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 0, 0), "reversed".into()));
}

pub fn ruling(end: End, moved: Option<i64>) -> Ruling {
    Ruling {
        id: Uuid::now_v7(),
        end,
        moved,
        seen: None,
        word: Word { operator: "ada".into(), says: "seen in their console".into() },
    }
}

pub async fn ruled(fleet: &Fleet, kind: Kind, id: Uuid, ruling: &Ruling) -> Result<Change, ResolveError> {
    let mut books = fleet.database.app.acquire().await.unwrap();
    resolve(&mut books, PublicId { kind, id }, ruling).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_human_settles_a_wrong_amount_and_the_difference_stands_in_suspense() {
    let fleet = Fleet::with(0).await;
    let id = sent(&fleet, Kind::Deposit, 1_000).await;
    let early = ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, None)).await;
    assert!(matches!(early, Err(ResolveError::Unresolvable(Unresolvable::NotInReview(_)))), "{early:?}");
    told(&fleet, id, &succeeded(999)).await;
    assert_eq!(fleet.status(id).await.0, "review");
    let other_kind = ruled(&fleet, Kind::Withdrawal, id, &ruling(End::Succeeded, None)).await;
    assert!(matches!(other_kind, Err(ResolveError::NoSuchTransaction)), "{other_kind:?}");
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(999))).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((1_000, 0, 0), "succeeded".into()));
    let fold = "SELECT sum(CASE side WHEN 'debit' THEN amount ELSE -amount END)::bigint FROM ledger_entries WHERE account = 'clearing'";
    assert_eq!(fleet.count(fold).await, 999);
    let word = "SELECT count(*) FROM transitions WHERE actor = 'operator' AND operator = 'ada' AND operator_says = 'seen in their console'";
    assert_eq!(fleet.count(word).await, 1);
    let shown = "SELECT count(*) FROM transactions WHERE reason_message LIKE '%console%'";
    assert_eq!(fleet.count(shown).await, 0, "the owner reads what the operator said");
    the_books_are_right(&fleet).await;
    let nobodys =
        "UPDATE transitions SET actor = 'worker', operator = NULL, operator_says = NULL WHERE actor = 'operator'";
    the_checker_finds(&fleet, nobodys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_stood_in_suspense_is_cleared_once_the_gateway_has_given_the_money_back() {
    let fleet = Fleet::with(0).await;
    let id = sent(&fleet, Kind::Deposit, 1_000).await;
    told(&fleet, id, &succeeded(900)).await;
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(900))).await.unwrap();
    told(&fleet, id, &succeeded(900)).await;
    assert_eq!(fleet.status(id).await.0, "succeeded", "told again what the operator knew");
    told(&fleet, id, &back(900)).await;
    assert_eq!(fleet.status(id).await.0, "review");
    let less = ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(800))).await;
    assert!(matches!(less, Err(ResolveError::Unresolvable(Unresolvable::SuspendedBefore))), "{less:?}");
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Reversed, Some(0))).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 0, 0), "reversed".into()));
    let open = "SELECT count(*) FROM (SELECT account FROM ledger_entries WHERE account IN ('clearing', 'suspense') GROUP BY account
                HAVING sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) <> 0) open";
    assert_eq!(fleet.count(open).await, 0);
    the_books_are_right(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_made_after_its_hold_was_released_is_taken_from_what_the_user_has() {
    let fleet = Fleet::with(0).await;
    settled(&fleet, Kind::Deposit, 1_000).await;
    let id = sent(&fleet, Kind::Withdrawal, 800).await;
    told(&fleet, id, &Outcome::Declined { reference: None, code: "no".into(), message: "No.".into() }).await;
    settled(&fleet, Kind::Withdrawal, 700).await;
    told(&fleet, id, &succeeded(800)).await;
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((300, 0, 0), "review".into()));
    ruled(&fleet, Kind::Withdrawal, id, &ruling(End::Succeeded, None)).await.unwrap();
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 0, 500), "succeeded".into()));
    the_books_are_right(&fleet).await;
    told(&fleet, id, &back(800)).await;
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((300, 0, 0), "reversed".into()));
    the_books_are_right(&fleet).await;
    the_checker_finds(&fleet, "UPDATE ledger_entries SET amount = amount - 1 WHERE effect = 'recover'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_humans_who_settle_one_payment_at_once_one_is_heard() {
    let fleet = Fleet::with(0).await;
    settled(&fleet, Kind::Deposit, 6_000).await;
    let fleet = Arc::new(fleet);
    for round in 1..=6 {
        let id = sent(&fleet, Kind::Withdrawal, 1_000).await;
        told(&fleet, id, &succeeded(999)).await;
        let words = (0..8).map(|n| {
            let fleet = Arc::clone(&fleet);
            // One posts the hold, the other releases it.
            let word = if (n + round) % 2 == 0 { (End::Succeeded, Some(999)) } else { (End::Failed, Some(0)) };
            tokio::spawn(async move { ruled(&fleet, Kind::Withdrawal, id, &ruling(word.0, word.1)).await.map(drop) })
        });
        let told: Vec<_> = join_all(words).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
        // Those who were late find the payment, or its books, as the first has left them.
        let late = |error: &ResolveError| match error {
            ResolveError::Unresolvable(why) => matches!(why, Unresolvable::NotInReview(_) | Unresolvable::HadSucceeded),
            other => matches!(other, ResolveError::Contended),
        };
        assert!(told.iter().filter_map(|told| told.as_ref().err()).all(late), "refused before any race: {told:?}");
        assert_eq!(fleet.count("SELECT count(*) FROM audit").await, round);
        let ends = "SELECT count(*) FROM ledger_entries WHERE account = 'held' AND side = 'debit'";
        assert_eq!(fleet.count(ends).await, round);
    }
    the_books_are_right(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_cannot_be_put_on_record_settles_nothing() {
    let fleet = Fleet::with(0).await;
    let id = sent(&fleet, Kind::Deposit, 1_000).await;
    told(&fleet, id, &succeeded(999)).await;
    sqlx::query("REVOKE INSERT ON audit FROM payfleet_app").execute(&fleet.database.owner).await.unwrap();
    let refused = ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(999))).await;
    assert!(matches!(refused, Err(ResolveError::Database(_))), "{refused:?}");
    assert_eq!((fleet.balances().await, fleet.status(id).await.0), ((0, 0, 0), "review".into()));
}

async fn program(fleet: &Fleet, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
    command.env_clear().env("PAYFLEET_POSTGRES__URL", &fleet.database.url);
    command.args(arguments).output().await.unwrap()
}

async fn payfleet(fleet: &Fleet, id: PublicId, more: &[&str]) -> Output {
    program(fleet, &[["resolve", &id.to_string()].as_slice(), more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_done_from_refused_and_from_not_understood() {
    let fleet = Fleet::with(0).await;
    let id = settled(&fleet, Kind::Deposit, 1_000).await;
    let public = PublicId { kind: Kind::Deposit, id };
    let word = ["--reason", "a part of it was refunded", "--actor", "ada"];
    let with_word = |end| [[end].as_slice(), &word].concat();
    let refused = payfleet(&fleet, public, &with_word("reversed")).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it stands at succeeded"), "{refused:?}");
    told(&fleet, id, &back(400)).await;
    assert_eq!(fleet.status(id).await.0, "review");
    for unclear in [
        ["reversed"].as_slice(),
        &["undone", "--reason", "x", "--actor", "ada"],
        &["reversed", "--reason", " ", "--actor", "ada"],
    ] {
        assert_eq!(payfleet(&fleet, public, unclear).await.status.code(), Some(64), "{unclear:?}");
    }
    let failed = payfleet(&fleet, public, &with_word("failed")).await;
    assert_eq!(failed.status.code(), Some(3), "{failed:?}");
    let all = payfleet(&fleet, public, &with_word("succeeded")).await;
    let said = String::from_utf8_lossy(&all.stderr).into_owned();
    assert_eq!(all.status.code(), Some(3), "{said}");
    assert!(
        ["taken_back", "The gateway took 4.00 EUR back", "--moved"].iter().all(|part| said.contains(part)),
        "{said}"
    );
    let done =
        payfleet(&fleet, public, &[with_word("reversed").as_slice(), &["--moved", "600", "--json"]].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let json: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&json["status"], &json["substatus"]), (&"reversed".into(), &"chargeback".into()));
    assert_eq!(json["entries"].as_array().unwrap().len(), 4, "{json}");
    // What was refused or not understood has left nothing.
    let audit = program(&fleet, &["audit", "list", "--json"]).await;
    let audit: Value = serde_json::from_slice(&audit.stdout).unwrap();
    let shown = |act: &Value| json!(["actor", "act", "subject", "reason", "details"].map(|part| &act[part]));
    let acts: Vec<Value> = audit.as_array().unwrap().iter().map(shown).collect();
    let details = json!({ "end": "reversed", "moved": 600, "version": json["version"] });
    let act = json!(["ada", "payment.resolve", public.to_string(), "a part of it was refunded", details]);
    assert_eq!(acts, [act]);
    assert_eq!(fleet.balances().await, (0, 0, 0));
    the_books_are_right(&fleet).await;
    let unknown = PublicId { kind: Kind::Deposit, id: Uuid::now_v7() };
    assert_eq!(payfleet(&fleet, unknown, &with_word("failed")).await.status.code(), Some(3));
}
