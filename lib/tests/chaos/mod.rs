//! The breaker of things: the whole fleet as separate processes on real PostgreSQL, Redis and Kafka, every connection by way of a proxy
//! that injects faults, under an open-loop load with clients that resend, hang up and repeat; and a schedule, drawn from a seed, of all
//! that may befall any of them. Then the faults stop, and the checker judges from the books of both sides.
//!
//! `make chaos SEED=… MINUTES=… SCALE=…` sets the variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `PAYFLEET_CHAOS_SEED` | a number, or `random`: the schedule follows from it, the length and the scale |
//! | `PAYFLEET_CHAOS_MINUTES` | how long faults are done; 2 if unset |
//! | `PAYFLEET_CHAOS_SCALE` | of the rates of faults and load; 1 if unset |
//! | `PAYFLEET_CHAOS_SCHEDULE` | `production`: the query schedules, windows and waits of production; the bound is computed from them |
//!
//! A process that ends by itself, with whatever code, fails the run: all of them wait for stores that are away. The one exception is a
//! process that was told to end and could not finish within its deadline (`cli::processes`): that is counted and told.

mod bound;
mod clients;
mod course;
mod ground;
mod keeper;
mod lies;
mod named;
pub mod poison;
mod proxies;
mod report;
mod schedule;
mod seen;
mod servers;
mod stand;
mod tally;
mod watch;

use std::path::{Path, PathBuf};

use bound::Times;
use report::Run;
use schedule::{Schedule, Size};
use time::OffsetDateTime;

/// Where results are written, and the evidence of failures is kept.
fn results() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos")
}

fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(variable: &str, otherwise: T) -> T {
    given(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|why| panic!("{variable}={text}: {why}")))
}

/// Always the same one where nobody asks for another: whoever sees a run fail can see it again.
const SEED: u64 = 20_261_125;

fn size() -> Size {
    let seed = if given("PAYFLEET_CHAOS_SEED").as_deref() == Some("random") {
        rand::random_range(1..1_000_000_000)
    } else {
        number("PAYFLEET_CHAOS_SEED", SEED)
    };
    let size =
        Size { seed, minutes: number("PAYFLEET_CHAOS_MINUTES", 2.0), scale: number("PAYFLEET_CHAOS_SCALE", 1.0) };
    assert!(size.minutes > 0.0 && size.scale > 0.0, "{size:?}: there would be nothing to do");
    size
}

fn times() -> Times {
    match given("PAYFLEET_CHAOS_SCHEDULE").as_deref() {
        None | Some("short") => Times::Short,
        Some("production") => Times::Production,
        Some(other) => panic!("PAYFLEET_CHAOS_SCHEDULE={other}: there are `short` and `production`"),
    }
}

/// How to see it again.
fn command(Size { seed, minutes, scale }: Size, times: Times) -> String {
    let schedule = if times == Times::Production { " SCHEDULE=production" } else { "" };
    format!("make chaos SEED={seed} MINUTES={minutes} SCALE={scale}{schedule}")
}

/// Keeps what a failed run left behind, out of the way of the next.
fn keep(from: &Path, size: Size) -> PathBuf {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let kept = results().join(format!("failed-{}-{now}", size.seed));
    std::fs::create_dir_all(results()).unwrap();
    std::fs::rename(from, &kept).unwrap();
    kept
}

fn write(run: &Run) -> PathBuf {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let path = results().join(format!("{}-{now}.json", run.size.seed));
    std::fs::create_dir_all(results()).unwrap();
    std::fs::write(&path, serde_json::to_vec_pretty(&run.json()).unwrap()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_which_everything_breaks_loses_doubles_and_forgets_nothing() {
    // Before any client: without a provider none can be made, not even one that never speaks TLS.
    rustls::crypto::ring::default_provider().install_default().ok();
    let (size, times) = (size(), times());
    let schedule = Schedule::draw(size);
    eprintln!("{} faults are planned; again: {}", schedule.acts.len(), command(size, times));
    let (ended, path) = stand::with_stand(size, times, &schedule).await;
    let failures = match &ended {
        Ok(run) => {
            eprintln!("\n{}\nresult: {}", run.table(), write(run).display());
            run.failures()
        }
        // Told where it happened.
        Err(_) => vec!["the run could not be finished".to_owned()],
    };
    if failures.is_empty() {
        std::fs::remove_dir_all(&path).ok();
        return;
    }
    let kept = keep(&path, size);
    eprintln!("evidence (logs, schedule, data of all servers): {}", kept.display());
    eprintln!("FAILED with seed {}; again: {}", size.seed, command(size, times));
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
    panic!("{}", failures.join("\n"));
}
