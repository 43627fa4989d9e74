//! Keeps the ring and its ledgers small: ticks while there is traffic, rotation, truncation, and the trimming of what was passed. Done
//! by the owner of the first lane, on a connection of its own.
//!
//! If it dies here: each act is one transaction, and the next owner of the first lane goes on.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::Settings;
use super::membership::Seen;
use crate::outbox::history::{self, History};
use crate::outbox::ring::{self, Rotation, Truncation};
use crate::outbox::{checkpoint, lanes, ticks};
use crate::postgres;
use crate::service::retry::policy;

/// Whoever holds this lane keeps house.
const FIRST_LANE: i16 = 0;

/// How often slots are looked at.
const RING: Duration = Duration::from_secs(1);

/// A round may take so many times as long as a statement: it is a dozen of them, each of which mostly takes no time.
const PATIENCE: u32 = 4;

/// How often what was passed is deleted.
const TRIM: Duration = Duration::from_secs(10);

struct House<'a> {
    settings: &'a Settings,
    /// Of the connection at hand: cursors are judged by it.
    history: Option<History>,
    busy_until: [Option<Instant>; ring::SLOTS as usize],
    /// Since when the ring should have moved on.
    blocked_since: Option<Instant>,
    ring_at: Instant,
    trim_at: Instant,
    checkpoints_low: i64,
    ticks_low: u64,
}

/// Keeps house whenever the relay holds the first lane. A lost connection is made again: no cursor depends on it.
pub async fn keep(
    settings: &Settings,
    postgres: &postgres::Settings,
    relay: Uuid,
    seen: watch::Receiver<Option<Seen>>,
) {
    let now = Instant::now();
    let mut house = House {
        settings,
        history: None,
        busy_until: [None; ring::SLOTS as usize],
        blocked_since: None,
        ring_at: now,
        trim_at: now,
        checkpoints_low: 0,
        ticks_low: 0,
    };
    let mut connection: Option<PgConnection> = None;
    let mut rounds = tokio::time::interval(ticks::INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let ours = seen.borrow().as_ref().is_some_and(|seen| seen.view.of(relay).any(|held| held.lane == FIRST_LANE));
        if !ours {
            connection = None;
            house.leave();
            continue;
        }
        let round = house.round(&mut connection, postgres);
        if let Err(error) = postgres::within(postgres.statement_limit() * PATIENCE, round).await {
            tracing::warn!(%error, "housekeeping failed; it is done again");
            connection = None;
        }
    }
}

impl House<'_> {
    /// Another relay keeps house from here on, and tells how the house is.
    fn leave(&mut self) {
        self.blocked_since = None;
        metrics::gauge!("payfleet_outbox_rotation_blocked_seconds").set(0.0);
        metrics::gauge!("payfleet_outbox_slot_bytes").set(0.0);
    }

    async fn round(
        &mut self,
        connection: &mut Option<PgConnection>,
        postgres: &postgres::Settings,
    ) -> Result<(), sqlx::Error> {
        if connection.is_none() {
            let mut fresh = postgres.connect("relay housekeeping").await?;
            checkpoint::prepare(&mut fresh).await?;
            self.history = Some(history::here(&mut fresh).await?.0);
            *connection = Some(fresh);
        }
        let Some(connection) = connection.as_mut() else { return Ok(()) };
        ticks::write(connection).await?;
        if self.ring_at.elapsed() >= RING {
            self.ring_at = Instant::now();
            self.turn_the_ring(connection).await?;
        }
        if self.trim_at.elapsed() >= TRIM {
            self.trim_at = Instant::now();
            self.checkpoints_low = checkpoint::trim(connection, self.checkpoints_low).await?;
            self.ticks_low = ticks::trim(connection, self.ticks_low).await?;
            lanes::trim(connection, Duration::from_millis(self.settings.lease_ms)).await?;
        }
        Ok(())
    }

    /// Empties what is passed first, so that there is somewhere to go on to.
    async fn turn_the_ring(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(history) = self.history else { return Ok(()) };
        for slot in ring::behind(connection).await? {
            let busy = &mut self.busy_until[slot as usize];
            if busy.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            *busy = None;
            match ring::truncate(connection, slot, history).await? {
                Truncation::Done => {
                    tracing::info!(slot, "truncated a slot of the outbox");
                    metrics::counter!("payfleet_outbox_truncations_total").increment(1);
                }
                Truncation::Busy => {
                    metrics::counter!("payfleet_outbox_truncations_busy_total").increment(1);
                    *busy = Some(Instant::now() + policy::SLOT.first());
                }
                Truncation::NotPassed => {}
            }
        }
        let limits = ring::Limits { bytes: self.settings.rotate_bytes, age_ms: self.settings.rotate_ms as i64 };
        match ring::rotate(connection, limits).await? {
            Rotation::Into(slot) => {
                tracing::info!(slot, "the outbox goes on in the next slot");
                metrics::counter!("payfleet_outbox_rotations_total").increment(1);
                self.blocked_since = None;
            }
            Rotation::NotDue => self.blocked_since = None,
            Rotation::Blocked => {
                if self.blocked_since.is_none() {
                    tracing::error!(
                        "the outbox cannot go on to its next slot: that still has rows, the current one grows"
                    );
                }
                self.blocked_since.get_or_insert_with(Instant::now);
            }
        }
        let blocked = self.blocked_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        metrics::gauge!("payfleet_outbox_rotation_blocked_seconds").set(blocked);
        Ok(())
    }
}

impl Drop for House<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
