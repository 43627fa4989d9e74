//! When to look at what is new: when somebody rings, and now and then although nobody does. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::relay::Settings;
use crate::service::planted::{self, Bug};

/// Between two looks lies this many times what the last one took, so that a busy server, which answers late, is not looked at all the more
/// often for every ring of everybody: it would never catch up. For the longest pause at most.
const UNDISTURBED: u32 = 2;

#[derive(Debug)]
pub struct Pace {
    shortest: Duration,
    longest: Duration,
    looked_at: Option<Instant>,
    looked_for: Duration,
    /// At the present, not only at what is behind.
    looks_now: bool,
    pause: Duration,
}

impl Pace {
    pub fn new(settings: &Settings) -> Self {
        let ms = Duration::from_millis;
        let (shortest, longest) = (ms(settings.poll_min_ms), ms(settings.poll_max_ms));
        Self { shortest, longest, looked_at: None, looked_for: Duration::ZERO, looks_now: false, pause: shortest }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.looked_at.is_none_or(|at| now >= at + self.pause)
    }

    /// When the next look is due if nobody rings.
    pub fn next(&self, now: Instant) -> Instant {
        self.looked_at.map_or(now, |at| at + self.pause)
    }

    /// When the last look at the present began.
    pub fn looked_at(&self) -> Option<Instant> {
        self.looked_at
    }

    /// A look at the present begins.
    pub fn looks(&mut self, now: Instant) {
        self.looked_at = Some(now);
        self.looks_now = true;
    }

    /// A look took so long, and found something or nothing. Where there was something there may be more that nobody was heard to ring for.
    pub fn looked(&mut self, took: Duration, found: bool) {
        self.looked_for = took;
        let looked_now = std::mem::take(&mut self.looks_now);
        if found {
            self.pause = self.breath();
        } else if looked_now {
            let never = planted::is(Bug::LostDoorbellWithoutPoll);
            self.pause = if never { Duration::from_secs(3_600) } else { self.longest };
        }
    }

    /// There is something to see.
    pub fn rung(&mut self) {
        self.pause = self.breath();
    }

    /// There is reason to look at once, whatever was seen before.
    pub fn forget(&mut self) {
        self.looked_at = None;
    }

    /// From the beginning of a look to that of the next.
    fn breath(&self) -> Duration {
        (self.looked_for * (UNDISTURBED + 1)).max(self.shortest).min(self.longest + self.looked_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> (Pace, Instant) {
        (Pace::new(&Settings { poll_min_ms: 2, poll_max_ms: 50, ..Settings::default() }), Instant::now())
    }

    #[test]
    fn the_first_look_is_due_at_once_and_so_is_one_for_which_there_is_a_reason() {
        let (mut pace, now) = pace();
        assert!(pace.is_due(now));
        pace.looks(now);
        assert!(!pace.is_due(now));
        pace.forget();
        assert!(pace.is_due(now));
    }

    #[test]
    fn nobody_rings_and_nothing_was_found_so_the_next_look_waits_its_longest() {
        let (mut pace, now) = pace();
        pace.looks(now);
        pace.looked(MS, false);
        assert!(!pace.is_due(now + 49 * MS));
        assert_eq!(pace.next(now), now + 50 * MS);
    }

    #[test]
    fn a_ring_or_a_find_brings_the_next_look_soon() {
        let (mut pace, now) = pace();
        pace.looks(now);
        pace.looked(MS / 2, false);
        pace.rung();
        assert_eq!(pace.next(now), now + 2 * MS);
        pace.looked(MS / 2, true);
        assert_eq!(pace.next(now), now + 2 * MS);
    }

    #[test]
    fn a_server_that_answers_late_is_left_alone_for_twice_as_long_whoever_rings() {
        let (mut pace, now) = pace();
        pace.looks(now);
        pace.looked(10 * MS, true);
        pace.rung();
        assert!(!pace.is_due(now + 29 * MS));
        assert!(pace.is_due(now + 30 * MS));
    }

    #[test]
    fn however_late_it_answers_it_is_left_alone_for_the_longest_pause_at_most() {
        let (mut pace, now) = pace();
        pace.looks(now);
        pace.looked(20 * MS, true);
        assert_eq!(pace.next(now), now + 60 * MS);
        pace.looked(70 * MS, true);
        assert_eq!(pace.next(now), now + 120 * MS);
    }

    #[test]
    fn a_ring_is_not_forgotten_because_lanes_that_are_behind_had_nothing() {
        let (mut pace, now) = pace();
        pace.looks(now);
        pace.looked(MS / 2, false);
        pace.rung();
        // Not at the present.
        pace.looked(MS / 2, false);
        assert_eq!(pace.next(now), now + 2 * MS);
    }
}
