//! A gateway's breaker: when too many calls fail, none is made for a while; then one at a time tries whether it is back.
//!
//! ```text
//!          `failures` of the last `calls` failed              the rest is over
//! closed ─────────────────────────────────────────▶ open ───────────────────────▶ half open
//!    ▲                                               ▲  a probe failed: rest twice as long │
//!    │                                               └─────────────────────────────────────┤
//!    └────────────────── `probes` answers in a row ────────────────────────────────────────┘
//! ```
//! It is this process's own view. The client tells it what became of every exchange; whoever is about to call asks it first, before the
//! intent is on record, so that an open breaker leaves no attempt behind. A failure is what says that the gateway is ill: no connection,
//! no whole answer, HTTP 408 or 5xx. Any other answer says that it is well, whatever it says of the payment: declines, rejections, 429.
//!
//! The crate `recloser`, which guards Redis, lets everybody in at once when half open, cannot be asked before the call, and takes the
//! time by itself.
//!
//! If it dies here: the next process learns by itself.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::service::retry::policy;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of so many calls, the latest, …
    pub calls: usize,
    /// … as soon as so many have failed, none is made any more.
    pub failures: usize,
    /// For how long at first; twice as long each time that a probe fails.
    pub rest_ms: u64,
    /// Where that stops growing.
    pub longest_rest_ms: u64,
    /// Calls that must be answered, one after the other and one at a time, until all are made again.
    pub probes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            calls: 20,
            failures: 10,
            rest_ms: policy::GATEWAY.first_ms(),
            longest_rest_ms: policy::GATEWAY.longest_ms(),
            probes: 3,
        }
    }
}

impl Settings {
    /// Others would never open it, or never close it.
    pub(super) fn are_usable(&self) -> bool {
        (1..=self.calls).contains(&self.failures) && self.probes > 0
    }

    fn rest(&self) -> Duration {
        Duration::from_millis(self.rest_ms)
    }

    fn longest_rest(&self) -> Duration {
        Duration::from_millis(self.longest_rest_ms)
    }
}

/// What an exchange says of its gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    Well,
    Ill,
}

#[derive(Debug)]
enum State {
    /// Whether each of the latest calls failed.
    Closed {
        failed: VecDeque<bool>,
    },
    Open {
        until: Instant,
        rest: Duration,
    },
    HalfOpen {
        probing: bool,
        answered: u32,
        rest: Duration,
    },
}

impl State {
    /// As the gauge tells it.
    fn level(&self) -> u8 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// The states and what leads from one to another. It is told the time.
#[derive(Debug)]
struct Machine {
    settings: Settings,
    state: State,
    since: Instant,
    /// Which state this is, counted: a pass of an earlier one means nothing in a later one.
    epoch: u64,
}

impl Machine {
    fn new(settings: Settings, now: Instant) -> Self {
        Self { settings, state: State::Closed { failed: VecDeque::new() }, since: now, epoch: 0 }
    }

    fn enter(&mut self, state: State, now: Instant) {
        (self.state, self.since) = (state, now);
        self.epoch += 1;
    }

    fn open(&mut self, rest: Duration, now: Instant) {
        self.enter(State::Open { until: now + rest, rest }, now);
    }

    /// How long nobody is let in, at least; None: somebody would be let in now.
    fn refuses_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } if now < until => Some(until - now),
            State::HalfOpen { probing: true, .. } => Some(self.settings.rest()),
            State::Open { .. } | State::HalfOpen { .. } | State::Closed { .. } => None,
        }
    }

    /// The epoch in which somebody was let in.
    fn admit(&mut self, now: Instant) -> Result<u64, Duration> {
        if let Some(wait) = self.refuses_for(now) {
            return Err(wait);
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::HalfOpen { probing, .. } => *probing = true,
            State::Open { rest, .. } => {
                let rest = *rest;
                self.enter(State::HalfOpen { probing: true, answered: 0, rest }, now);
            }
        }
        Ok(self.epoch)
    }

    /// Whoever was let in is through.
    fn leave(&mut self, epoch: u64) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && epoch == self.epoch
        {
            *probing = false;
        }
    }

    /// What became of a call that began at `begun`. One that began before this state did says nothing about it.
    fn told(&mut self, begun: Instant, health: Health, now: Instant) {
        if begun < self.since {
            return;
        }
        match &mut self.state {
            State::Closed { failed } => {
                failed.push_back(health == Health::Ill);
                if failed.len() > self.settings.calls {
                    failed.pop_front();
                }
                if failed.iter().filter(|failed| **failed).count() >= self.settings.failures {
                    self.open(self.settings.rest(), now);
                }
            }
            State::HalfOpen { answered, rest, .. } => {
                *answered += 1;
                let (enough, longer) = (*answered >= self.settings.probes, *rest * 2);
                match health {
                    Health::Ill => self.open(longer.min(self.settings.longest_rest()), now),
                    Health::Well if enough => self.enter(State::Closed { failed: VecDeque::new() }, now),
                    Health::Well => {}
                }
            }
            State::Open { .. } => {}
        }
    }
}

/// One for each gateway of a process.
#[derive(Debug)]
pub struct Breaker {
    gateway: &'static str,
    machine: Mutex<Machine>,
}

/// Leave to call the gateway, until it is dropped.
#[derive(Debug)]
pub struct Pass(Option<(Arc<Breaker>, u64)>);

impl Pass {
    /// For a gateway without a breaker.
    pub(super) fn free() -> Self {
        Self(None)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((breaker, epoch)) = &self.0 {
            breaker.machine().leave(*epoch);
        }
    }
}

/// No call is to be made now; it may be worth asking again after this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resting(pub Duration);

impl Breaker {
    pub(super) fn new(gateway: &'static str, settings: Settings) -> Self {
        let breaker = Self { gateway, machine: Mutex::new(Machine::new(settings, Instant::now())) };
        breaker.show(&breaker.machine());
        breaker
    }

    /// Whether a call would be let in now.
    pub fn admits(&self) -> bool {
        self.machine().refuses_for(Instant::now()).is_none()
    }

    pub fn admit(self: &Arc<Self>) -> Result<Pass, Resting> {
        let admitted = self.change(|machine, now| machine.admit(now));
        admitted.map(|epoch| Pass(Some((Arc::clone(self), epoch)))).map_err(Resting)
    }

    pub(super) fn told(&self, begun: Instant, health: Health) {
        self.change(|machine, now| machine.told(begun, health, now));
    }

    fn change<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut machine = self.machine();
        let before = machine.epoch;
        let result = act(&mut machine, Instant::now());
        if machine.epoch != before {
            self.show(&machine);
            match machine.state {
                State::Open { rest, .. } => {
                    tracing::warn!(gateway = self.gateway, ?rest, "too many calls failed; none is made for a while");
                }
                State::HalfOpen { .. } => {
                    tracing::info!(gateway = self.gateway, "one call at a time tries the gateway")
                }
                State::Closed { .. } => tracing::info!(gateway = self.gateway, "the gateway is back"),
            }
        }
        result
    }

    fn show(&self, machine: &Machine) {
        metrics::gauge!("payfleet_gateway_breaker_state", "gateway" => self.gateway)
            .set(f64::from(machine.state.level()));
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
