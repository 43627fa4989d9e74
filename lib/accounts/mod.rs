//! The tables `users`, `api_keys` and `accounts`: who may ask for payments, and the balances they may spend.
//!
//! Balances are moved by the commits that accept and settle payments, never from here.

mod api_key;

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Currency;

pub use api_key::{ApiKey, DEMO_PREFIX, KeyHash, Pepper};

/// What an API key stands for. All but `checked_at` never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    pub key_id: Uuid,
    pub user_id: Uuid,
    /// The user's country, ISO 3166-1 alpha-2.
    pub country: String,
    /// Load and benchmark keys.
    pub rate_exempt: bool,
    /// When the key was last seen unrevoked, by the database's clock.
    pub checked_at: OffsetDateTime,
}

/// What a user has in one currency, in minor units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balance {
    pub currency: String,
    pub available: i64,
    pub held: i64,
    pub owed: i64,
}

/// Whether API keys are exempt from the rate limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateLimit {
    Applies,
    Exempt,
}

/// Makes a user, or finds the one of this handle: its country stays as first given.
pub async fn create_user(connection: &mut PgConnection, handle: &str, country: &str) -> Result<Uuid, sqlx::Error> {
    let insert = sqlx::query!(
        "INSERT INTO users (id, handle, country) VALUES ($1, $2, $3) ON CONFLICT ON CONSTRAINT users_handle_unique DO NOTHING",
        Uuid::now_v7(),
        handle,
        country
    );
    insert.execute(&mut *connection).await?;
    sqlx::query_scalar!("SELECT id FROM users WHERE handle = $1", handle).fetch_one(connection).await
}

/// Opens a user's account in a currency with a balance of zero, or finds it.
pub async fn open_account(
    connection: &mut PgConnection,
    user_id: Uuid,
    currency: Currency,
) -> Result<i64, sqlx::Error> {
    let insert = sqlx::query!(
        "INSERT INTO accounts (user_id, currency) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT accounts_one_per_currency DO NOTHING",
        user_id,
        currency.code()
    );
    insert.execute(&mut *connection).await?;
    let id =
        sqlx::query_scalar!("SELECT id FROM accounts WHERE user_id = $1 AND currency = $2", user_id, currency.code());
    id.fetch_one(connection).await
}

/// Stores a key's hash and gives the row's id; storing the same key of the same user again changes nothing.
/// A key that belongs to another user is refused as a violation of `api_keys_hash_unique`.
pub async fn create_key(
    connection: &mut PgConnection,
    user_id: Uuid,
    key: &ApiKey,
    pepper: &Pepper,
    rate_limit: RateLimit,
) -> Result<Uuid, sqlx::Error> {
    let hash = pepper.hash(key.expose());
    let standing = sqlx::query_scalar!(
        "SELECT id FROM api_keys WHERE key_hash = $1 AND user_id = $2",
        hash.as_bytes().as_slice(),
        user_id
    );
    if let Some(id) = standing.fetch_optional(&mut *connection).await? {
        return Ok(id);
    }
    sqlx::query_file_scalar!(
        "lib/accounts/sql/create_key.sql",
        Uuid::now_v7(),
        user_id,
        hash.as_bytes().as_slice(),
        key.shown_as(),
        rate_limit == RateLimit::Exempt
    )
    .fetch_one(connection)
    .await
}

/// Revokes a key for good. Gives the hash under which it may be cached, for the cache to forget; None: no such live key.
pub async fn revoke_key(connection: &mut PgConnection, key_id: Uuid) -> Result<Option<KeyHash>, sqlx::Error> {
    let hash = sqlx::query_scalar!(
        "UPDATE api_keys SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL RETURNING key_hash",
        key_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(hash.and_then(|bytes| KeyHash::from_bytes(&bytes)))
}

/// The credential of a live key.
pub async fn credential(connection: &mut PgConnection, hash: &KeyHash) -> Result<Option<Credential>, sqlx::Error> {
    sqlx::query_file_as!(Credential, "lib/accounts/sql/credential.sql", hash.as_bytes().as_slice())
        .fetch_optional(connection)
        .await
}

/// All balances of a user, by currency.
pub async fn balances(connection: &mut PgConnection, user_id: Uuid) -> Result<Vec<Balance>, sqlx::Error> {
    sqlx::query_as!(
        Balance,
        "SELECT currency, available, held, owed FROM accounts WHERE user_id = $1 ORDER BY currency",
        user_id
    )
    .fetch_all(connection)
    .await
}
