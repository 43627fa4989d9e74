//! The tables `gateways` and `routes`: which gateways a payment may go to. Every process keeps a copy that is at most about a
//! second old; a payment is never routed by a copy that was not read yet.
//!
//! If it dies here: nothing is lost, rows are only read. While Postgres is away the last copy stays in use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::destination::DestinationKind;
use crate::domain::route::{GatewayState, Route};
use crate::gateway::Gateways;
use crate::postgres;
use crate::postgres::clock::DatabaseClock;
use crate::service::shutdown::vital;

const REFRESH: Duration = Duration::from_secs(1);
/// For the tables to be read. They are small.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Routes and gateways as they were when last read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutingTable {
    pub routes: Vec<Route>,
    /// Those that are both a row and an adapter of this process.
    pub gateways: Vec<GatewayState>,
}

/// What an adapter declares: its name, and the kinds of destination that it can pay to.
type Adapter = (String, Vec<DestinationKind>);

/// The copy of this process. Cheap to clone.
#[derive(Clone)]
pub struct Routing {
    pool: PgPool,
    adapters: Arc<[Adapter]>,
    table: Arc<ArcSwap<RoutingTable>>,
    loaded: watch::Sender<bool>,
    clock: DatabaseClock,
}

impl Routing {
    /// Begins to read, and goes on every second until `stop`.
    pub fn start(pool: PgPool, gateways: &Gateways, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let adapters = gateways.iter().map(|gateway| (gateway.name().to_owned(), gateway.pays_to().to_vec())).collect();
        let (loaded, clock) = (watch::Sender::new(false), DatabaseClock::default());
        let routing = Self { pool, adapters, table: Arc::default(), loaded, clock };
        tracker.spawn(vital("routing", routing.clone().keep_fresh(stop)));
        routing
    }

    pub fn snapshot(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }

    /// The database's clock, heard with every reading of the tables: right from the first one on, whatever this machine's clock says.
    pub fn clock(&self) -> DatabaseClock {
        self.clock.clone()
    }

    /// Whether the tables have been read at all. Before that the snapshot is empty and means nothing.
    pub fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// Waits for the first successful read.
    pub async fn loaded(&self) {
        // The sender lives in `self`, so waiting ends only by the value.
        self.loaded.subscribe().wait_for(|loaded| *loaded).await.ok();
    }

    /// Reads the tables now.
    pub async fn refresh(&self) -> Result<(), sqlx::Error> {
        let (table, now) = postgres::within(READ_LIMIT, read(&self.pool, &self.adapters)).await?;
        self.clock.heard(now);
        if *self.snapshot() != table {
            tracing::info!(routes = table.routes.len(), gateways = ?table.gateways, "routing changed");
            self.table.store(Arc::new(table));
        }
        self.loaded.send_if_modified(|loaded| !std::mem::replace(loaded, true));
        Ok(())
    }

    async fn keep_fresh(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(REFRESH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.refresh().await {
                metrics::counter!("payfleet_routing_refresh_failures_total").increment(1);
                tracing::warn!(%error, "routes were not read; the last ones stay in use");
            }
        }
    }
}

async fn read(pool: &PgPool, adapters: &[Adapter]) -> Result<(RoutingTable, OffsetDateTime), sqlx::Error> {
    let routes =
        sqlx::query_as!(Route, "SELECT country, currency, priority, gateway FROM routes ORDER BY priority, id")
            .fetch_all(pool)
            .await?;
    let rows = sqlx::query!("SELECT name, paused FROM gateways ORDER BY name").fetch_all(pool).await?;
    let gateways = rows
        .into_iter()
        .filter_map(|row| {
            let (_, pays_to) = adapters.iter().find(|(name, _)| *name == row.name)?;
            Some(GatewayState { name: row.name, paused: row.paused, away: false, pays_to: pays_to.clone() })
        })
        .collect();
    // Last, so that it is young when it is heard.
    let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await?;
    Ok((RoutingTable { routes, gateways }, now))
}

/// Makes the tables hold these gateways, and of each group (country, currency) named exactly these routes, in the caller's
/// transaction. Other groups stay, and a gateway's `paused`, which is the operators', is never touched.
pub async fn upsert(connection: &mut PgConnection, gateways: &[&str], routes: &[Route]) -> Result<(), sqlx::Error> {
    let names: Vec<String> = gateways.iter().map(|name| (*name).to_owned()).collect();
    sqlx::query!("INSERT INTO gateways (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING", &names)
        .execute(&mut *connection)
        .await?;
    let countries: Vec<Option<String>> = routes.iter().map(|route| route.country.clone()).collect();
    let currencies: Vec<Option<String>> = routes.iter().map(|route| route.currency.clone()).collect();
    let priorities: Vec<i16> = routes.iter().map(|route| route.priority).collect();
    let targets: Vec<String> = routes.iter().map(|route| route.gateway.clone()).collect();
    sqlx::query_file!("lib/routing/sql/delete_groups.sql", &countries as _, &currencies as _)
        .execute(&mut *connection)
        .await?;
    sqlx::query_file!("lib/routing/sql/insert_routes.sql", &countries as _, &currencies as _, &priorities, &targets)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a gateway out of routing, or back in. False: there is no such gateway.
pub async fn pause(connection: &mut PgConnection, gateway: &str, paused: bool) -> Result<bool, sqlx::Error> {
    let done = sqlx::query_file!("lib/routing/sql/pause_gateway.sql", gateway, paused).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}
