//! I18: what was written stays written, whatever the application's code does.

use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::Finding;

/// Tables that are only ever appended to.
const KEPT: [&str; 3] = ["ledger_entries", "transitions", "audit"];

/// The role that everything connects as that serves traffic (`migrations/0001_roles.sql`). The checker itself comes with the fleet's
/// settings, so that whoever is named there is judged too.
const APPLICATION: &str = "payfleet_app";

pub async fn judge(books: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let mut finding = Finding::new(Invariant::I18);
    let tables = KEPT.map(str::to_owned);
    for row in sqlx::query_file!("lib/ops/sql/privileges.sql", &tables, APPLICATION).fetch_all(books).await? {
        finding.checked += 1;
        if row.wrong {
            finding.violation(|| row.says);
        }
    }
    Ok(finding)
}
