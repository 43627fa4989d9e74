//! The course of a run: load in full flow, faults for as long as was asked for, then quiet, the bound, and judgement.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::gateway_sim::charge_log;
use payfleet::gateway_sim::lies::Lie;
use payfleet::load::{self, Base, Mix, Pace, Payers, Plan, Until};
use payfleet::ops::verify::{self, Inputs, Invariant, Report, Rest, Verdict};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use super::bound::Times;
use super::clients::Clients;
use super::keeper::{self, Keeper};
use super::poison;
use super::proxies::Line;
use super::report::Run;
use super::schedule::{Hand, Schedule, Size};
use super::seen;
use super::servers;
use super::stand::Stand;
use super::tally::{Counts, Tally};
use crate::fleet::crew::Place;
use crate::fleet::process::Process;
use crate::fleet::site::Site;
use crate::harness::eventually;

/// Payments per second at scale 1: of the load, and of the clients that have no manners. About half of what two cores get done meanwhile,
/// so that the faults are what is measured.
const RATE: f64 = 20.0;
const RUDE: f64 = 1.0;
/// So many payments have succeeded when the faults begin: the accounts are filled by then.
const IN_FLOW: i64 = 30;
/// Between two lines that say how it goes.
const TELL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);
/// Consumers are a moment behind what is final.
const BURIED_WITHIN: Duration = Duration::from_secs(20);
/// The relays are a moment behind the commits.
const SENT_WITHIN: Duration = Duration::from_secs(30);

/// Refused twice of three calls, whosever they are: one payment may be refused any number of times as long as others come with its amount,
/// and no bound could hold. Gateways that lie refuse so, too, and stop when the faults do.
const TOO_MANY: u16 = 909;

/// Payments with something to them: declined, approved by the customer, answered late, wrongly or never.
fn mix(seed: u64) -> Mix {
    Mix {
        seed,
        endings: (901..=912).filter(|ending| *ending != TOO_MANY).map(|ending| (ending, 0.03)).collect(),
        gateways: ["stripe", "paypal", "bank"].map(str::to_owned).into(),
        ..Mix::default()
    }
}

pub async fn run(mut stand: Stand<'_>, size: Size, times: Times, schedule: &Schedule) -> Run {
    let bases = [Line::Clients1, Line::Clients2].map(|line| format!("http://127.0.0.1:{}", stand.ports.lines[&line]));
    let path = stand.ground.path.clone();
    let log = path.join("load.jsonl");
    let length = Duration::from_millis(size.length_ms());
    let plan = Plan {
        bases: bases.iter().map(|base| base.parse::<Base>().unwrap()).collect(),
        payers: Payers::WithKeys(["pf_test_demo_de", "pf_test_demo_us"].map(str::to_owned).into()),
        mix: mix(size.seed),
        pace: Pace::PerSecond(RATE * size.scale),
        until: Until::Elapsed(length),
        answer_by: Duration::from_secs(5),
        patience: times.patience(),
        settle_within: None,
        log: Some(log.clone()),
        ..Plan::default()
    };
    let clients = Clients::new(bases.into(), &log, times.patience());
    let told = Mutex::new(String::new());
    let never = CancellationToken::new();
    let crew = std::mem::take(&mut stand.crew);
    let tell = |text: &str| text.clone_into(&mut told.lock().unwrap());
    let loading = load::run(&plan, &tell, &never);
    let breaking = async {
        in_flow(stand.site).await;
        let begun = Instant::now();
        let tally = Tally::new(begun, begun + length);
        let over = CancellationToken::new();
        let breaking = async {
            let crew = break_everything(&mut stand, &tally, crew, schedule).await;
            over.cancel();
            (crew, Instant::now())
        };
        let rude = clients.run(size.seed, RUDE * size.scale, &over);
        let sizes = seen::watch_sizes(&path, &over);
        let ((crew, quiet), ..) = tokio::join!(breaking, rude, sizes, progress(&tally, &told, &over));
        (crew, quiet, tally)
    };
    let (outcome, (crew, quiet, tally)) = tokio::join!(loading, breaking);
    let (bound, outcome) = (times.bound(length), outcome.unwrap());
    let (settled_after, crew) = settle(&stand, &tally, crew, (quiet, bound)).await;
    buried(&stand, &tally).await;
    let verified = judge(stand.site).await;
    dismiss(&stand, &tally, crew).await;
    if !stand.simulator.stop().await.success() {
        tally.failure("the simulator did not end well".to_owned());
    }
    let payments = count(stand.site, "SELECT count(*) FROM transactions").await.unwrap();
    let (ends, in_doubt) = (ends(stand.site).await, seen::in_doubt(&path));
    let (counts, fired, heard) = (tally.counts(), stand.watch.fired(), clients.heard());
    let (planned, lies) = (schedule.planned(), lies_told(&stand.site.charge_log()));
    Run { size, planned, counts, lies, fired, outcome, heard, payments, ends, in_doubt, bound, settled_after, verified }
}

