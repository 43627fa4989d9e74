//! The heart: reads what is new on the lanes it holds, hands it to the producer, and stores how far it was acknowledged.
//!
//! ```text
//! look who holds what ─▶ take in acknowledgements ─▶ read new rows ‖ hand over the rows read before ─▶ checkpoint ─┐
//!         ▲                                                                                                         │
//!         └──────────── wait: doorbell, acknowledgements, the fleet, a timer ◀── nothing was found ────────────────┘
//! ```
//! One task does all of it, so that a lane's cursor has one writer. Nothing in the loop waits for Kafka.
//!
//! If it dies here: the lanes' stored cursors are at or below what was acknowledged; the next owner repeats what lies between.

mod errands;
mod ownership;
mod pace;
mod progress;
mod reading;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::closed::Closed;
use super::ear::Ear;
use super::lane::Lane;
use super::membership::Seen;
use super::pipeline::{Pipeline, Pumped};
use super::session::Session;
use super::{Error, Settings};
use crate::kafka;
use crate::outbox::delta;
use crate::postgres::within;
use crate::service::failpoint::{self, Window};
use errands::Done;
use pace::Pace;

/// What one life of the relay's session works with.
pub struct Drain {
    settings: Settings,
    kafka: kafka::Settings,
    session: Session,
    ear: Ear,
    seen: watch::Receiver<Option<Seen>>,
    /// When the view that was last acted on was taken.
    followed_at: Option<Instant>,
    lanes: BTreeMap<i16, Lane>,
    incarnation: i32,
    pipeline: Option<Pipeline>,
    pumped: Pumped,
    /// Told by pages that are complete or have failed.
    settled: Arc<Notify>,
    errands: JoinSet<()>,
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
    closed: Closed,
    /// How large rows are, about.
    row_bytes: usize,
    pace: Pace,
    checkpointed_at: Instant,
    has_stored: bool,
    replays_asked_at: Instant,
    measured_at: Instant,
}

impl Drain {
    pub fn new(
        settings: Settings,
        kafka: kafka::Settings,
        session: Session,
        ear: Ear,
        seen: watch::Receiver<Option<Seen>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            pace: Pace::new(&settings),
            settings,
            kafka,
            session,
            ear,
            seen,
            followed_at: None,
            lanes: BTreeMap::new(),
            incarnation: 0,
            pipeline: None,
            pumped: Pumped::All,
            settled: Arc::default(),
            errands: JoinSet::new(),
            done: mpsc::unbounded_channel(),
            closed: Closed::default(),
            row_bytes: 0,
            checkpointed_at: now,
            has_stored: false,
            replays_asked_at: now,
            measured_at: now,
        }
    }

    /// Was any progress stored?
    pub fn has_stored(&self) -> bool {
        self.has_stored
    }

    /// Drains until `stop`, then hands the lanes over. An error means that everything in memory is void.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let busy = self.turn().await?;
            if !busy {
                self.wait(stop).await;
            }
        }
        self.hand_over_everything().await
    }

    /// One round of the loop. True: there is more to do at once.
    async fn turn(&mut self) -> Result<bool, Error> {
        self.check_lease()?;
        self.follow().await?;
        self.take_in_errands().await?;
        self.take_in_answers();
        self.ask_for_replays().await?;
        let spans = self.plan().await?;
        let (handed_over, more) = if spans.is_empty() {
            (self.pump(), false)
        } else {
            let begun = Instant::now();
            let (pipeline, session) = (&mut self.pipeline, &mut self.session);
            // The statement is on its way before the producer is fed: server and relay work at the same time.
            let reading = within(session.limit, delta::read(&mut session.reading, &spans));
            let feeding = async { pipeline.as_mut().map(Pipeline::pump) };
            let (delta, pumped) = tokio::join!(reading, feeding);
            let handed_over = self.pumped_to(pumped);
            let took = begun.elapsed();
            metrics::histogram!("payfleet_relay_poll_seconds").record(took.as_secs_f64());
            (handed_over, self.accept(&spans, delta?, took)?)
        };
        if handed_over {
            failpoint::reached(Window::C6).await;
        }
        if more {
            failpoint::reached(Window::C5).await;
        }
        self.checkpoint().await?;
        self.measure();
        Ok(more && self.pumped != Pumped::Full)
    }

    /// Feeds the producer with the pages that wait. True: it took one.
    fn pump(&mut self) -> bool {
        let pumped = self.pipeline.as_mut().map(Pipeline::pump);
        self.pumped_to(pumped)
    }

    fn pumped_to(&mut self, pumped: Option<(Pumped, Vec<i16>)>) -> bool {
        let (state, done) = pumped.unwrap_or((Pumped::All, Vec::new()));
        self.pumped = state;
        let handed_over = !done.is_empty();
        for lane in done {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.queued = lane.queued.saturating_sub(1);
            }
        }
        handed_over
    }

    /// Waits until there is a reason to go on.
    async fn wait(&mut self, stop: &CancellationToken) {
        let until = self.next_reason();
        tokio::select! {
            () = self.ear.rung.notified() => self.pace.rung(),
            () = self.settled.notified() => {}
            _ = self.seen.changed() => {}
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // The planted bug: cursors that outlive the session they were read in.
        #[cfg(feature = "planted-bugs")]
        self.lanes.iter().for_each(|(number, lane)| ownership::remembered::keep(*number, &lane.acked));
        self.lanes.keys().for_each(|lane| progress::show_no_more(*lane));
        metrics::gauge!("payfleet_relay_lanes").set(0.0);
    }
}
