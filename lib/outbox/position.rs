//! How far a lane has come.

use super::snapshot::Snapshot;
use crate::service::planted::{self, Bug};

/// Everything visible in `from` is behind us; of the slice up to `to`, if one is being read in pages, everything up to `last_id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    pub from: Snapshot,
    pub to: Option<Snapshot>,
    pub last_id: i64,
}

/// What to read next of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    pub lane: i16,
    pub from: Snapshot,
    /// A frozen snapshot; None: whatever is visible when it is read.
    pub to: Option<Snapshot>,
    /// Rows up to this id were read before.
    pub skip: i64,
    /// Rows at most.
    pub rows: i64,
}

impl Position {
    /// Nothing of the ring is behind us.
    pub fn beginning() -> Self {
        Self { from: Snapshot::beginning(), to: None, last_id: 0 }
    }

    /// The span that goes on from here: the rest of the slice, or a new one up to `until`.
    pub fn span(&self, lane: i16, until: Option<&Snapshot>, rows: i64) -> Span {
        if planted::is(Bug::CursorIdGreaterThanLast) {
            return Span { lane, from: Snapshot::beginning(), to: None, skip: self.last_id, rows };
        }
        if let (true, None, Some(tick)) = (planted::is(Bug::TickGap), &self.to, until) {
            return Span { lane, from: tick.clone(), to: Some(tick.clone()), skip: 0, rows };
        }
        match &self.to {
            Some(to) => Span { lane, from: self.from.clone(), to: Some(to.clone()), skip: self.last_id, rows },
            None => Span { lane, from: self.from.clone(), to: until.cloned(), skip: 0, rows },
        }
    }

    /// Where we are when `found` rows of the span were read, the last with id `last_id`, by a statement that saw `snapshot`.
    pub fn after(&self, span: &Span, found: usize, last_id: Option<i64>, snapshot: &Snapshot) -> Self {
        let to = span.to.as_ref().unwrap_or(snapshot);
        let last_id = last_id.unwrap_or(self.last_id);
        if found as i64 == span.rows {
            Self { from: self.from.clone(), to: Some(to.clone()), last_id }
        } else {
            Self { from: to.clone(), to: None, last_id }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_page_freezes_the_slice_and_a_short_one_ends_it() {
        let (start, seen) = (Position::beginning(), snapshot("9:9:"));
        let first = start.span(3, None, 2);
        assert_eq!(first.to, None);
        let within = start.after(&first, 2, Some(7), &seen);
        assert_eq!(within, Position { from: Snapshot::beginning(), to: Some(seen.clone()), last_id: 7 });

        // Whatever has become visible since belongs to a later slice.
        let rest = within.span(3, Some(&snapshot("12:12:")), 2);
        assert_eq!((rest.to.as_ref(), rest.skip), (Some(&seen), 7));
        let end = within.after(&rest, 1, Some(8), &snapshot("15:15:"));
        assert_eq!(end, Position { from: seen, to: None, last_id: 8 });
        assert_eq!(end.span(3, None, 2).skip, 0, "a late committer may have a smaller id than any row sent so far");
    }

    #[test]
    fn a_slice_without_rows_is_passed_too() {
        let tick = snapshot("5:5:");
        let span = Position::beginning().span(0, Some(&tick), 10);
        assert_eq!(Position::beginning().after(&span, 0, None, &snapshot("9:9:")).from, tick);
    }
}
