//! Hears the doorbell, and that lanes have become free. What it hears only shortens waiting: the poll is the truth.
//!
//! If it dies here: it listens again; meanwhile events wait for the next poll, 50 ms at most.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::outbox::{doorbell, lanes};
use crate::postgres;

/// How long to wait before listening again.
const RECONNECT: Duration = Duration::from_millis(500);

#[derive(Clone, Default, Debug)]
pub struct Ear {
    /// Rows were committed.
    pub rung: Arc<Notify>,
    /// The fleet of relays has changed.
    pub changed: Arc<Notify>,
}

impl Ear {
    /// Listens for as long as it is polled.
    pub async fn listen(self, postgres: postgres::Settings) {
        loop {
            if let Err(error) = self.hear(&postgres).await {
                tracing::debug!(%error, "the relay does not hear the doorbell; it polls");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn hear(&self, postgres: &postgres::Settings) -> Result<(), sqlx::Error> {
        let single = postgres::Settings { pool: 1, ..postgres.clone() };
        let mut listener = PgListener::connect_with(&single.lazy_pool("relay listening")?).await?;
        listener.listen_all([doorbell::CHANNEL, lanes::CHANNEL]).await?;
        // Whatever happened before is unheard of.
        self.rung.notify_one();
        self.changed.notify_one();
        while let Some(notification) = listener.try_recv().await? {
            match notification.channel() {
                doorbell::CHANNEL => self.rung.notify_one(),
                _ => self.changed.notify_one(),
            }
        }
        Ok(())
    }
}
