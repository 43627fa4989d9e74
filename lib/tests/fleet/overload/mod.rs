//! An ingress is offered ten times what it can carry, while thousands hang on to it who pay nothing. What it cannot carry it refuses at
//! once; what it accepts, what it is asked and what gateways tell it do not wait for the rest; and afterwards it is as before.
//!
//! The clients share this machine with the ingress, so what is scarce is made to be the disk, and not the processor: a commit takes
//! 5 ms, and a statement accepts one payment.

mod clients;
mod crowd;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use payfleet::ops::verify::{self, Inputs, Invariant, Rest, Verdict};
use payfleet::service::process::{descriptors, raise_descriptors};
use sqlx::{Connection, PgConnection};
use standardwebhooks::Webhook;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use self::clients::{Clients, Payer, Seen, percentile, steadily};
use self::crowd::{Crowd, Slow};
use super::chosen;
use super::memory::{Memory, named, resident_kb};
use super::process::Process;
use super::site::{Evidence, Site};
use crate::harness::eventually;
use crate::ingress::client::Client;

/// In microseconds, before each flush.
const SLOW_DISK: [&str; 2] = ["commit_delay=5000", "commit_siblings=0"];

const SETTINGS: [(&str, &str); 3] = [
    ("INGRESS__ACCEPTOR_BATCH", "1"),
    ("INGRESS__ACCEPTING", "256"),
    // The idle ones come from addresses enough to fill a smaller house. Of each address there are still no more than usual.
    ("INGRESS__HTTP__CONNECTIONS", "16384"),
];

/// Is limited by nothing but the ingress's room.
const EXEMPT: Payer = Payer { key: "pf_test_demo_de", currency: "EUR" };
/// Has its rate: 200 requests a second.
const LIMITED: Payer = Payer { key: "pf_test_demo_us", currency: "USD" };

const TIMES: f64 = 10.0;
const IDLE: usize = 10_000;
/// File descriptors of ours that are not for idle connections.
const RESERVED: u64 = 4_000;

/// Clients that find out what can be carried.
const AT_ONCE: usize = 32;

const READS_PER_S: u32 = 20;
const CALLBACKS_PER_S: u32 = 20;

/// A refusal says what is so already: it waits for nothing.
const REFUSED_WITHIN: Duration = Duration::from_millis(1_000);
/// Those that may be under way are worked off in well under a second; a payment may take 5.75 s until its client is told that it is not
/// known what became of it.
const ACCEPTED_WITHIN: Duration = Duration::from_millis(2_500);
/// Reads and callbacks have room of their own.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1_000);
const EVERY_ONE_WITHIN: Duration = Duration::from_millis(3_000);

/// Shedding leaves time for work.
const STILL_CARRIED: f64 = 0.5;

const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
const RECOVERED: f64 = 0.8;

/// What a slow one may have: for headers 10 s, for a body 3 s; and what this machine may be late.
const HEADERS_BORNE: Duration = Duration::from_secs(13);
const BODY_BORNE: Duration = Duration::from_secs(6);

/// Of memory: for each connection that hangs on, and for what the load itself needs.
const PER_CONNECTION_KB: u64 = 16;
const UNDER_LOAD_KB: u64 = 96 * 1024;
/// From the first half of the overload to the second.
const CREEP_KB: u64 = 24 * 1024;

