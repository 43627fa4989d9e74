//! How many records may be handled at once: as many as what the handlers wait for bears, between two bounds.
//!
//! Begins low and doubles for as long as there is more to do and calls do not take longer than they used to; from the first strain on it
//! grows by its root and shrinks in proportion to the latency (after Netflix's "gradient"). What takes long however few there are at
//! once becomes the usual by and by, and then the bound grows again.

use std::time::{Duration, Instant};

/// One judgement is made of this much time at least …
const WINDOW: Duration = Duration::from_millis(250);
/// … and of so many calls.
const WINDOW_CALLS: u32 = 10;
/// So many times the usual is still bearable.
const BEARABLE: f64 = 2.0;
/// With one strained call in so many it shrinks, however fast the others were …
const STRAINED_IN: u32 = 4;
/// … to this share; and never to less than the other at once.
const SHRINKS_TO: f64 = 0.75;
const SHRINKS_TO_AT_LEAST: f64 = 0.5;
/// How far the usual goes towards a mean that is lower, and towards one that is higher.
const USUAL_FALLS: f64 = 0.5;
const USUAL_RISES: f64 = 0.02;

/// The bounds of how much is done at once. From a number: exactly so much, whatever the latency.
#[derive(Clone, Copy, Debug)]
pub struct Concurrency {
    pub least: usize,
    pub most: usize,
    /// A call that takes no longer than this is never too slow.
    pub calm: Duration,
}

impl Concurrency {
    /// How many it begins with.
    pub fn at_first(self) -> usize {
        let most = self.most.max(1);
        self.least.clamp(1, most).max(most / 8)
    }
}

impl From<usize> for Concurrency {
    fn from(fixed: usize) -> Self {
        Self { least: fixed, most: fixed, calm: Duration::ZERO }
    }
}

#[derive(Debug, Default)]
struct Window {
    begun: Option<Instant>,
    calls: u32,
    strained: u32,
    /// Of the calls that were not strained.
    seconds: f64,
    /// The most that was under way at once.
    busiest: usize,
}

#[derive(Debug)]
pub(super) struct Pace {
    least: f64,
    most: f64,
    calm_s: f64,
    limit: f64,
    usual_s: Option<f64>,
    /// Never strained yet.
    doubling: bool,
    window: Window,
    /// When it last shrank: calls from before say how it was then.
    shrunk: Option<Instant>,
}

