//! Which lanes are ours: taken, kept, handed over.

use std::time::Duration;

use tokio::time::Instant;

use super::Drain;
use super::progress::show_no_more;
use crate::outbox::lanes::{self, Held};
use crate::outbox::position::Position;
use crate::outbox::{checkpoint, history, parked, rebase};
use crate::postgres::within;
use crate::relay::Error;
use crate::relay::lane::Lane;

/// A lane that goes to another relay waits this long for what is on its way; then the next owner repeats it.
const HAND_OVER: Duration = Duration::from_secs(1);

impl Drain {
    /// A relay that could not say that it lives (it was frozen, or the database was away) has lost its lanes, whether it knows or not.
    pub(super) fn check_lease(&self) -> Result<(), Error> {
        let lease = Duration::from_millis(self.settings.lease_ms);
        match &*self.seen.borrow() {
            Some(seen) if seen.beaten_at.elapsed() > lease => Err(Error::LeaseLost),
            _ => Ok(()),
        }
    }

    /// Acts on what the fleet looks like now.
    pub(super) async fn follow(&mut self) -> Result<(), Error> {
        self.release_the_leaving().await?;
        let Some(seen) = self.seen.borrow_and_update().clone() else { return Ok(()) };
        if self.followed_at == Some(seen.at) {
            return Ok(());
        }
        self.followed_at = Some(seen.at);
        let relay = self.session.relay;
        let ours: Vec<Held> = seen.view.of(relay).collect();
        let taken_away: Vec<i16> = self
            .lanes
            .values()
            .filter(|lane| lane.since < seen.at && !ours.contains(&lane.held))
            .map(|lane| lane.held.lane)
            .collect();
        taken_away.into_iter().for_each(|lane| self.lose(lane));

        let share = seen.view.share_of(relay);
        let staying: Vec<i16> =
            self.lanes.values().filter(|lane| lane.leaving_since.is_none()).map(|lane| lane.held.lane).collect();
        for lane in staying.iter().skip(share) {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.leaving_since = Some(Instant::now());
            }
        }
        let free = seen.view.lanes - seen.view.held.len();
        if staying.len() < share && free > 0 {
            self.take(share - staying.len()).await?;
        }
        Ok(())
    }

    /// Takes lanes that nobody holds, from their stored cursors. These are read after the new epoch was committed, so that no
    /// checkpoint of an earlier owner can come later.
    async fn take(&mut self, count: usize) -> Result<(), Error> {
        let lease = Duration::from_millis(self.settings.lease_ms);
        let limit = self.session.limit;
        let claiming = lanes::claim(&mut self.session.writing, self.session.relay, count, lease);
        let taken = within(limit, claiming).await?;
        if taken.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i16> = taken.iter().map(|held| held.lane).collect();
        let reading = &mut self.session.reading;
        let mut stored = within(limit, checkpoint::latest(reading, &numbers)).await?;
        // Asked after the cursors were read: a relay that was frozen between the two would take what others have stored meanwhile for
        // the future of a server that was set back in time.
        let (here, now) = within(limit, history::here(reading)).await?;
        let pairs = within(limit, parked::pairs(reading, &numbers)).await?;
        let incarnation = within(limit, rebase::incarnation(reading)).await?;
        if incarnation != self.incarnation {
            self.incarnation = incarnation;
            // Its records would carry the old one.
            self.drop_pipeline();
        }
        for held in taken {
            let position = match stored.remove(&held.lane).flatten() {
                Some(stored) => {
                    history::check(held.lane, &stored.position, stored.history, here, &now)?;
                    stored.position
                }
                None => Position::beginning(),
            };
            #[cfg(feature = "planted-bugs")]
            let position = remembered::instead_of(held.lane, position);
            let parked = pairs.iter().filter(|(lane, _)| *lane == held.lane).map(|(_, pair)| pair.clone()).collect();
            tracing::info!(lane = held.lane, epoch = held.epoch, from = %position.from, "took a lane");
            self.lanes.insert(held.lane, Lane::new(held, position, parked));
        }
        self.pace.forget();
        metrics::counter!("payfleet_relay_lanes_taken_total").increment(numbers.len() as u64);
        Ok(())
    }

    /// Forgets a lane that another relay holds now. What is still on its way is harmless: it only repeats what the other sends.
    pub(super) fn lose(&mut self, lane: i16) {
        if self.lanes.remove(&lane).is_some() {
            tracing::warn!(lane, "lost a lane to another relay");
            metrics::counter!("payfleet_relay_lanes_lost_total").increment(1);
            show_no_more(lane);
            self.forget_outbound();
        }
    }

    fn forget_outbound(&mut self) {
        let lanes = &self.lanes;
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.retain(|lane| lanes.contains_key(&lane));
        }
    }

    /// Frees the lanes that leave, once nothing of them is on its way any more.
    async fn release_the_leaving(&mut self) -> Result<(), Error> {
        let ready: Vec<Held> = self
            .lanes
            .values()
            .filter(|lane| lane.leaving_since.is_some_and(|since| lane.is_settled() || since.elapsed() >= HAND_OVER))
            .map(|lane| lane.held)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        within(self.session.limit, lanes::release(&mut self.session.writing, &ready)).await?;
        for held in ready {
            tracing::info!(lane = held.lane, "handed a lane over");
            self.lanes.remove(&held.lane);
            show_no_more(held.lane);
        }
        self.forget_outbound();
        Ok(())
    }

    /// The end: waits a moment for what is on its way, stores it, and leaves.
    pub(super) async fn hand_over_everything(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.leaving_since = Some(begun));
        loop {
            self.pump();
            self.take_in_errands().await?;
            self.take_in_answers();
            self.checkpoint().await?;
            if self.lanes.values().all(Lane::is_settled) || begun.elapsed() >= HAND_OVER {
                break;
            }
            let settled = self.settled.clone();
            tokio::time::timeout(Duration::from_millis(10), settled.notified()).await.ok();
        }
        within(self.session.limit, lanes::leave(&mut self.session.writing, self.session.relay)).await?;
        Ok(())
    }
}

/// The planted bug: cursors that outlive the session they were read in.
#[cfg(feature = "planted-bugs")]
pub(super) mod remembered {
    use std::collections::BTreeMap;
    use std::sync::{LazyLock, Mutex};

    use crate::outbox::position::Position;
    use crate::service::planted::{self, Bug};

    static CURSORS: LazyLock<Mutex<BTreeMap<i16, Position>>> = LazyLock::new(Mutex::default);

    pub fn keep(lane: i16, position: &Position) {
        if let Ok(mut cursors) = CURSORS.lock() {
            cursors.insert(lane, position.clone());
        }
    }

    pub fn instead_of(lane: i16, stored: Position) -> Position {
        let kept = CURSORS.lock().ok().and_then(|cursors| cursors.get(&lane).cloned());
        kept.filter(|_| planted::is(Bug::CursorKeptOverReconnect)).unwrap_or(stored)
    }
}
