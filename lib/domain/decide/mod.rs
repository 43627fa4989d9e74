//! What follows from what happened: the state machine.
//!
//! Five questions are asked of it, all pure: may this command be carried out ([`begin::begin`]), what follows from news of a gateway
//! ([`news::learn`]), what is to be done with a payment that has fallen due ([`due::fell_due`]), may its owner still call it off
//! ([`cancel::cancel`]), and how does a human's word end it ([`resolve::resolve`]). Each answers with a [`Change`] for `settlement` to
//! commit, or with the reason why nothing follows. `tests/table.txt` has every answer.
//!
//! The rules that money hangs on:
//! * intent is committed before any act outside: a call is allowed only by a committed change to `submitting`;
//! * a refusal is definite only for the only call of an operation; otherwise the outcome is unknown, and the gateway is asked;
//! * a hold is released only on a final answer of the gateway, never on a time-out, nor while another attempt is in doubt;
//! * a failure of an older attempt never moves a newer one; a success of it, or silence where it was rung about, means a human must look.

pub mod begin;
mod build;
pub mod cancel;
pub mod due;
pub mod news;
pub mod resolve;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use time::OffsetDateTime;

use super::change::{AttemptChange, Change};
use super::route::{GatewayState, Next, next};
use super::transaction::{Attempt, Transaction};

/// Of the time that a payment has waited to be sent, it waits this part more while its gateway is away.
const AWAY_PART: u32 = 20;

/// The times that govern a payment at its gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// From committing the intent to the last moment at which its bytes may leave.
    pub send_within: Duration,
    /// From committing the intent to the end of the call. Nobody else acts on the attempt before it, plus `margin`.
    pub call_within: Duration,
    pub margin: Duration,
    /// When a payment that the gateway may know of is asked about, counted from the last change or question.
    pub schedule: Vec<Duration>,
    /// How long a gateway may take until a payment that it has got shows up when asked.
    pub settle_window: Duration,
    /// How long the gateway honours an idempotency key.
    pub key_lifetime: Duration,
    /// First and longest wait of a payment that could not be sent yet.
    pub retry_first: Duration,
    pub retry_longest: Duration,
}

impl Policy {
    /// When to ask after `asks` questions: as the schedule says, and beyond its end in its last interval.
    pub fn ask_in(&self, asks: i16) -> Duration {
        let asks = usize::try_from(asks).unwrap_or(0);
        self.schedule.get(asks).or(self.schedule.last()).copied().unwrap_or(self.margin)
    }

    /// Until the next question of a schedule that began at `begun`, had each been asked in its turn; None beyond its end. However many
    /// were asked early, for customers and callbacks, this one is not put off by them.
    fn next_in(&self, begun: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
        let mut turn = begun;
        self.schedule.iter().find_map(|wait| {
            turn += *wait;
            (turn > now).then(|| (turn - now).unsigned_abs())
        })
    }

    /// As many questions were asked as the schedule has, and its whole time is over since `begun`. Neither alone is enough: customers
    /// and callbacks may have had all of them asked within seconds.
    fn is_used_up(&self, asks: i16, begun: OffsetDateTime, now: OffsetDateTime) -> bool {
        let all_asked = usize::try_from(asks).unwrap_or(0) >= self.schedule.len();
        all_asked && now >= begun + self.schedule.iter().sum::<Duration>()
    }

    /// For how long a payment that was not sent is left alone while its gateway is away: about as long as a gateway rests between two
    /// probes, and longer only where it has waited long. A wait that doubled would outlast the fault.
    fn away_in(&self, waited: Duration) -> Duration {
        (waited / AWAY_PART).clamp(self.retry_first, self.retry_longest.max(self.retry_first))
    }

    /// Doubling from `retry_first` to `retry_longest`.
    pub fn retry_in(&self, tries: i16) -> Duration {
        let doublings = u32::try_from(tries).unwrap_or(0).min(20);
        self.retry_first.saturating_mul(2_u32.saturating_pow(doublings)).min(self.retry_longest)
    }
}

/// What a decision may know beside the payment itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The database's time.
    pub now: OffsetDateTime,
    pub policy: &'a Policy,
    /// The gateways that may carry this payment, in order.
    pub candidates: &'a [&'a str],
    pub gateways: &'a [GatewayState],
}

impl<'a> Context<'a> {
    /// Where the payment goes next, given its definite refusals so far; `latest` is one that is not stored yet.
    fn next_route(&self, transaction: &Transaction, latest: Option<&AttemptChange>) -> Next<'a> {
        let mut attempts: Vec<Attempt> = transaction.attempts.clone();
        if let Some(change) = latest
            && let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.id == change.id)
        {
            attempt.state = change.state;
        }
        next(self.candidates, self.gateways, &attempts, transaction.round)
    }

    /// When to look again at a payment that was not sent yet: cut so that it is looked at once more shortly before its time for sending
    /// is over, and then at the end of it.
    fn not_sent_in(&self, transaction: &Transaction, wait: Duration) -> Duration {
        let end = transaction.submit_until;
        let last_look = end - self.policy.retry_first;
        let next = if self.now < last_look { last_look } else { end };
        if self.now < next { wait.min((next - self.now).unsigned_abs()) } else { wait }
    }

    /// When to look again at a payment that cannot be sent, because its gateways take none now.
    fn wait_for(&self, transaction: &Transaction) -> Duration {
        let waited = (self.now - transaction.created_at).try_into().unwrap_or_default();
        let wait =
            if self.one_is_away() { self.policy.away_in(waited) } else { self.policy.retry_in(transaction.asks) };
        self.not_sent_in(transaction, wait)
    }

    /// A gateway that fails may be back at any moment; one that an operator has paused will not.
    fn one_is_away(&self) -> bool {
        self.gateways.iter().any(|known| known.away && !known.paused && self.candidates.contains(&known.name.as_str()))
    }

    fn past(&self, moment: OffsetDateTime, by: Duration) -> bool {
        self.now >= moment + by
    }
}

/// What follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// A step, to be committed.
    Step(Box<Change>),
    /// No step: look again later. Written only if the payment still stands at this version.
    LookAgain { version: i64, due_in: Option<Duration>, asks: i16 },
    /// No step: news about an attempt that does not move the payment is kept with the attempt.
    Note(AttemptChange),
    /// Nothing follows, for this reason.
    Nothing(&'static str),
}

impl Decision {
    fn step(change: Change) -> Self {
        Self::Step(Box::new(change))
    }
}
