//! A handler whose records are finished by the test, in the order that the test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use payfleet::kafka::consumer::{HandleError, Handler, Record, Room};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;

use super::{Where, place};

/// How the test ends the handling of a record.
pub type Verdict = Result<(), HandleError>;

#[derive(Default)]
struct State {
    waiting: BTreeMap<Where, oneshot::Sender<Verdict>>,
    done: BTreeSet<Where>,
    began: Vec<Where>,
    most_at_once: usize,
    random: Option<StdRng>,
}

/// Clones share what they know, so that several members can be watched together.
#[derive(Clone, Default)]
pub struct Gates(Arc<Mutex<State>>);

impl Gates {
    /// No consumer has it any more.
    pub fn is_left_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Records whose handling has begun and not ended.
    pub fn waiting(&self) -> Vec<Where> {
        self.0.lock().unwrap().waiting.keys().copied().collect()
    }

    pub fn done(&self) -> BTreeSet<Where> {
        self.0.lock().unwrap().done.clone()
    }

    /// Each time a record's handling began.
    pub fn began(&self) -> Vec<Where> {
        self.0.lock().unwrap().began.clone()
    }

    pub fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most_at_once
    }

    /// Ends the handling of a record. It counts as done when the verdict is Ok.
    pub fn open(&self, at: Where, verdict: Verdict) {
        let mut state = self.0.lock().unwrap();
        let gate = state.waiting.remove(&at).unwrap();
        if verdict.is_ok() {
            state.done.insert(at);
        }
        gate.send(verdict).ok();
    }

    /// Ends the handling of any one record, if there is one.
    pub fn open_any(&self) {
        let chosen = {
            let State { waiting, random, .. } = &mut *self.0.lock().unwrap();
            let random = random.get_or_insert_with(|| StdRng::seed_from_u64(7));
            waiting.keys().copied().choose(random)
        };
        if let Some(at) = chosen {
            self.open(at, Ok(()));
        }
    }

    pub fn open_all(&self) {
        for at in self.waiting() {
            self.open(at, Ok(()));
        }
    }

    /// A record was handled elsewhere.
    pub fn note(&self, record: &Record) {
        self.0.lock().unwrap().done.insert(place(record));
    }

    /// Forgets what is being handled, as a killed process does: it never ends.
    pub fn forget(&self) {
        let waiting = std::mem::take(&mut self.0.lock().unwrap().waiting);
        waiting.into_values().for_each(std::mem::forget);
    }
}

impl Handler for Gates {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Verdict {
        let (gate, opened) = oneshot::channel();
        {
            let mut state = self.0.lock().unwrap();
            state.began.push(place(record));
            state.waiting.insert(place(record), gate);
            state.most_at_once = state.most_at_once.max(state.waiting.len());
        }
        match opened.await {
            Ok(verdict) => verdict,
            // Another member began the same record, and the test watches that one.
            Err(_) => std::future::pending().await,
        }
    }
}
