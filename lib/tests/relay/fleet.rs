//! Relays to be started, stopped and killed, with an outbox and topics of their own.

use std::time::Duration;

use payfleet::{postgres, relay};
use sqlx::postgres::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::Database;
use crate::harness::eventually;
use crate::harness::journal::{self, Journal};
use crate::harness::judge::{Verdict, judge};
use crate::harness::topics::Topics;

/// How long anything may take; a machine that also compiles is slow.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Fleet {
    pub database: Database,
    pub topics: Topics,
    pub journal: Journal,
}

/// A relay that runs as a task.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), relay::Error>>,
}

impl Running {
    /// As SIGTERM does it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As kill -9 does it: its connections are cut, its producer's queue is gone.
    pub async fn kill(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), relay::Error> {
        tokio::time::timeout(LIMIT, self.task).await.expect("the relay ends by itself").unwrap()
    }
}

impl Fleet {
    pub async fn new(aggregates: usize) -> Self {
        let (database, topics) = tokio::join!(Database::new(), Topics::of_gateways(&["stripe"]));
        let journal = Journal::new(&database.owner, aggregates).await;
        Self { database, topics, journal }
    }

    pub fn relay(&self, name: &str) -> Running {
        self.relay_with(relay::Settings { name: name.into(), ..relay::Settings::default() })
    }

    pub fn relay_with(&self, settings: relay::Settings) -> Running {
        self.relay_over(settings, self.database.settings())
    }

    /// One that reaches its database in another way.
    pub fn relay_over(&self, settings: relay::Settings, postgres: postgres::Settings) -> Running {
        let stop = CancellationToken::new();
        let running = relay::run(settings, postgres, self.topics.settings.clone(), stop.clone());
        Running { stop, task: tokio::spawn(running) }
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.owner
    }

    /// One step of every aggregate, in statements of 64.
    pub async fn step_all(&self, bytes: i32) {
        let mut connection = self.database.app.acquire().await.unwrap();
        for some in self.journal.aggregates.chunks(64) {
            journal::step(&mut connection, some, bytes).await.unwrap();
        }
    }

    pub async fn drained(&self) {
        let pool = self.pool();
        eventually("the outbox to be drained", LIMIT, async || journal::is_drained(pool).await.then_some(())).await;
    }

    pub async fn verdict(&self) -> Verdict {
        judge(self.pool(), &self.topics.settings, &journal::TOPICS).await
    }

    /// How many lanes each living relay holds, by name.
    pub async fn holdings(&self) -> Vec<(String, i64)> {
        sqlx::query_as(
            "SELECT relays.name, count(*) FROM lanes JOIN connected_relays relays ON relays.id = lanes.relay
             GROUP BY relays.name ORDER BY relays.name",
        )
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    pub async fn held_as(&self, expected: &[(&str, i64)]) {
        let expected: Vec<(String, i64)> = expected.iter().map(|(name, lanes)| ((*name).to_owned(), *lanes)).collect();
        let what = format!("lanes to be held as {expected:?}");
        eventually(&what, LIMIT, async || (self.holdings().await == expected).then_some(())).await;
    }
}
