//! Entries of the double-entry ledger, read: the folds that say whether the books are right, and what is booked of a payment.
//!
//! Writing is part of the one statement of acceptance and of the one statement of settlement; which accounts an effect debits and
//! credits stands in [`crate::domain::posting`].

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::domain::posting::{Effect, Side};
use crate::domain::transaction::UnknownWord;

/// Books that do not add up: a few of the cases in words, and how many there are.
#[derive(Debug)]
pub struct Discrepancy {
    pub example: String,
    /// The same in each row.
    pub total: i64,
}

/// How much there is to judge.
#[derive(Debug)]
pub struct Volume {
    pub entries: i64,
    /// Users' accounts with at least one entry.
    pub accounts: i64,
}

/// What stands in the ledger of one payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Booked {
    pub effects: Vec<Effect>,
    /// The fold of its entries on `clearing`: what its gateway has for us by it.
    pub clearing: i64,
    /// The sides of `clearing` on which a difference was booked.
    pub suspended: Vec<Side>,
    /// The gateway at which it was.
    pub suspended_at: Option<String>,
}

pub async fn booked(books: &mut PgConnection, transaction: Uuid) -> Result<Booked, sqlx::Error> {
    let rows = sqlx::query_file!("lib/ledger/sql/booked.sql", transaction).fetch_all(books).await?;
    let clearing = rows.iter().map(|row| row.clearing).sum();
    let corrupt = |error: UnknownWord| sqlx::Error::Decode(Box::new(error));
    let effects = rows.iter().map(|row| row.effect.parse::<Effect>().map_err(corrupt)).collect::<Result<_, _>>()?;
    let on = |side, found: bool| found.then_some(side);
    let suspended =
        rows.iter().flat_map(|row| [on(Side::Debit, row.suspends_up), on(Side::Credit, row.suspends_down)]).flatten();
    let suspended_at = rows.iter().find_map(|row| row.suspended_at.clone());
    Ok(Booked { effects, clearing, suspended: suspended.collect(), suspended_at })
}

type Found = Result<Vec<Discrepancy>, sqlx::Error>;

pub async fn volume(books: &mut PgConnection) -> Result<Volume, sqlx::Error> {
    sqlx::query_file_as!(Volume, "lib/ledger/sql/entries.sql").fetch_one(books).await
}

/// Effects whose debits and credits differ, or that strayed to another account or currency than their transaction's.
pub async fn unbalanced_effects(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/unbalanced_effects.sql").fetch_all(books).await
}

/// Payments whose account is not their user's, not in their currency, or does not exist.
pub async fn strayed_payments(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/strayed_payments.sql").fetch_all(books).await
}

/// Currencies whose entries do not sum to zero.
pub async fn unbalanced_currencies(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/unbalanced_currencies.sql").fetch_all(books).await
}

/// Accounts whose stored balance is not the fold of their entries.
pub async fn strayed_balances(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/strayed_balances.sql").fetch_all(books).await
}

/// Entries after which a user's balance stood below zero.
pub async fn overdrawn(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/overdrawn.sql").fetch_all(books).await
}

/// Accounts that stand below zero now.
pub async fn negative_balances(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/negative_balances.sql").fetch_all(books).await
}

/// Effects booked twice on one side of an account, or by more than one step; a difference may be put into suspense and cleared again.
pub async fn repeated_effects(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/repeated_effects.sql").fetch_all(books).await
}

/// Holds that were both posted and released, or either of them twice.
pub async fn twice_ended_holds(books: &mut PgConnection) -> Found {
    sqlx::query_file_as!(Discrepancy, "lib/ledger/sql/twice_ended_holds.sql").fetch_all(books).await
}
