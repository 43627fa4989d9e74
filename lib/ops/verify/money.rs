//! I1–I4: the ledger by itself.

use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::Finding;
use super::rules;
use crate::ledger;

pub async fn judge(books: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let volume = ledger::volume(books).await?;
    let (entries, accounts) = (volume.entries.unsigned_abs(), volume.accounts.unsigned_abs());

    let mut conserved = Finding { checked: entries, ..Finding::new(Invariant::I1) };
    conserved.violations_of(ledger::unbalanced_effects(books).await?);
    conserved.violations_of(ledger::unbalanced_currencies(books).await?);
    conserved.violations_of(ledger::strayed_payments(books).await?);

    let mut folded = Finding { checked: accounts, ..Finding::new(Invariant::I2) };
    folded.violations_of(ledger::strayed_balances(books).await?);

    let mut never_below = Finding { checked: accounts, ..Finding::new(Invariant::I3) };
    never_below.violations_of(ledger::negative_balances(books).await?);
    never_below.violations_of(ledger::overdrawn(books).await?);
    rules::judge(books, rules::BALANCES, &mut never_below).await?;

    let mut once = Finding { checked: entries, ..Finding::new(Invariant::I4) };
    once.violations_of(ledger::repeated_effects(books).await?);
    once.violations_of(ledger::twice_ended_holds(books).await?);
    rules::judge(books, rules::EFFECTS, &mut once).await?;

    Ok(vec![conserved, folded, never_below, once])
}
