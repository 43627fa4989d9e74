//! `payfleet migrate`: everything that a fleet needs before its first process, done as often as you like.
//!
//! It may be run under traffic; how, stands in `migrating`.
//!
//! If it dies here: it is run again. Migrations are transactions under a lock of their own, everything else is "unless it is so".

mod migrating;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Postgres};

use super::arguments::Output;
use super::output::{self, Table};
use super::routes::{GATEWAYS, routes};
use super::settings::Settings as Root;
use crate::service::config::without_password;
use crate::service::retry::policy;
use crate::service::secret::Secret;
use crate::{kafka, outbox, postgres, routing};

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `postgres://owner:password@host:port/database`: the role that owns the schema. Only `payfleet migrate` uses it.
    pub owner_url: String,
    /// What the application's role logs in with; left as it is if empty.
    pub app_password: Secret,
    /// How long to wait for the stores to answer, and for a lock that a migration needs, in milliseconds.
    pub wait_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let owner_url = "postgres://postgres@127.0.0.1:5432/payfleet".into();
        Self { owner_url, app_password: Secret::default(), wait_ms: policy::MIGRATION.limit().as_millis() as u64 }
    }
}

/// Without the password that the URL may hold.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("owner_url", &without_password(&self.owner_url)).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the schema cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What was applied before stays; the rest is applied by the next run.
    #[error("the schema cannot be brought up to date: for {waited:?} a lock was not to be had, which {holder} holds")]
    Locked { waited: Duration, holder: String },
    #[error("Kafka cannot be used: {0}")]
    Kafka(#[from] kafka::topics::Error),
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Versions applied now.
    pub migrations: Vec<i64>,
    pub topics: Topics,
    pub routes: usize,
}

#[derive(Debug, Serialize)]
pub struct Topics {
    pub made: Vec<String>,
    pub found: Vec<String>,
}

impl Report {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        let versions: Vec<String> = self.migrations.iter().map(ToString::to_string).collect();
        let applied = if versions.is_empty() { "none, the schema is up to date".into() } else { versions.join(", ") };
        println!("migrations applied  {applied}");
        println!("gateways, routes    {}, {}", GATEWAYS.len(), self.routes);
        self.topics.show(output);
    }
}

impl Topics {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        let mut table = Table::new(&["topic", ""]);
        for (topics, state) in [(&self.made, "made"), (&self.found, "as it should be")] {
            for topic in topics {
                table.row([topic.clone(), state.to_owned()]);
            }
        }
        table.print();
    }
}

/// Schema, application role, topics, gateways and routes.
pub async fn migrate(settings: &Root) -> Result<Report, Error> {
    let migrations = schema(&settings.migrate).await?;
    let topics = topics(settings).await?;
    Ok(Report { migrations, topics, routes: routes().len() })
}

/// A connection of the role that owns the schema.
pub async fn owner(settings: &Settings) -> Result<PgConnection, Error> {
    Ok(patiently(settings, "PostgreSQL", || connect(&settings.owner_url)).await?)
}

/// Gateways and routes alone.
pub async fn gateways_and_routes(settings: &Settings) -> Result<(), Error> {
    let mut owner = owner(settings).await?;
    let mut commit = owner.begin().await?;
    routing::upsert(&mut commit, &GATEWAYS, &routes()).await?;
    commit.commit().await?;
    Ok(())
}

/// Migrations, what the application's role may do beyond them, gateways and routes.
pub async fn schema(settings: &Settings) -> Result<Vec<i64>, Error> {
    patiently(settings, "PostgreSQL", || create_database(&settings.owner_url)).await?;
    let mut owner = connect(&settings.owner_url).await?;
    let before = applied(&mut owner).await;
    migrating::run(settings, &mut owner).await?;
    let mut commit = owner.begin().await?;
    sqlx::query("GRANT SELECT ON _sqlx_migrations TO payfleet_app").execute(&mut *commit).await?;
    if !settings.app_password.is_empty() {
        // DDL takes no parameters: the server itself quotes the password.
        let statement: String = sqlx::query_scalar("SELECT format('ALTER ROLE payfleet_app LOGIN PASSWORD %L', $1)")
            .bind(settings.app_password.expose())
            .fetch_one(&mut *commit)
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *commit).await?;
    }
    routing::upsert(&mut commit, &GATEWAYS, &routes()).await?;
    commit.commit().await?;
    owner.close().await?;
    let known = postgres::MIGRATIONS.iter().map(|migration| migration.version);
    Ok(known.filter(|version| !before.contains(version)).collect())
}

/// The topics, made where they are missing.
pub async fn topics(settings: &Root) -> Result<Topics, Error> {
    let names = kafka::topics::declared(GATEWAYS);
    let report = patiently(&settings.migrate, "Kafka", || kafka::topics::ensure(&settings.kafka, &names)).await?;
    Ok(Topics { made: report.made, found: report.found })
}

/// The database itself, where the owner may make it and nobody else has.
async fn create_database(url: &str) -> Result<(), sqlx::Error> {
    if Postgres::database_exists(url).await? {
        return Ok(());
    }
    Postgres::create_database(url).await
}

/// Starts the outbox's lanes anew.
pub async fn rebase(settings: &Settings) -> Result<Rebased, Error> {
    let rebased = outbox::rebase::rebase(&mut owner(settings).await?).await?;
    Ok(Rebased { incarnation: rebased.incarnation, renumbered: rebased.renumbered })
}

/// What a rebase did.
#[derive(Debug, Serialize)]
pub struct Rebased {
    pub incarnation: i32,
    pub renumbered: u64,
}

impl Rebased {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        println!("incarnation      {}", self.incarnation);
        println!("rows renumbered  {}", self.renumbered);
    }
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    url.parse::<PgConnectOptions>()?.application_name("payfleet-migrate").disable_statement_logging().connect().await
}

async fn applied(owner: &mut PgConnection) -> Vec<i64> {
    // There is no such table before the first migration.
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(owner).await.unwrap_or_default()
}

/// Errors that say "not there yet", for as long as patience lasts.
trait Passing {
    fn may_pass(&self) -> bool;
}

impl Passing for sqlx::Error {
    fn may_pass(&self) -> bool {
        postgres::is_connection_error(self)
    }
}

impl Passing for kafka::topics::Error {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Brokers(_) | Self::Invisible { .. })
    }
}

async fn patiently<T, E, F>(settings: &Settings, store: &str, act: impl Fn() -> F) -> Result<T, E>
where
    E: Passing + std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = tokio::time::Instant::now() + Duration::from_millis(settings.wait_ms);
    let mut said = false;
    loop {
        match act().await {
            Err(error) if error.may_pass() && tokio::time::Instant::now() < deadline => {
                if !said {
                    eprintln!("waiting for {store}: {error}");
                    said = true;
                }
                tokio::time::sleep(policy::STORE.first()).await;
            }
            other => return other,
        }
    }
}