/// On a connection of its own each time: PostgreSQL may be away.
async fn count(site: &Site, question: &'static str) -> Option<i64> {
    let mut books = site.postgres_settings().connect("chaos").await.ok()?;
    let count = sqlx::query_scalar(question).fetch_one(&mut books).await.ok()?;
    books.close().await.ok();
    Some(count)
}

/// How the payments stand, and why those do that have not succeeded.
async fn ends(site: &Site) -> BTreeMap<String, u64> {
    let mut books = site.postgres_settings().connect("chaos").await.unwrap();
    let question = "SELECT concat_ws(': ', status, CASE WHEN status <> 'succeeded' THEN reason_code END), count(*)
                    FROM transactions GROUP BY 1";
    let ends: Vec<(String, i64)> = sqlx::query_as(question).fetch_all(&mut books).await.unwrap();
    books.close().await.ok();
    ends.into_iter().map(|(end, count)| (end, count.unsigned_abs())).collect()
}

async fn in_flow(site: &Site) {
    eventually("the load to be in full flow", Duration::from_secs(60), async || {
        let succeeded = count(site, "SELECT count(*) FROM transactions WHERE status = 'succeeded'").await?;
        (succeeded > IN_FLOW).then_some(())
    })
    .await;
}

/// Every hand does what the schedule gives it. When this is over nothing is done to anybody any more.
async fn break_everything(
    stand: &mut Stand<'_>,
    tally: &Tally,
    crew: Vec<(Place, Process)>,
    schedule: &Schedule,
) -> Vec<(Place, Process)> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (ground, watch, proxies) = (stand.ground, &stand.watch, stand.proxies);
    let keepers = crew.into_iter().map(|(place, process)| {
        let acts = schedule.of(Hand::Place(place));
        Keeper::new(ground, watch, tally, (place, process)).follow(acts)
    });
    let lines = Line::ALL.map(|line| servers::line(line, proxies, schedule.of(Hand::Line(line)), tally));
    let site = &mut *stand.site;
    let (crew, ..) = tokio::join!(
        join_all(keepers),
        join_all(lines),
        servers::postgres(&mut site.postgres, schedule.of(Hand::Postgres), tally),
        servers::kafka(&mut site.kafka, schedule.of(Hand::Kafka), tally),
        servers::redis(&mut site.redis, schedule.of(Hand::Redis), tally),
        servers::gateways(&http, ground.simulator, schedule.of(Hand::Gateways), tally),
        servers::growth(ground, watch, tally, schedule.of(Hand::Growth)),
    );
    crew
}

/// Says how it goes until it is over.
async fn progress(tally: &Tally, told: &Mutex<String>, over: &CancellationToken) {
    let mut turns = tokio::time::interval(TELL);
    while over.run_until_cancelled(turns.tick()).await.is_some() {
        let Counts { done, kills, failures, .. } = tally.counts();
        let faults: u64 = done.values().sum();
        let (all, at_work) = kills.values().fold((0, 0), |(all, work), one| (all + one.all, work + one.at_work));
        let (seconds, load) = (tally.begun.elapsed().as_secs(), told.lock().unwrap().clone());
        let failed = failures.len();
        eprintln!("{seconds:>4} s  {faults} faults, {all} kills ({at_work} at work), {failed} failures | load: {load}");
    }
}

