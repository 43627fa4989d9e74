//! A Postgres snapshot as a value: which transactions had ended when it was taken.
//!
//! Snapshots of one primary are taken under one lock, so of any two one sees all that the other sees: they stand in one row, whatever
//! session took them. Ids are not such an order: a transaction may have taken its numbers long before it commits.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `xmin:xmax:xip,…`, as `pg_snapshot` prints it. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    xmin: u64,
    xmax: u64,
    /// Rising; all of them from xmin on and below xmax.
    running: Vec<u64>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a pg_snapshot: {0:?}")]
pub struct Malformed(String);

impl Snapshot {
    /// Sees nothing: the cursor of a lane that was never read.
    pub fn beginning() -> Self {
        Self(Arc::new(Parts { xmin: 1, xmax: 1, running: Vec::new() }))
    }

    /// The first transaction number that had not been given out.
    pub fn xmax(&self) -> u64 {
        self.0.xmax
    }

    /// Sorts the snapshots of one primary in the order in which they were taken.
    pub fn rank(&self) -> (u64, Reverse<usize>) {
        (self.0.xmax, Reverse(self.0.running.len()))
    }

    /// Had this transaction ended? (Whether it committed is another question: a rolled-back one has no rows.)
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.0.xmax && (xid < self.0.xmin || self.0.running.binary_search(&xid).is_err())
    }

    /// As if this transaction had been running still.
    pub fn without(&self, xid: u64) -> Self {
        let mut running = self.0.running.clone();
        // What the snapshot does not see above its xmax goes on unseen.
        running.extend(self.0.xmax..xid);
        if let Err(place) = running.binary_search(&xid) {
            running.insert(place, xid);
        }
        let (xmin, xmax) = (self.0.xmin.min(xid), self.0.xmax.max(xid + 1));
        Self(Arc::new(Parts { xmin, xmax, running }))
    }

    /// Was this one taken before the other, so that moving from this to the other is moving forward?
    pub fn is_before(&self, other: &Self) -> bool {
        other.sees_all_of(self) && !self.sees_all_of(other)
    }

    /// Does it see everything that the other sees?
    pub fn sees_all_of(&self, other: &Self) -> bool {
        let unseen_below = self.0.running.iter().all(|xid| !other.sees(*xid));
        // Everything from our xmax up to the other's must be running for the other too.
        let beyond = other.0.xmax.saturating_sub(self.0.xmax);
        let running_beyond = other.0.running.iter().filter(|xid| **xid >= self.0.xmax).count() as u64;
        unseen_below && beyond == running_beyond
    }
}

impl FromStr for Snapshot {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| malformed());
        let mut parts = text.splitn(3, ':');
        let (Some(xmin), Some(xmax), Some(list)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        let running =
            if list.is_empty() { Vec::new() } else { list.split(',').map(number).collect::<Result<Vec<u64>, _>>()? };
        let rising = running.windows(2).all(|pair| pair[0] < pair[1]);
        let within = running.iter().all(|xid| (xmin..xmax).contains(xid));
        if xmin == 0 || xmax < xmin || !rising || !within {
            return Err(malformed());
        }
        Ok(Self(Arc::new(Parts { xmin, xmax, running })))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.0.xmin, self.0.xmax)?;
        for (position, xid) in self.0.running.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{xid}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn a_running_or_later_transaction_is_not_seen() {
        let taken = snapshot("10:20:10,14,15");
        for (xid, seen) in [(9, true), (10, false), (11, true), (14, false), (15, false), (19, true), (20, false)] {
            assert_eq!(taken.sees(xid), seen, "{xid}");
        }
        assert!(!Snapshot::beginning().sees(3));
    }

    #[test]
    fn what_is_not_a_snapshot_is_refused() {
        for bad in ["", "1", "1:2", "0:1:", "5:4:", "1:9:3,2", "1:9:9", "5:9:4", "1:9:a", "1:9:3,", "1:9:3:4"] {
            assert_eq!(bad.parse::<Snapshot>(), Err(Malformed(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_transaction_that_ended_moves_the_snapshot_forward() {
        let (earlier, later) = (snapshot("10:20:10,14"), snapshot("14:20:14"));
        assert!(earlier.is_before(&later) && !later.is_before(&earlier) && !earlier.is_before(&earlier));
    }

    #[test]
    fn a_snapshot_without_a_transaction_sees_all_that_it_saw_but_that() {
        for xid in [3, 12, 14, 20, 23] {
            let (taken, without) = (snapshot("10:20:10,14"), snapshot("10:20:10,14").without(xid));
            assert_eq!(without.to_string().parse(), Ok(without.clone()), "{xid}");
            for other in 1..30 {
                assert_eq!(without.sees(other), taken.sees(other) && other != xid, "{xid}: {other}");
            }
        }
    }

    /// A history: at each step a transaction begins, or one that runs ends. Snapshots as Postgres takes them in between.
    fn history(steps: Vec<(bool, usize)>) -> Vec<(Snapshot, BTreeSet<u64>)> {
        let (mut running, mut ended) = (BTreeSet::new(), BTreeSet::new());
        let mut next = 3u64;
        let mut taken = Vec::new();
        for (begins, which) in steps {
            if begins || running.is_empty() {
                running.insert(next);
                next += 1;
            } else if let Some(xid) = running.iter().copied().nth(which % running.len()) {
                running.remove(&xid);
                ended.insert(xid);
            }
            // As Postgres does it: xmax is one above the last transaction that ended, younger ones need no mention.
            let xmax = ended.last().map_or(3, |last| last + 1);
            let list: Vec<String> = running.range(..xmax).map(u64::to_string).collect();
            let xmin = running.first().copied().unwrap_or(xmax).min(xmax);
            taken.push((snapshot(&format!("{xmin}:{xmax}:{}", list.join(","))), ended.clone()));
        }
        taken
    }

    proptest! {
        #[test]
        fn a_snapshot_sees_exactly_what_had_ended(steps in prop::collection::vec((any::<bool>(), 0usize..8), 1..60)) {
            for (taken, ended) in history(steps) {
                for xid in 1..80 {
                    prop_assert_eq!(taken.sees(xid), xid < 3 || ended.contains(&xid));
                }
            }
        }

        #[test]
        fn snapshots_stand_in_the_order_in_which_they_were_taken(
            steps in prop::collection::vec((any::<bool>(), 0usize..8), 1..60),
        ) {
            let taken = history(steps);
            for (position, (earlier, seen_earlier)) in taken.iter().enumerate() {
                for (later, seen_later) in &taken[position..] {
                    prop_assert!(later.sees_all_of(earlier));
                    prop_assert_eq!(earlier.is_before(later), seen_earlier != seen_later);
                    prop_assert!(!later.is_before(earlier));
                    prop_assert!(earlier.rank() <= later.rank());
                }
            }
        }

        #[test]
        fn a_snapshot_reads_back(steps in prop::collection::vec((any::<bool>(), 0usize..8), 1..30)) {
            for (taken, _) in history(steps) {
                prop_assert_eq!(taken.to_string().parse(), Ok(taken));
            }
        }
    }
}
