//! Guarantees about who drains a lane.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use payfleet::relay;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fleet::{Fleet, LIMIT};
use crate::harness::{eventually, journal};

async fn epochs(fleet: &Fleet) -> Vec<i64> {
    sqlx::query_scalar("SELECT epoch FROM lanes ORDER BY lane").fetch_all(fleet.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_spread_evenly_whoever_comes_and_goes() {
    let fleet = Fleet::new(0).await;
    let a = fleet.relay("a");
    fleet.held_as(&[("a", 16)]).await;
    let b = fleet.relay("b");
    fleet.held_as(&[("a", 8), ("b", 8)]).await;
    let c = fleet.relay("c");
    fleet.held_as(&[("a", 6), ("b", 5), ("c", 5)]).await;
    b.stop().await;
    fleet.held_as(&[("a", 8), ("c", 8)]).await;
    c.kill().await;
    fleet.held_as(&[("a", 16)]).await;
    a.stop().await;
    fleet.held_as(&[]).await;
}

/// Who has held each lane under which epoch.
#[derive(Default)]
struct Owners(BTreeMap<(i16, i64), Uuid>);

impl Owners {
    async fn look(&mut self, fleet: &Fleet) {
        let held: Vec<(i16, i64, Uuid)> =
            sqlx::query_as("SELECT lane, epoch, relay FROM lanes WHERE relay IS NOT NULL")
                .fetch_all(fleet.pool())
                .await
                .unwrap();
        for (lane, epoch, relay) in held {
            let known = *self.0.entry((lane, epoch)).or_insert(relay);
            assert_eq!(known, relay, "lane {lane} has two owners in epoch {epoch}");
        }
    }

    /// While events flow: until the lanes are spread over all relays, and none has two more than another.
    async fn spread(&mut self, fleet: &Fleet, relays: usize) {
        eventually(&format!("the lanes to be spread over {relays}"), LIMIT, async || {
            fleet.step_all(20).await;
            self.look(fleet).await;
            let held: Vec<i64> = fleet.holdings().await.into_iter().map(|(_, lanes)| lanes).collect();
            let differ = held.iter().max()? - held.iter().min()?;
            (held.len() == relays && held.iter().sum::<i64>() == 16 && differ <= 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_relay_to_eight_and_back_every_lane_has_one_owner_and_no_event_is_left_out() {
    let (fleet, mut owners) = (Fleet::new(100).await, Owners::default());
    let mut running = Vec::new();
    for name in 1..=8 {
        running.push(fleet.relay(&name.to_string()));
        owners.spread(&fleet, running.len()).await;
    }
    // From the middle, by turns told to stop and killed.
    while running.len() > 1 {
        let leaving = running.remove(running.len() / 2);
        if running.len() % 2 == 0 {
            leaving.stop().await
        } else {
            leaving.kill().await
        }
        owners.spread(&fleet, running.len()).await;
    }
    fleet.drained().await;
    assert_eq!(journal::overtaken(fleet.pool()).await, 0, "a checkpoint of an old epoch came after one of a newer");
    fleet.verdict().await.assert_clean();
    running.remove(0).stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_is_replaced_long_before_its_lease_is_over() {
    let fleet = Fleet::new(0).await;
    let (a, b) = (fleet.relay("a"), fleet.relay("b"));
    fleet.held_as(&[("a", 8), ("b", 8)]).await;
    let killed = Instant::now();
    a.kill().await;
    fleet.held_as(&[("b", 16)]).await;
    let lease = Duration::from_millis(relay::Settings::default().lease_ms);
    assert!(killed.elapsed() < lease / 2, "it took {:?}: only the lease has ended it", killed.elapsed());
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_told_to_stop_leaves_nothing_to_repeat() {
    let fleet = Fleet::new(300).await;
    let mut running = fleet.relay("0");
    for round in 1..=4 {
        fleet.step_all(100).await;
        let next = fleet.relay(&round.to_string());
        running.stop().await;
        running = next;
    }
    fleet.drained().await;
    let verdict = fleet.verdict().await;
    verdict.assert_clean();
    assert_eq!(verdict.repeated, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_any_connection_gives_up_all_lanes_and_takes_them_under_new_epochs() {
    let fleet = Fleet::new(100).await;
    let relay = fleet.relay("a");
    fleet.held_as(&[("a", 16)]).await;
    for connection in ["relay reading", "relay writing", "relay membership"] {
        let before = epochs(&fleet).await;
        let cut: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
        )
        .bind(connection)
        .fetch_one(fleet.pool())
        .await
        .unwrap();
        assert_eq!(cut, 1, "{connection}");
        eventually("all lanes to be taken anew", LIMIT, async || {
            let now = epochs(&fleet).await;
            now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
        })
        .await;
        fleet.step_all(10).await;
        fleet.drained().await;
    }
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}

/// A relay on a thread of its own that can be frozen: nothing of it runs, its sessions stay open.
struct Freezable {
    freeze: tokio::sync::mpsc::UnboundedSender<std::sync::mpsc::Receiver<()>>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Freezable {
    fn start(fleet: &Fleet, settings: relay::Settings) -> Self {
        let (freeze, mut frozen) = tokio::sync::mpsc::unbounded_channel::<std::sync::mpsc::Receiver<()>>();
        let (stop, postgres, kafka) =
            (CancellationToken::new(), fleet.database.settings(), fleet.topics.settings.clone());
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::spawn(async move {
                    while let Some(thaw) = frozen.recv().await {
                        // Blocks the only thread that this runtime has.
                        thaw.recv().ok();
                    }
                });
                relay::run(settings, postgres, kafka, stopping).await.unwrap();
            });
        });
        Self { freeze, stop, thread }
    }

    /// Frozen until what it gives is dropped.
    fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, waits) = std::sync::mpsc::channel();
        self.freeze.send(waits).unwrap();
        thaw
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_frozen_past_its_lease_moves_no_progress_when_it_thaws() {
    let fleet = Fleet::new(300).await;
    let short =
        |name: &str| relay::Settings { name: name.into(), lease_ms: 1_500, heartbeat_ms: 300, ..Default::default() };
    let frozen = Freezable::start(&fleet, short("frozen"));
    fleet.held_as(&[("frozen", 16)]).await;
    fleet.step_all(100).await;
    let thaw = frozen.freeze();
    let other = fleet.relay_with(short("other"));
    let others: &str = "SELECT count(*) FROM lanes JOIN relays ON relays.id = lanes.relay WHERE relays.name = 'other'";
    eventually("the other to take all lanes", LIMIT, async || {
        let lanes: i64 = sqlx::query_scalar(others).fetch_one(fleet.pool()).await.unwrap();
        (lanes == 16).then_some(())
    })
    .await;
    fleet.step_all(100).await;
    fleet.drained().await;
    drop(thaw);
    fleet.held_as(&[("frozen", 8), ("other", 8)]).await;
    fleet.step_all(100).await;
    fleet.drained().await;
    let overtaken = journal::overtaken(fleet.pool()).await;
    assert_eq!(overtaken, 0, "a checkpoint of an old epoch was written after one of a newer");
    fleet.verdict().await.assert_clean();
    frozen.stop().await;
    other.stop().await;
}
