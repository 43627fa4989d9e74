//! What was done to the fleet, as it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use payfleet::service::failpoint::Window;

use super::poison::Stand;
use crate::fleet::crew::Role;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kills {
    pub all: u64,
    /// Of processes that stood in a window.
    pub at_work: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub done: BTreeMap<String, u64>,
    /// With the reason.
    pub not_done: BTreeMap<String, u64>,
    pub kills: BTreeMap<Role, Kills>,
    /// Records that nobody can read, where they stand.
    pub poisoned: BTreeSet<Stand>,
    /// How many of them lie among the dead letters.
    pub buried: usize,
    /// What must not have happened, whatever the books say.
    pub failures: Vec<String>,
}

/// Shared by all hands.
pub struct Tally {
    pub begun: Instant,
    pub ends: Instant,
    counts: Mutex<Counts>,
    /// Windows in which somebody is to be killed, whoever stands there first.
    wanted: Mutex<Vec<Window>>,
}

impl Tally {
    pub fn new(begun: Instant, ends: Instant) -> Self {
        Self { begun, ends, counts: Mutex::default(), wanted: Mutex::default() }
    }

    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }

    pub fn done(&self, what: &str) {
        *self.lock().done.entry(what.to_owned()).or_default() += 1;
    }

    pub fn not_done(&self, what: &str, why: &str) {
        *self.lock().not_done.entry(format!("{what}: {why}")).or_default() += 1;
    }

    pub fn poisoned(&self, stand: BTreeSet<Stand>) {
        self.lock().poisoned.extend(stand);
    }

    pub fn buried(&self, count: usize) {
        self.lock().buried = count;
    }

    pub fn killed(&self, role: Role, at_work: bool) {
        let mut counts = self.lock();
        let kills = counts.kills.entry(role).or_default();
        kills.all += 1;
        kills.at_work += u64::from(at_work);
    }

    /// Told at once, so that nobody has to wait for the end to see it.
    pub fn failure(&self, what: String) {
        eprintln!("FAILURE: {what}");
        self.lock().failures.push(what);
    }

    pub fn want(&self, window: Window) {
        self.wanted.lock().unwrap().push(window);
    }

    /// True for one who comes as long as it is wanted.
    pub fn take_wanted(&self, is_there: impl Fn(Window) -> bool) -> Option<Window> {
        let mut wanted = self.wanted.lock().unwrap();
        let found = wanted.iter().position(|window| is_there(*window))?;
        Some(wanted.remove(found))
    }

    /// False: somebody has taken it.
    pub fn withdraw(&self, window: Window) -> bool {
        self.take_wanted(|wanted| wanted == window).is_some()
    }

    pub fn wants(&self, window: Window) -> bool {
        self.wanted.lock().unwrap().contains(&window)
    }

    pub fn is_wanted(&self) -> bool {
        !self.wanted.lock().unwrap().is_empty()
    }

    /// Waits for the time of an act. False: the faults are over.
    pub async fn reach(&self, at_ms: u64) -> bool {
        let at = self.at(at_ms);
        tokio::time::sleep_until(at.into()).await;
        Instant::now() < self.ends
    }

    pub fn at(&self, at_ms: u64) -> Instant {
        self.begun + std::time::Duration::from_millis(at_ms)
    }
}
