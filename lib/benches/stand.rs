//! The servers that everything is measured on, and a database for each part.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use payfleet::dev::servers::Directory;
use payfleet::dev::servers::kafka::Kafka;
use payfleet::dev::servers::postgres::{Durability, Postgres};
use payfleet::dev::servers::redis::Redis;
use payfleet::{kafka, postgres};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use super::say;

/// Under which API keys are hashed, on this stand only.
pub const PEPPER: &str = "a pepper of the benchmarks, and of nothing else";
/// For an act of the broker's administration.
const PATIENCE: Duration = Duration::from_secs(10);
/// The application's role, likewise.
const PASSWORD: &str = "bench";

pub struct Stand {
    directory: Directory,
    postgres: Postgres,
    redis: Redis,
    kafka: Kafka,
}

/// A migrated database of one part's own.
#[derive(Clone, Debug)]
pub struct Database {
    pub owner_url: String,
    pub app_url: String,
}

impl Stand {
    pub async fn start(home: &Path) -> anyhow::Result<Self> {
        say("starting PostgreSQL (fsync on), Redis and Kafka");
        let directory = Directory::take_any(&home.join("bench"))?;
        let jars = home.join("kafka");
        let (postgres, redis, kafka) = tokio::join!(
            Postgres::start(&directory, Durability::Kept),
            Redis::start(&directory),
            Kafka::start(&directory, &jars)
        );
        match (postgres, redis, kafka) {
            (Ok(postgres), Ok(redis), Ok(kafka)) => Ok(Self { directory, postgres, redis, kafka }),
            (postgres, redis, kafka) => {
                let reason = [postgres.as_ref().err(), redis.as_ref().err(), kafka.as_ref().err()];
                let reason: Vec<String> = reason.into_iter().flatten().map(ToString::to_string).collect();
                if let Ok(postgres) = postgres {
                    postgres.stop().await;
                }
                if let Ok(redis) = redis {
                    redis.stop().await;
                }
                if let Ok(kafka) = kafka {
                    kafka.stop().await;
                }
                anyhow::bail!("the servers did not start: {}", reason.join("; "))
            }
        }
    }

    pub async fn stop(self) {
        tokio::join!(self.postgres.stop(), self.redis.stop(), self.kafka.stop());
    }

    /// Where files of the run may be put.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    pub fn brokers(&self) -> String {
        self.kafka.brokers()
    }

    /// Topics of a measurement's own, kept for as long as the broker.
    pub fn kafka(&self) -> kafka::Settings {
        let topic_prefix = format!("bench-{}.", Uuid::now_v7().simple());
        kafka::Settings { brokers: self.kafka.brokers(), topic_prefix, retention_ms: -1, ..kafka::Settings::default() }
    }

    /// Removes a measurement's topics, and what lies on them.
    pub async fn forget(&self, topics: &kafka::Settings) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = topics.client().create()?;
        let metadata = tokio::task::block_in_place(|| admin.inner().fetch_metadata(None, PATIENCE))?;
        let names: Vec<&str> = metadata
            .topics()
            .iter()
            .map(|topic| topic.name())
            .filter(|name| name.starts_with(&topics.topic_prefix))
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        for deleted in admin.delete_topics(&names, &options).await? {
            deleted.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} was not deleted: {code}"))?;
        }
        Ok(())
    }

    /// Makes the database anew.
    pub async fn database(&self, name: &str) -> anyhow::Result<Database> {
        let server = self.postgres.url();
        let mut owner = connect(&format!("{server}/postgres")).await?;
        for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut owner).await?;
        }
        owner.close().await?;
        let owner_url = format!("{server}/{name}");
        let mut owner = connect(&owner_url).await?;
        postgres::MIGRATIONS.run(&mut owner).await.context("migrations")?;
        let login = format!(
            "ALTER ROLE payfleet_app LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON _sqlx_migrations TO payfleet_app"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(login)).execute(&mut owner).await?;
        owner.close().await?;
        let app_url = format!("postgres://payfleet_app:{PASSWORD}@127.0.0.1:{}/{name}", self.postgres.port);
        Ok(Database { owner_url, app_url })
    }
}

impl Database {
    pub async fn owner(&self) -> anyhow::Result<PgConnection> {
        connect(&self.owner_url).await
    }

    pub fn settings(&self) -> postgres::Settings {
        postgres::Settings { url: self.app_url.clone(), ..postgres::Settings::default() }
    }
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.disable_statement_logging().connect().await?)
}
