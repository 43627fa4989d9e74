//! Guarantees of what is owed: repaid first and once, whoever else of the account is settled in the same statement.

use std::sync::Arc;

use futures_util::future::join_all;
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::Outcome;
use payfleet::postgres::combiner::Batch;
use payfleet::settlement::{Applied, Applying};
use uuid::Uuid;

use super::{answered, decided, move_to_another_account, sent, succeeded};
use crate::endings::{back, settled, the_books_are_right};
use crate::harness::payments::Fleet;

/// All in one statement.
async fn taken_together(fleet: &Fleet, news: &[(Uuid, Outcome)]) -> Vec<Applied> {
    let mut changes = Vec::new();
    for (id, outcome) in news {
        changes.push(Arc::new(decided(fleet, *id, answered(), outcome).await));
    }
    let mut connection = fleet.database.app.acquire().await.unwrap();
    Applying.run(&mut connection, &changes).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_repays_what_is_owed_first_and_only_once() {
    let fleet = Fleet::with(0).await;
    sqlx::query("UPDATE accounts SET owed = 500").execute(&fleet.database.owner).await.unwrap();
    let mut payments = Vec::new();
    for _ in 0..2 {
        let id = fleet.accepted(Kind::Deposit, 400).await;
        payments.push((id, sent(&fleet, id).await));
    }
    let outcome = succeeded(400);
    let tellings =
        payments.iter().map(|(id, attempt)| fleet.settlement.learn(*id, *attempt, answered(), &outcome, None));
    for told in join_all(tellings).await {
        told.unwrap();
    }
    assert_eq!(fleet.balances().await, (300, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_and_a_debt_that_meet_in_one_statement_leave_what_one_after_the_other_would() {
    for debt_first in [true, false] {
        let fleet = Fleet::with(0).await;
        let spent = settled(&fleet, Kind::Deposit, 150).await;
        fleet.accepted(Kind::Withdrawal, 50).await;
        let paid = fleet.accepted(Kind::Deposit, 100).await;
        sent(&fleet, paid).await;
        let mut news = [(spent, back(150)), (paid, succeeded(100))];
        if !debt_first {
            news.reverse();
        }
        // Each was made up from 100 that are there and nothing that is owed.
        assert_eq!(taken_together(&fleet, &news).await, [Applied::Taken, Applied::Missed], "debt first: {debt_first}");
        assert_eq!(taken_together(&fleet, &news[1..]).await, [Applied::Taken]);
        assert_eq!(fleet.balances().await, (50, 50, 0), "debt first: {debt_first}");
        the_books_are_right(&fleet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_of_one_account_and_what_is_taken_from_plenty_share_a_statement() {
    let fleet = Fleet::with(0).await;
    let taken_back = settled(&fleet, Kind::Deposit, 500).await;
    let (one, other) = (fleet.accepted(Kind::Deposit, 100).await, fleet.accepted(Kind::Deposit, 200).await);
    sent(&fleet, one).await;
    sent(&fleet, other).await;
    let news = [(one, succeeded(100)), (taken_back, back(500)), (other, succeeded(200))];
    assert_eq!(taken_together(&fleet, &news).await, [Applied::Taken; 3]);
    assert_eq!(fleet.balances().await, (300, 0, 0));
    the_books_are_right(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_share_a_statement_with_somebody_elses_debt() {
    let fleet = Fleet::with(0).await;
    let spent = settled(&fleet, Kind::Deposit, 150).await;
    fleet.accepted(Kind::Withdrawal, 50).await;
    let (one, other) = (fleet.accepted(Kind::Deposit, 100).await, fleet.accepted(Kind::Deposit, 200).await);
    sent(&fleet, one).await;
    sent(&fleet, other).await;
    move_to_another_account(&fleet, &[one, other]).await;
    let news = [(one, succeeded(100)), (spent, back(150)), (other, succeeded(200))];
    assert_eq!(taken_together(&fleet, &news).await, [Applied::Taken; 3]);
    assert_eq!(fleet.balances().await, (0, 50, 50));
    assert_eq!(fleet.count("SELECT available FROM accounts WHERE owed = 0").await, 300);
}
