//! Hears the doorbell, and that lanes have become free. What it hears only shortens waiting: the poll is the truth.
//!
//! If it dies here: it listens again; meanwhile events wait for the next poll, 50 ms at most.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::Notify;

use crate::outbox::{doorbell, lanes};
use crate::postgres;
use crate::service::retry::policy;

/// After so long without a sound it is asked whether the server is still there …
const SILENCE: Duration = Duration::from_secs(5);

/// … which has to answer within this.
const PATIENCE: Duration = Duration::from_secs(5);

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
            tokio::time::sleep(policy::LISTENING.first()).await;
        }
    }

    async fn hear(&self, postgres: &postgres::Settings) -> Result<(), sqlx::Error> {
        let mut listener = in_time(listener(postgres)).await?;
        // Whatever happened before is unheard of.
        self.rung.notify_one();
        self.changed.notify_one();
        loop {
            let Ok(heard) = tokio::time::timeout(SILENCE, listener.try_recv()).await else {
                // Is it silent because nothing happens, or because nobody is there any more?
                in_time(sqlx::query("SELECT").execute(&mut listener)).await?;
                continue;
            };
            match heard?.as_ref().map(PgNotification::channel) {
                Some(doorbell::CHANNEL) => self.rung.notify_one(),
                Some(_) => self.changed.notify_one(),
                None => return Ok(()),
            }
        }
    }
}

async fn listener(postgres: &postgres::Settings) -> Result<PgListener, sqlx::Error> {
    let single = postgres::Settings { pool: 1, ..postgres.clone() };
    let mut listener = PgListener::connect_with(&single.lazy_pool("relay listening")?).await?;
    listener.listen_all([doorbell::CHANNEL, lanes::CHANNEL]).await?;
    Ok(listener)
}

async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