/// Waits until everybody is up, every payment final, and nothing of any left to ask: of a success that only a callback has told its gateway is
/// asked yet. None: that took longer than the bound, which counts from the last fault; so does the
/// load's last request, which may make one more.
async fn settle(
    stand: &Stand<'_>,
    tally: &Tally,
    crew: Vec<(Place, Process)>,
    (quiet, bound): (Instant, Duration),
) -> (Option<Duration>, Vec<(Place, Process)>) {
    eprintln!("the faults are over; every payment has {bound:?} to become final");
    let crew = join_all(crew.into_iter().map(|member| keeper::ready(stand.ground, tally, member))).await;
    let open = "SELECT count(*) FROM transactions
        WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'reversed', 'review') OR due_at IS NOT NULL";
    let mut told = quiet;
    loop {
        let left = count(stand.site, open).await;
        if quiet.elapsed() > bound {
            return (None, crew);
        }
        if left == Some(0) {
            return (Some(quiet.elapsed()), crew);
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            eprintln!("{:>4} s  {} payments are not final", quiet.elapsed().as_secs(), left.unwrap_or(-1));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Every record that nobody can read lies among the dead letters, with the place it came from.
async fn buried(stand: &Stand<'_>, tally: &Tally) {
    let (poisoned, limit) = (tally.counts().poisoned, Instant::now() + BURIED_WITHIN);
    let mut books = stand.site.postgres_settings().connect("chaos").await.unwrap();
    loop {
        let letters: Vec<poison::Stand> =
            sqlx::query_as("SELECT partition, \"offset\" FROM dead_letters WHERE topic = $1")
                .bind(poison::topic())
                .fetch_all(&mut books)
                .await
                .unwrap();
        let missing = poisoned.iter().filter(|place| !letters.contains(place)).count();
        tally.buried(poisoned.len() - missing);
        if missing == 0 {
            break;
        }
        if Instant::now() > limit {
            break tally.failure(format!("{missing} of {} unreadable records were never buried", poisoned.len()));
        }
        tokio::time::sleep(LOOK).await;
    }
    books.close().await.ok();
}

/// How often the gateways told each lie.
fn lies_told(charge_log: &Path) -> BTreeMap<Lie, u64> {
    let mut told = BTreeMap::new();
    for entry in charge_log::read(charge_log).unwrap() {
        if let charge_log::Entry::Lied(lied) = entry {
            *told.entry(lied.kind).or_default() += 1;
        }
    }
    told
}

/// Holds everything that was meant, answered, charged, committed, sent and seen against each other.
async fn judge(site: &Site) -> Report {
    let mut inputs = Inputs {
        postgres: site.postgres_settings(),
        kafka: Some(site.kafka_settings()),
        charge_log: Some(site.charge_log()),
        load_log: Some(site.path().join("load.jsonl")),
        rest: Rest::AtRest,
        only: [Invariant::I9].into(),
    };
    let begun = Instant::now();
    loop {
        let sent = verify::verify(&inputs, &|_| {}).await.unwrap();
        if sent.verdict() == Verdict::Held || begun.elapsed() > SENT_WITHIN {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    inputs.only.clear();
    verify::verify_with(&inputs, &seen::sightings(site), &|_| {}).await.unwrap()
}

/// Ends everybody; each must say that it ended well.
async fn dismiss(stand: &Stand<'_>, tally: &Tally, crew: Vec<(Place, Process)>) {
    let leaving = crew.into_iter().map(async |member| {
        Keeper::new(stand.ground, &stand.watch, tally, member).dismiss().await;
    });
    join_all(leaving).await;
}
