//! The doorbell: tells listeners that outbox rows were committed, so that they need not wait for their next poll.
//!
//! Rung after the commit, on a connection of its own: `pg_notify` inside the payment's transaction would let only one commit through
//! per fsync. Rings within a millisecond become one `NOTIFY`. The ringer also writes the ticks, so that a backlog is cut into slices
//! while no relay lives.
//!
//! If it dies here: nothing is lost. Listeners poll, and the poll is the truth; a lost ring costs only latency.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ticks;
use crate::postgres::{self, Settings};
use crate::service::retry::policy;
use crate::service::shutdown::vital;

/// What to LISTEN on. The notification carries nothing: whoever hears it looks for itself.
pub const CHANNEL: &str = "payfleet_commits";

/// The shortest time between two rings of one process.
const QUIET: Duration = Duration::from_millis(1);

/// How long a ring may take; then its connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// A cheap handle; all clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Doorbell {
    rung: Arc<Notify>,
}

impl Doorbell {
    /// Starts the ringer on `tracker`; it rings a last time when `stop` is cancelled, if it was asked to.
    pub fn start(postgres: &Settings, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let rung = Arc::new(Notify::new());
        let ringer =
            Ringer { postgres: postgres.clone(), rung: rung.clone(), connection: None, ticked: None, began: None };
        tracker.spawn(vital("doorbell", ringer.run(stop)));
        Self { rung }
    }

    /// To be called after each commit that appended outbox rows. Never blocks.
    pub fn ring(&self) {
        self.rung.notify_one();
    }
}

struct Ringer {
    postgres: Settings,
    rung: Arc<Notify>,
    connection: Option<PgConnection>,
    /// When this process last saw to it that there is a tick.
    ticked: Option<Instant>,
    /// When the last ring began.
    began: Option<Instant>,
}

impl Ringer {
    async fn run(mut self, stop: CancellationToken) {
        let rung = self.rung.clone();
        loop {
            tokio::select! {
                biased;
                () = rung.notified() => {}
                () = stop.cancelled() => break,
            }
            if let Some(began) = self.began {
                tokio::time::sleep_until(began + QUIET).await;
            }
            self.began = Some(Instant::now());
            if let Err(error) = postgres::within(PATIENCE, self.ring()).await {
                tracing::warn!(%error, "the doorbell did not ring; listeners find the rows by polling");
                metrics::counter!("payfleet_outbox_rings_lost_total").increment(1);
                self.connection = None;
                tokio::select! {
                    () = tokio::time::sleep(policy::LISTENING.first()) => {}
                    () = stop.cancelled() => break,
                }
                rung.notify_one();
            }
        }
        if let Some(connection) = self.connection.take() {
            tokio::time::timeout(PATIENCE, connection.close()).await.ok();
        }
    }

    /// A server that vanished without a word must not keep the bell silent.
    async fn ring(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.postgres).await?);
        }
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        sqlx::query("NOTIFY payfleet_commits").execute(&mut *connection).await?;
        metrics::counter!("payfleet_outbox_rings_total").increment(1);
        if self.ticked.is_none_or(|at| at.elapsed() >= ticks::INTERVAL) {
            ticks::write(connection).await?;
            self.ticked = Some(Instant::now());
        }
        Ok(())
    }
}

/// A NOTIFY is a transaction with a number; it must not wait for an fsync. Losing a ring or a tick in a crash is harmless.
async fn connect(postgres: &Settings) -> Result<PgConnection, sqlx::Error> {
    let mut connection = postgres.connect("doorbell").await?;
    sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
    Ok(connection)
}
