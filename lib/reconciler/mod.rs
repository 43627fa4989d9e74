//! Whatever is due is looked at again: payments that are not final, callbacks that were not applied.
//!
//! ```text
//! timer, nudge ─▶ pass: take a page (due_at pushed forward) ─▶ look at each ─┬─ done: settlement has set what follows
//!                  ▲  │ next page                                           └─ failed: due again by itself
//!                  └──┘
//! ```
//! The usual and the failed case are one path. A row is taken by pushing its `due_at`, in a commit of its own, by whichever replica
//! comes first (SKIP LOCKED); then it is looked at outside of any transaction. Only the database's clock counts. This alone would
//! finish every payment if Kafka forgot everything.
//!
//! If it dies here: what was taken and not looked at is due again after a claim's length; nothing else is different.

mod mark;
mod nudge;
mod room;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::postgres::due::{Found, Search};
use crate::service::planted::{self, Bug};
use crate::settlement::Settlement;
use crate::{callbacks, postgres, transactions};

pub use sweep::{Duty, sweep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest time between two sweeps.
    pub every_ms: u64,
    /// Between two sweeps that begin at the very beginning of the index.
    pub whole_ms: u64,
    /// Rows taken by one statement at most.
    pub page: usize,
    /// Rows of one gateway looked at at the same time.
    pub concurrency: usize,
    /// For how long a row that was taken is left alone: longer than looking at it takes, a call to its gateway included.
    pub leave_ms: u64,
    /// Where the wait of a row whose handling fails again and again stops growing.
    pub longest_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { every_ms: 1_000, whole_ms: 60_000, page: 32, concurrency: 32, leave_ms: 60_000, longest_ms: 600_000 }
    }
}

/// Looks after payments and callbacks until `stop`, then finishes what it has in hand.
pub async fn run(
    settings: &Settings,
    postgres: &postgres::Settings,
    pool: PgPool,
    settlement: Settlement,
    stop: CancellationToken,
) {
    let (for_payments, for_callbacks) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let limit = postgres.statement_limit();
    let payments = Payments { pool: pool.clone(), settlement: settlement.clone(), limit };
    let callbacks = Callbacks { pool, settlement, limit };
    tokio::join!(
        sweep(settings, payments, for_payments.clone(), stop.clone()),
        sweep(settings, callbacks, for_callbacks, stop.clone()),
        nudge::listen(postgres, &for_payments, &stop),
    );
}

struct Payments {
    pool: PgPool,
    settlement: Settlement,
    /// Of a statement.
    limit: Duration,
}

impl Duty for Payments {
    const NAME: &'static str = "payments";

    async fn claim(&self, search: Search) -> Result<Found, sqlx::Error> {
        transactions::due::claim(&self.pool, &search, self.limit).await
    }

    async fn attend(&self, id: Uuid) -> Result<(), BoxError> {
        Ok(self.settlement.fell_due(id).await?)
    }
}

struct Callbacks {
    pool: PgPool,
    settlement: Settlement,
    limit: Duration,
}

impl Duty for Callbacks {
    const NAME: &'static str = "callbacks";

    async fn claim(&self, search: Search) -> Result<Found, sqlx::Error> {
        callbacks::due::claim(&self.pool, &search, self.limit).await
    }

    async fn attend(&self, id: Uuid) -> Result<(), BoxError> {
        if planted::is(Bug::SweepForgetsStoredCallbacks) {
            return Ok(());
        }
        Ok(self.settlement.apply_callback(id).await?)
    }
}