const CALLBACK: &str = include_str!("../../../gateway/bank/fixtures/callback_pain002_settled.xml");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a campaign that wants the machine for itself: make overload"]
async fn ten_times_too_much_is_refused_at_once_and_costs_neither_accepted_payments_nor_callbacks_nor_reads() {
    raise_descriptors();
    let wanted = IDLE as u64 + RESERVED;
    assert!(
        descriptors() >= wanted,
        "{} file descriptors are too few: `ulimit -n {wanted}` allows enough",
        descriptors()
    );
    let site = Site::prepare_with("overload", &SLOW_DISK).await;
    let done = AssertUnwindSafe(async {
        let stand = Stand::of(&site).await;
        stand.is_overloaded(&site).await;
        let status = stand.ingress.stop().await;
        assert!(status.success(), "the ingress ended by a failure: {status}");
    });
    let done = done.catch_unwind().await;
    site.leave(if done.is_ok() { Evidence::Discarded } else { Evidence::Kept }).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

struct Stand {
    ingress: Process,
    address: SocketAddr,
    clients: Clients,
    bank: Arc<Webhook>,
}

/// What there was to see of the overload.
struct Course {
    began: Instant,
    over: Instant,
    payments: Vec<Seen>,
    reads: Vec<(u16, Duration)>,
    callbacks: Vec<(u16, Duration)>,
}

impl Stand {
    async fn of(site: &Site) -> Self {
        site.command(&["migrate"]).await;
        site.command(&["seed", "--demo"]).await;
        let mut owner = PgConnection::connect(&site.variables["PAYFLEET_MIGRATE__OWNER_URL"]).await.unwrap();
        let exempt =
            "UPDATE api_keys SET rate_exempt = true WHERE user_id = (SELECT id FROM users WHERE handle = 'demo-de')";
        assert_eq!(sqlx::query(exempt).execute(&mut owner).await.unwrap().rows_affected(), 1);
        let address = SocketAddr::from(([127, 0, 0, 1], site.ingress_ports[0]));
        let mut variables = site.variables.clone();
        variables.extend(SETTINGS.map(|(name, value)| (format!("PAYFLEET_{name}"), value.to_owned())));
        variables.insert("PAYFLEET_INGRESS__LISTEN".to_owned(), address.to_string());
        let ingress = Process::start(env!("CARGO_BIN_EXE_ingress"), "ingress-1", site.path(), &variables).ready().await;
        let secret = std::fs::read_to_string(&site.variables["PAYFLEET_GATEWAYS__BANK__CALLBACK_KEY_FILE"]).unwrap();
        let bank = Arc::new(Webhook::new(secret.trim()).unwrap());
        Self { ingress, address, clients: Clients::of(address), bank }
    }

    async fn is_overloaded(&self, site: &Site) {
        let lasting = Duration::from_secs(chosen("PAYFLEET_TEST_OVERLOAD_S", 10));
        // The first requests fill caches and open connections.
        self.carried(Duration::from_secs(1)).await;
        let (sustainable, location) = self.carried(Duration::from_secs(4)).await;
        eprintln!("sustainable: {sustainable:.0} payments a second");
        let calm_kb = resident_kb(self.ingress.pid).unwrap();

        let crowd = Crowd::gather(self.address, IDLE, EXEMPT.key);
        let almost_all = IDLE - IDLE / 50;
        let gathered = async || (crowd.idle() >= almost_all).then_some(());
        eventually("the idle ones to be there", Duration::from_secs(30), gathered).await;
        let stop = CancellationToken::new();
        let watched = [named(&self.ingress)];
        let course = async {
            let course = self.course(TIMES * sustainable, lasting, &location).await;
            stop.cancel();
            course
        };
        let (memory, course) = tokio::join!(Memory::watch(&watched, &stop), course);
        let ended = Instant::now();
        crowd.leave().await;
        let (recovered, recovered_after) = self.recovered(sustainable, ended).await;

        eprintln!("recovered to {recovered:.0} a second within {recovered_after:?}");
        course.is_as_promised(sustainable);
        shaken_off(&crowd);
        remembers_little(&memory, &course, calm_kb, IDLE + crowd::SLOW * 3);
        self.nothing_accepted_is_missing(site).await;
    }

    /// Payments accepted a second when nobody sends before being answered, and where one of them is read.
    async fn carried(&self, lasting: Duration) -> (f64, String) {
        let begin = Instant::now();
        let seen = self.clients.closed_loop(EXEMPT, AT_ONCE, lasting).await;
        let accepted: Vec<Seen> = seen.into_iter().filter(|seen| seen.status == 202).collect();
        let location = accepted.first().and_then(|seen| seen.location.clone());
        let rate = accepted.len() as f64 / begin.elapsed().as_secs_f64();
        (rate, location.expect("nothing is accepted"))
    }

    async fn course(&self, per_second: f64, lasting: Duration, location: &str) -> Course {
        let began = Instant::now();
        let paths = ["/v1/balance".to_owned(), location.to_owned()];
        let read = |n: u32| read(self.address, paths[n as usize % paths.len()].clone());
        let call_back = |n: u32| call_back(self.address, Arc::clone(&self.bank), n);
        let (payments, reads, callbacks) = tokio::join!(
            self.clients.open_loop(&[EXEMPT, EXEMPT, EXEMPT, LIMITED], per_second, lasting),
            steadily(READS_PER_S, lasting, read),
            steadily(CALLBACKS_PER_S, lasting, call_back),
        );
        Course { began, over: Instant::now(), payments, reads, callbacks }
    }

    async fn recovered(&self, sustainable: f64, ended: Instant) -> (f64, Duration) {
        loop {
            let (rate, _) = self.carried(Duration::from_secs(1)).await;
            if rate >= RECOVERED * sustainable {
                return (rate, ended.elapsed());
            }
            let after = ended.elapsed();
            assert!(after < RECOVERED_WITHIN, "{rate:.0} payments a second after {after:?}, {sustainable:.0} before");
        }
    }

    async fn nothing_accepted_is_missing(&self, site: &Site) {
        let log = site.path().join("load.jsonl");
        self.clients.write_log(&log);
        let inputs = Inputs {
            postgres: site.postgres_settings(),
            kafka: None,
            charge_log: None,
            load_log: Some(log),
            rest: Rest::Live,
            only: [Invariant::I6].into(),
        };
        let report = verify::verify(&inputs, &|_| {}).await.unwrap();
        eprintln!("{}", report.table());
        assert_eq!(report.verdict(), Verdict::Held);
    }
}

/// Each on a connection of its own, as from somebody who has not been there before.
async fn read(address: SocketAddr, path: String) -> u16 {
    let mut client = Client::connect_from("127.0.3.1", address).await;
    let bearer = format!("Bearer {}", EXEMPT.key);
    client.send_request("GET", &path, &[("authorization", &bearer)], b"").await;
    client.try_answer().await.map_or(0, |answer| answer.status)
}

async fn call_back(address: SocketAddr, bank: Arc<Webhook>, n: u32) -> u16 {
    let (id, now) = (format!("overload-{n}"), OffsetDateTime::now_utc().unix_timestamp());
    let signature = bank.sign(&id, now, CALLBACK.as_bytes()).unwrap();
    let now = now.to_string();
    let headers = [
        ("content-type", "text/xml"),
        ("webhook-id", id.as_str()),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    let mut client = Client::connect_from("127.0.3.2", address).await;
    client.send_request("POST", "/v1/callbacks/bank", &headers, CALLBACK.as_bytes()).await;
    client.try_answer().await.map_or(0, |answer| answer.status)
}

impl Course {
    fn is_as_promised(&self, sustainable: f64) {
        let mut by_answer: BTreeMap<(&str, u16), Vec<&Seen>> = BTreeMap::new();
        for seen in &self.payments {
            by_answer.entry((seen.payer.key, seen.status)).or_default().push(seen);
        }
        for ((key, status), seen) in &by_answer {
            let waited = [50, 99, 100].map(|percent| percentile(percent, seen.iter().map(|seen| seen.waited)));
            eprintln!("{key} {status}: {} times, p50, p99 and longest {waited:?}", seen.len());
        }
        for (what, expected, seen) in [("reads", 200, &self.reads), ("callbacks", 202, &self.callbacks)] {
            let waited = [50, 99, 100].map(|percent| percentile(percent, seen.iter().map(|(_, waited)| *waited)));
            eprintln!("{what}: {} times, p50, p99 and longest {waited:?}", seen.len());
            let otherwise: Vec<_> = seen.iter().filter(|(status, _)| *status != expected).collect();
            assert!(otherwise.is_empty(), "{what} were answered otherwise: {otherwise:?}");
            assert!(waited[1] <= ANSWERED_WITHIN && waited[2] <= EVERY_ONE_WITHIN, "{what} had to wait: {waited:?}");
        }
        let (accepted, refused): (Vec<&Seen>, Vec<&Seen>) = self.payments.iter().partition(|seen| seen.status == 202);
        let strange: Vec<_> = refused
            .iter()
            .filter(|seen| !matches!(seen.status, 429 | 503) || seen.retry_after.is_none_or(|seconds| seconds == 0))
            .take(3)
            .collect();
        assert!(strange.is_empty(), "refused otherwise than by 429 or 503 with Retry-After: {strange:?}");
        for refusal in [(EXEMPT.key, 503), (LIMITED.key, 429)] {
            assert!(by_answer.contains_key(&refusal), "it was no overload: nobody got {refusal:?}");
        }
        let p99 = |seen: &[&Seen]| percentile(99, seen.iter().map(|seen| seen.waited));
        assert!(p99(&refused) <= REFUSED_WITHIN, "refusals took {:?}", p99(&refused));
        assert!(p99(&accepted) <= ACCEPTED_WITHIN, "acceptances took {:?}", p99(&accepted));
        let rate = accepted.len() as f64 / (self.over - self.began).as_secs_f64();
        assert!(rate >= STILL_CARRIED * sustainable, "only {rate:.0} a second were still carried");
    }
}

fn shaken_off(crowd: &Crowd) {
    assert_eq!(crowd.refused.load(Ordering::Relaxed), 0, "the house was full");
    for (kind, bound) in [(Slow::Headers, HEADERS_BORNE), (Slow::Order, BODY_BORNE), (Slow::Callback, BODY_BORNE)] {
        let (borne, shaken) = crowd.slow(kind);
        eprintln!("slow ones ({kind:?}): {shaken} shaken off, each after {borne:?} at most");
        assert!(shaken > 0 && borne <= bound, "{kind:?}: {shaken} shaken off, after {borne:?} at most");
    }
}

fn remembers_little(memory: &Memory, course: &Course, calm_kb: u64, connections: usize) {
    let middle = course.began + (course.over - course.began) / 2;
    let most = |from, to| memory.most_kb(from, to).into_values().max().unwrap();
    let (first, second) = (most(course.began, middle), most(middle, course.over));
    eprintln!("memory: {calm_kb} kB before, at most {first} kB in the first half and {second} kB in the second");
    let grown = first.max(second).saturating_sub(calm_kb);
    assert!(grown <= UNDER_LOAD_KB + PER_CONNECTION_KB * connections as u64, "grown by {grown} kB");
    assert!(second.saturating_sub(first) <= CREEP_KB, "it grows on: {first} kB, then {second} kB");
}
