//! The only way an outcome is recorded.
//!
//! Whoever learns something about a payment (a worker from an answer, the applier from a callback, the reconciler from a question)
//! hands it in here: the payment is read, the rules decide, and the step is committed by compare-and-set on its version. A miss means
//! that someone else was faster: it is read and decided again, so that no news is lost and none counts twice.
//!
//! If it dies here: a step is one commit. Before it nothing happened, and whoever brought the news brings them again (the record is
//! consumed again, the callback or the payment falls due); after it the cause is on record, and the second time changes nothing.

mod apply;
mod asking;
mod callbacks;
mod cancel;
mod handling;
#[cfg(feature = "planted-bugs")]
mod misheard;
mod resolve;
mod settings;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::domain::change::Change;
use crate::domain::decide::due::{Due, fell_due};
use crate::domain::decide::news::{News, Source, learn};
use crate::domain::decide::{Context, Decision};
use crate::domain::lane::lane_of;
use crate::domain::outcome::Outcome;
use crate::domain::route::{GatewayState, Wanted, candidates};
use crate::domain::transaction::{AttemptState, Status, Transaction};
use crate::gateway::Gateways;
use crate::outbox::doorbell::Doorbell;
use crate::postgres;
use crate::postgres::combiner::{Combiner, Layout, Refused};
use crate::routing::Routing;
use crate::sealing::Sealer;
use crate::service::failpoint::{self, Window};
use crate::service::retry::policy;
use crate::transactions::acts;
use crate::transactions::load::Loading;

pub use apply::{Applied, Applying};
pub use cancel::Cancelled;
pub use resolve::{ResolveError, resolve};
pub use settings::{Policies, Settings, SettingsError};

