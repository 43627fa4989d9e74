//! Clients that hang up in the middle, and that say everything several times at once: always under one key per payment. What they saw stands
//! in the load's log, and is judged with it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::domain::event;
use payfleet::domain::ids::Kind;
use payfleet::ops::load_log::{Event, Line, is_undecided};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Who pays: a credential, and the currency of its account.
const PAYERS: [(&str, &str); 2] = [("pf_test_demo_de", "EUR"), ("pf_test_demo_us", "USD")];
/// Of a hundred.
const WITHDRAWALS: u32 = 30;
/// Between two tries of one who wants to know.
const PAUSE: Duration = Duration::from_millis(400);
const ANSWER_BY: Duration = Duration::from_secs(5);
/// How many of one who repeats are on their way at once.
const AT_ONCE: usize = 4;

/// What one client does before it asks in earnest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Habit {
    /// Sends so many percent of its request, and is gone.
    HangsUp(usize),
    /// Sends all of it, and does not wait for the answer.
    DoesNotListen,
    /// Sends it several times at once, to any ingress.
    Repeats,
}

/// What one client wants, always under the same key.
struct Order {
    key: String,
    path: &'static str,
    credential: &'static str,
    body: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    pub meant: u64,
    pub hung_up: u64,
    pub repeated: u64,
    pub undecided: u64,
    /// Who was given the payment of another order of theirs.
    pub fooled: u64,
}

pub struct Clients {
    bases: Vec<String>,
    http: reqwest::Client,
    log: File,
    /// The bodies of all refusals.
    refusals: File,
    patience: Duration,
    run: Uuid,
    meant: AtomicU64,
    hung_up: AtomicU64,
    repeated: AtomicU64,
    undecided: AtomicU64,
    fooled: AtomicU64,
}

impl Clients {
    pub fn new(bases: Vec<String>, log: &Path, patience: Duration) -> Arc<Self> {
        let appended = |path: &Path| OpenOptions::new().create(true).append(true).open(path).unwrap();
        Arc::new(Self {
            bases,
            http: reqwest::Client::builder().no_proxy().timeout(ANSWER_BY).build().unwrap(),
            log: appended(log),
            refusals: appended(&log.with_file_name("refusals.log")),
            patience,
            run: Uuid::now_v7(),
            meant: AtomicU64::default(),
            hung_up: AtomicU64::default(),
            repeated: AtomicU64::default(),
            undecided: AtomicU64::default(),
            fooled: AtomicU64::default(),
        })
    }

    pub fn heard(&self) -> Heard {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Heard {
            meant: read(&self.meant),
            hung_up: read(&self.hung_up),
            repeated: read(&self.repeated),
            undecided: read(&self.undecided),
            fooled: read(&self.fooled),
        }
    }

    /// So many a second until `stop`; then waits for those that still ask.
    pub async fn run(self: &Arc<Self>, seed: u64, per_second: f64, stop: &CancellationToken) {
        let mut dice = StdRng::seed_from_u64(seed ^ 0xc11e);
        let mut turns = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        let mut under_way = JoinSet::new();
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let habit = match dice.random_range(0..3) {
                0 => Habit::HangsUp(dice.random_range(1..100)),
                1 => Habit::DoesNotListen,
                _ => Habit::Repeats,
            };
            let first = dice.random_range(0..self.bases.len());
            let order = self.order(&mut dice);
            under_way.spawn(Arc::clone(self).pay(habit, order, first));
            while let Some(done) = under_way.try_join_next() {
                done.unwrap();
            }
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
    }

    fn order(&self, dice: &mut StdRng) -> Order {
        let key = format!("rude-{}-{}", self.run.simple(), self.meant.fetch_add(1, Ordering::Relaxed));
        let (amount, (credential, currency)) =
            (dice.random_range(100..900), PAYERS[dice.random_range(0..PAYERS.len())]);
        let mut body = json!({ "amount": amount, "currency": currency, "client_reference": key });
        let (kind, path) = if dice.random_range(0..100) < WITHDRAWALS {
            body["destination"] = json!({ "token": "ba_1NfkPayfleetLoad" });
            (Kind::Withdrawal, "/v1/withdrawals")
        } else {
            (Kind::Deposit, "/v1/deposits")
        };
        self.note(&key, Event::Intent { kind, amount, currency: currency.to_owned() });
        Order { key, path, credential, body: body.to_string() }
    }

