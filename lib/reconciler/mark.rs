//! Where a sweep enters the index of due times.
//!
//! Every row that is taken leaves a dead entry behind at its old due time, and as long as any snapshot of the database is old, no
//! vacuum may remove them: a sweep from the very beginning reads them all, every second. With 520,000 of them it read 35,775 pages
//! to find nothing; entered at the mark, it read 3.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// How far behind the last sweep the next begins: for rows that were locked, or committed a little after their due time.
const MARGIN: Duration = Duration::from_secs(5);

/// Before this, nothing is due that was not taken, as far as is known.
#[derive(Debug)]
pub(super) struct Mark {
    at: Option<OffsetDateTime>,
    /// A sweep from the very beginning, this often, is what makes "as far as is known" good enough.
    whole_every: Duration,
    whole_at: Option<Instant>,
    /// The database's time when last heard of.
    heard: Option<OffsetDateTime>,
}

impl Mark {
    pub(super) fn new(whole_every: Duration) -> Self {
        Self { at: None, whole_every, whole_at: None, heard: None }
    }

    /// Where this sweep begins. None: at the very beginning.
    pub(super) fn begin(&self, now: Instant) -> Option<OffsetDateTime> {
        let whole = self.whole_at.is_none_or(|last| now >= last + self.whole_every);
        if whole { None } else { self.at }
    }

    /// A sweep that had begun at `from` took everything due up to `reached`.
    pub(super) fn swept(&mut self, from: Option<OffsetDateTime>, reached: OffsetDateTime, now: Instant) {
        if from.is_none() {
            self.whole_at = Some(now);
        }
        self.at = Some(reached - MARGIN);
    }

    /// The database said that it is `time`. If that is earlier than before, it is not the same database, or its clock was set: the
    /// mark means nothing then.
    pub(super) fn heard(&mut self, time: OffsetDateTime) {
        if self.heard.is_some_and(|before| time < before) {
            self.at = None;
            self.whole_at = None;
        }
        self.heard = Some(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn time(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_sweep_begins_a_little_before_where_the_last_one_ended() {
        let (mut mark, start) = (Mark::new(MINUTE), Instant::now());
        assert_eq!(mark.begin(start), None, "the first is whole");
        mark.swept(None, time(100), start);
        assert_eq!(mark.begin(start), Some(time(95)));
    }

    #[test]
    fn every_so_often_a_sweep_is_whole() {
        let (mut mark, start) = (Mark::new(MINUTE), Instant::now());
        mark.swept(None, time(100), start);
        mark.swept(mark.begin(start), time(130), start + MINUTE / 2);
        assert_eq!(mark.begin(start + MINUTE / 2), Some(time(125)));
        assert_eq!(mark.begin(start + MINUTE), None);
    }

    #[test]
    fn a_database_whose_clock_went_back_is_swept_as_a_whole() {
        let (mut mark, start) = (Mark::new(MINUTE), Instant::now());
        mark.heard(time(100));
        mark.swept(None, time(100), start);
        mark.heard(time(101));
        assert_eq!(mark.begin(start), Some(time(95)));
        mark.heard(time(60));
        assert_eq!(mark.begin(start), None);
    }
}
