//! What tests stand on: servers that `make test` has started, and a database of its own for each test.

#![allow(dead_code)]

pub mod journal;
pub mod judge;
pub mod payments;
pub mod road;
pub mod scripted;
pub mod topics;

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: `make test` starts the servers and sets it"))
}

/// `postgres://user@host:port` of a server on which tests may create databases.
pub fn postgres_url() -> String {
    server("PAYFLEET_TEST_POSTGRES")
}

/// `redis://host:port`.
pub fn redis_url() -> String {
    server("PAYFLEET_TEST_REDIS")
}

/// `host:port` of a real Apache Kafka.
pub fn kafka_brokers() -> String {
    server("PAYFLEET_TEST_KAFKA")
}

/// A migrated database of the test's own, dropped with it.
pub struct Database {
    name: String,
    /// As the owner.
    pub owner: PgPool,
    /// As the application's role.
    pub app: PgPool,
    /// The application's URL, for parts that connect by themselves.
    pub url: String,
}

fn quoted(name: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(name.to_owned())
}

/// Makes the template once per schema: whoever comes first, under an advisory lock.
async fn template(server: &mut PgConnection) -> String {
    let versions: Vec<u8> =
        payfleet::postgres::MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter().copied()).collect();
    let name = format!("payfleet_template_{:08x}", crc32fast::hash(&versions));
    sqlx::query("SELECT pg_advisory_lock(740217)").execute(&mut *server).await.unwrap();
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)")
            .bind(&name)
            .fetch_one(&mut *server)
            .await
            .unwrap();
    if !exists {
        sqlx::query(quoted(&format!("DROP DATABASE IF EXISTS {name}"))).execute(&mut *server).await.unwrap();
        sqlx::query(quoted(&format!("CREATE DATABASE {name}"))).execute(&mut *server).await.unwrap();
        let options: PgConnectOptions = format!("{}/{name}", postgres_url()).parse().unwrap();
        let mut database = options.connect().await.unwrap();
        payfleet::postgres::MIGRATIONS.run(&mut database).await.unwrap();
        sqlx::raw_sql(
            "GRANT SELECT ON _sqlx_migrations TO payfleet_app; ALTER ROLE payfleet_app LOGIN PASSWORD 'payfleet_app'",
        )
        .execute(&mut database)
        .await
        .unwrap();
        database.close().await.unwrap();
        sqlx::query(quoted(&format!("ALTER DATABASE {name} IS_TEMPLATE true"))).execute(&mut *server).await.unwrap();
    }
    sqlx::query("SELECT pg_advisory_unlock(740217)").execute(&mut *server).await.unwrap();
    name
}

impl Database {
    pub async fn new() -> Self {
        let url = postgres_url();
        let mut server: PgConnection = format!("{url}/postgres")
            .parse::<PgConnectOptions>()
            .unwrap()
            .connect()
            .await
            .expect("PostgreSQL of the tests");
        let template = template(&mut server).await;
        let name = format!("payfleet_test_{}", Uuid::now_v7().simple());
        sqlx::query(quoted(&format!("CREATE DATABASE {name} TEMPLATE {template}"))).execute(&mut server).await.unwrap();
        server.close().await.unwrap();
        let owner_url = format!("{url}/{name}");
        let parsed: PgConnectOptions = owner_url.parse().unwrap();
        let app_url =
            format!("postgres://payfleet_app:payfleet_app@{}:{}/{name}", parsed.get_host(), parsed.get_port());
        let pool = |url: &str| PgPoolOptions::new().max_connections(10).connect_lazy(url).unwrap();
        Self { name, owner: pool(&owner_url), app: pool(&app_url), url: app_url }
    }

    /// Settings of a part that connects by itself.
    pub fn settings(&self) -> payfleet::postgres::Settings {
        payfleet::postgres::Settings { url: self.url.clone(), ..Default::default() }
    }
}

/// How long a test waits for its database to be gone. What was asked for by then, the server does whether or not we still are there.
const DROP_WITHIN: Duration = Duration::from_secs(2);

impl Drop for Database {
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), postgres_url());
        let (dropped, done) = std::sync::mpsc::channel();
        // A thread with its own runtime: Drop cannot wait on the test's. Nor may it wait for long: the test's runtime stands still
        // meanwhile, and the server does not drop a database while one of its connections is just being made.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let options: PgConnectOptions = format!("{url}/postgres").parse().ok()?;
                let mut server = options.connect().await.ok()?;
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                sqlx::query(quoted(&drop)).execute(&mut server).await.ok()
            })?;
            dropped.send(()).ok()
        });
        done.recv_timeout(DROP_WITHIN).ok();
    }
}

/// Waits until `check` gives a value, or fails the test after `limit` saying what was waited for.
pub async fn eventually<T>(what: &str, limit: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} for: {what}");
        pause.tick().await;
    }
}
