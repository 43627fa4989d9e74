//! The connections of a relay. They live and die together: a cursor is only good in the server life that it was read in, and losing
//! any of these connections may mean that the server crashed and gives out again transaction numbers that a cursor has seen.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::outbox::history::{self, History};
use crate::outbox::{checkpoint, delta, lanes};
use crate::postgres;

/// What the lanes are drained with; the membership's own connection is kept by its task.
pub struct Session {
    pub relay: Uuid,
    pub history: History,
    /// No statement is waited for longer: the heart goes on beating over another connection while one of these says nothing.
    pub limit: Duration,
    /// Deltas, ticks, stored cursors.
    pub reading: PgConnection,
    /// Claims, checkpoints, releases.
    pub writing: PgConnection,
}

/// Becomes a member, and opens the rest. Gives the membership's connection beside.
pub async fn open(
    postgres: &postgres::Settings,
    relay: Uuid,
    name: &str,
) -> Result<(Session, PgConnection), sqlx::Error> {
    let mut membership = postgres.connect("relay membership").await?;
    // Beats need not wait for an fsync: after a crash everybody registers anew.
    checkpoint::prepare(&mut membership).await?;
    lanes::register(&mut membership, relay, name).await?;
    let mut reading = postgres.connect("relay reading").await?;
    delta::prepare(&mut reading).await?;
    let (history, _) = history::here(&mut reading).await?;
    let mut writing = postgres.connect("relay writing").await?;
    checkpoint::prepare(&mut writing).await?;
    Ok((Session { relay, history, limit: postgres.statement_limit(), reading, writing }, membership))
}
