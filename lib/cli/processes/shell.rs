//! What surrounds the stages of a process while it is wired.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use sqlx::Connection;
use sqlx::postgres::PgPool;
use tokio::net::TcpListener;

use super::{Error, Process};
use crate::cli::settings::Settings;
use crate::postgres::schema::{self, SchemaError};
use crate::postgres::silent;
use crate::service::health::{self, Missing, NotReady, Readiness};
use crate::service::http;
use crate::service::instance::{Announced, Instance};
use crate::service::retry::policy;
use crate::service::shutdown::{Lifetime, vital};
use crate::service::telemetry::metrics::Metrics;

/// Probes and scrapers.
const ADMIN_CONNECTIONS: usize = 64;
/// By then the process is over.
const ADMIN_DRAIN_MS: u64 = 500;

pub struct Shell {
    pub process: Process,
    pub settings: Settings,
    pub life: Lifetime,
    /// What it goes on without for now.
    pub missing: Missing,
    /// Why it has not begun yet, for whoever asks whether it is ready.
    waiting: Arc<ArcSwapOption<String>>,
    metrics: Metrics,
    ports: BTreeMap<String, u16>,
    announced: Option<Announced>,
    finally: Vec<BoxFuture<'static, ()>>,
}

impl Shell {
    pub(super) fn new(process: Process, settings: Settings, life: Lifetime, metrics: Metrics) -> Self {
        let (missing, ports, finally) = (Missing::default(), BTreeMap::new(), Vec::new());
        let waiting = Arc::default();
        Self { process, settings, life, missing, waiting, metrics, ports, announced: None, finally }
    }

    /// Opens a port and remembers it under `purpose`. `setting` is the variable that chooses it.
    pub async fn open(&mut self, purpose: &str, listen: &str, setting: &'static str) -> Result<TcpListener, Error> {
        let listener = http::bind(listen, setting).await?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(purpose, %address, "listening");
            self.ports.insert(purpose.to_owned(), address.port());
        }
        Ok(listener)
    }

    /// Has something done when all stages have ended, what was asked for last first.
    pub fn finally(&mut self, act: impl Future<Output = ()> + Send + 'static) {
        self.finally.push(Box::pin(act));
    }

    pub(super) async fn finish(mut self) {
        while let Some(act) = self.finally.pop() {
            act.await;
        }
    }

    /// Remembers the port of a part that is not of this process.
    pub fn knows(&mut self, purpose: &str, port: u16) {
        self.ports.insert(purpose.to_owned(), port);
    }

    pub fn port(&self, purpose: &str) -> Option<u16> {
        self.ports.get(purpose).copied()
    }

    /// Serves livez, readyz and metrics, for as long as anything is at work. Ready means: the database answers and has the schema, and
    /// nobody has said that it is to stop.
    pub async fn serve_admin(&mut self, pool: Option<&PgPool>) -> Result<(), Error> {
        let usual = format!("127.0.0.1:{}", self.process.admin_port);
        let chosen = self.settings.process.admin_listen.clone();
        let listen = if chosen.is_empty() { usual } else { chosen };
        let listener = self.open("admin", &listen, "PAYFLEET_PROCESS__ADMIN_LISTEN").await?;
        let (stop, over) = (self.life.stop.clone(), self.life.over.clone());
        let routes = health::routes(
            self.metrics.clone(),
            readiness(pool.cloned(), Arc::clone(&self.waiting)),
            self.missing.clone(),
            stop,
        );
        self.life.spawn_witness("admin port", async move {
            let limits = http::Limits {
                connections: ADMIN_CONNECTIONS,
                leave_ms: 0,
                drain_ms: ADMIN_DRAIN_MS,
                ..http::Limits::default()
            };
            http::serve(listener, routes, "admin", limits, over).await;
            Ok::<(), Infallible>(())
        });
        Ok(())
    }

    /// Writes the ports to where others look for them, when run from the tree.
    pub fn announce(&mut self) {
        let directory = &self.settings.process.run_dir;
        if !directory.parent().is_some_and(std::path::Path::is_dir) {
            return;
        }
        let chosen = &self.settings.process.instance;
        let name = if chosen.is_empty() { self.process.name } else { chosen };
        let instance =
            Instance { process: self.process.name.to_owned(), pid: std::process::id(), ports: self.ports.clone() };
        match instance.announce(directory, name) {
            Ok(announced) => self.announced = Some(announced),
            Err(error) => tracing::warn!(%error, directory = %directory.display(), "ports are not announced"),
        }
    }

    /// Waits until the database answers and has the schema, and says what it waits for. [`Error::Stopped`] if told to stop.
    pub async fn schema(&self) -> Result<(), Error> {
        let mut said = String::new();
        loop {
            let looked = self.life.stop.run_until_cancelled(self.look_at_schema()).await.ok_or(Error::Stopped)?;
            let Err(reason) = looked else {
                self.waiting.store(None);
                return Ok(());
            };
            let reason = reason.to_string();
            self.waiting.store(Some(Arc::new(reason.clone())));
            if said != reason {
                tracing::warn!(reason, "waiting");
                said = reason;
            }
            let pause = self.life.stop.run_until_cancelled(tokio::time::sleep(policy::STORE.first()));
            pause.await.ok_or(Error::Stopped)?;
        }
    }

    /// Looks after the brokers from now on: says in the log and beside `ready` when they are away or lack a topic.
    pub fn watch_kafka(&self, gateways: impl IntoIterator<Item = &'static str>) {
        let (kafka, stop) = (self.settings.kafka.clone(), self.life.stop.clone());
        let topics = crate::kafka::topics::declared(gateways);
        let watching = crate::kafka::watch::watch(kafka, topics, self.missing.clone(), stop);
        self.life.tasks.spawn(vital("kafka", watching));
    }

    /// On a connection of its own: a pool would hide why there is none.
    async fn look_at_schema(&self) -> Result<(), SchemaError> {
        let postgres = &self.settings.postgres;
        let mut connection = postgres.connect(self.process.name).await?;
        let looking = async {
            let looked = schema::check(&mut connection).await;
            connection.close().await.ok();
            looked
        };
        let looked = tokio::time::timeout(postgres.statement_limit(), looking).await;
        looked.unwrap_or_else(|_| Err(SchemaError::Unreachable(silent())))
    }
}

fn readiness(pool: Option<PgPool>, waiting: Arc<ArcSwapOption<String>>) -> Readiness {
    Arc::new(move || {
        let (pool, waiting) = (pool.clone(), waiting.load_full());
        Box::pin(async move {
            if let Some(reason) = waiting {
                return Err(NotReady(String::clone(&reason)));
            }
            match &pool {
                Some(pool) => schema::check(pool).await.map_err(|error| NotReady(error.to_string())),
                None => Ok(()),
            }
        })
    })
}
