//! The house behind the three counters: whatever the protocol, a request is let in by its key, written into the books, made
//! durable and then answered; what follows by itself is put on the agenda.
//!
//! If it dies here: before the lines are on disk nothing has happened and nobody was told otherwise; after it the books say so
//! at the next start, and what was due then is due again.

mod by_itself;
mod capture;
mod order;
mod place;

pub use by_itself::Decision;
pub use order::{Capture, Order, Served, Uncapturable};

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::StatusCode;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agenda::{Agenda, Due};
use super::behaviour::{self, Plan, dice};
use super::books::{Books, Payment, State};
use super::callbacks::{self, Signers};
use super::charge_log::{
    Answer, CallbackEntry, CallbackState, ChargeLog, Closed, Entry, RequestEntry, StateEntry, StateName,
};
use super::line::{Conduct, Reply};
use super::settings::{Customer, Settings};
use super::vendor::Vendor;

pub struct House {
    pub(super) settings: Settings,
    /// Without a slash at its end.
    pub(super) public_url: String,
    pub(super) signers: Signers,
    pub(super) http: reqwest::Client,
    pub(super) deliveries: Semaphore,
    pub(super) agenda: Agenda,
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
            if let Entry::Request(request) = entry {
                count(request);
            }
            books.enter(entry);
        }
        self.log.append(entries)
    }

    /// The callback that tells of an event, if the vendor has one and the plan does not swallow it.
    fn callback(&self, books: &Books, payment: &Payment, state: State, at: OffsetDateTime) -> Option<CallbackEntry> {
        if self.plan(payment).callbacks == behaviour::Callbacks::Never {
            return None;
        }
        let event_type = callbacks::event_type(payment, state)?;
        let named = format!("{}/{}/{event_type}", payment.vendor, payment.reference);
        let full = books.owed_count() >= self.settings.callbacks.waiting;
        Some(CallbackEntry {
            gateway: payment.vendor,
            reference: payment.reference.clone(),
            event_id: callbacks::event_id(self.settings.seed, payment.vendor, &named),
            event_type: event_type.to_owned(),
            state: if full { CallbackState::GivenUp } else { CallbackState::Queued },
            tries: 0,
            at,
        })
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
        let callback = self.callback(books, payment, name.into(), at);
        let events = queued(callback.as_ref());
        let entries = std::iter::once(Entry::State(change)).chain(callback.map(Entry::Callback)).collect();
        (entries, move |books: &Books| Step { place, payment: books.payment(place).clone(), events })
    }

    /// What follows from a step that is on disk.
    fn follow(&self, step: &Step) {
        let now = Instant::now();
        for event in &step.events {
            self.agenda.add(now, Due::Delivery(event.clone()));
        }
        self.foresee(step.place, &step.payment);
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

    /// Answers a question about one payment. `visible` says whether the gateway still shows it.
    pub(super) async fn ask(
        &self,
        vendor: Vendor,
        asked: Asked<'_>,
        arrived_at: OffsetDateTime,
        visible: fn(&Payment) -> bool,
    ) -> Result<Option<Payment>, Closed> {
        let (payment, on_disk) = {
            let mut books = self.books();
            let payment = match asked {
                Asked::Reference(reference) => books.by_reference(vendor, reference),
                Asked::Key(key) => books.use_of(vendor, key).map(|used| books.payment(used.payment)),
            };
            let payment = payment.filter(|payment| visible(payment)).cloned();
            let answer = if payment.is_some() { Answer::Told } else { Answer::NotFound };
            let (reference, key) = match asked {
                Asked::Reference(reference) => (Some(reference), None),
                Asked::Key(key) => (payment.as_ref().map(|payment| payment.reference.as_str()), Some(key.to_owned())),
            };
            let question = order::question(vendor, reference, payment.as_ref(), arrived_at, answer);
            let on_disk = self.record(&mut books, &[Entry::Request(RequestEntry { key, ..question })]);
            (payment, on_disk)
        };
        let who = payment.as_ref().map_or("", |payment| &payment.key);
        self.latency("ask", who).await;
        on_disk.await?;
        Ok(payment)
    }

    /// Answers a question about many payments: what `pick` finds in the books.
    pub(super) async fn list<T>(
        &self,
        vendor: Vendor,
        arrived_at: OffsetDateTime,
        pick: impl FnOnce(&Books) -> T,
    ) -> Result<T, Closed> {
        let (picked, on_disk) = {
            let mut books = self.books();
            let picked = pick(&books);
            let question = order::question(vendor, None, None, arrived_at, Answer::Told);
            (picked, self.record(&mut books, &[Entry::Request(question)]))
        };
        self.latency("list", "").await;
        on_disk.await?;
        Ok(picked)
    }

    /// Answers a request that concerns no payment: not let in, not understood, or only for a token.
    pub(super) async fn dismiss(
        &self,
        vendor: Vendor,
        arrived_at: OffsetDateTime,
        reply: Reply,
    ) -> Result<Conduct, Closed> {
        let answer = match reply.status {
            StatusCode::UNAUTHORIZED => Answer::Unauthenticated,
            status if status.is_success() => Answer::TokenIssued,
            _ => Answer::Unreadable,
        };
        let line = Entry::Request(order::question(vendor, None, None, arrived_at, answer));
        let on_disk = self.record(&mut self.books(), &[line]);
        self.latency("dismiss", "").await;
        on_disk.await?;
        Ok(reply.into())
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

/// How a question names its payment.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    Reference(&'a str),
    Key(&'a str),
}

/// The id of the callback, unless it is not to be sent at all.
fn queued(callback: Option<&CallbackEntry>) -> Vec<String> {
    callback
        .filter(|callback| callback.state == CallbackState::Queued)
        .map(|it| it.event_id.clone())
        .into_iter()
        .collect()
}

fn count(request: &RequestEntry) {
    let (gateway, answer) = (request.gateway.as_str(), request.answer.as_str());
    metrics::counter!("payfleet_gateway_sim_requests_total", "gateway" => gateway, "answer" => answer).increment(1);
}

/// Shared by every counter.
pub type Shared = Arc<House>;
