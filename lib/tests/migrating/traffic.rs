//! What goes on while the schema is migrated: orders are accepted, carried out and called off, and the outbox is read. The product's own
//! acts; each has to succeed, in the time that a statement may take and once more.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use payfleet::domain::event::{Act, Command};
use payfleet::domain::ids::Kind;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::outbox::delta;
use payfleet::outbox::position::{Position, Span};
use payfleet::service::retry::policy;
use payfleet::settlement::Cancelled;
use payfleet::transactions::accept::{Acceptor, Verdict};
use payfleet::worker::attempt::Attempts;
use sqlx::postgres::PgConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LIMIT;
use crate::harness::eventually;
use crate::harness::payments::Fleet;
use crate::ingress::acceptance::acceptor;
use crate::ingress::orders::{self, User};

const AMOUNT: i64 = 100;
/// More than is withdrawn, even if nothing can be called off any more.
const MONEY: i64 = 1_000_000 * AMOUNT;

#[derive(Default)]
struct Seen {
    paid: AtomicUsize,
    called_off: AtomicUsize,
    looks: AtomicUsize,
    rows: Mutex<BTreeSet<i64>>,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    /// None: it failed, or took too long.
    async fn act<T, E: Display>(&self, what: &str, act: impl Future<Output = Result<T, E>>) -> Option<T> {
        let (begun, within) = (Instant::now(), 2 * policy::STATEMENT.limit());
        let failure = match tokio::time::timeout(within, act).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => format!("{what} failed after {:?}: {error}", begun.elapsed()),
            Err(_) => format!("{what} took longer than {within:?}"),
        };
        self.failures.lock().unwrap().push(failure);
        None
    }
}

/// Somebody's payments.
struct Paying {
    fleet: Arc<Fleet>,
    acceptor: Acceptor,
    user: User,
    seen: Arc<Seen>,
}

impl Paying {
    /// Accepts an order; gives the payment's id.
    async fn accept(&self, kind: Kind, key: &str) -> Option<uuid::Uuid> {
        let entry = orders::entry(self.user, kind, AMOUNT, "EUR", key);
        let id = entry.acceptance.id;
        let verdict = self.seen.act("an order", self.acceptor.accept(entry)).await?;
        assert_eq!(verdict, Verdict::Accepted);
        Some(id)
    }

    async fn deposit(&self, n: usize) -> Option<()> {
        let transaction_id = self.accept(Kind::Deposit, &format!("deposit {n}")).await?;
        let money = Money::new(AMOUNT, "EUR".parse().unwrap());
        self.fleet.bank.then(Outcome::Succeeded { reference: format!("tr_{n}"), money });
        let command =
            Command { transaction_id, act: Act::Create, attempt: 1, gateway: "bank".into(), version: 1, calls: 0 };
        self.seen.act("a payment", Attempts::new(self.fleet.settlement.clone()).handle(command)).await?;
        self.seen.paid.fetch_add(1, Ordering::SeqCst);
        Some(())
    }

    async fn withdraw(&self, n: usize) -> Option<()> {
        let id = self.accept(Kind::Withdrawal, &format!("withdrawal {n}")).await?;
        let cancelled = self.seen.act("calling off", self.fleet.settlement.cancel(id)).await?;
        assert_eq!(cancelled, Cancelled::Now);
        self.seen.called_off.fetch_add(1, Ordering::SeqCst);
        Some(())
    }
}

/// Reads the outbox as relays do: each lane from where it was left.
struct Reading {
    connection: PgConnection,
    positions: Vec<Position>,
    seen: Arc<Seen>,
}

impl Reading {
    async fn of(fleet: &Fleet, seen: Arc<Seen>) -> Self {
        let mut connection = fleet.database.settings().connect("reading").await.unwrap();
        delta::prepare(&mut connection).await.unwrap();
        Self { connection, positions: vec![Position::beginning(); 16], seen }
    }

    async fn look(&mut self) -> Option<()> {
        let spans: Vec<Span> = (0..).zip(&self.positions).map(|(lane, at)| at.span(lane, None, 1_000)).collect();
        let found = self.seen.act("reading the outbox", delta::read(&mut self.connection, &spans)).await?;
        for ((at, span), page) in self.positions.iter_mut().zip(&spans).zip(found.pages) {
            *at = at.after(span, page.len(), page.last().map(|row| row.id), &found.snapshot);
            let mut rows = self.seen.rows.lock().unwrap();
            page.iter().for_each(|row| assert!(rows.insert(row.id), "row {} was read twice", row.id));
        }
        self.seen.looks.fetch_add(1, Ordering::SeqCst);
        Some(())
    }
}

