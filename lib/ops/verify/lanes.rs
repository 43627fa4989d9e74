//! I19: a lane's progress has one owner at a time, and never goes back.

use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::{Finding, Violation};

pub async fn judge(books: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checkpoints = sqlx::query_file_scalar!("lib/ops/sql/checkpoints.sql").fetch_one(&mut *books).await?;
    let mut finding = Finding { checked: checkpoints.unsigned_abs(), ..Finding::new(Invariant::I19) };
    let fallen = sqlx::query_file_as!(Violation, "lib/ops/sql/fallen_checkpoints.sql").fetch_all(&mut *books).await?;
    finding.violations_of(fallen);
    Ok(finding)
}
