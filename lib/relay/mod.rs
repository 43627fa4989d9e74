//! Lanes of the outbox into Kafka: any number of relays share them, each lane has one owner at a time, and every committed event
//! arrives at least once, in the order of its aggregate.
//!
//! ```text
//! starting ──session open, member──▶ draining ──stop──▶ handing over ──▶ end
//!     ▲                                  │
//!     └── backoff ◀── any connection lost, lease lost: everything in memory is void
//! ```
//!
//! If it dies here: its lanes are taken by the others, from their stored cursors, under new epochs. What it had sent beyond is sent
//! again. A relay that was only frozen may go on sending for a moment: harmless, because its stream is gapless from a start at or below
//! the stored cursor, and its checkpoints are refused.

mod closed;
mod drain;
mod ear;
mod housekeeping;
mod lane;
mod membership;
mod page;
mod pipeline;
mod poison;
mod record;
mod refusal;
mod session;
mod settings;

use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::outbox::history::Foreign;
use crate::service::retry::{Waits, policy};
use crate::{kafka, postgres};

pub use record::{SOURCE, Writer};
pub use settings::Settings;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only a person can say what is to become of the lanes.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the producer cannot be made: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the relay could not say in time that it lives; others have its lanes")]
    LeaseLost,
    #[error("the relay is no longer a member of its fleet")]
    NoMember,
}

/// Runs a relay until `stop`; it then hands its lanes over. Fails only where going on would be wrong: see [`Foreign`].
pub async fn run(
    settings: Settings,
    postgres: postgres::Settings,
    kafka: kafka::Settings,
    stop: CancellationToken,
) -> Result<(), Error> {
    let ear = ear::Ear::default();
    tokio::select! {
        () = ear.clone().listen(postgres.clone()) => Ok(()),
        result = live(&settings, &postgres, &kafka, &ear, &stop) => result,
    }
}

/// One session after the other.
async fn live(
    settings: &Settings,
    postgres: &postgres::Settings,
    kafka: &kafka::Settings,
    ear: &ear::Ear,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut waits = policy::SESSION.waits();
    loop {
        match one_session(settings, postgres, kafka, ear, stop, &mut waits).await {
            Ok(()) => return Ok(()),
            Err(error @ Error::Foreign(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the relay's session has ended; everything in memory is void");
                metrics::counter!("payfleet_relay_sessions_lost_total").increment(1);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(waits.next_wait()) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn one_session(
    settings: &Settings,
    postgres: &postgres::Settings,
    kafka: &kafka::Settings,
    ear: &ear::Ear,
    stop: &CancellationToken,
    waits: &mut Waits,
) -> Result<(), Error> {
    let relay = Uuid::now_v7();
    let opening =
        tokio::time::timeout(Duration::from_millis(settings.lease_ms), session::open(postgres, relay, &settings.name));
    let (session, membership) = opening.await.map_err(|_| Error::LeaseLost)??;
    let opened = Instant::now();
    let (told, seen) = watch::channel(None);
    let mut drain = drain::Drain::new(settings.clone(), kafka.clone(), session, ear.clone(), seen.clone());
    let result = tokio::select! {
        result = drain.run(stop) => result,
        error = membership::keep(membership, relay, settings.clone(), ear.changed.clone(), told) => Err(error),
        () = housekeeping::keep(settings, postgres, relay, seen) => Err(Error::NoMember),
    };
    // One that could store nothing leaves everything that it sent to be sent again: the next such waits longer.
    if drain.has_stored() || opened.elapsed() > Duration::from_millis(settings.lease_ms) {
        waits.reset();
    }
    result
}