impl Pace {
    pub(super) fn new(bounds: Concurrency) -> Self {
        let most = bounds.most.max(1);
        let (least, limit) = (bounds.least.clamp(1, most) as f64, bounds.at_first() as f64);
        let (most, calm_s) = (most as f64, bounds.calm.as_secs_f64());
        Self { least, most, calm_s, limit, usual_s: None, doubling: true, window: Window::default(), shrunk: None }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A call has ended that took so long, while so many were under way. Strained: it failed, or was told to come later; how fast that
    /// went says nothing.
    pub(super) fn told(&mut self, took: Duration, strained: bool, busy: usize, now: Instant) {
        let is_old = self.shrunk.is_some_and(|shrunk| now.checked_sub(took).is_none_or(|began| began < shrunk));
        if is_old {
            return;
        }
        let window = &mut self.window;
        let begun = *window.begun.get_or_insert(now);
        window.calls += 1;
        window.strained += u32::from(strained);
        window.seconds += if strained { 0.0 } else { took.as_secs_f64() };
        window.busiest = window.busiest.max(busy);
        if window.calls >= WINDOW_CALLS && now.saturating_duration_since(begun) >= WINDOW {
            let window = std::mem::take(&mut self.window);
            self.judge(&window, now);
        }
    }

    fn judge(&mut self, window: &Window, now: Instant) {
        if window.strained * STRAINED_IN >= window.calls {
            return self.shrink(SHRINKS_TO, now);
        }
        let mean_s = window.seconds / f64::from(window.calls - window.strained);
        let usual_s = self.usual_s.map_or(mean_s, |usual_s| {
            usual_s + (mean_s - usual_s) * if mean_s < usual_s { USUAL_FALLS } else { USUAL_RISES }
        });
        self.usual_s = Some(usual_s);
        let bearable_s = BEARABLE * usual_s.max(self.calm_s);
        if mean_s > bearable_s {
            self.shrink((bearable_s / mean_s).max(SHRINKS_TO_AT_LEAST), now);
        } else if window.busiest * 2 >= self.limit() {
            let more = if self.doubling { self.limit } else { self.limit.sqrt() };
            self.limit = (self.limit + more).min(self.most);
        }
    }

    fn shrink(&mut self, to: f64, now: Instant) {
        self.doubling = false;
        self.shrunk = Some(now);
        self.limit = (self.limit * to).max(self.least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_millis(100);

    /// A pace, and a clock that the test turns.
    struct Stand {
        pace: Pace,
        now: Instant,
    }

    impl Stand {
        fn new() -> Self {
            Self { pace: Pace::new(Concurrency { least: 4, most: 64, calm: CALM }), now: Instant::now() }
        }

        /// As many calls as may be under way, again and again for so many windows.
        fn busy(&mut self, windows: usize, millis: u64, strained: bool) -> usize {
            self.calls(windows, millis, strained, usize::MAX)
        }

        fn calls(&mut self, windows: usize, millis: u64, strained: bool, at_most: usize) -> usize {
            let took = Duration::from_millis(millis);
            for _ in 0..windows {
                // Those of before have ended.
                self.now += took;
                let busy = self.pace.limit().min(at_most);
                for n in 1..=WINDOW_CALLS {
                    self.pace.told(took, strained, busy, self.now);
                    self.now += if n < WINDOW_CALLS { WINDOW / (WINDOW_CALLS - 2) } else { Duration::ZERO };
                }
            }
            self.pace.limit()
        }
    }

    #[test]
    fn it_begins_low_and_is_at_the_most_soon_if_nothing_strains() {
        let mut stand = Stand::new();
        assert_eq!(stand.pace.limit(), 8);
        assert_eq!(stand.busy(1, 50, false), 16);
        assert_eq!(stand.busy(2, 50, false), 64);
        assert_eq!(stand.busy(50, 50, false), 64, "no more than the most");
    }

    #[test]
    fn it_shrinks_when_calls_take_longer_than_they_used_to_and_grows_again_when_they_do_not() {
        let mut stand = Stand::new();
        stand.busy(5, 150, false);
        let slow = stand.busy(4, 1_500, false);
        assert!((4..=16).contains(&slow), "{slow}");
        assert_eq!(stand.busy(30, 150, false), 64);
    }

    #[test]
    fn it_is_never_below_the_least() {
        let mut stand = Stand::new();
        stand.busy(3, 150, false);
        assert_eq!(stand.busy(10, 20_000, false), 4);
        assert_eq!(stand.busy(10, 1, true), 4);
    }

    #[test]
    fn calls_that_fail_at_once_do_not_pass_for_fast_ones() {
        let mut stand = Stand::new();
        stand.busy(5, 150, false);
        assert!(stand.busy(10, 1, true) <= 6);
        let usual_s = stand.pace.usual_s.unwrap();
        assert!((0.149..0.151).contains(&usual_s), "{usual_s}");
    }

    #[test]
    fn a_few_calls_that_time_out_do_not_pass_for_slow_ones() {
        let mut stand = Stand::new();
        stand.busy(5, 50, false);
        for n in 0..100 {
            let strained = n % 10 == 5;
            let took = if strained { Duration::from_secs(60) } else { CALM };
            stand.now += WINDOW / 8;
            stand.pace.told(took, strained, stand.pace.limit(), stand.now);
            assert_eq!(stand.pace.limit(), 64, "after {n}");
        }
    }

    #[test]
    fn whoever_does_not_use_what_may_be_gets_no_more() {
        let mut stand = Stand::new();
        assert_eq!(stand.calls(20, 50, false, 3), 8);
    }

    #[test]
    fn calls_within_the_calm_time_are_never_too_slow() {
        let mut stand = Stand::new();
        stand.busy(20, 2, false);
        assert_eq!(stand.busy(5, 199, false), 64);
        assert!(stand.busy(1, 450, false) < 64);
    }

    #[test]
    fn what_is_slow_however_little_there_is_at_once_gets_its_room_again() {
        let mut stand = Stand::new();
        stand.busy(5, 150, false);
        assert!(stand.busy(5, 1_000, false) < 16);
        assert_eq!(stand.busy(300, 1_000, false), 64);
    }

    #[test]
    fn calls_from_before_it_shrank_do_not_shrink_it_again() {
        let mut stand = Stand::new();
        stand.busy(5, 150, false);
        let once = stand.busy(1, 100, true);
        assert_eq!(once, 48);
        for _ in 0..200 {
            stand.now += WINDOW / 20;
            stand.pace.told(Duration::from_secs(60), true, 48, stand.now);
        }
        assert_eq!(stand.pace.limit(), 48);
    }

    #[test]
    fn a_fixed_one_stays_whatever_happens() {
        let mut stand = Stand { pace: Pace::new(16.into()), ..Stand::new() };
        assert_eq!(stand.pace.limit(), 16);
        assert_eq!(stand.busy(10, 1_000, true), 16);
        assert_eq!(stand.busy(10, 1, false), 16);
    }
}
