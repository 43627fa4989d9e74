//! Writers: each on a connection of its own, each with dice of its own, so that a run can be had again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use payfleet::domain::lane::lane_of;
use payfleet::outbox::doorbell::Doorbell;
use payfleet::postgres::{Settings, is_connection_error, is_transient};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{LOWERED, STEP};
use crate::harness::eventually;
use crate::harness::journal::{Journal, step};

const WRITERS: usize = 8;
const SEED: u64 = 20_261_125;

/// Aggregates that all writers step on, and those of each writer alone: a transaction that stays open must not hold up the others.
const SHARED: usize = 400;
const OWN: usize = 200;
pub const AGGREGATES: usize = SHARED + WRITERS * OWN;

/// Writers that keep a transaction open at the same time, at most: were it all of them, each would wait for the commits of the others.
const HOLDERS: usize = WRITERS - 2;

/// So many of a writer's own aggregates are poisoned now and then.
const POISONED: usize = 5;

/// Between two transactions of a writer when the load that was allowed is written.
const TRICKLE: Duration = Duration::from_millis(25);

/// How often a late transaction looks whether it is time to commit. Truncation waits 50 ms for its lock.
const LOOK: Duration = Duration::from_millis(5);

/// Does truncation wait for a slot that this transaction has written to?
const KNOCK: &str = "
    SELECT EXISTS (
        SELECT FROM pg_locks waiting JOIN pg_locks held ON held.relation = waiting.relation AND held.database = waiting.database
        WHERE NOT waiting.granted AND waiting.mode = 'AccessExclusiveLock' AND held.granted AND held.pid = pg_backend_pid()
    )";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Open,
    Closed,
    /// For good.
    Ended,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Prompt,
    RolledBack,
    /// After so many commits of others, or when truncation waits for it.
    Late(u64),
    /// Only when truncation waits for it.
    Patient,
    /// With an event that its topic does not take, between events of the same lane that are innocent.
    Poisoned,
}

pub struct Traffic {
    settings: Settings,
    shared: Vec<Uuid>,
    own: Vec<Vec<Uuid>>,
    bell: Doorbell,
    gate: watch::Sender<Gate>,
    /// Writers that stand before the closed gate.
    standing: watch::Sender<usize>,
    allowed: AtomicU64,
    written: AtomicU64,
    commits: AtomicU64,
    rolled_back: AtomicU64,
    late: AtomicU64,
    knocks: AtomicU64,
    poisoned: AtomicU64,
    /// Writers that keep a transaction open, or are about to.
    holding: AtomicUsize,
    /// One at a time is patient.
    patient: AtomicBool,
}

