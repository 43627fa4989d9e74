//! Acknowledgements taken in, failures answered, progress stored and shown.

use std::time::Duration;

use tokio::time::Instant;

use super::Drain;
use crate::domain::lane::LANES;
use crate::outbox::parked;
use crate::postgres::within;
use crate::relay::Error;
use crate::relay::lane::{Lane, Mode};
use crate::relay::pipeline::Pumped;
use crate::relay::refusal::{self, Failure};
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};

/// A lane without news stores how far it has come this often, so that slots can be truncated and a restart begins near the present.
const IDLE: Duration = Duration::from_secs(5);

/// How often the gauges are set.
const MEASURE: Duration = Duration::from_secs(1);

/// Each row that is set aside with the progress is a statement of its own, and may take this much longer.
const PARKING: Duration = Duration::from_millis(10);

impl Drain {
    /// Takes in what the brokers have acknowledged. After any failure everything that was not acknowledged is forgotten and read
    /// again: the lane at fault rests, the others go on at once with a new producer.
    pub(super) fn take_in_answers(&mut self) {
        let delivered: usize = self.lanes.values_mut().map(Lane::collect).sum();
        metrics::counter!("payfleet_relay_records_delivered_total").increment(delivered as u64);
        let failed: Vec<(i16, Failure)> =
            self.lanes.iter().filter_map(|(number, lane)| Some((*number, lane.failure()?))).collect();
        if failed.is_empty() {
            return;
        }
        let followers = |(number, _): &(i16, Failure)| self.lanes.get(number).is_some_and(Lane::awaits_answers);
        if planted::is(Bug::FollowersPassARefusedRecord) && failed.iter().any(followers) {
            return;
        }
        self.drop_pipeline();
        let everything_follows = failed.iter().all(|(_, failure)| refusal::is_consequence(failure.code));
        let now = Instant::now();
        for (number, failure) in failed {
            if refusal::is_consequence(failure.code) && !everything_follows {
                continue;
            }
            tracing::warn!(lane = number, code = %failure.code, "a delivery failed; going back to what was acknowledged");
            metrics::counter!("payfleet_relay_delivery_failures_total", "code" => failure.code.to_string())
                .increment(1);
            if let Some(lane) = self.lanes.get_mut(&number) {
                lane.rest(failure, now);
            }
        }
    }

    /// Throws the producer away, and forgets what it was given and has not acknowledged: it is read again, for a new one.
    pub(super) fn drop_pipeline(&mut self) {
        self.pipeline = None;
        self.pumped = Pumped::All;
        self.lanes.values_mut().filter(|lane| lane.mode == Mode::Pipelined).for_each(Lane::rewind);
    }

    /// Stores progress if it is time, with what is set aside. A lane whose epoch has passed is let go.
    pub(super) async fn checkpoint(&mut self) -> Result<(), Error> {
        if !self.checkpoint_is_due() {
            return Ok(());
        }
        self.checkpointed_at = Instant::now();
        let progress: Vec<_> = self.lanes.values().filter_map(|lane| lane.progress(IDLE)).collect();
        if progress.is_empty() {
            return Ok(());
        }
        let parkings: Vec<_> = self.lanes.values().flat_map(Lane::parkings).cloned().collect();
        if self.lanes.values().any(|lane| lane.unstored_rows() > 0) {
            failpoint::reached(Window::C7).await;
        }
        let session = &mut self.session;
        let limit = session.limit + PARKING * parkings.len() as u32;
        let storing = parked::append_and_park(&mut session.writing, session.history, &progress, &parkings);
        let ours = within(limit, storing).await?;
        self.has_stored |= !ours.is_empty();
        metrics::counter!("payfleet_relay_checkpoints_total").increment(ours.len() as u64);
        for parking in parkings.iter().filter(|parking| ours.contains(&parking.lane)) {
            let (aggregate, topic, reason) = (parking.row.aggregate, &parking.row.topic, &parking.reason);
            tracing::error!(%aggregate, topic, reason, seq = parking.row.seq, "an event was parked");
            metrics::counter!("payfleet_relay_records_parked_total").increment(1);
        }
        for lane in progress {
            match self.lanes.get_mut(&lane.lane) {
                Some(kept) if ours.contains(&lane.lane) => kept.stored(lane.position),
                _ => self.lose(lane.lane),
            }
        }
        Ok(())
    }

