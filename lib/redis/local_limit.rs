//! The rate limit of one process, while Redis is away: the same rule, but each process counts for itself.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota as Cells, RateLimiter};

use super::{Limit, Quota};

type Limiter = RateLimiter<String, HashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// How often buckets that are full again are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(10);

pub struct LocalLimit {
    limiter: Limiter,
    quota: Quota,
    tidied: Mutex<Instant>,
}

impl LocalLimit {
    pub fn new(quota: Quota) -> Self {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let cells = Cells::per_second(at_least_one(quota.per_second)).allow_burst(at_least_one(quota.burst));
        let limiter = RateLimiter::hashmap(cells).with_middleware();
        Self { limiter, quota, tidied: Mutex::new(Instant::now()) }
    }

    /// Takes one request from the bucket of `who`.
    pub fn take(&self, who: &str) -> Limit {
        self.tidy();
        match self.limiter.check_key(&who.to_owned()) {
            Ok(state) => {
                let remaining = u64::from(state.remaining_burst_capacity());
                let missing = u64::from(self.quota.burst).saturating_sub(remaining);
                let reset = Duration::from_micros(self.quota.interval_us() * missing);
                Limit { allowed: true, remaining, retry: Duration::ZERO, reset }
            }
            Err(until) => {
                let retry = until.wait_time_from(self.limiter.clock().now());
                let reset = Duration::from_micros(self.quota.interval_us() * u64::from(self.quota.burst));
                Limit { allowed: false, remaining: 0, retry, reset }
            }
        }
    }

    fn tidy(&self) {
        let Ok(mut tidied) = self.tidied.try_lock() else { return };
        if tidied.elapsed() > TIDY_EVERY {
            *tidied = Instant::now();
            self.limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let limit = LocalLimit::new(Quota { per_second: 1, burst: 3 });
        assert_eq!([0; 3].map(|_| limit.take("a").remaining), [2, 1, 0]);
        let refused = limit.take("a");
        assert!(!refused.allowed && refused.retry > Duration::ZERO && refused.retry <= Duration::from_secs(1));
        assert!(limit.take("b").allowed, "one caller's requests count against another");
    }
}
