//! One gateway answers nothing, one goes up and down, one is well: who pays by the one that is well must not notice.

use std::time::Duration;

use payfleet::load::{self, Pace, Until};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::chosen;
use super::crew::{Fleet, with_fleet};
use crate::harness::eventually;

const WELL: &str = "stripe";
const FROZEN: &str = "bank";
const FLAPPING: &str = "paypal";
/// Up so long, and down so long.
const FLAPPING_MS: u64 = 2_000;

/// Payments per second by each gateway.
const RATE: f64 = 12.0;
const ROUND: Duration = Duration::from_secs(40);
/// After the others are well again.
const ALL_FINAL_WITHIN: Duration = Duration::from_secs(120);

/// How much longer the 99th of a hundred payments may take.
const SLOWER: f64 = 1.25;

/// Payments that met a gateway in trouble are asked about often afterwards, so that a round soon begins with nothing left of the one
/// before. Deadlines, breakers and numbers at once are as by default.
const SETTINGS: [(&str, &str); 6] = [
    ("SETTLEMENT__SCHEDULE", "1s 3s 5s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s"),
    ("SETTLEMENT__SETTLE_WINDOW_MS", "2000"),
    ("SETTLEMENT__RETRY_LONGEST_MS", "10000"),
    ("RECONCILER__LEAVE_MS", "10000"),
    ("SIM__CUSTOMER", "approve"),
    ("SIM__CUSTOMER_AFTER_MS", "500"),
];

/// From acceptance to success, in milliseconds.
#[derive(Clone, Copy)]
struct Settled {
    payments: i64,
    p50: f64,
    p99: f64,
}

impl std::fmt::Display for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.0}, p99 {:.0} ms of {}", self.p50, self.p99, self.payments)
    }
}

#[tokio::test]
#[ignore = "a campaign that wants the machine for itself: make apart"]
async fn a_gateway_that_is_well_settles_as_fast_as_alone_while_another_is_frozen_and_a_third_flaps() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let rounds = usize::try_from(chosen("PAYFLEET_TEST_ROUNDS", 5)).unwrap();
    with_fleet("apart", &SETTINGS, &[], async |fleet: &mut Fleet| {
        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        // The first payments fill caches and open connections.
        round(fleet, &mut books, &[WELL, FROZEN, FLAPPING]).await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for n in 1..=rounds {
            alone.push(round(fleet, &mut books, &[WELL]).await);
            tell(fleet, &trouble()).await;
            beside.push(round(fleet, &mut books, &[WELL, FROZEN, FLAPPING]).await);
            let left = open(&mut books).await;
            tell(fleet, &json!({ FROZEN: { "frozen": false }, FLAPPING: { "flapping_ms": 0 } })).await;
            eprintln!(
                "round {n} of {rounds}: alone {}, beside {}; {left} others not final",
                alone[n - 1],
                beside[n - 1]
            );
            assert!(left > 0, "the others were in no trouble");
            let all_final = async || (open(&mut books).await == 0).then_some(());
            eventually("everything to be final", ALL_FINAL_WITHIN, all_final).await;
        }
        let (alone, beside) = (median(&alone), median(&beside));
        eprintln!("median of p99: alone {alone:.0} ms, beside the others {beside:.0} ms, {:.2} times", beside / alone);
        assert!(beside <= alone * SLOWER, "p99 of {WELL} was {alone:.0} ms alone and {beside:.0} ms beside the others");
        fleet.verify().await;
    })
    .await;
}

fn trouble() -> Value {
    json!({ FROZEN: { "frozen": true }, FLAPPING: { "flapping_ms": FLAPPING_MS } })
}

async fn tell(fleet: &Fleet, lies: &Value) {
    let url = format!("http://{}/_sim/lies", fleet.site.variables["PAYFLEET_SIM__LISTEN"]);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = http.put(url).json(lies).send().await.unwrap();
    assert!(told.status().is_success(), "{}", told.status());
}

/// As many payments by each of these gateways; how those of the one that is well went.
async fn round(fleet: &Fleet, books: &mut PgConnection, gateways: &[&str]) -> Settled {
    let begun: OffsetDateTime = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *books).await.unwrap();
    let mut plan = fleet.load();
    (plan.mix.withdrawals, plan.mix.gateways) = (0.0, gateways.iter().map(|gateway| (*gateway).to_owned()).collect());
    (plan.pace, plan.until) = (Pace::PerSecond(RATE * gateways.len() as f64), Until::Elapsed(ROUND));
    (plan.funding, plan.settle_within) = (load::Funding::None, None);
    let outcome = load::run(&plan, &|_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.figures.accepted, outcome.figures.meant, "a payment was not accepted");
    let of_it = "SELECT count(*) FROM transactions
        WHERE gateway = $1 AND created_at > $2 AND status NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'reversed', 'review')";
    eventually("payments by the gateway that is well to be final", ALL_FINAL_WITHIN, async || {
        let left: i64 = sqlx::query_scalar(of_it).bind(WELL).bind(begun).fetch_one(&mut *books).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    let took = "SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY took), percentile_disc(0.99) WITHIN GROUP (ORDER BY took)
        FROM transactions
        JOIN LATERAL (SELECT at FROM transitions WHERE transaction_id = id AND version = 1) accepted ON true
        JOIN LATERAL (SELECT at FROM transitions WHERE transaction_id = id AND to_status = 'succeeded' AND from_status <> 'succeeded') settled ON true
        CROSS JOIN LATERAL (SELECT (extract(epoch FROM settled.at - accepted.at) * 1000)::float8 AS took) took
        WHERE gateway = $1 AND created_at > $2";
    let (payments, p50, p99) = sqlx::query_as(took).bind(WELL).bind(begun).fetch_one(books).await.unwrap();
    let settled = Settled { payments, p50, p99 };
    let meant = RATE * ROUND.as_secs_f64();
    assert!((payments as f64) >= meant * 0.95, "of {meant} payments not all have succeeded: {settled}");
    settled
}

async fn open(books: &mut PgConnection) -> i64 {
    let open = "SELECT count(*) FROM transactions
        WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'reversed', 'review')";
    sqlx::query_scalar(open).fetch_one(books).await.unwrap()
}

fn median(rounds: &[Settled]) -> f64 {
    let mut p99: Vec<f64> = rounds.iter().map(|settled| settled.p99).collect();
    p99.sort_by(f64::total_cmp);
    p99[p99.len() / 2]
}
