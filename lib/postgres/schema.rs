//! Whether the database has the schema that this program expects.
//!
//! A newer one is fine: migrations only ever add before they remove, so that programs of two versions can run side by side.

use std::collections::BTreeMap;

use sqlx::postgres::PgExecutor;

use super::MIGRATIONS;

/// Why the database cannot be used as it is, in words that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("PostgreSQL does not answer: {0}")]
    Unreachable(#[source] sqlx::Error),
    #[error("the database has no schema yet: run `payfleet migrate`")]
    Absent,
    #[error("migration {0} is not applied: run `payfleet migrate` of this version")]
    Behind(i64),
    #[error(
        "migration {0} is another than this program knows: it belongs to another version, or was edited after it was applied"
    )]
    Different(i64),
}

/// Succeeds if every migration of this program is applied, as this program knows it.
pub async fn check(database: impl PgExecutor<'_>) -> Result<(), SchemaError> {
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
        .fetch_all(database)
        .await
        .map_err(|error| match error.as_database_error().and_then(|database| database.code()).as_deref() {
            // undefined_table; and insufficient_privilege: made, but `payfleet migrate` has not finished.
            Some("42P01" | "42501") => SchemaError::Absent,
            _ => SchemaError::Unreachable(error),
        })?;
    let applied: BTreeMap<i64, Vec<u8>> = applied.into_iter().collect();
    for migration in MIGRATIONS.iter() {
        match applied.get(&migration.version) {
            None => return Err(SchemaError::Behind(migration.version)),
            Some(checksum) if checksum[..] != migration.checksum[..] => {
                return Err(SchemaError::Different(migration.version));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
