//! The open-loop load generator: payments are sent when they are meant to be, whether or not the ones before were answered, and each
//! wait counts from then (no coordinated omission). A payment whose answer is lost, or undecided, is sent again under the same key.
//!
//! If it dies here: its log says what was meant and what was answered; whatever was accepted goes on without it.

mod client;
mod figures;
mod mix;
mod record;
mod sending;
mod settling;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use client::{BadBase, Base};
pub use figures::{Ends, Figures, Outcome, Quantiles};
pub use mix::{Mix, Payer};

use client::{Asked, Pool};
use mix::Orders;
use record::Record;
use sending::{Accepted, Sending};

/// When payments are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// So many a second, evenly, whatever the answers.
    PerSecond(f64),
    /// The next as soon as a connection is free: finds the most that is possible, says little about waiting.
    Saturating,
}

/// When enough were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    Payments(u64),
    Elapsed(Duration),
}

#[derive(Clone, Debug)]
pub struct Plan {
    /// Ingresses; connections are spread over them, and go elsewhere while theirs does not answer.
    pub bases: Vec<Base>,
    pub payers: Payers,
    pub mix: Mix,
    pub pace: Pace,
    pub until: Until,
    pub connections: usize,
    /// An answer that takes longer is lost.
    pub answer_by: Duration,
    /// How long a payment is sent again and again before it is given up.
    pub patience: Duration,
    pub funding: Funding,
    /// How long to wait, after the last was sent, until all are final; None: not at all.
    pub settle_within: Option<Duration>,
    /// Where to keep what was meant and answered.
    pub log: Option<PathBuf>,
}

/// Who pays.
#[derive(Clone, Debug)]
pub enum Payers {
    /// These API keys, from whatever accounts the API says they have.
    WithKeys(Vec<String>),
    Known(Vec<Payer>),
}

/// Whether accounts are filled before, so that withdrawals have something to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Funding {
    /// One deposit per payer, large enough for all withdrawals of the run, final before the run begins.
    First,
    None,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            bases: Vec::new(),
            payers: Payers::Known(Vec::new()),
            mix: Mix::default(),
            pace: Pace::PerSecond(50.0),
            until: Until::Payments(1_000),
            connections: 64,
            answer_by: Duration::from_secs(10),
            patience: Duration::from_secs(120),
            funding: Funding::First,
            settle_within: Some(Duration::from_secs(60)),
            log: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a load needs a base URL")]
    NoBase,
    #[error("none of the base URLs answers: {0}")]
    Unreachable(String),
    #[error("GET /v1/balance was answered with {status}: is the key known there?")]
    NoBalance { status: u16 },
    #[error("no key has an account in any currency")]
    NoAccounts,
    #[error("{0} of the deposits that fill the accounts did not succeed in time")]
    NotFunded(u64),
    #[error("the load's log cannot be written: {0}")]
    Log(#[from] std::io::Error),
}

/// Told as it goes on, for a person who waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Runs the plan to its end, or until `stop`: then nothing more is sent, and what was sent is waited for.
pub async fn run(plan: &Plan, progress: Progress<'_>, stop: &CancellationToken) -> Result<Outcome, Error> {
    if plan.bases.is_empty() {
        return Err(Error::NoBase);
    }
    let pool = Pool::new(plan.bases.clone(), plan.connections.max(1), plan.answer_by);
    let payers = match &plan.payers {
        Payers::WithKeys(keys) => payers(&pool, keys).await?,
        Payers::Known(payers) => payers.clone(),
    };
    if payers.is_empty() {
        return Err(Error::NoAccounts);
    }
    let orders = Orders::new(plan.mix.clone(), payers);
    let sending = Sending {
        pool,
        record: Record::open(plan.log.as_deref())?,
        figures: Arc::new(Mutex::new(Figures::default())),
        patience: plan.patience,
    };
    let mut run = Run { plan, sending, orders, progress, stop };
    if plan.funding == Funding::First {
        run.fund().await?;
    }
    run.sending.figures = Arc::new(Mutex::new(Figures::default()));
    let begin = Instant::now();
    let accepted = run.send().await?;
    let sent_for = begin.elapsed();
    let figures = run.sending.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut outcome = Outcome { figures, sent_for, ends: None, settled_after: Default::default() };
    if let Some(bound) = plan.settle_within {
        let (ends, settled_after) = settling::wait(&run.sending.pool, accepted, bound, progress, stop).await;
        (outcome.ends, outcome.settled_after) = (Some(ends), settled_after);
    }
    Ok(outcome)
}

/// What a task has done. One that panicked takes the run with it: its payment would be missing from every figure.
fn done<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[derive(Deserialize)]
struct Balances {
    balances: Vec<Balance>,
}

#[derive(Deserialize)]
struct Balance {
    currency: String,
}

