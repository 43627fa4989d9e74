//! The offset rule, pure: what of a partition may be committed, given what was taken from it and what of that is done.
//!
//! Records are taken in the order of their offsets and may become done in any order. The frontier is the offset of the first
//! record that is not done (or the one after the last, when all are): everything below it may be forgotten by the broker.

use std::collections::VecDeque;

/// Names one delivery of a record. An offset would not do: after a rewind the same offset is delivered again, and the end of the
/// work on the first delivery must not count for the second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Taken {
    ticket: Ticket,
    offset: i64,
    done: bool,
}

/// One partition's deliveries since it was assigned, from the first that is not done.
#[derive(Debug, Default)]
pub struct Tracker {
    taken: VecDeque<Taken>,
    /// One more than the last offset whose record was taken; None before the first.
    end: Option<i64>,
    next_ticket: u64,
}

impl Tracker {
    /// A record was delivered. Offsets rise, with gaps where the log was compacted. A lower one means that the broker's log was
    /// cut or the fetch was rewound: the records from there on are taken to be delivered again.
    pub fn take(&mut self, offset: i64) -> Ticket {
        while self.taken.back().is_some_and(|last| last.offset >= offset) {
            self.taken.pop_back();
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.taken.push_back(Taken { ticket, offset, done: false });
        self.end = Some(offset + 1);
        ticket
    }

    /// The work on a delivery is over, and its effect is durable. Of no consequence for a delivery that was rewound.
    pub fn done(&mut self, ticket: Ticket) {
        if let Ok(at) = self.taken.binary_search_by_key(&ticket, |taken| taken.ticket) {
            self.taken[at].done = true;
        }
        while self.taken.front().is_some_and(|first| first.done) {
            self.taken.pop_front();
        }
    }

    /// What may be committed: the offset of the first record that is not done. None while nothing was taken.
    pub fn frontier(&self) -> Option<i64> {
        self.taken.front().map(|first| first.offset).or(self.end)
    }

    /// Deliveries remembered: those not done, and those done behind one that is not.
    pub fn span(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_committed_before_anything_was_taken() {
        assert_eq!(Tracker::default().frontier(), None);
    }

    #[test]
    fn the_frontier_waits_for_the_slowest() {
        let mut tracker = Tracker::default();
        let tickets: Vec<Ticket> = [10, 11, 15].into_iter().map(|offset| tracker.take(offset)).collect();
        assert_eq!(tracker.frontier(), Some(10));
        tracker.done(tickets[2]);
        tracker.done(tickets[1]);
        assert_eq!(tracker.frontier(), Some(10));
        tracker.done(tickets[0]);
        assert_eq!(tracker.frontier(), Some(16));
        assert_eq!(tracker.span(), 0);
    }

    #[test]
    fn the_end_of_a_rewound_delivery_does_not_count_for_the_next() {
        let mut tracker = Tracker::default();
        let first = tracker.take(7);
        let again = tracker.take(7);
        tracker.done(first);
        assert_eq!(tracker.frontier(), Some(7));
        tracker.done(again);
        assert_eq!(tracker.frontier(), Some(8));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Take the record this many offsets after the last.
        Take(i64),
        /// Finish one of the deliveries that are not done.
        Finish(prop::sample::Index),
        /// The log is cut this far back, and delivered again from there.
        Rewind(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..4i64).prop_map(Step::Take),
            4 => any::<prop::sample::Index>().prop_map(Step::Finish),
            1 => (0..6i64).prop_map(Step::Rewind),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_completion_commits_past_a_record_that_is_not_done(steps in prop::collection::vec(step(), 1..200)) {
            let mut tracker = Tracker::default();
            let mut open: BTreeMap<Ticket, i64> = BTreeMap::new();
            let mut last = -1;
            for step in steps {
                match step {
                    Step::Take(ahead) => {
                        last += ahead;
                        open.insert(tracker.take(last), last);
                    }
                    Step::Rewind(back) => {
                        last = (last - back).max(0);
                        open.retain(|_, offset| *offset < last);
                        open.insert(tracker.take(last), last);
                    }
                    Step::Finish(index) if !open.is_empty() => {
                        let ticket = *open.keys().nth(index.index(open.len())).unwrap();
                        open.remove(&ticket);
                        tracker.done(ticket);
                    }
                    Step::Finish(_) => {}
                }
                if last >= 0 {
                    let expected = open.values().min().copied().unwrap_or(last + 1);
                    prop_assert_eq!(tracker.frontier(), Some(expected));
                }
            }
        }
    }
}
