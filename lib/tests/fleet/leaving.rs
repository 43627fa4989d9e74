//! Processes are asked to end in the middle of a load: each in turn, then all of them at once. They finish what they have in hand, and
//! others have their work at once.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::load::{self, Figures, Mix, Pace, Plan, Until};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::asked::Calls;
use super::crew::{Fleet, PLACES, Place, Role, with_fleet};
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

/// One becomes ready while another leaves; never are two of a role away.
const IN_TURN: [Place; 8] = [
    (Role::Ingress, 0),
    (Role::Worker, 0),
    (Role::Relay, 0),
    (Role::Ingress, 1),
    (Role::Worker, 1),
    (Role::Relay, 1),
    (Role::Worker, 2),
    (Role::Relay, 2),
];

const LIMIT: Duration = Duration::from_secs(60);

/// Calls take so long that some are always under way. How long other things last is shortened.
const SETTINGS: [(&str, &str); 12] = [
    ("SIM__LATENCY_MS", "300"),
    ("SIM__LATENCY_JITTER_MS", "500"),
    ("SIM__CUSTOMER_AFTER_MS", "500"),
    ("SETTLEMENT__SCHEDULE", "1s 2s 3s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s"),
    ("SETTLEMENT__SETTLE_WINDOW_MS", "2000"),
    ("SETTLEMENT__MARGIN_MS", "500"),
    ("SETTLEMENT__RETRY_FIRST_MS", "1000"),
    ("SETTLEMENT__RETRY_LONGEST_MS", "5000"),
    ("GATEWAYS__STRIPE__LIMITS__CALL_MS", "4000"),
    ("GATEWAYS__PAYPAL__LIMITS__CALL_MS", "4000"),
    ("GATEWAYS__BANK__LIMITS__CALL_MS", "4000"),
    // One machine, one clock.
    ("GATEWAYS__STRIPE__CLOCK_SKEW_S", "2"),
];

#[tokio::test]
async fn processes_told_to_end_under_load_answer_everybody_and_others_have_their_lanes_and_partitions_at_once() {
    with_fleet("leaving", &SETTINGS, &[], async |fleet: &mut Fleet| {
        let (plan, stop) = (plan(fleet), CancellationToken::new());
        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        let leaving = async {
            replace_each(fleet, &mut books).await;
            replace_all(fleet, &mut books).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(load::run(&plan, &|_| {}, &stop), leaving);
        let outcome = outcome.unwrap();
        eprintln!("{}", outcome.table());
        assert!(outcome.is_complete(), "not every payment was decided");
        everybody_was_answered(&outcome.figures);
        eventually("every payment to be final", 2 * LIMIT, async || {
            let open = "SELECT count(*) FROM transactions
                WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'reversed', 'review')";
            (count(&mut books, open).await == 0).then_some(())
        })
        .await;
        let calls = Calls::read(&fleet.site.charge_log());
        assert!(calls.repeated() > 10, "hardly a call was repeated: {}", calls.repeated());
        assert_eq!(calls.repeated_unasked(), Vec::<String>::new());
        fleet.verify().await;
    })
    .await;
}

/// Payments of all kinds; some of their first calls end so that only asking tells whether they are to be repeated. Those that are never
/// answered (904) are still under way when a worker that leaves has handed its partitions over: the next owner gets their commands, too.
fn plan(fleet: &Fleet) -> Plan {
    let mix = Mix {
        endings: vec![(904, 0.03), (905, 0.01), (906, 0.02), (913, 0.01)],
        gateways: ["stripe", "paypal", "bank"].map(str::to_owned).into(),
        ..Mix::default()
    };
    // A connection is used again before its ingress has left: none idles until it is closed, which can cross with a request.
    let (pace, connections) = (Pace::PerSecond(40.0), 16);
    let until = Until::Elapsed(Duration::from_secs(180));
    Plan { mix, pace, connections, until, settle_within: None, ..fleet.load() }
}

/// What a client may notice of all this is that a port is closed, or to be told when to come again.
fn everybody_was_answered(figures: &Figures) {
    assert_eq!((figures.accepted, figures.refused.len()), (figures.meant, 0), "{figures:?}");
    assert_eq!(figures.lost, figures.not_connected, "requests were sent and never answered");
    assert!(figures.put_off.keys().all(|status| *status == 503), "{:?}", figures.put_off);
    assert_eq!(figures.put_off_vaguely, 0, "503 without Retry-After");
}

