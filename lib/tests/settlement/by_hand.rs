//! What a human has settled, and what is told of it afterwards: in which gateway's accounts it stands, and that it stands there once.

use payfleet::domain::decide::resolve::{End, Unresolvable};
use payfleet::domain::event::{Act, Command};
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::Outcome;
use payfleet::settlement::ResolveError;
use payfleet::worker::attempt::Attempts;
use uuid::Uuid;

use super::{answered, declined, sent, succeeded};
use crate::endings::{ruled, ruling, the_books_are_right};
use crate::harness::payments::Fleet;

/// (available, at stripe, at bank, in suspense)
async fn books(fleet: &Fleet) -> (i64, i64, i64, i64) {
    let fold = "SELECT coalesce(sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FILTER (WHERE account = 'clearing' AND gateway = 'stripe'), 0)::bigint,
                       coalesce(sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FILTER (WHERE account = 'clearing' AND gateway = 'bank'), 0)::bigint,
                       coalesce(sum(CASE side WHEN 'credit' THEN amount ELSE -amount END) FILTER (WHERE account = 'suspense'), 0)::bigint
                FROM ledger_entries";
    let (stripe, bank, suspense) = sqlx::query_as(fold).fetch_one(&fleet.database.owner).await.unwrap();
    (fleet.balances().await.0, stripe, bank, suspense)
}

/// Sent to stripe, which never said what became of it.
async fn silent(fleet: &Fleet) -> (Uuid, Uuid) {
    let id = fleet.accepted(Kind::Deposit, 1_000).await;
    let attempt = sent(fleet, id).await;
    let long_ago = "UPDATE transactions SET asks = 99; UPDATE attempts SET created_at = created_at - interval '3 days'";
    sqlx::raw_sql(long_ago).execute(&fleet.database.owner).await.unwrap();
    fleet.settlement.fell_due(id).await.unwrap();
    assert_eq!(fleet.status(id).await.0, "review");
    (id, attempt)
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_a_human_has_put_into_suspense_is_not_credited_when_its_gateway_speaks_at_last() {
    let fleet = Fleet::with(0).await;
    let (id, attempt) = silent(&fleet).await;
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Failed, Some(1_000))).await.unwrap();
    assert_eq!(books(&fleet).await, (0, 1_000, 0, 1_000));
    fleet.settlement.learn(id, attempt, answered(), &succeeded(1_000), None).await.unwrap();
    assert_eq!((books(&fleet).await, fleet.status(id).await.0), ((0, 1_000, 0, 1_000), "review".into()));
    let twice = ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, None)).await;
    assert!(matches!(twice, Err(ResolveError::Unresolvable(Unresolvable::InSuspense))), "{twice:?}");
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(1_000))).await.unwrap();
    assert_eq!((books(&fleet).await, fleet.status(id).await.0), ((1_000, 1_000, 0, 0), "succeeded".into()));
    the_books_are_right(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_a_human_has_failed_by_mistake_is_a_humans_again_when_its_gateway_speaks_at_last() {
    let fleet = Fleet::with(0).await;
    let (id, attempt) = silent(&fleet).await;
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Failed, None)).await.unwrap();
    fleet.settlement.learn(id, attempt, answered(), &succeeded(1_000), None).await.unwrap();
    assert_eq!((books(&fleet).await, fleet.status(id).await.0), ((0, 0, 0, 0), "review".into()));
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, None)).await.unwrap();
    assert_eq!((books(&fleet).await, fleet.status(id).await.0), ((1_000, 1_000, 0, 0), "succeeded".into()));
    the_books_are_right(&fleet).await;
}

/// Given up at stripe, then settled at bank as it says.
async fn second(fleet: &Fleet, outcome: Outcome) -> (Uuid, Uuid) {
    let id = fleet.accepted(Kind::Deposit, 1_000).await;
    let attempts = Attempts::new(fleet.settlement.clone());
    fleet.stripe.then(Outcome::Unreachable { why: "refused".into() });
    attempts.handle(Fleet::first_command(id)).await.unwrap();
    let (given_up, _) = fleet.settlement.load(id).await.unwrap();
    fleet.bank.then(outcome);
    let version = given_up.version;
    let command =
        Command { transaction_id: id, act: Act::Create, attempt: 2, gateway: "bank".into(), version, calls: 0 };
    attempts.handle(command).await.unwrap();
    (id, given_up.attempts[0].id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_human_books_stands_at_the_gateway_whose_attempt_has_the_money() {
    for (end, available, suspense) in [(End::Failed, 0, 1_000), (End::Succeeded, 1_000, 0)] {
        let fleet = Fleet::with(0).await;
        let (id, first) = second(&fleet, declined()).await;
        assert_eq!(fleet.status(id).await.0, "failed");
        fleet.settlement.learn(id, first, answered(), &succeeded(1_000), None).await.unwrap();
        assert_eq!(fleet.status(id).await.0, "review");
        ruled(&fleet, Kind::Deposit, id, &ruling(end, Some(1_000))).await.unwrap();
        assert_eq!(books(&fleet).await, (available, 1_000, 0, suspense), "{end:?}");
        // Without an entry of a user there is nothing to judge balances by.
        if end == End::Succeeded {
            the_books_are_right(&fleet).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_gateways_have_moved_of_one_payment_stands_at_each() {
    let fleet = Fleet::with(0).await;
    let (id, first) = second(&fleet, succeeded(1_000)).await;
    assert_eq!(fleet.status(id).await.0, "succeeded");
    fleet.settlement.learn(id, first, answered(), &succeeded(1_000), None).await.unwrap();
    ruled(&fleet, Kind::Deposit, id, &ruling(End::Succeeded, Some(2_000))).await.unwrap();
    assert_eq!((books(&fleet).await, fleet.status(id).await.0), ((1_000, 1_000, 1_000, 1_000), "succeeded".into()));
    the_books_are_right(&fleet).await;
}