impl Traffic {
    pub fn new(settings: &Settings, journal: &Journal) -> Arc<Self> {
        let (shared, own) = journal.aggregates.split_at(SHARED);
        Arc::new(Self {
            settings: settings.clone(),
            shared: shared.to_vec(),
            own: own.chunks(OWN).map(<[Uuid]>::to_vec).collect(),
            bell: Doorbell::start(settings, &TaskTracker::new(), CancellationToken::new()),
            gate: watch::Sender::new(Gate::Open),
            standing: watch::Sender::new(0),
            allowed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
            late: AtomicU64::new(0),
            knocks: AtomicU64::new(0),
            poisoned: AtomicU64::new(0),
            holding: AtomicUsize::new(0),
            patient: AtomicBool::new(false),
        })
    }

    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        (0..WRITERS).map(|number| tokio::spawn(Writer::new(self.clone(), number).run())).collect()
    }

    /// So many events more may be written at full speed.
    pub fn allow(&self, events: u64) {
        let least = self.written().max(self.allowed.load(Ordering::Relaxed));
        self.allowed.store(least + events, Ordering::Relaxed);
    }

    /// Events whose commit was acknowledged.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub fn knocks(&self) -> u64 {
        self.knocks.load(Ordering::Relaxed)
    }

    pub fn told(&self) -> String {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        format!(
            "{} commits ({} late, {} that truncation waited for, {} poisoned), {} rolled back",
            self.commits(),
            count(&self.late),
            self.knocks(),
            count(&self.poisoned),
            count(&self.rolled_back)
        )
    }

    /// Closes the gate, and waits until no transaction is open.
    pub async fn pause(&self) {
        self.gate.send_replace(Gate::Closed);
        let all = async || (*self.standing.borrow() == WRITERS).then_some(());
        eventually("the writers to pause", STEP, all).await;
    }

    pub fn resume(&self) {
        self.gate.send_replace(Gate::Open);
    }

    pub fn end(&self) {
        self.gate.send_replace(Gate::Ended);
    }

    /// How a transaction that is to be late ends instead, if too many are already.
    fn hold_or_not(&self, commits: u64) -> End {
        let one_more = |holding| (holding < HOLDERS).then_some(holding + 1);
        if self.holding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            End::Prompt
        } else if self.patient.swap(true, Ordering::Relaxed) {
            End::Late(commits)
        } else {
            End::Patient
        }
    }

    /// A transaction that was to end so has ended.
    fn let_go(&self, end: End) {
        if end == End::Patient {
            self.patient.store(false, Ordering::Relaxed);
        }
        if matches!(end, End::Patient | End::Late(_)) {
            self.holding.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_open(&self) -> bool {
        *self.gate.borrow() == Gate::Open
    }
}

struct Writer {
    traffic: Arc<Traffic>,
    number: usize,
    dice: StdRng,
    connection: Option<PgConnection>,
    trickle: Interval,
}

impl Writer {
    fn new(traffic: Arc<Traffic>, number: usize) -> Self {
        let mut trickle = interval(TRICKLE);
        trickle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { traffic, number, dice: StdRng::seed_from_u64(SEED + number as u64), connection: None, trickle }
    }

    async fn run(mut self) {
        let traffic = self.traffic.clone();
        let mut gate = traffic.gate.subscribe();
        loop {
            let now = *gate.borrow_and_update();
            match now {
                Gate::Open => {}
                Gate::Closed => {
                    traffic.standing.send_modify(|standing| *standing += 1);
                    gate.changed().await.unwrap();
                    traffic.standing.send_modify(|standing| *standing -= 1);
                    continue;
                }
                Gate::Ended => return,
            }
            let at_full_speed = traffic.written() < traffic.allowed.load(Ordering::Relaxed);
            if !at_full_speed {
                self.trickle.tick().await;
            }
            let end = self.end();
            let done = self.transaction(end, at_full_speed).await;
            traffic.let_go(end);
            match done {
                Ok(()) => {}
                Err(error) if is_connection_error(&error) || is_transient(&error) => {
                    self.connection = None;
                    self.trickle.tick().await;
                }
                Err(error) => panic!("writer {}: {error}", self.number),
            }
        }
    }

    async fn transaction(&mut self, end: End, at_full_speed: bool) -> Result<(), sqlx::Error> {
        let aggregates = self.aggregates(end, at_full_speed);
        let bytes = self.dice.random_range(10..=60);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.traffic.settings.connect("writer").await?,
        };
        let mut writing = connection.begin().await?;
        let mut events = 2 * aggregates.len();
        step(&mut writing, &aggregates, bytes).await?;
        match end {
            End::Prompt | End::RolledBack => {}
            End::Late(commits) => self.hold(&mut writing, Some(commits)).await?,
            End::Patient => self.hold(&mut writing, None).await?,
            End::Poisoned => {
                step(&mut writing, &[self.poisoned(&aggregates)], LOWERED as i32 + 10_000).await?;
                step(&mut writing, &aggregates, bytes).await?;
                events = 2 * events + 2;
            }
        }
        if end == End::RolledBack {
            writing.rollback().await?;
            self.traffic.rolled_back.fetch_add(1, Ordering::Relaxed);
        } else {
            writing.commit().await?;
            self.committed(end, events as u64);
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn committed(&self, end: End, events: u64) {
        let traffic = &self.traffic;
        traffic.bell.ring();
        traffic.commits.fetch_add(1, Ordering::Relaxed);
        traffic.written.fetch_add(events, Ordering::Relaxed);
        match end {
            End::Late(_) | End::Patient => traffic.late.fetch_add(1, Ordering::Relaxed),
            End::Poisoned => traffic.poisoned.fetch_add(1, Ordering::Relaxed),
            End::Prompt | End::RolledBack => 0,
        };
    }

    fn end(&mut self) -> End {
        match self.dice.random_range(0..1_000) {
            0..10 => End::Poisoned,
            10..210 => End::RolledBack,
            210..310 => self.traffic.hold_or_not(self.dice.random_range(5..=60)),
            _ => End::Prompt,
        }
    }

    /// Whom the transaction is about: mostly few, now and then many. All of them are stepped on by one statement, in the order of their
    /// ids, so that no two writers wait for each other.
    fn aggregates(&mut self, end: End, at_full_speed: bool) -> Vec<Uuid> {
        let own = &self.traffic.own[self.number];
        if end == End::Poisoned {
            let lane = lane_of(own[self.dice.random_range(0..POISONED)]);
            return own.iter().copied().filter(|neighbour| lane_of(*neighbour) == lane).collect();
        }
        let alone = matches!(end, End::Late(_) | End::Patient) || self.dice.random_bool(0.5);
        let pool = if alone { own } else { &self.traffic.shared };
        let most = match self.dice.random_range(0..10) {
            _ if !at_full_speed => 2,
            0..6 => 8,
            6..9 => 50,
            _ => 200,
        };
        let count = self.dice.random_range(1..=most);
        let first = self.dice.random_range(0..pool.len());
        pool.iter().cycle().skip(first).take(count).copied().collect()
    }

    /// The one of these neighbours that is poisoned.
    fn poisoned(&self, neighbours: &[Uuid]) -> Uuid {
        *self.traffic.own[self.number][..POISONED].iter().find(|own| neighbours.contains(own)).unwrap()
    }

    /// Keeps the transaction open until so many others have committed, or until truncation waits for it.
    async fn hold(&self, writing: &mut PgConnection, commits: Option<u64>) -> Result<(), sqlx::Error> {
        let until = commits.map(|commits| self.traffic.commits() + commits);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.traffic.is_open() && until.is_none_or(|until| self.traffic.commits() < until) {
            looks.tick().await;
            if sqlx::query_scalar(KNOCK).fetch_one(&mut *writing).await? {
                self.traffic.knocks.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        Ok(())
    }
}