async fn replace_each(fleet: &mut Fleet, books: &mut PgConnection) {
    let succeeded = "SELECT count(*) FROM transactions WHERE status = 'succeeded'";
    eventually("the load to be in full flow", LIMIT, async || (count(books, succeeded).await > 50).then_some(())).await;
    let mut coming: Option<(Place, Process)> = None;
    for place in IN_TURN {
        let leaving = fleet.take(place);
        calls_are_under_way(books, Some(&leaving).filter(|_| place.0 == Role::Worker)).await;
        let name = leaving.name.clone();
        let left = ended_well(leaving).await;
        let ended = Instant::now();
        match place {
            (Role::Relay, 0) => everything_is_owned(books).await,
            (Role::Worker, 0) => everything_is_assigned(fleet).await,
            _ => {}
        }
        eprintln!("{name} left after {left:?}; others had its work {:?} later", ended.elapsed());
        let next = fleet.start(place, "");
        if let Some((place, process)) = coming.replace((place, next)) {
            fleet.put(place, process.ready().await);
        }
    }
    let (place, last) = coming.unwrap();
    fleet.put(place, last.ready().await);
    calls_are_under_way(books, None).await;
    let left = ended_well(fleet.take_simulator()).await;
    eprintln!("the simulator left after {left:?}");
    let next = fleet.start_simulator().ready().await;
    fleet.put_simulator(next);
}

/// As when a whole cluster is told to end.
async fn replace_all(fleet: &mut Fleet, books: &mut PgConnection) {
    paid_again(books).await;
    calls_are_under_way(books, None).await;
    let simulator = fleet.take_simulator();
    let all: Vec<Process> = PLACES.iter().map(|place| fleet.take(*place)).chain([simulator]).collect();
    let left = join_all(all.into_iter().map(ended_well)).await;
    eprintln!("all left after {left:?}");
    let simulator = fleet.start_simulator();
    let starting = PLACES.map(|place| fleet.start(place, "").ready());
    let (simulator, started) = tokio::join!(simulator.ready(), join_all(starting));
    fleet.put_simulator(simulator);
    PLACES.into_iter().zip(started).for_each(|(place, process)| fleet.put(place, process));
    paid_again(books).await;
}

/// How long it took.
async fn ended_well(process: Process) -> Duration {
    let (name, begun) = (process.name.clone(), Instant::now());
    let status: ExitStatus = process.stop().await;
    let took = begun.elapsed();
    assert!(status.success() && took < DEADLINE, "{name}: {status} after {took:?}");
    took
}

/// Gateways are being called; by this worker, if there is one to be sure of.
async fn calls_are_under_way(books: &mut PgConnection, worker: Option<&Process>) {
    let called = "SELECT count(*) FROM transactions WHERE status = 'submitting'";
    eventually("gateways to be called", LIMIT, async || {
        if let Some(worker) = worker {
            let in_hand = worker.metric("payfleet_consumer_in_flight_records{group=\"payfleet.worker.").await?;
            return (in_hand >= 2.0).then_some(());
        }
        (count(books, called).await >= 2).then_some(())
    })
    .await;
}

/// Payments that did not exist before succeed.
async fn paid_again(books: &mut PgConnection) {
    let from: time::OffsetDateTime =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *books).await.unwrap();
    eventually("new payments to succeed", LIMIT, async || {
        let paid = "SELECT count(*) FROM transactions WHERE status = 'succeeded' AND created_at > $1";
        let paid: i64 = sqlx::query_scalar(paid).bind(from).fetch_one(&mut *books).await.unwrap();
        (paid > 20).then_some(())
    })
    .await;
}

async fn count(books: &mut PgConnection, rows: &'static str) -> i64 {
    sqlx::query_scalar(rows).fetch_one(books).await.unwrap()
}

/// Each lane has an owner that lives.
async fn everything_is_owned(books: &mut PgConnection) {
    eventually("others to have the lanes", AT_ONCE, async || {
        let owned = "SELECT count(*) FROM lanes JOIN connected_relays relay ON lanes.relay = relay.id";
        (count(books, owned).await == 16).then_some(())
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
