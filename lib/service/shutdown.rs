//! How a process ends.
//!
//! ```text
//! running ──SIGTERM, SIGINT──▶ stopping ──all tasks done──▶ exit 0
//!    │                            ├──deadline over──▶ exit 1, naming what was left
//!    │                            └──second signal──▶ exit 130 at once
//!    ├──a part fails, panics, or ends unasked──▶ stopping, then exit 1
//!    └──a task that others hand work to panics──▶ exit 101 at once: nothing could be finished
//! ```
//! Stopping is a [`CancellationToken`] that tasks race against *waiting*, never against a claim, a call or a commit. What tells of the
//! process (its admin port) is told to end only when everything else has.
//!
//! If it dies here: every promise is already in PostgreSQL; an unclean end costs repeats, never a payment.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The exit code of a process that was told twice to stop (128 + SIGINT).
pub const EXIT_SECOND_SIGNAL: i32 = 130;

/// The exit code of a process that panicked, as Rust itself has it.
const EXIT_PANICKED: i32 = 101;

/// For what tells of the process to end, after everything else has.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a task that others hand work to, or rely on without a word. Were it to panic, they would wait for ever on a process that looks
/// alive: the process ends at once instead, as if it had been killed, and is started again by whoever looks after it.
pub async fn vital(task: &'static str, run: impl Future<Output = ()>) {
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        tracing::error!(task, "a task has panicked on which others rely: ending the process");
        std::process::exit(EXIT_PANICKED);
    }
}

/// The life of one process: what it waits for when it ends, and why it ended.
#[derive(Clone, Default)]
pub struct Lifetime {
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    /// All tasks have ended, or the deadline is over.
    pub over: CancellationToken,
    witnesses: TaskTracker,
    failure: Arc<Mutex<Option<String>>>,
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Asked to stop, and everything was finished.
    Clean,
    /// A part could not go on; the first one's reason.
    Failed(String),
    /// Asked to stop, but this many tasks were still at work when the deadline was over.
    Overdue(usize),
}