/// How often a decision that missed is made again before the news go back to where they came from.
const TRIES: usize = policy::MOVED.tries();

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the payment moved {TRIES} times while a step was decided")]
    Contended,
    #[error("no payment {0} exists")]
    NoSuchTransaction(Uuid),
    #[error("no callback {0} exists")]
    NoSuchCallback(Uuid),
    #[error("no adapter for the gateway `{0}`")]
    NoSuchGateway(String),
    #[error("the destination of {0} cannot be opened: {1}")]
    Sealed(Uuid, String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Committed {
    Applied,
    /// The payment no longer stands where the step assumed: read it again and decide again.
    Missed,
}

struct Parts {
    pool: PgPool,
    /// Of a statement on the pool.
    limit: Duration,
    applying: Combiner<Applying>,
    loading: Combiner<Loading>,
    gateways: Gateways,
    routing: Routing,
    sealer: Sealer,
    doorbell: Doorbell,
    policies: Policies,
}

/// A success of what was taken back is kept and moves nothing: a late copy of the first, or the money is there again, which only a human
/// finds out.
fn tell_of_second_success(transaction: &Transaction, decision: &Decision) {
    if let Decision::Note(news) = decision
        && transaction.status == Status::Reversed
        && news.state == AttemptState::Succeeded
    {
        let gateway = news.gateway.clone();
        metrics::counter!("payfleet_settlement_successes_after_reversal_total", "gateway" => gateway).increment(1);
        tracing::warn!(transaction = %transaction.id, "the gateway tells of a success of a payment that was taken back");
    }
}

/// What settlement stands on.
pub struct Foundation {
    pub pool: PgPool,
    pub postgres: postgres::Settings,
    pub gateways: Gateways,
    pub routing: Routing,
    pub sealer: Sealer,
    pub doorbell: Doorbell,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Settlement(Arc<Parts>);

impl Settlement {
    pub fn start(settings: &Settings, foundation: Foundation, tracker: &TaskTracker) -> Result<Self, SettingsError> {
        let Foundation { pool, postgres, gateways, routing, sealer, doorbell } = foundation;
        let layout = Layout { connections: settings.connections, ..Layout::default() };
        let applying = Combiner::start(Applying, &postgres, layout, tracker);
        let loading = Combiner::start(Loading, &postgres, layout, tracker);
        let limit = postgres.statement_limit();
        let policies = Policies::new(settings)?;
        Ok(Self(Arc::new(Parts { pool, limit, applying, loading, gateways, routing, sealer, doorbell, policies })))
    }

    /// Bounds a statement on the pool: a server that has vanished without a word must keep neither a connection nor a record.
    async fn bounded<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        postgres::within(self.0.limit, statement).await
    }

    /// Takes a step, if the payment still stands where the step assumes. Where another session has the payment or its account, it comes
    /// again, for as long as a statement may take.
    pub async fn commit(&self, change: Change) -> Result<Committed, Refused> {
        let change = Arc::new(change);
        let mut turns = self.0.applying.turns();
        loop {
            match self.0.applying.submit(Arc::clone(&change)).await? {
                Applied::Taken => break,
                Applied::Missed => {
                    metrics::counter!("payfleet_settlement_missed_steps_total").increment(1);
                    return Ok(Committed::Missed);
                }
                Applied::Busy => {
                    metrics::counter!("payfleet_settlement_busy_total").increment(1);
                    turns.wait().await?;
                }
            }
        }
        self.0.doorbell.ring();
        let (from, to) = (change.from.as_str(), change.to.as_str());
        metrics::counter!("payfleet_settlement_steps_total", "from" => from, "to" => to).increment(1);
        Ok(Committed::Applied)
    }

    /// The payment as it stands, with the database's time.
    pub async fn load(&self, id: Uuid) -> Result<(Transaction, OffsetDateTime), Error> {
        self.0.loading.submit(id).await?.ok_or(Error::NoSuchTransaction(id))
    }

    /// Lets the rules decide, with everything they may know.
    pub fn decide<T>(
        &self,
        transaction: &Transaction,
        now: OffsetDateTime,
        decide: impl FnOnce(Context<'_>) -> T,
    ) -> Result<T, Error> {
        let table = self.0.routing.snapshot();
        let name = &transaction.gateway;
        let gateway = self.0.gateways.get(name).ok_or_else(|| Error::NoSuchGateway(name.clone()))?;
        let policy = self.0.policies.of(gateway.as_ref(), transaction.kind);
        let wanted = Wanted {
            kind: transaction.kind,
            country: &transaction.country,
            currency: transaction.money.currency.code(),
            pinned: transaction.pinned_gateway.as_deref(),
            destination: transaction.destination_kind,
        };
        let candidates = candidates(&table.routes, &table.gateways, wanted);
        let gateways = self.standing(&table.gateways);
        Ok(decide(Context { now, policy: &policy, candidates: &candidates, gateways: &gateways }))
    }

    /// The gateways as the table has them, and as this process sees them.
    fn standing<'a>(&self, gateways: &'a [GatewayState]) -> Cow<'a, [GatewayState]> {
        let is_away = |state: &GatewayState| self.0.gateways.get(&state.name).is_some_and(|gateway| !gateway.admits());
        if !gateways.iter().any(is_away) {
            return Cow::Borrowed(gateways);
        }
        gateways.iter().map(|state| GatewayState { away: is_away(state), ..state.clone() }).collect()
    }

    /// Does what was decided. Missed: decide again.
    pub async fn carry_out(&self, id: Uuid, decision: Decision) -> Result<Committed, Error> {
        match decision {
            Decision::Step(change) => return Ok(self.commit(*change).await?),
            Decision::LookAgain { version, due_in, asks } => {
                self.bounded(acts::look_again(&self.0.pool, id, version, due_in, asks)).await?;
            }
            Decision::Note(news) => self.bounded(acts::note_attempt(&self.0.pool, &news)).await?,
            Decision::Nothing(why) => tracing::debug!(transaction = %id, why, "nothing follows"),
        }
        Ok(Committed::Applied)
    }

    /// Records news of an attempt, whatever has become of the payment meanwhile. `known` spares the first reading.
    pub async fn learn(
        &self,
        id: Uuid,
        attempt: Uuid,
        source: Source,
        outcome: &Outcome,
        mut known: Option<(Transaction, OffsetDateTime)>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (transaction, now) = match known.take() {
                Some(known) => known,
                None => self.load(id).await?,
            };
            #[cfg(feature = "planted-bugs")]
            let (transaction, source, misheard) = misheard::misheard(transaction, source, outcome);
            #[cfg(feature = "planted-bugs")]
            let outcome = &misheard;
            let news = News { attempt, source, outcome };
            let decision = self.decide(&transaction, now, |context| learn(&transaction, news, context))?;
            if matches!(decision, Decision::LookAgain { due_in: None, .. }) && !outcome.tells() {
                let gateway = transaction.gateway.clone();
                metrics::counter!("payfleet_settlement_unanswered_bells_total", "gateway" => gateway).increment(1);
                tracing::warn!(transaction = %id, "the gateway rang about a payment that has ended, and said nothing when asked");
            }
            tell_of_second_success(&transaction, &decision);
            if self.carry_out(id, decision).await? == Committed::Applied {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// A payment has fallen due, and its caller has claimed it by pushing `due_at` forward.
    pub async fn fell_due(&self, id: Uuid) -> Result<(), Error> {
        let (transaction, now) = self.load(id).await?;
        let delivering = acts::is_delivered(&self.0.pool, id, lane_of(id));
        let delivered = self.bounded(delivering).await?;
        failpoint::reached(Window::C16).await;
        match self.decide(&transaction, now, |context| fell_due(&transaction, delivered, context))? {
            Due::Ask => self.ask_all(&transaction, now, delivered).await,
            Due::StepThenAsk(change) => match self.commit(*change).await? {
                // Read again: an answer is as old as its question, which comes after the step.
                Committed::Applied => {
                    let (transaction, now) = self.load(id).await?;
                    self.ask_all(&transaction, now, delivered).await
                }
                Committed::Missed => Ok(()),
            },
            Due::Decided(decision) => self.carry_out(id, decision).await.map(drop),
        }
    }

    async fn ask_all(&self, transaction: &Transaction, now: OffsetDateTime, delivered: bool) -> Result<(), Error> {
        let attempts: Vec<Uuid> = transaction.asked_about().map(|attempt| attempt.id).collect();
        if attempts.is_empty() {
            // It counts as a question without an answer: when the schedule is used up, a human decides.
            tracing::error!(transaction = %transaction.id, %now, "a payment at a gateway has no attempt");
            let (id, version, asks) = (transaction.id, transaction.version, transaction.asks.saturating_add(1));
            let wait = self.decide(transaction, now, |context| context.policy.ask_in(asks))?;
            return Ok(self.bounded(acts::look_again(&self.0.pool, id, version, Some(wait), asks)).await?);
        }
        for attempt in attempts {
            self.ask(transaction, attempt, now, delivered).await?;
        }
        Ok(())
    }
}
