//! Whether the database has the schema that this program expects, and takes writes.
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
    #[error("PostgreSQL does not let us in ({0}): run `payfleet migrate`, or correct user and password")]
    NotLetIn(#[source] sqlx::Error),
    #[error("PostgreSQL takes no writes: it is a standby, or was set to read only")]
    ReadOnly,
    #[error("the database has no schema yet: run `payfleet migrate`")]
    Absent,
    #[error("migration {0} is not applied: run `payfleet migrate` of this version")]
    Behind(i64),
    #[error(
        "migration {0} is another than this program knows: it belongs to another version, or was edited after it was applied"
    )]
    Different(i64),
}

impl From<sqlx::Error> for SchemaError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|database| database.code()).as_deref() {
            // undefined_table, invalid_catalog_name; and insufficient_privilege: made, but `payfleet migrate` has not finished.
            Some("42P01" | "3D000" | "42501") => Self::Absent,
            // invalid_authorization_specification, invalid_password: before the first migration there is no such user.
            Some("28000" | "28P01") => Self::NotLetIn(error),
            _ => Self::Unreachable(error),
        }
    }
}

/// Succeeds if the database takes writes and every migration of this program is applied, as this program knows it.
pub async fn check(database: impl PgExecutor<'_>) -> Result<(), SchemaError> {
    const APPLIED: &str = "SELECT version, checksum, current_setting('transaction_read_only')::boolean
                           FROM _sqlx_migrations WHERE success";
    let applied: Vec<(i64, Vec<u8>, bool)> = sqlx::query_as(APPLIED).fetch_all(database).await?;
    if applied.iter().any(|(.., read_only)| *read_only) {
        return Err(SchemaError::ReadOnly);
    }
    let applied: BTreeMap<i64, Vec<u8>> =
        applied.into_iter().map(|(version, checksum, _)| (version, checksum)).collect();
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
