//! Clients that pay: as many at once as get answers (closed loop), or at a rate whatever the answers (open loop).

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use payfleet::domain::event;
use payfleet::domain::ids::Kind;
use payfleet::ops::load_log::{Event, Line};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ingress::client::{Answer, Client};

/// Connections of all clients together: several times as many as payments may be under way in the ingress.
const CONNECTIONS: usize = 1_500;
/// Of each address that they come from; one may have 1,024.
const PER_ADDRESS: usize = 750;

const AMOUNT: i64 = 1_250;

/// Who pays: an API key, and the currency of its account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payer {
    pub key: &'static str,
    pub currency: &'static str,
}

/// One payment that was meant, as its client saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub payer: Payer,
    /// 0: no answer.
    pub status: u16,
    /// In seconds.
    pub retry_after: Option<u64>,
    /// The payment, if it was accepted.
    pub location: Option<String>,
    /// From when it was meant to be sent.
    pub waited: Duration,
}

#[derive(Clone)]
pub struct Clients(Arc<Shared>);

struct Shared {
    ingress: SocketAddr,
    places: Semaphore,
    idle: Mutex<Vec<Client>>,
    opened: AtomicUsize,
    meant: AtomicU64,
    log: Mutex<Vec<Line>>,
}

impl Clients {
    pub fn of(ingress: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            ingress,
            places: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
            opened: AtomicUsize::new(0),
            meant: AtomicU64::new(0),
            log: Mutex::default(),
        }))
    }

    /// Sends it once. Waiting for a free connection counts, as for a client whose request waits in its own queue.
    pub async fn pay(&self, payer: Payer, meant_at: Instant) -> Seen {
        let shared = &self.0;
        let key = format!("overload-{}", shared.meant.fetch_add(1, Ordering::Relaxed));
        self.note(&key, Event::Intent { kind: Kind::Deposit, amount: AMOUNT, currency: payer.currency.to_owned() });
        let _place = shared.places.acquire().await.unwrap();
        let kept = shared.idle.lock().unwrap().pop();
        let answer = match kept {
            // The ingress may have closed what was idle for long: the same key again, on a connection of its own.
            Some(kept) => match self.ask(kept, payer, &key).await {
                Some(answer) => Some(answer),
                None => self.ask(self.connect().await, payer, &key).await,
            },
            None => self.ask(self.connect().await, payer, &key).await,
        };
        let waited = meant_at.elapsed();
        let Some(answer) = answer else {
            self.note(&key, Event::Lost { why: "the connection was closed".to_owned() });
            return Seen { payer, status: 0, retry_after: None, location: None, waited };
        };
        let id = (answer.status == 202).then(|| answer.json()["id"].as_str().unwrap().to_owned());
        let sha256 = event::hash(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
        self.note(&key, Event::Answer { status: answer.status, sha256, transaction: id });
        let retry_after = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
        let location = answer.header("location").map(str::to_owned);
        Seen { payer, status: answer.status, retry_after, location, waited }
    }

    async fn connect(&self) -> Client {
        let opened = self.0.opened.fetch_add(1, Ordering::Relaxed);
        Client::connect_from(&format!("127.0.0.{}", 2 + opened / PER_ADDRESS % 100), self.0.ingress).await
    }

    async fn ask(&self, mut client: Client, payer: Payer, key: &str) -> Option<Answer> {
        let bearer = format!("Bearer {}", payer.key);
        let body = format!(r#"{{"amount": {AMOUNT}, "currency": "{}"}}"#, payer.currency);
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        client.send_request("POST", "/v1/deposits", &headers, body.as_bytes()).await;
        let answer = client.try_answer().await?;
        if answer.header("connection") != Some("close") {
            self.0.idle.lock().unwrap().push(client);
        }
        Some(answer)
    }

    fn note(&self, key: &str, event: Event) {
        let line = Line { at: OffsetDateTime::now_utc(), key: key.to_owned(), event };
        self.0.log.lock().unwrap().push(line);
    }

    /// So many at once, each as soon as its last was answered.
    pub async fn closed_loop(&self, payer: Payer, at_once: usize, lasting: Duration) -> Vec<Seen> {
        let until = Instant::now() + lasting;
        let clients = (0..at_once).map(|_| {
            let clients = self.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while Instant::now() < until {
                    seen.push(clients.pay(payer, Instant::now()).await);
                }
                seen
            })
        });
        let seen = futures_util::future::join_all(clients.collect::<Vec<_>>()).await;
        seen.into_iter().flat_map(Result::unwrap).collect()
    }

    /// So many a second by these payers in turn, whatever the answers.
    pub async fn open_loop(&self, payers: &[Payer], per_second: f64, lasting: Duration) -> Vec<Seen> {
        let begin = Instant::now();
        let mut under_way = JoinSet::new();
        let mut grain = tokio::time::interval(Duration::from_millis(2));
        let mut n = 0_u32;
        loop {
            let meant_at = begin + Duration::from_secs_f64(f64::from(n) / per_second);
            if meant_at >= begin + lasting {
                return under_way.join_all().await;
            }
            if Instant::now() < meant_at {
                grain.tick().await;
                continue;
            }
            let (clients, payer) = (self.clone(), payers[n as usize % payers.len()]);
            under_way.spawn(async move { clients.pay(payer, meant_at).await });
            n += 1;
        }
    }

    /// What was meant and answered, for the checker.
    pub fn write_log(&self, path: &Path) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        for line in self.0.log.lock().unwrap().iter() {
            serde_json::to_writer(&mut file, line).unwrap();
            file.write_all(b"\n").unwrap();
        }
        file.flush().unwrap();
    }
}

/// One request each time that it is due, whether or not the ones before were answered: (status, waited).
pub async fn steadily<F>(per_second: u32, lasting: Duration, mut one: impl FnMut(u32) -> F) -> Vec<(u16, Duration)>
where
    F: Future<Output = u16> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
    for n in 0..per_second * lasting.as_secs() as u32 {
        let meant_at: Instant = due.tick().await.into();
        let answer = one(n);
        under_way.spawn(async move { (answer.await, meant_at.elapsed()) });
    }
    under_way.join_all().await
}

/// The nearest rank.
pub fn percentile(percent: usize, waited: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = waited.collect();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
