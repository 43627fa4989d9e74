//! I12, I16, I26: the steps that payments took, and whether the ledger says the same.

use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::{Finding, Violation};
use super::rules;
use crate::domain::transaction::{Status, UnknownWord};

pub async fn judge(books: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let steps = sqlx::query_file_scalar!("lib/ops/sql/steps.sql").fetch_one(&mut *books).await?.unsigned_abs();
    let payments = sqlx::query_file_scalar!("lib/ops/sql/payments.sql").fetch_one(&mut *books).await?.unsigned_abs();

    let mut once_per_cause = Finding { checked: steps, ..Finding::new(Invariant::I12) };
    let repeated = sqlx::query_file_as!(Violation, "lib/ops/sql/repeated_causes.sql").fetch_all(&mut *books).await?;
    once_per_cause.violations_of(repeated);
    rules::judge(books, rules::CAUSES, &mut once_per_cause).await?;

    let mut agree = Finding { checked: payments, ..Finding::new(Invariant::I26) };
    let apart = sqlx::query_file_as!(Violation, "lib/ops/sql/disagreeing_payments.sql").fetch_all(&mut *books).await?;
    agree.violations_of(apart);

    Ok(vec![once_per_cause, legal(books, steps).await?, agree])
}

async fn legal(books: &mut PgConnection, steps: u64) -> Result<Finding, sqlx::Error> {
    let mut finding = Finding { checked: steps, ..Finding::new(Invariant::I16) };
    for kind in sqlx::query_file!("lib/ops/sql/kinds_of_step.sql").fetch_all(&mut *books).await? {
        if !may_follow(kind.from_status.as_deref(), &kind.to_status).unwrap_or(false) {
            let from = kind.from_status.as_deref().unwrap_or("nothing");
            finding.violations_of(vec![Violation {
                example: format!("{from} → {} ({} times, as in {})", kind.to_status, kind.steps, kind.example),
                total: kind.steps,
            }]);
        }
    }
    let broken = sqlx::query_file_as!(Violation, "lib/ops/sql/broken_chains.sql").fetch_all(&mut *books).await?;
    finding.violations_of(broken);
    rules::judge(books, rules::STEPS, &mut finding).await?;
    Ok(finding)
}

fn may_follow(from: Option<&str>, to: &str) -> Result<bool, UnknownWord> {
    let to: Status = to.parse()?;
    match from {
        None => Ok(to == Status::Created),
        Some(from) => Ok(from.parse::<Status>()?.may_become(to)),
    }
}
