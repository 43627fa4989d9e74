//! What is seen of the fleet beside its books: sizes, sessions, and strings that must stand nowhere.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use payfleet::ops::verify::{Cap, Hunt, Samples, Sessions, Sightings};
use payfleet::service::instance::Instance;
use payfleet::service::secret::Secret;
use payfleet::{ingress, kafka, postgres, redis};
use tokio_util::sync::CancellationToken;

use crate::fleet::crew::{PLACES, Place, Role};
use crate::fleet::site::Site;

/// Between two looks at everybody's metrics.
const LOOK: Duration = Duration::from_secs(3);
/// A process that stands still says nothing.
const ANSWER_BY: Duration = Duration::from_secs(1);
const SESSIONS_OVER: Duration = Duration::from_secs(3);
/// Connections of a process beside its pool: to accept, to read and write lanes, to hear the doorbell.
const OWN_SESSIONS: u32 = 8;

/// Statements that were sent, and whose reply was lost with their connection: they may have been committed or not.
const IN_DOUBT: &str = "payfleet_combiner_connections_lost_total";
/// It only reads: nothing of it can be in doubt.
const READING: &str = "\"payfleet-load\"";

/// Credentials and destinations that the load uses: the former are kept as digests, the latter sealed.
const CANARIES: [&str; 6] = [
    "pf_test_demo_de",
    "pf_test_demo_us",
    "DE89370400440532013000",
    "0690000031",
    "payee@example.com",
    "ba_1NfkPayfleetLoad",
];

fn samples(path: &Path) -> PathBuf {
    path.join("samples")
}

/// Keeps what everybody tells of its sizes, until it is over.
pub async fn watch_sizes(path: &Path, over: &CancellationToken) {
    std::fs::create_dir_all(samples(path)).unwrap();
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_BY).build().unwrap();
    let mut looks = tokio::time::interval(LOOK);
    while over.run_until_cancelled(looks.tick()).await.is_some() {
        let running = std::fs::read_dir(path.join("run")).unwrap().map(|entry| entry.unwrap().path());
        join_all(running.map(|instance| keep_sizes(&http, instance, samples(path)))).await;
    }
}

async fn keep_sizes(http: &reqwest::Client, instance: PathBuf, to: PathBuf) -> Option<()> {
    let port = *Instance::read(&instance)?.ports.get("admin")?;
    let told = http.get(format!("http://127.0.0.1:{port}/metrics")).send().await.ok()?.text().await.ok()?;
    let caps = caps();
    let known = |line: &str| line.starts_with("process_") || line.starts_with(IN_DOUBT);
    let sizes = told.lines().filter(|line| known(line) || caps.iter().any(|cap| line.starts_with(cap.metric.as_str())));
    let sizes: String = sizes.flat_map(|line| [line, "\n"]).collect();
    let file = to.join(instance.file_stem()?).with_extension("prom");
    OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(sizes.as_bytes()).unwrap();
    Some(())
}

/// How often a statement was in doubt, as far as those lived to tell who had sent it. Relays move nothing that a statement decides alone.
pub fn in_doubt(path: &Path) -> BTreeMap<Role, u64> {
    let of = |(role, number): &Place| {
        let told = std::fs::read_to_string(samples(path).join(role.name(*number)).with_extension("prom"));
        (*role, risen(&told.unwrap_or_default()))
    };
    let mut counts = BTreeMap::new();
    for (role, count) in PLACES.iter().filter(|(role, _)| *role != Role::Relay).map(of) {
        *counts.entry(role).or_default() += count;
    }
    counts
}

/// By how much the counters have risen, by name and labels: whoever is started again counts from 0.
fn risen(told: &str) -> u64 {
    let mut before: BTreeMap<&str, u64> = BTreeMap::new();
    let counts = told
        .lines()
        .filter(|line| line.starts_with(IN_DOUBT) && !line.contains(READING))
        .filter_map(|line| line.rsplit_once(' '));
    let counts = counts.filter_map(|(name, count)| Some((name, count.parse::<u64>().ok()?)));
    let rises = counts.map(|(name, count)| {
        let was = before.insert(name, count).unwrap_or_default();
        count.checked_sub(was).unwrap_or(count)
    });
    rises.sum()
}

#[test]
fn what_a_counter_has_counted_is_kept_over_the_death_of_its_process() {
    let told = [("accept", 2), ("accept", 5), ("settle", 1), ("payfleet-load", 9), ("accept", 1), ("accept", 1)];
    let told: String =
        told.iter().map(|(name, count)| format!("{IN_DOUBT}{{statement=\"{name}\"}} {count}\n")).collect();
    assert_eq!(risen(&told), 5 + 1 + 1);
}

fn caps() -> Vec<Cap> {
    Cap::usual(ingress::Settings::default().waiting, &kafka::Settings::default())
}

/// All that was seen, for the checker. Blocks.
pub fn sightings(site: &Site) -> Sightings {
    let canaries = site.path().join("canaries");
    std::fs::write(&canaries, CANARIES.join("\n")).unwrap();
    let redis = redis::Settings { url: Secret::new(site.redis.url()), ..redis::Settings::default() };
    let pools = (postgres::Settings::default().pool + OWN_SESSIONS) * u32::try_from(PLACES.len()).unwrap();
    Sightings {
        final_within: None,
        sessions: Some(Sessions { over: SESSIONS_OVER, most: Some(pools.into()) }),
        hunt: Some(Hunt { canaries, redis: Some(redis), logs: logs(site.path()) }),
        samples: Some(Samples { path: samples(site.path()), caps: caps() }),
    }
}

/// Whatever the processes and servers said, and what the gateways wrote down.
fn logs(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|kind| kind == "log") || path.ends_with("sim")).collect()
}
