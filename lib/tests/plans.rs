//! The plans of statements that serve many requests at once: made when the tables are empty, they must hold when they are not; and made when
//! nobody has counted yet how much is in them, they must not read all of it.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::Connection;

use crate::harness::Database;

/// The statements, and how many parameters each has.
const STATEMENTS: [(&str, &str, usize); 5] = [
    ("accept", include_str!("../transactions/sql/accept.sql"), 38),
    ("apply", include_str!("../settlement/sql/apply.sql"), 52),
    ("load", include_str!("../transactions/sql/load.sql"), 1),
    ("load attempts", include_str!("../transactions/sql/load_attempts.sql"), 1),
    ("store", include_str!("../callbacks/sql/store.sql"), 11),
];

/// Every node of a plan, as it is.
fn nodes<'a>(plan: &'a Value, into: &mut Vec<&'a Value>) {
    into.push(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        nodes(child, into);
    }
}

/// Entered by another column than its first, an index is read from end to end.
fn reads_all(node: &Value, leading: &HashMap<String, String>) -> bool {
    let condition = node["Index Cond"].as_str().unwrap_or_default();
    let by_index = node["Index Name"].as_str().map(|name| condition.contains(leading[name].as_str()));
    node["Node Type"] == "Seq Scan" || by_index == Some(false)
}

/// Attempts and operations of payments that are long over, as they are before the server has looked at them for the first time.
const GROWN: &str = "SET session_replication_role = replica;
    ALTER TABLE attempts SET (autovacuum_enabled = false);
    ALTER TABLE operations SET (autovacuum_enabled = false);
    INSERT INTO attempts (id, transaction_id, number, round, gateway, state)
        SELECT gen_random_uuid(), gen_random_uuid(), 1, 0, 'stripe', 'succeeded' FROM generate_series(1, 20000);
    INSERT INTO operations (attempt_id, kind, key, calls, send_by)
        SELECT id, 'create', id::text, 1, now() FROM attempts";

#[tokio::test]
async fn no_statement_of_many_requests_ever_reads_a_whole_table() {
    let database = Database::new().await;
    looks_up_everything(&database).await;
}

/// Found by chaos, whose servers die before they have analyzed anything: each payment's attempts were loaded by reading all operations.
#[tokio::test]
async fn nor_does_it_when_the_tables_have_grown_and_were_never_analyzed() {
    let database = Database::new().await;
    sqlx::raw_sql(GROWN).execute(&database.owner).await.unwrap();
    looks_up_everything(&database).await;
}

async fn looks_up_everything(database: &Database) {
    let mut session = database.settings().connect_for_batches("plans").await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT i.indexrelid::regclass::text, a.attname::text
         FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]",
    )
    .fetch_all(&mut session)
    .await
    .unwrap();
    let leading: HashMap<String, String> =
        columns.into_iter().map(|(index, column)| (index, format!("({column} "))).collect();
    for (name, sql, parameters) in STATEMENTS {
        let sql = sql.replace("= ANY ($1)", "= ANY ($1::uuid[])");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PREPARE statement AS {sql}"))).execute(&mut session).await.unwrap();
        let nulls = vec!["NULL"; parameters].join(", ");
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE statement ({nulls})");
        let told: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_one(&mut session).await.unwrap();
        sqlx::raw_sql("DEALLOCATE statement").execute(&mut session).await.unwrap();
        let mut found = Vec::new();
        nodes(&told[0]["Plan"], &mut found);
        let whole: Vec<String> =
            found.iter().filter(|node| reads_all(node, &leading)).map(ToString::to_string).collect();
        assert!(whole.is_empty(), "{name}: {whole:?}");
        assert!(found.iter().any(|node| !node["Index Name"].is_null()), "{name}: {told}");
    }
    session.close().await.unwrap();
}
