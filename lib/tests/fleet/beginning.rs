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
    let listen = ("INGRESS__LISTEN", format!("127.0.0.1:{}", site.ingress_ports[0]));
    let mut all = [
        Beginning::start(&site, env!("CARGO_BIN_EXE_ingress"), "ingress", &[listen, ("REDIS__URL", redis_url)]),
        Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "relay", &[]),
        Beginning::start(&site, env!("CARGO_BIN_EXE_gateway-worker"), "gateway-worker", &[]),
    ];
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
    for process in &mut all {
        process.send(Signal::TERM);
    }
    for process in &mut all {
        assert_eq!(process.ended(Duration::from_secs(20)).await, Some(0), "{}", process.told());
    }
    drop(all);
    site.leave(Evidence::Discarded).await;
}

#[tokio::test]
async fn a_process_told_twice_to_end_leaves_at_once_and_says_that_it_was_not_done() {
    let site = Site::prepare("told_twice").await;
    site.command(&["migrate"]).await;
    let listen = ("INGRESS__LISTEN", format!("127.0.0.1:{}", site.ingress_ports[0]));
    for second in [Signal::TERM, Signal::INT] {
        let mut ingress =
            Beginning::start(&site, env!("CARGO_BIN_EXE_ingress"), "ingress", std::slice::from_ref(&listen));
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
        assert!(ingress.child.try_wait().unwrap().is_none(), "it did not wait for the request");
        let begun = Instant::now();
        ingress.send(second);
        assert_eq!(ingress.ended(Duration::from_secs(2)).await, Some(EXIT_SECOND_SIGNAL), "{}", ingress.told());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    site.leave(Evidence::Discarded).await;
}

/// The failpoint's own way to fail: a panic where the relay has just read a row.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_process_of_which_a_task_panics_ends_and_does_not_say_that_all_was_well() {
    let site = Site::prepare("panicking").await;
    site.command(&["migrate"]).await;
    let mut relay =
        Beginning::start(&site, env!("CARGO_BIN_EXE_relay"), "relay", &[("FAILPOINTS", "c5=panic".to_owned())]);
    relay.says(200, &["ready"], &[]).await;
    let mut books = site.postgres_settings().connect("fleet-test").await.unwrap();
    sqlx::query("INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload) SELECT slot, 3, gen_random_uuid(), 1, 'payments.events', 't', '{}' FROM outbox_ring")
        .execute(&mut books)
        .await
        .unwrap();
    assert_eq!(relay.ended(Duration::from_secs(20)).await, Some(1), "{}", relay.told());
    assert!(relay.told().contains("a part cannot go on"), "{}", relay.told());
    drop(books);
    site.leave(Evidence::Discarded).await;
}

async fn metric(port: u16, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let values = answer.lines().filter(|line| line.starts_with(name) && line.contains(r#"port="api""#));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}
