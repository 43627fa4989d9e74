//! The edge to PostgreSQL: settings, pools, connections of one's own, the database's clock.

pub mod clock;
pub mod combiner;
pub mod due;
pub mod schema;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};

use crate::service::config::without_password;
use crate::service::retry::policy;

/// The schema that this program expects.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Beyond the server's own limit of a statement, for its word to arrive. A server that then still says nothing is not there.
const WORD_ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// A pooled connection that answered within this time is taken without being asked again: one round trip less for each statement.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `postgres://payfleet_app@host:port/database`: the application's role, which cannot rewrite history.
    pub url: String,
    /// Connections of the shared pool; the hot paths own theirs beside it.
    pub pool: u32,
    /// How long making a connection may take.
    pub connect_ms: u64,
    /// How long a request waits for a connection of the pool.
    pub acquire_ms: u64,
    /// A statement that runs longer is ended by the server.
    pub statement_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "postgres://payfleet_app@127.0.0.1:5432/payfleet".into(),
            pool: 8,
            connect_ms: 5_000,
            acquire_ms: 2_000,
            statement_ms: 10_000,
        }
    }
}

/// Without the password that the URL may hold.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &without_password(&self.url)).finish_non_exhaustive()
    }
}

impl Settings {
    /// Session settings of every connection: a session forgotten inside a transaction, or a runaway statement, ends by itself.
    fn options(&self, application: &str) -> Result<PgConnectOptions, sqlx::Error> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(options
            .application_name(application)
            .options([
                ("idle_in_transaction_session_timeout", "10000".to_owned()),
                ("statement_timeout", self.statement_ms.to_string()),
                ("lock_timeout", "5000".to_owned()),
            ])
            .disable_statement_logging())
    }

    /// Whether the URL is one. It says nothing about who is there.
    pub fn check(&self) -> Result<(), sqlx::Error> {
        self.url.parse::<PgConnectOptions>().map(drop)
    }

    /// A pool that connects when first used.
    pub fn lazy_pool(&self, application: &str) -> Result<PgPool, sqlx::Error> {
        Ok(PgPoolOptions::new()
            .max_connections(self.pool)
            .acquire_timeout(Duration::from_millis(self.acquire_ms))
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(must_take_writes(connection)))
            .before_acquire(|connection, idle| {
                Box::pin(async move { Ok(idle.idle_for < FRESH || takes_writes(connection).await?) })
            })
            .after_release(|connection, _| Box::pin(takes_writes(connection)))
            .connect_lazy_with(self.options(application)?))
    }

    /// When a statement has no answer after this, none will come: the server itself ends it earlier.
    pub fn statement_limit(&self) -> Duration {
        Duration::from_millis(self.statement_ms) + WORD_ARRIVES_WITHIN
    }

    /// A connection for statements that serve many requests at once. Never to a server that takes no writes.
    pub async fn connect_for_batches(&self, application: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.options(application)?.options(PLANS);
        let mut connection =
            within(Duration::from_millis(self.connect_ms), PgConnection::connect_with(&options)).await?;
        must_take_writes(&mut connection).await?;
        Ok(connection)
    }

    /// A connection of one's own.
    pub async fn connect(&self, application: &str) -> Result<PgConnection, sqlx::Error> {
        within(Duration::from_millis(self.connect_ms), PgConnection::connect_with(&self.options(application)?)).await
    }
}

/// Statements of many requests meet tables that grow from nothing to millions of rows under plans that are made once and kept. Whatever
/// the planner believed about sizes when it made them, they must take the indexes: one scan of a whole table would hold up every request.
/// Hash joins stay allowed, for the requests among themselves: without them a full statement takes half as long again.
const PLANS: [(&str, &str); 3] = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];

/// Bounds work on a connection on our side: a server that stands still, or is cut off, says nothing, and TCP alone waits for it for
/// a quarter of an hour. What was sent may still be carried out.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent()))
}

/// The server said nothing for too long: as if the connection were lost.
pub fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "PostgreSQL says nothing"))
}

/// A standby answers whoever only reads, with what was once so, and nothing of theirs ever fails: they would stay on it.
async fn must_take_writes(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if takes_writes(connection).await? {
        return Ok(());
    }
    let reason = "PostgreSQL takes no writes: it is a standby, or was set to read only";
    Err(sqlx::Error::Io(std::io::Error::other(reason)))
}

/// A connection may lead to a server that is a standby, or has become one: another one may lead to its successor. One that somebody
/// stopped waiting for goes back to the pool with its statement under way: without an answer in time it does not keep its place there.
///
/// That statement may be a `BEGIN`. sqlx rolls back what it has seen begin; the transaction of a `BEGIN` whose answer nobody waited for
/// would stay open, and whatever is done over the connection afterwards would be told as done and go with it. So the question comes with
/// an end to any transaction: the server begins none within another, and ends the one there is.
async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql("BEGIN; SELECT NOT current_setting('transaction_read_only')::boolean; ROLLBACK");
    let answer = within(WORD_ARRIVES_WITHIN, asked.fetch_all(connection)).await?;
    answer.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// The connection leads to a server that takes no writes, such as a standby; the statement did nothing.
pub fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|database| database.code()).is_some_and(|code| code == policy::READ_ONLY)
}

/// The connection itself is lost, cannot be made or is of no use; whether the statement took effect is not known, unless
/// [`is_read_only`].
pub fn is_connection_error(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => {
            database.code().is_some_and(|code| policy::is_of(&code, &policy::CONNECTION_LOST))
        }
        _ => false,
    }
}

/// The statement was rolled back for a reason that lies in the moment: run it again.
pub fn is_transient(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| policy::is_of(&code, &policy::OF_THE_MOMENT))
}

/// The name of the violated constraint, for the owning table's module to match on.
pub fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|database| database.constraint())
}
