//! Processes are asked to end in the middle of a load: they finish what they have in hand, and others have their work at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::load::{self, Pace, Until};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::crew::{Fleet, Place, Role, with_fleet};
use super::process::Process;
use crate::harness::eventually;

/// What a process gives itself; then it says that it is overdue, and fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// From the end of a relay until others have its lanes.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A group hears of a change at its members' heartbeats and settles in up to two rounds. One that nobody left in good order would be
/// waited for longer: until its session is over.
const REBALANCED_WITHIN: Duration = Duration::from_secs(4);

/// Three gateways' commands and the callbacks, each on sixteen partitions.
const PARTITIONS: f64 = 64.0;

/// Those that stay when the first worker leaves.
const WORKERS: [Place; 2] = [(Role::Worker, 1), (Role::Worker, 2)];

#[tokio::test]
async fn processes_told_to_end_under_load_end_well_and_others_have_their_lanes_and_partitions_at_once() {
    let settings = [("SETTLEMENT__SETTLE_WINDOW_MS", "5000")];
    with_fleet("leaving", &settings, &[], async |fleet: &mut Fleet| {
        let mut plan = fleet.load();
        (plan.pace, plan.until) = (Pace::PerSecond(40.0), Until::Elapsed(Duration::from_secs(25)));
        plan.settle_within = Some(Duration::from_secs(120));
        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        let stop = CancellationToken::new();
        let (outcome, ()) = tokio::join!(load::run(&plan, &|_| {}, &stop), replace_each(fleet, &mut books));
        let outcome = outcome.unwrap();
        eprintln!("{}", outcome.table());
        assert!(outcome.is_complete(), "not every payment was decided and became final");
        let figures = &outcome.figures;
        assert_eq!((figures.accepted, figures.refused.len(), figures.undecided), (figures.meant, 0, 0));
        fleet.verify().await;
    })
    .await;
}

async fn replace_each(fleet: &mut Fleet, books: &mut PgConnection) {
    let under_way = "SELECT count(*) FROM transactions WHERE status = 'succeeded'";
    eventually("the load to be in full flow", Duration::from_secs(60), async || {
        let payments: i64 = sqlx::query_scalar(under_way).fetch_one(&mut *books).await.unwrap();
        (payments > 50).then_some(())
    })
    .await;
    for place in [(Role::Relay, 0), (Role::Worker, 0), (Role::Ingress, 0)] {
        let leaving = fleet.take(place);
        let name = leaving.name.clone();
        let begun = Instant::now();
        let status = leaving.stop().await;
        assert!(status.success() && begun.elapsed() < DEADLINE, "{name}: {status} after {:?}", begun.elapsed());
        let (ended, left) = (Instant::now(), begun.elapsed());
        match place.0 {
            Role::Relay => everything_is_owned(books).await,
            Role::Worker => everything_is_assigned(fleet).await,
            Role::Ingress => {}
        }
        eprintln!("{name} left after {left:?}; others had its work {:?} later", ended.elapsed());
        let next = fleet.start(place, "").ready().await;
        fleet.put(place, next);
    }
}

/// Each lane has an owner that lives.
async fn everything_is_owned(books: &mut PgConnection) {
    eventually("others to have the lanes", AT_ONCE, async || {
        let owned = "SELECT count(*) FROM lanes JOIN connected_relays relay ON lanes.relay = relay.id";
        let owned: i64 = sqlx::query_scalar(owned).fetch_one(&mut *books).await.unwrap();
        (owned == 16).then_some(())
    })
    .await;
}

async fn everything_is_assigned(fleet: &Fleet) {
    let workers: Vec<&Process> = WORKERS.iter().map(|place| fleet.at(*place)).collect();
    eventually("others to have the partitions", REBALANCED_WITHIN, async || {
        let owned = join_all(workers.iter().map(|worker| worker.metric("payfleet_consumer_owned_partitions"))).await;
        (owned.into_iter().flatten().sum::<f64>() >= PARTITIONS).then_some(())
    })
    .await;
}
