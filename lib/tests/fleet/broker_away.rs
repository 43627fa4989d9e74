//! Kafka is killed in the middle of a load, and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::load::{self, Outcome, Pace, Until};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::chosen;
use super::crew::{Fleet, Place, Role, with_fleet};
use super::memory::{Memory, named};
use crate::harness::eventually;

/// Payments per second.
const RATE: f64 = 30.0;

/// From this on it is no short test any more, and nothing is set otherwise than by default.
const LONG: Duration = Duration::from_secs(600);

const RELAYS: [Place; 3] = [(Role::Relay, 0), (Role::Relay, 1), (Role::Relay, 2)];
const LANES: f64 = 16.0;

/// Kilobytes that a process may hold more in the second half of the outage than in the first, and more than before it at any time: the
/// drain sends full pages.
const CREEP_KB: u64 = 16 * 1024;
const GROWTH_KB: u64 = 96 * 1024;

/// While the broker is away a lane tries again every 2.5 s on average, and hastily only at first.
const TRIES_PER_S: f64 = 1.0;
const HASTY_TRIES: f64 = 20.0;

/// Records that are sent again because nobody knows whether they had arrived, as a share of all, and at least.
const SENT_AGAIN: f64 = 0.2;
const SENT_AGAIN_AT_LEAST: f64 = 200.0;

#[derive(Clone, Copy, Debug)]
struct Outage {
    killed: Instant,
    returned: Instant,
}

#[tokio::test]
async fn while_the_broker_is_gone_every_payment_is_accepted_and_afterwards_every_event_arrives_in_order() {
    let away = Duration::from_secs(chosen("PAYFLEET_TEST_OUTAGE_S", 20));
    // How long "no such payment" has to be true until a call that was lost in the rush is made again; a minute usually.
    let short = [("SETTLEMENT__SETTLE_WINDOW_MS", "5000")];
    let settings = if away < LONG { &short[..] } else { &[] };
    with_fleet("broker_away", settings, &[], async |fleet: &mut Fleet| {
        let mut plan = fleet.load();
        plan.pace = Pace::PerSecond(RATE);
        plan.until = Until::Elapsed(away + Duration::from_secs(8));
        plan.settle_within = Some(away + Duration::from_secs(180));
        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        let begun = Instant::now();
        let (watched, settled) = (fleet.crew().map(named).collect::<Vec<_>>(), CancellationToken::new());
        let stop = CancellationToken::new();
        let load = async {
            let outcome = load::run(&plan, &|_| {}, &stop).await.unwrap();
            settled.cancel();
            outcome
        };
        let (outcome, outage, memory) =
            tokio::join!(load, taken_away(fleet, away, &mut books), Memory::watch(&watched, &settled));
        eprintln!("broker away for {:?}\n{}", outage.returned - outage.killed, outcome.table());
        everything_went_on(&outcome);
        stays_flat(&memory, begun, outage);
        is_no_stampede(fleet, &mut books, outage).await;
        fleet.verify().await;
    })
    .await;
}

async fn taken_away(fleet: &mut Fleet, away: Duration, books: &mut PgConnection) -> Outage {
    let succeeded = "SELECT count(*) FROM transactions WHERE status = 'succeeded'";
    eventually("the load to be in full flow", Duration::from_secs(60), async || {
        let payments: i64 = sqlx::query_scalar(succeeded).fetch_one(&mut *books).await.unwrap();
        (payments as f64 > RATE).then_some(())
    })
    .await;
    let kafka = &mut fleet.site.kafka;
    kafka.kill().await;
    let killed = Instant::now();
    let over = async || (killed.elapsed() >= away).then_some(());
    eventually("the outage to be over", away + Duration::from_secs(10), over).await;
    kafka.start_again().await.unwrap();
    Outage { killed, returned: Instant::now() }
}

fn everything_went_on(outcome: &Outcome) {
    let figures = &outcome.figures;
    assert_eq!(figures.accepted, figures.meant, "a request failed while the broker was away");
    assert_eq!((figures.lost, figures.put_off.len(), figures.undecided), (0, 0, 0));
    let ends = outcome.ends.as_ref().unwrap();
    assert_eq!(ends.by_status.keys().collect::<Vec<_>>(), ["succeeded"], "{ends:?}");
}

/// What waits for the broker waits in the database, and in nobody's memory.
fn stays_flat(memory: &Memory, begun: Instant, Outage { killed, returned }: Outage) {
    let middle = killed + (returned - killed) / 2;
    let (before, ever) = (memory.most_kb(begun, killed), memory.most_kb(killed, Instant::now()));
    let (first, second) = (memory.most_kb(killed, middle), memory.most_kb(middle, returned));
    for (name, before) in before {
        let (first, second, ever) = (first[name], second[name], ever[name]);
        eprintln!("{name}: {before} kB before, {first} and {second} kB in the halves of the outage, {ever} kB at most");
        assert!(
            second.saturating_sub(first) <= CREEP_KB,
            "{name} grows while the broker is away: {first}, {second} kB"
        );
        assert!(ever.saturating_sub(before) <= GROWTH_KB, "{name} has grown from {before} to {ever} kB");
    }
}

/// Relays come back one by one, each record is sent once but for what was under way, and no gateway is called twice for it.
async fn is_no_stampede(fleet: &Fleet, books: &mut PgConnection, Outage { killed, returned }: Outage) {
    let total = async |metric: &str| {
        let told = join_all(RELAYS.iter().map(|relay| fleet.at(*relay).metric(metric))).await;
        told.into_iter().flatten().fold(0.0, |sum, told| sum + told)
    };
    let failures = total("payfleet_relay_delivery_failures_total").await;
    let delivered = total("payfleet_relay_records_delivered_total").await;
    // Each step is an event, each payment has its first command, each callback is a record.
    let meant = "SELECT (SELECT count(*) FROM transitions) + (SELECT count(*) FROM transactions) + (SELECT count(*) FROM callbacks)";
    let meant: i64 = sqlx::query_scalar(meant).fetch_one(&mut *books).await.unwrap();
    let twice = "SELECT count(*) FROM (SELECT FROM attempts GROUP BY transaction_id HAVING count(*) > 1) twice";
    let twice: i64 = sqlx::query_scalar(twice).fetch_one(books).await.unwrap();
    eprintln!(
        "{failures} deliveries failed, {delivered} records were delivered of {meant}, {twice} payments have two attempts"
    );
    let away_s = (returned - killed).as_secs_f64();
    // What is under way when a broker goes waits in the producer: that none fails is well.
    assert!(delivered >= meant as f64, "{delivered} of {meant} records were delivered");
    assert!(failures <= LANES * (away_s * TRIES_PER_S + HASTY_TRIES), "{failures} tries in {away_s} s");
    let again = delivered - meant as f64;
    assert!(
        again <= (SENT_AGAIN * meant as f64).max(SENT_AGAIN_AT_LEAST),
        "{again} records of {meant} were sent again"
    );
    assert_eq!(twice, 0, "the rush has driven payments from their gateways");
}