pub struct Traffic {
    pub fleet: Arc<Fleet>,
    users: [User; 2],
    seen: Arc<Seen>,
    stop: CancellationToken,
    acts: JoinSet<()>,
    reading: tokio::task::JoinHandle<Reading>,
}

impl Traffic {
    pub async fn start() -> Self {
        let fleet = Arc::new(Fleet::with(0).await);
        let owner = &fleet.database.owner;
        let users = [orders::user_with(owner, 0).await, orders::user_with(owner, MONEY).await];
        let (seen, stop, mut acts) = (Arc::new(Seen::default()), CancellationToken::new(), JoinSet::new());
        let acceptor = acceptor(&fleet.database, 2, &TaskTracker::new());
        let paying = |user| Paying { fleet: fleet.clone(), acceptor: acceptor.clone(), user, seen: seen.clone() };
        let ([deposits, withdrawals], stopping) = (users.map(paying), stop.clone());
        acts.spawn(async move {
            for n in (0..).take_while(|_| !stopping.is_cancelled()) {
                deposits.deposit(n).await;
            }
        });
        let stopping = stop.clone();
        acts.spawn(async move {
            for n in (0..).take_while(|_| !stopping.is_cancelled()) {
                withdrawals.withdraw(n).await;
            }
        });
        let (mut reading, stopping) = (Reading::of(&fleet, seen.clone()).await, stop.clone());
        let reading = tokio::spawn(async move {
            let mut turns = tokio::time::interval(Duration::from_millis(5));
            while stopping.run_until_cancelled(turns.tick()).await.is_some() {
                reading.look().await;
            }
            reading
        });
        Self { fleet, users, seen, stop, acts, reading }
    }

    pub fn failures(&self) -> Vec<String> {
        self.seen.failures.lock().unwrap().clone()
    }

    /// Waits until every part of it has come further than it is now.
    pub async fn goes_on(&self) {
        let done =
            || [&self.seen.paid, &self.seen.called_off, &self.seen.looks].map(|done| done.load(Ordering::SeqCst));
        let before = done();
        eventually("the traffic to go on", LIMIT, async || {
            assert_eq!(self.failures(), [""; 0]);
            done().iter().zip(before).all(|(now, before)| *now >= before + 3).then_some(())
        })
        .await;
    }

    pub async fn stop(mut self) -> (Arc<Fleet>, Vec<String>) {
        self.stop.cancel();
        while let Some(ended) = self.acts.join_next().await {
            ended.unwrap();
        }
        self.reading.await.unwrap();
        let failures = self.seen.failures.lock().unwrap().clone();
        (self.fleet, failures)
    }

    /// Stops it, and looks whether all of it is in the books and was read.
    pub async fn nothing_failed_and_nothing_is_lost(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.acts.join_next().await {
            ended.unwrap();
        }
        let mut reading = self.reading.await.unwrap();
        reading.look().await;
        assert_eq!(*self.seen.failures.lock().unwrap(), [""; 0]);
        let (owner, done) = (&self.fleet.database.owner, |done: &AtomicUsize| done.load(Ordering::SeqCst) as i64);
        let (paid, called_off) = (done(&self.seen.paid), done(&self.seen.called_off));
        let statuses: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM transactions GROUP BY status ORDER BY status")
                .fetch_all(owner)
                .await
                .unwrap();
        assert_eq!(statuses, [("cancelled".to_owned(), called_off), ("succeeded".to_owned(), paid)]);
        let [deposits, withdrawals] = self.users;
        assert_eq!(orders::balance(owner, deposits).await, (paid * AMOUNT, 0));
        assert_eq!(orders::balance(owner, withdrawals).await, (MONEY, 0));
        let rows: Vec<i64> = sqlx::query_scalar("SELECT id FROM outbox ORDER BY id").fetch_all(owner).await.unwrap();
        assert_eq!(self.seen.rows.lock().unwrap().iter().copied().collect::<Vec<_>>(), rows);
    }
}