    fn checkpoint_is_due(&self) -> bool {
        let rows: u64 = self.lanes.values().map(Lane::unstored_rows).sum();
        let waited_for =
            |lane: &Lane| lane.leaving_since.is_some() || !lane.replays.is_empty() || !lane.parkings().is_empty();
        rows >= self.settings.checkpoint_rows
            || self.checkpointed_at.elapsed() >= Duration::from_millis(self.settings.checkpoint_ms)
            || self.lanes.values().any(|lane| lane.unstored_rows() > 0 && waited_for(lane))
    }

    /// When the loop must turn again although nothing happened.
    pub(super) fn next_reason(&self) -> Instant {
        let now = Instant::now();
        let mut until = now + Duration::from_millis(self.settings.watch_ms);
        if self.pumped == Pumped::Full {
            until = until.min(now + Duration::from_millis(1));
        }
        if !self.readable().is_empty() {
            until = until.min(self.pace.next(now));
        }
        for lane in self.lanes.values() {
            if lane.unstored_rows() > 0 {
                until = until.min(self.checkpointed_at + Duration::from_millis(self.settings.checkpoint_ms));
            }
            if let Mode::Resting { until: rested, .. } = lane.mode {
                until = until.min(rested);
            }
        }
        until
    }

    /// Shows how far each lane is behind.
    pub(super) fn measure(&mut self) {
        if self.measured_at.elapsed() < MEASURE {
            return;
        }
        self.measured_at = Instant::now();
        let Some(seen) = self.seen.borrow().clone() else { return };
        let now = self.measured_at;
        metrics::gauge!("payfleet_relay_lanes").set(self.lanes.len() as f64);
        let unowned = seen.view.lanes - seen.view.held.len();
        metrics::gauge!("payfleet_outbox_unowned_lanes").set(unowned as f64);
        for (number, lane) in &self.lanes {
            let name = number.to_string();
            // Ids are spread evenly over the lanes, so what lies between two of them is shared evenly too.
            let unread = if lane.is_fresh(now) { 0 } else { seen.view.written - lane.read.last_id };
            let rows = lane.rows_in_flight() as i64 + unread.max(0) / i64::from(LANES);
            let oldest = lane.oldest().zip(seen.view.at).map_or(0.0, |(oldest, at)| (at - oldest).as_seconds_f64());
            metrics::gauge!("payfleet_relay_lag_rows", "lane" => name.clone()).set(rows as f64);
            metrics::gauge!("payfleet_relay_lag_seconds", "lane" => name.clone()).set(oldest.max(0.0));
            metrics::gauge!("payfleet_relay_parked_pairs", "lane" => name.clone()).set(lane.parked.len() as f64);
            metrics::gauge!("payfleet_relay_epoch", "lane" => name).set(lane.held.epoch as f64);
        }
    }
}

/// A lane that is not ours any more is shown by somebody else, or as nobody's.
pub(super) fn show_no_more(lane: i16) {
    let name = lane.to_string();
    metrics::gauge!("payfleet_relay_lag_rows", "lane" => name.clone()).set(0.0);
    metrics::gauge!("payfleet_relay_lag_seconds", "lane" => name.clone()).set(0.0);
    metrics::gauge!("payfleet_relay_parked_pairs", "lane" => name.clone()).set(0.0);
    metrics::gauge!("payfleet_relay_epoch", "lane" => name).set(0.0);
}
