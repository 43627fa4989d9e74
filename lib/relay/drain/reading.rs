//! What to read next, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Drain;
use crate::domain::lane::LANES;
use crate::outbox::delta::{Delta, Row};
use crate::outbox::position::Span;
use crate::outbox::snapshot::Snapshot;
use crate::outbox::ticks::{self, Tick};
use crate::postgres::within;
use crate::relay::Error;
use crate::relay::lane::{Lane, Mode};
use crate::relay::page::Page;
use crate::relay::pipeline::{Outbound, Pipeline};

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
        let due = self.pace.is_due(now);
        if readable.is_empty() || !(due || self.anyone_is_behind(&readable, now)) {
            return Ok(Vec::new());
        }
        self.load_ticks(&readable, now).await?;
        let (slice, page) = (self.slice_rows(), self.page_rows());
        let mut spans = Vec::with_capacity(readable.len());
        for number in readable {
            let Some(lane) = self.lanes.get(&number) else { continue };
            let until = if lane.is_fresh(now) { None } else { lane.slice_end(slice) };
            let behind = lane.read.to.is_some() || until.is_some();
            if due || behind {
                let rows = match lane.mode {
                    Mode::Singly { rows } => rows.min(SINGLY) as i64,
                    _ => page,
                };
                spans.push(lane.read.span(number, until, rows));
            }
        }
        if due {
            self.pace.looks(now);
        }
        Ok(spans)
    }

    /// Lanes whose rows there is room for.
    pub(super) fn readable(&self) -> Vec<i16> {
        let bytes: usize = self.lanes.values().map(Lane::bytes_in_flight).sum();
        if bytes >= self.settings.flight_bytes {
            return Vec::new();
        }
        let readable = self.lanes.iter().filter(|(_, lane)| lane.is_readable(self.settings.flight_rows));
        readable.map(|(number, _)| *number).collect()
    }

    /// Rows of a page: so few that one of every lane fits into what may be on its way, if rows are as large as the last ones were.
    fn page_rows(&self) -> i64 {
        let bytes = self.settings.flight_bytes / self.lanes.len().max(1);
        ((bytes / self.row_bytes.max(1)) as i64).clamp(1, self.settings.page_rows)
    }

    /// Rows of the outbox between the ends of a slice that makes about a page of each lane.
    fn slice_rows(&self) -> i64 {
        self.settings.page_rows * i64::from(LANES) * 3 / 4
    }

    /// Is there a slice that was begun, or ticks of a backlog that were fetched?
    fn anyone_is_behind(&self, readable: &[i16], now: Instant) -> bool {
        let mut lanes = readable.iter().filter_map(|number| self.lanes.get(number));
        lanes.any(|lane| lane.read.to.is_some() || (!lane.is_fresh(now) && lane.slice_end(1).is_some()))
    }

    /// Fetches the next ticks of lanes that have used up theirs: those after the one that is farthest behind, for all that they reach
    /// beyond. A lane that is given none has no tick between it and the present.
    async fn load_ticks(&mut self, readable: &[i16], now: Instant) -> Result<(), Error> {
        loop {
            let lacks = |lane: &Lane| !lane.is_fresh(now) && lane.read.to.is_none() && lane.slice_end(1).is_none();
            let lacking = readable.iter().filter(|number| self.lanes.get(*number).is_some_and(lacks));
            let lacking: Vec<i16> = lacking.copied().collect();
            let cursors = lacking.iter().filter_map(|number| self.lanes.get(number)).map(|lane| &lane.read.from);
            let Some(slowest) = cursors.min_by_key(|from| from.rank()).cloned() else { return Ok(()) };
            let fetching = ticks::after(&mut self.session.reading, &slowest, TICKS);
            let ticks: Arc<[Tick]> = within(self.session.limit, fetching).await?.into();
            for number in lacking {
                if let Some(lane) = self.lanes.get_mut(&number) {
                    lane.ticks = ticks.clone();
                }
            }
            // The slowest has some now, so that every round leaves fewer without.
            if ticks.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what was read on its way. True: there is more to read at once.
    pub(super) fn accept(&mut self, spans: &[Span], delta: Delta, took: Duration) -> Result<bool, Error> {
        self.weigh(&delta);
        let (mut found, mut slices) = (0, false);
        for (span, rows) in spans.iter().zip(delta.pages) {
            found += rows.len();
            slices |= span.to.is_some();
            self.accept_page(span, rows, &delta.snapshot)?;
        }
        metrics::counter!("payfleet_relay_rows_read_total").increment(found as u64);
        self.pace.looked(took, found > 0);
        Ok(found > 0 || slices)
    }

    /// How large rows are just now. Large ones count at once, small ones by and by.
    fn weigh(&mut self, delta: &Delta) {
        let rows: usize = delta.pages.iter().map(Vec::len).sum();
        let bytes: usize = delta.pages.iter().flatten().map(|row| row.payload.len()).sum();
        if let Some(mean) = bytes.checked_div(rows) {
            self.row_bytes = mean.max(self.row_bytes * 7 / 8);
        }
    }

    fn accept_page(&mut self, span: &Span, rows: Vec<Row>, seen: &Snapshot) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&span.lane) else { return Ok(()) };
        let end = lane.read.after(span, rows.len(), rows.last().map(|row| row.id), seen);
        lane.fresh_at = (span.to.is_none() && end.to.is_none()).then_some(self.pace.looked_at()).flatten();
        if rows.is_empty() {
            // What was to be sent singly is not there any more.
            if lane.fresh_at.is_some() && matches!(lane.mode, Mode::Singly { .. }) {
                lane.mode = Mode::Pipelined;
            }
            lane.moved(end);
            return Ok(());
        }
        if let Mode::Singly { .. } = lane.mode {
            self.send_singly(span.clone(), rows, end, seen.clone());
            return Ok(());
        }
        let (oldest, bytes) = (rows.first().map(|row| row.at), rows.iter().map(|row| row.payload.len()).sum());
        let (sent, aside) = lane.sift(rows, &self.closed, self.kafka.message_max_bytes);
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
