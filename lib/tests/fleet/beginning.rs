//! How processes begin and how they end: before there is anything to stand on, told twice, with a part that cannot go on.

use std::process::Stdio;
use std::time::{Duration, Instant};

use payfleet::service::instance::Instance;
use payfleet::service::shutdown::EXIT_SECOND_SIGNAL;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::site::{Evidence, Site};
use crate::harness::eventually;
use crate::redis::server::Server as Redis;

const LIMIT: Duration = Duration::from_secs(60);

/// A process of which nothing is expected yet.
struct Beginning {
    name: &'static str,
    child: Child,
    run: std::path::PathBuf,
    log: std::path::PathBuf,
}

impl Beginning {
    fn start(site: &Site, program: &str, name: &'static str, own: &[(&str, String)]) -> Self {
        let (run, log) = (site.path().join("run"), site.path().join(format!("{name}.log")));
        let output = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(program);
        command.env_clear().envs(&site.variables);
        command.envs(own.iter().map(|(setting, value)| (format!("PAYFLEET_{setting}"), value)));
        command.env("PAYFLEET_PROCESS__INSTANCE", name).env("PAYFLEET_PROCESS__RUN_DIR", &run);
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        let child = command.kill_on_drop(true).process_group(0).spawn().unwrap();
        Self { name, child, run, log }
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn send(&self, signal: Signal) {
        // It is our child and not waited for yet: the id cannot be another's.
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    }

    fn port(&self, purpose: &str) -> Option<u16> {
        let instance = Instance::read(&self.run.join(format!("{}.json", self.name)))?;
        (Some(instance.pid) == self.child.id()).then(|| instance.ports.get(purpose).copied())?
    }

    async fn readyz(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port("admin")?)).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// Waits until it says so when asked whether it is ready.
    async fn says(&mut self, status: u16, parts: &[&str], never: &[&str]) {
        let what = format!("{} to answer {status} with {parts:?} and without {never:?}", self.name);
        let mut last = String::new();
        let begun = Instant::now();
        eventually(&what, LIMIT, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status}:\n{}", self.name, self.told());
            }
            last = self.readyz().await.unwrap_or_default();
            let right = last.starts_with(&format!("HTTP/1.1 {status}"))
                && parts.iter().all(|part| last.contains(part))
                && !never.iter().any(|part| last.contains(part));
            assert!(right || begun.elapsed() < LIMIT - Duration::from_secs(1), "{what}: {last}\n{}", self.told());
            right.then_some(())
        })
        .await;
    }

    async fn ended(&mut self, within: Duration) -> Option<i32> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} did not end:\n{}", self.name, self.told())).unwrap().code()
    }
}

#[tokio::test]
async fn processes_started_before_their_servers_say_what_they_wait_for_and_become_ready_when_it_comes() {
    let mut site = Site::prepare("beginning").await;
    site.postgres.kill().await;
    site.kafka.kill().await;
    let mut redis = Redis::start().await;
    let redis_url = redis.url();
    redis.kill();
    let own = [listen(&site, 0), ("REDIS__URL", redis_url)];
    let mut all = [
        Beginning::start(&site, env!("CARGO_BIN_EXE_ingress"), "ingress", &own),
        Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "relay", &[]),
        Beginning::start(&site, env!("CARGO_BIN_EXE_gateway-worker"), "gateway-worker", &[]),
    ];
    // It stands for others' servers: it needs none of ours, and nobody who calls it waits for it.
    let mut simulator = Beginning::start(&site, env!("CARGO_BIN_EXE_gateway-sim"), "gateway-sim", &[]);
    simulator.says(200, &["ready"], &["without"]).await;
    for process in &mut all {
        process.says(503, &["PostgreSQL"], &[]).await;
        assert!(process.told().contains("waiting") && process.told().contains("PostgreSQL"), "{}", process.told());
    }
    // One that is told to end while it waits ends well, and at once.
    let mut leaving = Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "leaving", &[]);
    leaving.says(503, &["PostgreSQL"], &[]).await;
    leaving.send(Signal::TERM);
    assert_eq!(leaving.ended(Duration::from_secs(5)).await, Some(0), "{}", leaving.told());

    site.postgres.start_again().await.unwrap();
    for process in &mut all {
        process.says(503, &["payfleet migrate"], &[]).await;
    }
    site.kafka.start_again().await.unwrap();
    for process in &mut all[1..] {
        process.says(503, &["payfleet migrate"], &[]).await;
    }
    site.command(&["migrate"]).await;
    let [ingress, relay, worker] = &mut all;
    ingress.says(200, &["ready", "without Redis: "], &["Kafka"]).await;
    assert!(ingress.told().contains("Redis is away"), "{}", ingress.told());
    redis.start_again().await;
    ingress.says(200, &["ready"], &["without"]).await;
    for process in [relay, worker] {
        process.says(200, &["ready"], &["without"]).await;
        assert!(process.told().contains("waiting for Kafka"), "{}", process.told());
    }
    // Losing Kafka later makes nobody unready, and is told too.
    site.kafka.kill().await;
    for process in &mut all[1..] {
        process.says(200, &["ready", "without Kafka: "], &[]).await;
    }
    site.kafka.start_again().await.unwrap();
    for process in &mut all[1..] {
        process.says(200, &["ready"], &["without"]).await;
    }
    let mut everybody: Vec<&mut Beginning> = all.iter_mut().chain([&mut simulator]).collect();
    everybody.iter().for_each(|process| process.send(Signal::TERM));
    for process in &mut everybody {
        assert_eq!(process.ended(Duration::from_secs(20)).await, Some(0), "{}", process.told());
    }
    drop((all, simulator));
    site.leave(Evidence::Discarded).await;
}

