//! The database's clock, followed by a monotonic one: a process whose wall clock jumps still agrees with the fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use time::{Duration, OffsetDateTime};

/// Shared by all parts of a process. [`DatabaseClock::heard`] is told the time by whoever reads it from the database anyway.
#[derive(Clone, Debug)]
pub struct DatabaseClock {
    started: Instant,
    /// Microseconds of Unix time at `started`, by the database's clock.
    origin_us: Arc<AtomicI64>,
}

impl Default for DatabaseClock {
    fn default() -> Self {
        let wall = (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000) as i64;
        Self { started: Instant::now(), origin_us: Arc::new(AtomicI64::new(wall)) }
    }
}

impl DatabaseClock {
    fn elapsed_us(&self) -> i64 {
        self.started.elapsed().as_micros() as i64
    }

    /// The database has just said that it is `now`.
    pub fn heard(&self, now: OffsetDateTime) {
        let now_us = (now.unix_timestamp_nanos() / 1_000) as i64;
        self.origin_us.store(now_us - self.elapsed_us(), Ordering::Relaxed);
    }

    /// The database's time as far as this process knows it, to the microsecond (PostgreSQL's own resolution).
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::microseconds(self.origin_us.load(Ordering::Relaxed) + self.elapsed_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_what_the_database_said() {
        let clock = DatabaseClock::default();
        let told = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        clock.heard(told);
        let apart = clock.now() - told;
        assert!(apart >= Duration::ZERO && apart < Duration::seconds(5), "{apart}");
    }
}
