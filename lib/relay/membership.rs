//! Keeps the relay a member: its heart beats, and it looks who else lives and who holds what. What follows from it is decided by the
//! drain, which alone takes lanes and lets them go.
//!
//! If it dies here: the session's advisory lock is gone, and the others take the lanes at their next look.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Error, Settings};
use crate::outbox::lanes::{self, View};

/// What was last seen of the fleet.
#[derive(Clone, Debug)]
pub struct Seen {
    pub view: View,
    /// A moment before the look.
    pub at: Instant,
    /// A moment before the last heartbeat that was heard: the lease runs from here.
    pub beaten_at: Instant,
}

/// Runs until the connection is lost or the relay is no longer a member.
pub async fn keep(
    mut connection: PgConnection,
    relay: Uuid,
    settings: Settings,
    changed: Arc<Notify>,
    seen: watch::Sender<Option<Seen>>,
) -> Error {
    let (lease, heartbeat) = (Duration::from_millis(settings.lease_ms), Duration::from_millis(settings.heartbeat_ms));
    let mut beaten_at = None::<Instant>;
    loop {
        let at = Instant::now();
        if beaten_at.is_none_or(|beaten| beaten.elapsed() >= heartbeat) {
            match lanes::beat(&mut connection, relay).await {
                Ok(true) => beaten_at = Some(at),
                Ok(false) => return Error::NoMember,
                Err(error) => return Error::Postgres(error),
            }
        }
        match lanes::look(&mut connection, lease).await {
            Ok(view) => seen.send_replace(beaten_at.map(|beaten_at| Seen { view, at, beaten_at })),
            Err(error) => return Error::Postgres(error),
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(settings.watch_ms)) => {}
            () = changed.notified() => {}
        }
    }
}
