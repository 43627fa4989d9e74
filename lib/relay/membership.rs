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
    // A server that vanished without a word would be waited for as long as TCP likes; the lease is over sooner.
    let (lease, heartbeat) = (Duration::from_millis(settings.lease_ms), Duration::from_millis(settings.heartbeat_ms));
    let mut beaten_at = None::<Instant>;
    loop {
        let at = Instant::now();
        let beats = beaten_at.is_none_or(|beaten| beaten.elapsed() >= heartbeat);
        match tokio::time::timeout(lease, once(&mut connection, relay, lease, beats)).await {
            Ok(Ok(view)) => {
                beaten_at = if beats { Some(at) } else { beaten_at };
                seen.send_replace(beaten_at.map(|beaten_at| Seen { view, at, beaten_at }));
            }
            Ok(Err(error)) => return error,
            Err(_) => return Error::LeaseLost,
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(settings.watch_ms)) => {}
            () = changed.notified() => {}
        }
    }
}

/// A heartbeat if it is time, and a look.
async fn once(connection: &mut PgConnection, relay: Uuid, lease: Duration, beats: bool) -> Result<View, Error> {
    if beats && !lanes::beat(connection, relay).await? {
        return Err(Error::NoMember);
    }
    Ok(lanes::look(connection, lease).await?)
}
