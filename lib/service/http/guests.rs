//! Who is connected, and who of them asks for nothing: when places become scarce, those who have asked for nothing longest have to go.
//! A client may find a connection closed that it had kept (RFC 9112, 9.5), and opens another; a request that has begun is never cut off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Everybody who is connected to a port.
#[derive(Default)]
pub(super) struct Guests {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    last: u64,
    by_number: HashMap<u64, (Arc<Busy>, CancellationToken)>,
}

/// Known until dropped.
pub(super) struct Stay<'a> {
    guests: &'a Guests,
    number: u64,
}

impl Guests {
    /// `leave` is how they are told to go.
    pub(super) fn receive(&self, busy: Arc<Busy>, leave: CancellationToken) -> Stay<'_> {
        let mut known = self.known();
        known.last += 1;
        let number = known.last;
        known.by_number.insert(number, (busy, leave));
        Stay { guests: self, number }
    }

    /// Sees to it that so many are on their way out, those first that have been idle longest, and nobody who has not been for `undisturbed`.
    /// How many were told to go now.
    pub(super) fn part_with(&self, wanted: usize, undisturbed: Duration) -> usize {
        let known = self.known();
        let mut leaving = 0;
        let mut idle: Vec<(Instant, &CancellationToken)> = Vec::new();
        for (busy, leave) in known.by_number.values() {
            match busy.idle_since() {
                Some(_) if leave.is_cancelled() => leaving += 1,
                Some(since) if since.elapsed() >= undisturbed => idle.push((since, leave)),
                _ => {}
            }
        }
        let told = wanted.saturating_sub(leaving).min(idle.len());
        if told > 0 && told < idle.len() {
            idle.select_nth_unstable_by_key(told, |(since, _)| *since);
        }
        for (_, leave) in &idle[..told] {
            leave.cancel();
        }
        told
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.guests.known().by_number.remove(&self.number);
    }
}

/// Requests under way on a connection, and when the last one ended.
pub(super) struct Busy {
    begun: Instant,
    under_way: AtomicUsize,
    idle_since_ms: AtomicU64,
}

impl Default for Busy {
    fn default() -> Self {
        Self { begun: Instant::now(), under_way: AtomicUsize::new(0), idle_since_ms: AtomicU64::new(0) }
    }
}

impl Busy {
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    /// None: it is not idle.
    fn idle_since(&self) -> Option<Instant> {
        self.is_idle().then(|| self.begun + Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed)))
    }

    pub(super) fn is_idle_for(&self, patience: Duration) -> bool {
        self.idle_since().is_some_and(|since| since.elapsed() >= patience)
    }
}

/// Counts a request until the last of its answer is on its way, also when it is dropped half-way.
pub(super) struct UnderWay(Arc<Busy>);

impl UnderWay {
    pub(super) fn begin(busy: &Arc<Busy>) -> Self {
        busy.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(self.0.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_go_first_who_have_been_idle_longest_and_nobody_who_is_served() {
        let guests = Guests::default();
        // They came one after the other, so the first has been idle longest; the third is being served.
        let all: Vec<(Arc<Busy>, CancellationToken)> = (0..5)
            .map(|n| {
                let busy = Busy { idle_since_ms: AtomicU64::new(n), ..Busy::default() };
                (Arc::new(busy), CancellationToken::new())
            })
            .collect();
        let mut stays: Vec<Stay<'_>> =
            all.iter().map(|(busy, leave)| guests.receive(Arc::clone(busy), leave.clone())).collect();
        let served = UnderWay::begin(&all[2].0);
        let told = || all.iter().map(|(_, leave)| leave.is_cancelled()).collect::<Vec<_>>();

        let (at_once, never) = (Duration::ZERO, Duration::from_secs(60));
        assert_eq!((guests.part_with(0, at_once), told()), (0, vec![false; 5]));
        assert_eq!((guests.part_with(5, never), told()), (0, vec![false; 5]), "nobody has been idle for a minute");
        assert_eq!((guests.part_with(2, at_once), told()), (2, vec![true, true, false, false, false]));
        // They are on their way out already.
        assert_eq!((guests.part_with(2, at_once), told()), (0, vec![true, true, false, false, false]));
        stays.drain(..2);
        assert_eq!((guests.part_with(9, at_once), told()), (2, vec![true, true, false, true, true]));
        drop(served);
        assert_eq!((guests.part_with(3, at_once), told()), (1, vec![true; 5]));
    }
}
