//! The house behind the three counters: whatever the protocol, a request is let in by its key, written into the books, made
//! durable and then answered; what follows by itself is put on the agenda.
//!
//! If it dies here: before the lines are on disk nothing has happened and nobody was told otherwise; after it the books say so
//! at the next start, and what was due then is due again.

mod by_itself;
mod capture;
mod heard;
mod order;
mod place;
mod question;

pub use by_itself::Decision;
pub use heard::{Denial, Denials};
pub(super) use order::lied;
pub use order::{Capture, Order, Served, Uncapturable};
pub use question::Asked;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agenda::{Agenda, Due};
use super::behaviour::{self, Plan, dice};
use super::books::{Books, Payment, State};
use super::callbacks::{Signers, Telling};
use super::charge_log::{ChargeLog, Closed, Entry, LiedEntry, RequestEntry, StateEntry, StateName};
use super::lies::Desk;
use super::settings::{Customer, Settings};

pub struct House {
    pub(super) settings: Settings,
    /// Without a slash at its end.
    pub(super) public_url: String,
    pub(super) signers: Signers,
    pub(super) http: reqwest::Client,
    pub(super) deliveries: Semaphore,
    pub(super) agenda: Agenda,
    pub(super) desk: Desk,
    pub(super) tasks: TaskTracker,
    /// Cancelled when the house closes in order: what is under way finishes.
    pub(super) stop: CancellationToken,
    /// Cancelled when the house is dropped: everything ends where it stands. Cancels `stop` as well.
    pub(super) gone: CancellationToken,
    books: Mutex<Books>,
    log: ChargeLog,
}

/// The books changed: what is to be done when that is on disk.
struct Step {
    place: usize,
    payment: Payment,
    /// Ids of the callbacks that tell of it.
    events: Vec<String>,
    /// Whether somebody else claims to tell of it.
    forgery: bool,
}

/// The present, as precise as the log.
pub fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}

impl House {
    pub(super) fn new(
        settings: Settings,
        public_url: String,
        signers: Signers,
        http: reqwest::Client,
        log: ChargeLog,
        entries: &[Entry],
    ) -> Self {
        let gone = CancellationToken::new();
        Self {
            public_url,
            signers,
            http,
            deliveries: Semaphore::new(settings.callbacks.at_once),
            agenda: Agenda::default(),
            desk: Desk::new(settings.seed, settings.lies.clone()),
            tasks: TaskTracker::new(),
            stop: gone.child_token(),
            gone,
            books: Mutex::new(Books::from_log(entries)),
            log,
            settings,
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no holder of the books panics")
    }

    pub(super) fn plan(&self, payment: &Payment) -> Plan {
        behaviour::plan(&self.settings, payment.money.minor, &payment.key)
    }

    /// Takes the lines into the books and hands them to the log; the future is ready when they are on disk.
    pub(super) fn record(
        &self,
        books: &mut Books,
        entries: &[Entry],
    ) -> impl Future<Output = Result<(), Closed>> + Send + use<> {
        for entry in entries {
            match entry {
                Entry::Request(request) => count(request),
                Entry::Lied(lied) => count_lie(lied),
                _ => {}
            }
            books.enter(entry);
        }
        self.log.append(entries)
    }

    /// The lines that take a payment to another state, and the step that follows from them.
    fn change(
        &self,
        books: &Books,
        place: usize,
        name: StateName,
        key: Option<&str>,
    ) -> (Vec<Entry>, impl FnOnce(&Books) -> Step + use<>) {
        let (payment, at) = (books.payment(place), now());
        let change = StateEntry {
            gateway: payment.vendor,
            reference: payment.reference.clone(),
            state: name,
            key: key.map(str::to_owned),
            at,
        };
        let Telling { entries, events, forgery } = self.telling(books, payment, name.into(), at);
        let entries = std::iter::once(Entry::State(change)).chain(entries).collect();
        (entries, move |books: &Books| Step { place, payment: books.payment(place).clone(), events, forgery })
    }

    /// What follows from a step that is on disk.
    fn follow(&self, step: &Step) {
        {
            let books = self.books();
            for event in &step.events {
                if let Some(owed) = books.owed_event(event) {
                    let when = self.delivery_due(event, owed, books.payment(owed.payment));
                    self.agenda.add(when, Due::Delivery(event.clone()));
                }
            }
        }
        self.foresee_forgery(step);
        self.foresee(step.place, &step.payment);
    }

    fn foresee_forgery(&self, step: &Step) {
        if step.forgery {
            self.agenda.add(Instant::now(), Due::Forgery(step.place));
        }
    }

    /// Puts on the agenda what a payment in this state will do by itself.
    fn foresee(&self, place: usize, payment: &Payment) {
        let since = Duration::try_from(now() - payment.changed_at).unwrap_or_default();
        let when = |after_ms: u64| Instant::now() + Duration::from_millis(after_ms).saturating_sub(since);
        match payment.state {
            State::Pending | State::Capturing => {
                self.agenda.add(when(self.settings.settle_after_ms), Due::Settles(place));
            }
            State::AwaitingCustomer => {
                if matches!(self.settings.customer, Customer::Approve | Customer::Cancel) {
                    self.agenda.add(when(self.settings.customer_after_ms), Due::CustomerActs(place));
                }
                if let Some(until) = payment.customer_until {
                    let left = Duration::try_from(until - now()).unwrap_or_default();
                    self.agenda.add(Instant::now() + left, Due::CustomerIsLate(place));
                }
            }
            _ => {}
        }
    }

    /// Runs to its end even when the caller hangs up.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Closed>> + Send + 'static,
    ) -> Result<T, Closed> {
        self.tasks.spawn(work).await.unwrap_or(Err(Closed))
    }

    async fn latency(&self, purpose: &str, key: &str) {
        let jitter = dice::up_to(self.settings.seed, purpose, key, self.settings.latency_jitter_ms);
        let latency = Duration::from_millis(self.settings.latency_ms + jitter);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}

fn count(request: &RequestEntry) {
    let (gateway, answer) = (request.gateway.as_str(), request.answer.as_str());
    metrics::counter!("payfleet_gateway_sim_requests_total", "gateway" => gateway, "answer" => answer).increment(1);
}

fn count_lie(lied: &LiedEntry) {
    let (gateway, kind) = (lied.gateway.as_str(), lied.kind.as_str());
    metrics::counter!("payfleet_gateway_sim_lies_total", "gateway" => gateway, "kind" => kind).increment(1);
}

/// Shared by every counter.
pub type Shared = Arc<House>;