impl Lifetime {
    /// Stops on SIGTERM or SIGINT; a second one ends the process at once.
    pub fn heed_signals(&self) -> std::io::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = self.stop.clone();
        // Not tracked: it waits for a second signal for as long as the process lives.
        tokio::spawn(async move {
            let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            tracing::info!(signal = name, "stopping: finishing what is under way (a second signal ends at once)");
            stop.cancel();
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("second signal: ending at once");
            std::process::exit(EXIT_SECOND_SIGNAL);
        });
        Ok(())
    }

    /// Runs a part without which the process is of no use: if it fails, panics or ends unasked, the process stops.
    pub fn spawn<E: Display + Send + 'static>(
        &self,
        part: &'static str,
        run: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(self.clone().look_after(part, run, self.stop.clone()));
    }

    /// Likewise, of a part that tells of the others: it goes on for as long as any of them is at work, until [`Lifetime::over`].
    pub fn spawn_witness<E: Display + Send + 'static>(
        &self,
        part: &'static str,
        run: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.witnesses.spawn(self.clone().look_after(part, run, self.over.clone()));
    }

    fn look_after<E: Display + Send + 'static>(
        self,
        part: &'static str,
        run: impl Future<Output = Result<(), E>> + Send + 'static,
        asked: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let running = tokio::spawn(run);
        async move {
            match running.await {
                Ok(Ok(())) if asked.is_cancelled() => tracing::debug!(part, "stopped"),
                Ok(Ok(())) => self.fail(part, "ended without having been asked to"),
                Ok(Err(error)) => self.fail(part, &error.to_string()),
                Err(panic) => self.fail(part, &panic.to_string()),
            }
        }
    }

    /// Stops the process because a part cannot go on.
    pub fn fail(&self, part: &str, reason: &str) {
        tracing::error!(part, reason, "a part cannot go on: stopping the process");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| format!("{part}: {reason}"));
        drop(failure);
        self.stop.cancel();
    }

    /// Waits until the process is to stop, then for its tasks, but no longer than `limit`.
    pub async fn end(self, limit: Duration) -> End {
        self.stop.cancelled().await;
        self.tasks.close();
        let drained = tokio::time::timeout(limit, self.tasks.wait()).await.is_ok();
        self.over.cancel();
        self.witnesses.close();
        tokio::time::timeout(LAST_WORDS, self.witnesses.wait()).await.ok();
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (failure, drained) {
            (Some(reason), _) => End::Failed(reason),
            (None, true) => End::Clean,
            (None, false) => End::Overdue(self.tasks.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_panicking_part_stops_the_process_as_failed() {
        let life = Lifetime::default();
        life.spawn("relay", async {
            assert!(std::hint::black_box(false), "broken");
            Ok::<(), std::io::Error>(())
        });
        assert!(matches!(life.end(LIMIT).await, End::Failed(reason) if reason.starts_with("relay: ")));
    }

    /// Runs itself once more, in a process that is to end.
    #[test]
    fn a_panicking_task_on_which_others_rely_ends_the_process() {
        const INNER: &str = "PAYFLEET_TEST_VITAL_PANICS";
        if std::env::var_os(INNER).is_some() {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.spawn(vital("combiner", async { panic!("broken") }));
            std::thread::sleep(2 * LIMIT);
            std::process::exit(0);
        }
        let name = std::thread::current().name().map(str::to_owned).unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", &name]).env(INNER, "1").output().unwrap().status;
        assert_eq!(ended.code(), Some(EXIT_PANICKED));
    }

    #[tokio::test]
    async fn a_part_that_ends_unasked_or_fails_stops_the_process_as_failed() {
        let life = Lifetime::default();
        life.spawn("worker", async { Ok::<(), std::io::Error>(()) });
        assert_eq!(life.end(LIMIT).await, End::Failed("worker: ended without having been asked to".into()));
        let life = Lifetime::default();
        life.spawn("worker", async { Err("no way") });
        assert_eq!(life.end(LIMIT).await, End::Failed("worker: no way".into()));
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_before_a_clean_end() {
        let (life, done) = (Lifetime::default(), Arc::new(Mutex::new(false)));
        let (stop, finished) = (life.stop.clone(), Arc::clone(&done));
        life.spawn("ingress", async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            *finished.lock().unwrap() = true;
            Ok::<(), std::io::Error>(())
        });
        life.stop.cancel();
        assert_eq!(life.end(LIMIT).await, End::Clean);
        assert!(*done.lock().unwrap());
    }

    #[tokio::test]
    async fn what_tells_of_the_process_goes_on_until_everything_else_has_ended() {
        let (life, told) = (Lifetime::default(), Arc::new(Mutex::new(Vec::new())));
        let (stop, over, ended, last) = (life.stop.clone(), life.over.clone(), Arc::clone(&told), Arc::clone(&told));
        life.spawn_witness("admin port", async move {
            over.cancelled().await;
            last.lock().unwrap().push("admin port");
            Ok::<(), Infallible>(())
        });
        life.spawn("ingress", async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            ended.lock().unwrap().push("ingress");
            Ok::<(), Infallible>(())
        });
        life.stop.cancel();
        assert_eq!(life.end(LIMIT).await, End::Clean);
        assert_eq!(*told.lock().unwrap(), ["ingress", "admin port"]);
        let life = Lifetime::default();
        life.spawn_witness("admin port", async { Ok::<(), Infallible>(()) });
        assert!(matches!(life.end(LIMIT).await, End::Failed(reason) if reason.starts_with("admin port: ended")));
    }

    #[tokio::test]
    async fn a_task_that_never_ends_is_overdue() {
        let life = Lifetime::default();
        life.tasks.spawn(std::future::pending::<()>());
        life.stop.cancel();
        assert_eq!(life.end(Duration::from_millis(5)).await, End::Overdue(1));
    }
}
