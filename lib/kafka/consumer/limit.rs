//! The places of a consumer: how many records are handled at once. Their number may change while all of them are taken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::pace::{Concurrency, Pace};

#[derive(Debug)]
pub(super) struct Limit {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Places that are taken and should not be there any more: they go when they are left.
    surplus: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    limit: &'a Limit,
    permit: Option<SemaphorePermit<'a>>,
}

impl Limit {
    pub(super) fn new(bounds: Concurrency) -> Self {
        let pace = Pace::new(bounds);
        Self { permits: Semaphore::new(pace.limit()), state: Mutex::new(State { pace, surplus: 0 }) }
    }

    /// Waits for a place. None: never, since nobody closes it.
    pub(super) async fn enter(&self) -> Option<Held<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        Some(Held { limit: self, permit: Some(permit) })
    }

    /// A handler tells of a call. Some: how many places there are from now on, if that has changed.
    fn told(&self, took: Duration, strained: bool, now: Instant) -> Option<usize> {
        let mut state = self.state();
        let (before, places) = (state.pace.limit(), state.pace.limit() + state.surplus);
        let busy = places.saturating_sub(self.permits.available_permits());
        state.pace.told(took, strained, busy, now);
        let after = state.pace.limit();
        if after >= places {
            self.permits.add_permits(after - places);
            state.surplus = 0;
        } else {
            let gone = self.permits.forget_permits(places - after);
            state.surplus = places - after - gone;
        }
        (after != before).then_some(after)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    pub(super) fn told(&self, took: Duration, strained: bool) -> Option<usize> {
        self.limit.told(took, strained, Instant::now())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.limit.state();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            state.surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Concurrency = Concurrency { least: 2, most: 16, calm: Duration::from_millis(100) };

    /// Many calls of this kind, until there are so many places. Each place is taken as soon as it is there.
    async fn until<'a>(limit: &'a Limit, held: &mut Vec<Held<'a>>, places: usize, strained: bool, now: &mut Instant) {
        for _ in 0..10_000 {
            *now += Duration::from_millis(20);
            let reached = limit.told(Duration::ZERO, strained, *now) == Some(places);
            while limit.permits.available_permits() > 0 {
                held.push(limit.enter().await.unwrap());
            }
            if reached {
                return;
            }
        }
        panic!("there are never {places}");
    }

    async fn shrunk<'a>(limit: &'a Limit, now: &mut Instant) -> Vec<Held<'a>> {
        let mut held = vec![limit.enter().await.unwrap(), limit.enter().await.unwrap()];
        until(limit, &mut held, 16, false, now).await;
        assert_eq!(held.len(), 16);
        until(limit, &mut held, 2, true, now).await;
        held
    }

    #[tokio::test]
    async fn places_that_are_taken_go_as_they_are_left() {
        let (limit, mut now) = (Limit::new(BOUNDS), Instant::now());
        let mut held = shrunk(&limit, &mut now).await;
        held.truncate(2);
        assert_eq!(limit.permits.available_permits(), 0, "two are taken, and two there may be");
        held.pop();
        assert_eq!(limit.permits.available_permits(), 1);
    }

    #[tokio::test]
    async fn places_that_come_back_while_too_many_are_taken_let_nobody_in_twice() {
        let (limit, mut now) = (Limit::new(BOUNDS), Instant::now());
        let mut held = shrunk(&limit, &mut now).await;
        until(&limit, &mut held, 16, false, &mut now).await;
        assert_eq!(held.len(), 16, "sixteen are still taken");
        held.clear();
        assert_eq!(limit.permits.available_permits(), 16);
    }
}