/// Asks which accounts each credential has.
async fn payers(pool: &Pool, credentials: &[String]) -> Result<Vec<Payer>, Error> {
    let mut payers = Vec::new();
    for credential in credentials {
        let credential: Arc<str> = credential.as_str().into();
        let (method, path) = (http::Method::GET, "/v1/balance".to_owned());
        let asked =
            Asked { method, path, credential: Arc::clone(&credential), idempotency_key: None, body: Bytes::new() };
        let place = pool.place().await;
        let answer = pool.send(&asked, place).await.map_err(|lost| Error::Unreachable(lost.to_string()))?;
        let status = answer.status;
        let known: Option<Balances> = (status == 200).then(|| serde_json::from_slice(&answer.body).ok()).flatten();
        let balances = known.ok_or(Error::NoBalance { status })?.balances;
        payers.extend(
            balances
                .into_iter()
                .map(|balance| Payer { credential: Arc::clone(&credential), currency: balance.currency }),
        );
    }
    Ok(payers)
}

struct Run<'a> {
    plan: &'a Plan,
    sending: Sending,
    orders: Orders,
    progress: Progress<'a>,
    stop: &'a CancellationToken,
}

impl Run<'_> {
    /// How many payments there will be, as far as that is known.
    fn expected(&self) -> u64 {
        match (self.plan.until, self.plan.pace) {
            (Until::Payments(payments), _) => payments,
            (Until::Elapsed(time), Pace::PerSecond(rate)) => (time.as_secs_f64() * rate) as u64,
            // Nobody knows; more than this machine's kind has ever done.
            (Until::Elapsed(time), Pace::Saturating) => time.as_secs().saturating_mul(20_000),
        }
    }

    async fn fund(&mut self) -> Result<(), Error> {
        let amount = self.orders.needed(self.expected());
        if amount == 0 {
            return Ok(());
        }
        (self.progress)("filling the accounts that withdrawals will take from");
        let mut deposits = JoinSet::new();
        for payer in self.orders.payers().to_vec() {
            let order = self.orders.funding(&payer, amount);
            let (sending, place) = (self.sending.clone(), self.sending.pool.place().await);
            deposits.spawn(async move { sending.send(order, Instant::now(), place).await });
        }
        let wanted = deposits.len() as u64;
        let mut accepted = Vec::new();
        while let Some(sent) = deposits.join_next().await {
            accepted.extend(done(sent)?);
        }
        let (ends, _) =
            settling::wait(&self.sending.pool, accepted, self.plan.patience, self.progress, self.stop).await;
        let succeeded = ends.by_status.get("succeeded").copied().unwrap_or(0);
        if succeeded < wanted { Err(Error::NotFunded(wanted - succeeded)) } else { Ok(()) }
    }

    /// Sends what is meant, when it is meant. Each payment is a task; only connections are bounded.
    async fn send(&mut self) -> Result<Vec<Accepted>, Error> {
        let begin = Instant::now();
        let (mut under_way, mut accepted, mut told) = (JoinSet::new(), Vec::new(), begin);
        for n in 0_u64.. {
            let meant_at = match self.plan.pace {
                Pace::PerSecond(rate) => begin + Duration::from_secs_f64(n as f64 / rate.max(1e-3)),
                Pace::Saturating => Instant::now(),
            };
            let over = match self.plan.until {
                Until::Payments(payments) => n >= payments,
                Until::Elapsed(time) => meant_at.duration_since(begin) >= time,
            };
            if over || !self.arrive_at(meant_at).await {
                break;
            }
            let order = self.orders.draw();
            self.sending.figures.lock().unwrap_or_else(PoisonError::into_inner).meant += 1;
            let sending = self.sending.clone();
            match self.plan.pace {
                Pace::Saturating => {
                    let place = sending.pool.place().await;
                    let meant_at = Instant::now();
                    under_way.spawn(async move { sending.send(order, meant_at, place).await });
                }
                Pace::PerSecond(_) => {
                    under_way.spawn(async move {
                        let place = sending.pool.place().await;
                        sending.send(order, meant_at, place).await
                    });
                }
            }
            while let Some(sent) = under_way.try_join_next() {
                accepted.extend(done(sent)?);
            }
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                self.tell(begin, under_way.len());
            }
        }
        loop {
            match tokio::time::timeout(Duration::from_secs(1), under_way.join_next()).await {
                Ok(Some(sent)) => accepted.extend(done(sent)?),
                Ok(None) => return Ok(accepted),
                Err(_) => self.tell(begin, under_way.len()),
            }
        }
    }

    /// False: told to stop.
    async fn arrive_at(&self, meant_at: Instant) -> bool {
        if self.stop.is_cancelled() {
            return false;
        }
        // The timer's grain is a millisecond; what is nearer than that is sent at once.
        if meant_at.saturating_duration_since(Instant::now()) < Duration::from_millis(1) {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep_until(meant_at.into()) => true,
            () = self.stop.cancelled() => false,
        }
    }

    fn tell(&self, begin: Instant, under_way: usize) {
        let figures = self.sending.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let (accepted, lost) = (figures.accepted, figures.lost);
        let refused: u64 = figures.refused.values().sum();
        let (sent, resends) = (figures.meant, figures.resends);
        drop(figures);
        (self.progress)(&format!(
            "{:>4} s  {sent} sent, {accepted} accepted, {refused} refused, {under_way} under way, {lost} answers lost, {resends} sent again",
            begin.elapsed().as_secs()
        ));
    }
}
