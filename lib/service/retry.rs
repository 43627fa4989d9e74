//! How long to wait before trying again: exponential with full jitter, so that many who failed together do not return together.
//!
//! The only place that knows the `backoff` crate; the tests below are the contract that a successor must keep.

pub mod policy;

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};

/// The waits of one row of failures. Never gives up: that is for the caller to decide.
pub struct Waits(ExponentialBackoff<SystemClock>);

impl Waits {
    /// The n-th wait lies evenly between 0 and `first` · 2ⁿ, at most `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        // The crate spreads by a factor around an interval: ± 100 % around the half is 0 to the whole.
        let waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(first / 2)
            .with_max_interval(longest / 2)
            .with_multiplier(2.0)
            .with_randomization_factor(1.0)
            .with_max_elapsed_time(None)
            .build();
        Self(waits)
    }

    /// How long to wait this time.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// It went well: the next failure is a first one.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);

    fn waits_of(n: usize) -> Vec<Duration> {
        (0..400)
            .map(|_| {
                let mut waits = Waits::new(FIRST, LONGEST);
                let earlier: Duration = (0..n).map(|_| waits.next_wait()).sum();
                assert!(earlier <= LONGEST * n as u32);
                waits.next_wait()
            })
            .collect()
    }

    #[test]
    fn the_nth_wait_is_spread_over_the_whole_of_its_interval() {
        for (n, cap) in [(0, FIRST), (1, FIRST * 2), (3, FIRST * 8), (20, LONGEST)] {
            let waits = waits_of(n);
            let allowed = cap + Duration::from_millis(1);
            assert!(waits.iter().all(|wait| *wait <= allowed), "wait {n} exceeds {cap:?}: {:?}", waits.iter().max());
            assert!(waits.iter().any(|wait| *wait < cap / 4), "wait {n} never comes early");
            assert!(waits.iter().any(|wait| *wait > cap * 3 / 4), "wait {n} never comes late");
        }
    }

    #[test]
    fn waiting_never_gives_up_and_begins_anew_after_a_success() {
        let mut waits = Waits::new(FIRST, LONGEST);
        (0..10_000).for_each(|_| assert!(waits.next_wait() <= LONGEST + Duration::from_millis(1)));
        waits.reset();
        assert!(waits.next_wait() <= FIRST + Duration::from_millis(1));
    }
}