    async fn pay(self: Arc<Self>, habit: Habit, order: Order, first: usize) {
        let begun = Instant::now();
        match habit {
            Habit::HangsUp(percent) => self.hang_up(&order, first, percent).await,
            Habit::DoesNotListen => self.hang_up(&order, first, 100).await,
            Habit::Repeats => {
                join_all((0..AT_ONCE).map(|n| self.ask(&order, first + n))).await;
                self.repeated.fetch_add(AT_ONCE as u64, Ordering::Relaxed);
            }
        }
        let mut turn = first;
        while !self.ask(&order, turn).await {
            if begun.elapsed() > self.patience {
                self.undecided.fetch_add(1, Ordering::Relaxed);
                return;
            }
            turn += 1;
            tokio::time::sleep(PAUSE).await;
        }
        // It is known by now, and asked for once more.
        self.ask(&order, turn + 1).await;
        self.repeated.fetch_add(1, Ordering::Relaxed);
        if habit == Habit::Repeats {
            self.order_more(&order, turn).await;
        }
    }

    /// Orders something else under the same key, of which the payment must know nothing.
    async fn order_more(&self, order: &Order, base: usize) {
        let url = format!("{}{}", self.bases[base % self.bases.len()], order.path);
        let mut body: serde_json::Value = serde_json::from_str(&order.body).unwrap();
        body["amount"] = json!(body["amount"].as_i64().unwrap() + 1_000);
        let asked = self.http.post(url).bearer_auth(order.credential).header("idempotency-key", &order.key);
        if asked.json(&body).send().await.is_ok_and(|answer| answer.status().is_success()) {
            self.fooled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends so much of the request, and closes the connection.
    async fn hang_up(&self, order: &Order, base: usize, percent: usize) {
        let Order { key, path, credential, body } = order;
        let authority = self.bases[base % self.bases.len()].trim_start_matches("http://").to_owned();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {credential}\r\nidempotency-key: {key}\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = request.len() * percent / 100;
        let sending = async {
            let mut stream = TcpStream::connect(&authority).await?;
            stream.write_all(&request.as_bytes()[..sent]).await?;
            stream.flush().await
        };
        let why = match tokio::time::timeout(ANSWER_BY, sending).await {
            Ok(Ok(())) => format!("hung up after {sent} bytes of {}", request.len()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nothing was taken in time".to_owned(),
        };
        self.hung_up.fetch_add(1, Ordering::Relaxed);
        self.note(key, Event::Lost { why });
    }

    /// Asks once. False: nothing is decided.
    async fn ask(&self, order: &Order, base: usize) -> bool {
        let key = order.key.as_str();
        let url = format!("{}{}", self.bases[base % self.bases.len()], order.path);
        let asked = self.http.post(url).bearer_auth(order.credential).header("idempotency-key", key);
        let asked = asked.header("content-type", "application/json").body(order.body.clone());
        let answered = async {
            let answer = asked.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.bytes().await?))
        };
        match answered.await {
            Ok((status, body)) => {
                if !(200..300).contains(&status) {
                    (&self.refusals).write_all(&body).unwrap();
                }
                let sha256 = event::hash(&body).iter().map(|byte| format!("{byte:02x}")).collect();
                let named = serde_json::from_slice::<serde_json::Value>(&body).ok();
                let id = named.as_ref().and_then(|named| named["id"].as_str()).map(str::to_owned);
                let transaction = id.filter(|_| (200..300).contains(&status));
                self.note(key, Event::Answer { status, sha256, transaction });
                !is_undecided(status)
            }
            Err(lost) => {
                self.note(key, Event::Lost { why: lost.to_string() });
                false
            }
        }
    }

    /// One line in one write: the load writes to the same file.
    fn note(&self, key: &str, event: Event) {
        let line = Line { at: OffsetDateTime::now_utc(), key: key.to_owned(), event };
        let mut text = serde_json::to_vec(&line).unwrap();
        text.push(b'\n');
        (&self.log).write_all(&text).unwrap();
    }
}
