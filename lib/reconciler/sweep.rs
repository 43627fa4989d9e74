//! One kind of thing that falls due, swept.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rand::Rng;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::mark::Mark;
use super::room::Room;
use super::{BoxError, Settings};
use crate::postgres::due::{Due, Found, Search};
use crate::service::retry::policy;

/// Pages of one pass at most; what is left waits for the next.
const PAGES: usize = 1_000;

/// A kind of thing that falls due.
pub trait Duty: Send + Sync + 'static {
    /// In metrics and logs.
    const NAME: &'static str;

    /// Takes what is due.
    fn claim(&self, search: Search) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// Looks at one that was taken. If that fails, it is due again by itself.
    fn attend(&self, id: Uuid) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Sweeps until `stop`, then waits for what it has in hand. `nudge` begins a sweep at once.
pub async fn sweep<D: Duty>(settings: &Settings, duty: D, nudge: Arc<Notify>, stop: CancellationToken) {
    let sweep = Sweep {
        settings,
        duty: Arc::new(duty),
        mark: Mark::new(Duration::from_millis(settings.whole_ms)),
        room: Arc::new(Room::new(settings.concurrency)),
        tasks: TaskTracker::new(),
    };
    sweep.run(&nudge, &stop).await;
}

struct Sweep<'a, D> {
    settings: &'a Settings,
    duty: Arc<D>,
    mark: Mark,
    room: Arc<Room>,
    tasks: TaskTracker,
}

impl<D: Duty> Sweep<'_, D> {
    async fn run(mut self, nudge: &Notify, stop: &CancellationToken) {
        let mut waits = policy::SWEEP.waits();
        while !stop.is_cancelled() {
            let wait = match self.pass(stop).await {
                Ok(()) => {
                    waits.reset();
                    self.pause()
                }
                Err(error) => {
                    tracing::warn!(duty = D::NAME, %error, "what is due could not be taken; it will be");
                    waits.next_wait()
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                () = nudge.notified() => {}
                () = self.room.freed() => {}
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Between half of the period and all of it, so that replicas do not sweep in step.
    fn pause(&self) -> Duration {
        Duration::from_millis(self.settings.every_ms).mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Takes page after page of what is due, each entered where the one before ended.
    async fn pass(&mut self, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        let begun = Instant::now();
        let from = self.mark.begin(begun);
        let (mut at, mut passed_over) = (from, false);
        let (mut first, mut reached) = (None, None);
        for _ in 0..PAGES {
            let except = self.room.full();
            passed_over |= !except.is_empty();
            let found = self.duty.claim(self.search(at, except)).await?;
            self.mark.heard(found.now);
            if first.is_none() {
                report_lag::<D>(&found);
            }
            // What falls due while this pass goes on belongs to the next.
            let began = *first.get_or_insert(found.now);
            let last = found.due.last().filter(|_| found.due.len() >= self.settings.page).map(|due| due.due_at);
            reached = Some(last.map_or(began, |last| last.min(began)));
            found.due.into_iter().for_each(|due| self.attend(due));
            if last.is_none() || stop.is_cancelled() {
                break;
            }
            at = last;
        }
        metrics::histogram!("payfleet_reconciler_sweep_seconds", "duty" => D::NAME).record(begun.elapsed());
        // Rows of a full gateway were passed over: the next pass must not begin behind them.
        if let (Some(reached), false) = (reached, passed_over) {
            self.mark.swept(from, reached, begun);
        }
        Ok(())
    }

    fn search(&self, from: Option<OffsetDateTime>, except: Vec<String>) -> Search {
        let millis = Duration::from_millis;
        let Settings { page, leave_ms, longest_ms, .. } = *self.settings;
        Search { from, except, limit: page, leave: millis(leave_ms), longest: millis(longest_ms) }
    }

    fn attend(&self, due: Due) {
        let (duty, place) = (self.duty.clone(), self.room.enter(due.gateway));
        metrics::counter!("payfleet_reconciler_claimed_total", "duty" => D::NAME).increment(1);
        self.tasks.spawn(async move {
            if let Err(error) = attended(duty.attend(due.id)).await {
                metrics::counter!("payfleet_reconciler_failures_total", "duty" => D::NAME).increment(1);
                tracing::warn!(duty = D::NAME, id = %due.id, %error, "looking at what is due failed; it is due again later");
            }
            drop(place);
        });
    }
}

/// A panic over one row is a failure like any other: told, and that row is due again.
async fn attended(attending: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    AssertUnwindSafe(attending).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("(not a text)")).into())
    })
}

/// How long the longest due was overdue when it was found; 0 when nothing was due.
fn report_lag<D: Duty>(found: &Found) {
    let lag = found.due.first().map_or(0.0, |due| (found.now - due.due_at).as_seconds_f64());
    metrics::gauge!("payfleet_reconciler_due_lag_seconds", "duty" => D::NAME).set(lag);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_over_one_row_is_told_as_a_failure() {
        let told = attended(async { panic!("row {}", 7) }).await.unwrap_err().to_string();
        assert_eq!(told, "it panicked: row 7");
        assert!(attended(async { Ok(()) }).await.is_ok());
    }
}
