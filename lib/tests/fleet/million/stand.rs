//! Servers, relays and writers of the test.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::super::process::Process;
use super::super::site::{Evidence, Site};
use super::traffic::Traffic;
use super::{PARTS, STEP};
use crate::harness::eventually;
use crate::harness::journal::{self, Journal};

/// Commits are flushed, and nothing else: what happened since the last commit is lost in a crash, so that its transaction numbers are
/// given out again.
const SERVER: [&str; 3] = ["wal_writer_delay=10s", "autovacuum=off", "checkpoint_timeout=1h"];

const RELAYS: usize = 3;

/// Small slots and flights: many truncations, and many pages on their way whoever dies.
const RELAY: [(&str, &str); 7] = [
    ("RELAY__LEASE_MS", "3000"),
    ("RELAY__HEARTBEAT_MS", "500"),
    ("RELAY__ROTATE_BYTES", "4194304"),
    ("RELAY__ROTATE_MS", "500"),
    ("RELAY__PAGE_ROWS", "200"),
    ("RELAY__FLIGHT_ROWS", "800"),
    // What is too large stays too large on the wire.
    ("KAFKA__COMPRESSION", "none"),
];

pub struct Stand {
    pub site: Site,
    pub owner: PgPool,
    pub traffic: Arc<Traffic>,
    relays: Vec<Option<Process>>,
    events: u64,
    begun: Instant,
}

/// Brings everything up, runs `body` with it, and takes it down whatever becomes of `body`.
pub async fn with_stand(events: u64, body: impl AsyncFnOnce(&mut Stand)) {
    let site = Site::prepare_with("million", &SERVER).await;
    site.command(&["migrate"]).await;
    let url = &site.variables["PAYFLEET_MIGRATE__OWNER_URL"];
    let owner = PgPoolOptions::new().max_connections(4).connect(url).await.unwrap();
    let journal = Journal::new(&owner, super::traffic::AGGREGATES).await;
    let traffic = Traffic::new(&site.postgres_settings(), &journal);
    let relays = (0..RELAYS).map(|_| None).collect();
    let mut stand = Stand { site, owner, traffic, relays, events, begun: Instant::now() };
    let done = AssertUnwindSafe(async {
        for place in 0..RELAYS {
            stand.replace(place, "").await;
        }
        body(&mut stand).await;
    });
    let done = done.catch_unwind().await;
    let Stand { site, owner, traffic, relays, .. } = stand;
    // Those that are left are killed when dropped, before the servers they stand on are stopped.
    drop(relays);
    traffic.end();
    site.kafka.thaw();
    owner.close().await;
    let wanted = std::env::var_os("PAYFLEET_TEST_KEEP_LOGS").is_some();
    site.leave(if done.is_ok() && !wanted { Evidence::Discarded } else { Evidence::Kept }).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl Stand {
    pub fn say(&self, what: &str) {
        eprintln!("{:6.1} s  {:>7} events  {what}", self.begun.elapsed().as_secs_f32(), self.traffic.written());
    }

    /// How long the relays may take for everything that there is to read.
    pub fn limit(&self) -> Duration {
        STEP * 2 + Duration::from_millis(self.events * 2)
    }

    /// Lets the writers write the next part of the load at full speed. Afterwards they only trickle.
    pub async fn next_part(&mut self, what: &str) {
        self.say(what);
        self.traffic.allow(self.events.div_ceil(PARTS));
    }

    /// Waits until the whole load is written.
    pub async fn written(&self) {
        let (traffic, events) = (&self.traffic, self.events);
        eventually("the load to be written", self.limit(), async || (traffic.written() >= events).then_some(())).await;
    }

    /// Waits until truncation has waited for so many transactions, all of which then committed.
    pub async fn knocked(&self, times: u64) {
        let traffic = &self.traffic;
        let what = "truncation to wait for transactions that are late";
        eventually(what, self.limit(), async || (traffic.knocks() >= times).then_some(())).await;
    }

    /// Waits until all that is committed is sent or parked.
    pub async fn passed(&self) {
        let pool = &self.owner;
        let what = "everything to be behind the cursors";
        eventually(what, self.limit(), async || journal::is_passed(pool).await.then_some(())).await;
    }

    pub fn relay(&self, place: usize) -> &Process {
        self.relays[place].as_ref().unwrap()
    }

    pub fn relays(&self) -> impl Iterator<Item = &Process> {
        self.relays.iter().flatten()
    }

    /// Starts whoever is to hold this place, and kills whoever holds it.
    pub async fn replace(&mut self, place: usize, failpoints: &str) {
        if let Some(relay) = self.relays[place].take() {
            relay.kill().await;
        }
        let name = format!("relay-{}", place + 1);
        let mut variables = self.site.variables.clone();
        let mut set = |name: &str, value: &str| variables.insert(format!("PAYFLEET_{name}"), value.to_owned());
        for (name, value) in RELAY {
            set(name, value);
        }
        set("RELAY__NAME", &name);
        set("FAILPOINTS", failpoints);
        set("FAILPOINTS_LOG", &self.site.windows().to_string_lossy());
        let relay = Process::start(env!("CARGO_BIN_EXE_relay"), &name, self.site.path(), &variables);
        self.relays[place] = Some(relay.ready().await);
    }

    /// Ends the relays; each must say that it ended well.
    pub async fn dismiss(&mut self) {
        let everybody = self.relays.iter_mut().filter_map(Option::take);
        let ended = join_all(everybody.map(async |relay| (relay.name.clone(), relay.stop().await))).await;
        let failed: Vec<_> = ended.iter().filter(|(_, status)| !status.success()).collect();
        assert!(failed.is_empty(), "ended by a failure: {failed:?}");
    }
}