#[tokio::test]
async fn a_process_told_twice_to_end_leaves_at_once_and_says_that_it_was_not_done() {
    let site = Site::prepare("told_twice").await;
    site.command(&["migrate"]).await;
    for second in [Signal::TERM, Signal::INT] {
        let own = [listen(&site, 0), ("CALLBACK__BODY_MS", "30000".to_owned())];
        let mut ingress = Beginning::start(&site, env!("CARGO_BIN_EXE_ingress"), "ingress", &own);
        ingress.says(200, &["ready"], &[]).await;
        // A request whose body does not come is under way, and is waited for.
        let mut request = TcpStream::connect(("127.0.0.1", site.ingress_ports[0])).await.unwrap();
        let head = "POST /v1/callbacks/bank HTTP/1.1\r\nhost: fleet\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        request.write_all(head.as_bytes()).await.unwrap();
        eventually("the request to be under way", LIMIT, async || {
            let told = metric(ingress.port("admin")?, "payfleet_http_connections").await?;
            (told >= 1.0).then_some(())
        })
        .await;
        ingress.send(Signal::TERM);
        eventually("it to say that it is stopping", LIMIT, async || ingress.told().contains("stopping").then_some(()))
            .await;
        // As long as it waits it can be asked how it is.
        is_closed(site.ingress_ports[0]).await;
        ingress.says(503, &["stopping"], &[]).await;
        let open = metric(ingress.port("admin").unwrap(), "payfleet_http_connections").await;
        assert_eq!(open, Some(1.0), "it did not wait for the request");
        let begun = Instant::now();
        ingress.send(second);
        assert_eq!(ingress.ended(Duration::from_secs(2)).await, Some(EXIT_SECOND_SIGNAL), "{}", ingress.told());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    site.leave(Evidence::Discarded).await;
}

fn listen(site: &Site, place: usize) -> (&'static str, String) {
    ("INGRESS__LISTEN", format!("127.0.0.1:{}", site.ingress_ports[place]))
}

async fn is_closed(port: u16) {
    eventually("the port to be closed", LIMIT, async || TcpStream::connect(("127.0.0.1", port)).await.err()).await;
}

/// The failpoint's own way to fail: a panic where the relay has just read a row, where the worker is about to commit an attempt, and
/// where the ingress has just committed a payment for all who wait for it.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_process_of_which_a_task_panics_ends_and_does_not_say_that_all_was_well() {
    const PART: (i32, &str) = (1, "a part cannot go on");
    const VITAL: (i32, &str) = (101, "a task has panicked on which others rely");
    let site = Site::prepare("panicking").await;
    site.command(&["migrate"]).await;
    site.command(&["seed", "--demo"]).await;
    let ingress_of = |place, name, own: &[_]| {
        let own = [&[listen(&site, place)], own].concat();
        Beginning::start(&site, env!("CARGO_BIN_EXE_ingress"), name, &own)
    };
    let armed = |point: &str| [("FAILPOINTS", format!("{point}=panic"))];
    let mut ingress = ingress_of(0, "ingress", &[]);
    ingress.says(200, &["ready"], &[]).await;
    let [well, broken] = site.ingress_ports;

    let mut relay = Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "relay", &armed("c5"));
    relay.says(200, &["ready"], &[]).await;
    assert_eq!(deposit(well, "k1").await, "202");
    ended_by(&mut relay, PART).await;

    let mut next = Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "next-relay", &[]);
    let mut worker = Beginning::start(&site, env!("CARGO_BIN_EXE_gateway-worker"), "gateway-worker", &armed("c8"));
    ended_by(&mut worker, PART).await;

    let mut falling = ingress_of(1, "falling-ingress", &armed("c2"));
    falling.says(200, &["ready"], &[]).await;
    // It may still have said that nobody knows whether there is a payment.
    assert_ne!(deposit(broken, "k2").await, "202");
    ended_by(&mut falling, VITAL).await;
    assert_eq!(deposit(well, "k2").await, "202");
    for process in [&mut ingress, &mut next] {
        process.send(Signal::TERM);
        assert_eq!(process.ended(Duration::from_secs(20)).await, Some(0), "{}", process.told());
    }
    site.leave(Evidence::Discarded).await;
}

#[cfg(feature = "failpoints")]
async fn ended_by(process: &mut Beginning, (code, words): (i32, &str)) {
    assert_eq!(process.ended(LIMIT).await, Some(code), "{}", process.told());
    assert!(process.told().contains(words), "{}", process.told());
}

/// The status of the answer; nothing: there was none.
#[cfg(feature = "failpoints")]
async fn deposit(port: u16, key: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = r#"{"amount":1250,"currency":"EUR"}"#;
    let head = "POST /v1/deposits HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\nauthorization: Bearer pf_test_demo_de\r\ncontent-type: application/json";
    let request = format!("{head}\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

async fn metric(port: u16, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let values = answer.lines().filter(|line| line.starts_with(name) && line.contains(r#"port="api""#));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}
