//! What must hold, by the names under which it is known in documents, tests and reports.

use std::str::FromStr;

/// Judged by query, topic or log. Those that only a running fleet can show (I13–I15, I18, I20–I24) have tests of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I16,
    I17,
    I19,
    I25,
    I26,
}

impl Invariant {
    pub const ALL: [Self; 17] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I16,
        Self::I17,
        Self::I19,
        Self::I25,
        Self::I26,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I4 => "I4",
            Self::I5 => "I5",
            Self::I6 => "I6",
            Self::I7 => "I7",
            Self::I8 => "I8",
            Self::I9 => "I9",
            Self::I10 => "I10",
            Self::I11 => "I11",
            Self::I12 => "I12",
            Self::I16 => "I16",
            Self::I17 => "I17",
            Self::I19 => "I19",
            Self::I25 => "I25",
            Self::I26 => "I26",
        }
    }

    /// In one line, as the report shows it.
    pub fn must_hold(self) -> &'static str {
        match self {
            Self::I1 => "money is conserved: per effect and per currency, debits equal credits",
            Self::I2 => "stored balances are the fold of their entries",
            Self::I3 => "no balance is, or ever was, below zero",
            Self::I4 => "no effect twice; no hold both posted and released",
            Self::I5 => "gateways and ledger agree on every charge",
            Self::I6 => "accepted requests exist once, refused ones left nothing",
            Self::I7 => "every payment is final, none waits for a human",
            Self::I8 => "steps and their events are atomic, both ways",
            Self::I9 => "every event is on its topic",
            Self::I10 => "events of a payment stand in order, without gaps",
            Self::I11 => "nothing is on a topic that no step emitted",
            Self::I12 => "one step per cause",
            Self::I16 => "only legal steps, versions without gaps",
            Self::I17 => "one payment per key, its answer as stored; by a load's log, each replay",
            Self::I19 => "one checkpointing owner per lane, epochs never fall",
            Self::I25 => "intent was committed before money could move",
            Self::I26 => "status and ledger entries agree",
        }
    }

    /// What it counts under "checked".
    pub fn counts(self) -> &'static str {
        match self {
            Self::I1 | Self::I4 => "ledger entries",
            Self::I2 | Self::I3 => "accounts",
            Self::I5 => "charges and payments",
            Self::I6 => "requests",
            Self::I7 | Self::I26 => "payments",
            Self::I8 => "events",
            Self::I9 => "events",
            Self::I10 => "payments and callbacks",
            Self::I11 => "records",
            Self::I12 | Self::I16 => "steps",
            Self::I17 => "keys",
            Self::I19 => "checkpoints",
            Self::I25 => "requests",
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is none of the invariants that can be judged from books, topics and logs: I1–I12, I16, I17, I19, I25, I26"
)]
pub struct UnknownInvariant(pub String);

impl FromStr for Invariant {
    type Err = UnknownInvariant;

    fn from_str(text: &str) -> Result<Self, UnknownInvariant> {
        let wanted = text.trim().to_ascii_uppercase();
        Self::ALL.into_iter().find(|known| known.name() == wanted).ok_or_else(|| UnknownInvariant(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_is_found_by_its_name() {
        for invariant in Invariant::ALL {
            assert_eq!(invariant.name().to_lowercase().parse(), Ok(invariant));
        }
        assert!("I13".parse::<Invariant>().is_err());
    }
}
