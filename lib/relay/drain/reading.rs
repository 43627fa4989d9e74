//! What to read next, and what becomes of it.

use std::time::Duration;

use tokio::time::Instant;

use super::Drain;
use crate::domain::lane::LANES;
use crate::outbox::delta::{Delta, Row};
use crate::outbox::position::Span;
use crate::outbox::snapshot::Snapshot;
use crate::outbox::ticks;
use crate::relay::Error;
use crate::relay::lane::{Lane, Mode};
use crate::relay::page::Page;
use crate::relay::pipeline::{Outbound, Pipeline};
use crate::relay::poison;

/// Ticks fetched at a time.
const TICKS: i64 = 512;

/// Rows sent singly between two checkpoints.
const SINGLY: usize = 100;

impl Drain {
    /// The spans to read now: lanes that are behind at any time, the others when the next look is due.
    pub(super) async fn plan(&mut self) -> Result<Vec<Span>, Error> {
        let now = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.wake(now));
        let readable = self.readable();
        let due = self.polled_at.is_none_or(|at| now >= at + self.pause);
        if readable.is_empty() || !(due || self.anyone_is_behind(&readable, now)) {
            return Ok(Vec::new());
        }
        self.load_ticks(&readable, now).await?;
        let mut spans = Vec::with_capacity(readable.len());
        for number in readable {
            let Some(lane) = self.lanes.get(&number) else { continue };
            let until = if lane.is_fresh(now) { None } else { self.slice_end(&lane.read.from) };
            let behind = lane.read.to.is_some() || until.is_some();
            if due || behind {
                let rows = match lane.mode {
                    Mode::Singly { rows } => rows.min(SINGLY) as i64,
                    _ => self.settings.page_rows,
                };
                spans.push(lane.read.span(number, until, rows));
            }
        }
        if due {
            self.polled_at = Some(now);
        }
        Ok(spans)
    }

    /// Lanes whose rows there is room for.
    pub(super) fn readable(&self) -> Vec<i16> {
        let bytes: usize = self.lanes.values().map(Lane::bytes_in_flight).sum();
        if bytes >= self.settings.flight_bytes {
            return Vec::new();
        }
        let has_room = |lane: &Lane| match lane.mode {
            // One page ahead of what the producer has taken, so that reading and sending overlap.
            Mode::Pipelined => lane.queued <= 1 && lane.rows_in_flight() < self.settings.flight_rows,
            Mode::Singly { .. } => lane.rows_in_flight() == 0,
            Mode::Resting { .. } | Mode::Handed => false,
        };
        let stays = |lane: &Lane| lane.leaving_since.is_none() && lane.replays.is_empty();
        self.lanes.iter().filter(|(_, lane)| stays(lane) && has_room(lane)).map(|(number, _)| *number).collect()
    }

    /// Is there a slice that was begun, or ticks of a backlog that were fetched?
    fn anyone_is_behind(&self, readable: &[i16], now: Instant) -> bool {
        let mut lanes = readable.iter().filter_map(|number| self.lanes.get(number));
        lanes.any(|lane| lane.read.to.is_some() || (!lane.is_fresh(now) && self.slice_end(&lane.read.from).is_some()))
    }

    /// Fetches the next ticks if those at hand are used up by the lane that is farthest behind.
    async fn load_ticks(&mut self, readable: &[i16], now: Instant) -> Result<(), Error> {
        let behind = readable.iter().filter_map(|number| self.lanes.get(number));
        let behind = behind.filter(|lane| !lane.is_fresh(now) && lane.read.to.is_none()).map(|lane| &lane.read.from);
        let Some(slowest) = behind.min_by_key(|from| from.rank()).cloned() else { return Ok(()) };
        if self.slice_end(&slowest).is_none() {
            self.ticks = ticks::after(&mut self.session.reading, &slowest, TICKS).await?;
        }
        Ok(())
    }

    /// Where the slice after a cursor ends: at the last tick that makes about a page of each lane.
    fn slice_end(&self, from: &Snapshot) -> Option<&Snapshot> {
        let first = self.ticks.partition_point(|tick| !from.is_before(&tick.snapshot));
        let later = self.ticks.get(first..)?;
        let rows = self.settings.page_rows * i64::from(LANES) * 3 / 4;
        let until = later.first()?.written + rows;
        let within = later.partition_point(|tick| tick.written <= until).max(1);
        later.get(within - 1).map(|tick| &tick.snapshot)
    }

    /// Takes what was read on its way. True: there is more to read at once.
    pub(super) fn accept(&mut self, spans: &[Span], delta: Delta) -> Result<bool, Error> {
        let (mut found, mut slices) = (0, false);
        for (span, rows) in spans.iter().zip(delta.pages) {
            found += rows.len();
            slices |= span.to.is_some();
            self.accept_page(span, rows, &delta.snapshot)?;
        }
        metrics::counter!("payfleet_relay_rows_read_total").increment(found as u64);
        self.pause = if found > 0 {
            Duration::from_millis(self.settings.poll_min_ms)
        } else {
            (self.pause * 2).min(Duration::from_millis(self.settings.poll_max_ms))
        };
        Ok(found > 0 || slices)
    }

    fn accept_page(&mut self, span: &Span, rows: Vec<Row>, seen: &Snapshot) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&span.lane) else { return Ok(()) };
        let end = lane.read.after(span, rows.len(), rows.last().map(|row| row.id), seen);
        lane.fresh_at = (span.to.is_none() && end.to.is_none()).then_some(self.polled_at).flatten();
        if rows.is_empty() {
            lane.moved(end);
            return Ok(());
        }
        if let Mode::Singly { .. } = lane.mode {
            self.send_singly(span.clone(), rows, end, seen.clone());
            return Ok(());
        }
        let (oldest, bytes) = (rows.first().map(|row| row.at), rows.iter().map(|row| row.payload.len()).sum());
        let (sent, aside) = poison::sift(span.lane, rows, &mut lane.parked, self.kafka.message_max_bytes);
        let page = Page::new(sent.len(), self.settled.clone());
        lane.sent(page.clone(), end, sent.len(), bytes, oldest, aside);
        if !sent.is_empty() {
            lane.queued += 1;
            let outbound = Outbound::new(span.lane, sent, page);
            self.pipeline()?.push(outbound);
        }
        Ok(())
    }

    /// The producer, made when it is first needed.
    fn pipeline(&mut self) -> Result<&mut Pipeline, Error> {
        let pipeline = match self.pipeline.take() {
            Some(pipeline) => pipeline,
            None => Pipeline::new(&self.kafka, &self.client(), self.incarnation, self.settled.clone())?,
        };
        Ok(self.pipeline.insert(pipeline))
    }

    /// What the brokers know this relay as.
    pub(super) fn client(&self) -> String {
        format!("{}.{}", self.settings.name, self.session.relay.simple())
    }
}
