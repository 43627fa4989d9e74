//! What must hold, by the names under which it is known in documents, tests and reports.

use std::str::FromStr;

/// Judged by query, topic, log or sample. The others are not to be read from anything that a fleet leaves behind, and have tests alone: I14
/// (`domain/decide/tests/orders.rs`), I22 (`tests/ingress`) and I23 (everything else that is judged here, with Redis flushed, stale or gone).
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
    I13,
    I15,
    I16,
    I17,
    I18,
    I19,
    I20,
    I21,
    I24,
    I25,
    I26,
}

impl Invariant {
    pub const ALL: [Self; 23] = [
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
        Self::I13,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I18,
        Self::I19,
        Self::I20,
        Self::I21,
        Self::I24,
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
            Self::I13 => "I13",
            Self::I15 => "I15",
            Self::I16 => "I16",
            Self::I17 => "I17",
            Self::I18 => "I18",
            Self::I19 => "I19",
            Self::I20 => "I20",
            Self::I21 => "I21",
            Self::I24 => "I24",
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
            Self::I5 => "gateways and ledger agree on every charge and every failure",
            Self::I6 => "accepted requests exist once, refused ones left nothing",
            Self::I7 => "every payment is final, none waits for a human",
            Self::I8 => "steps and their events are atomic, both ways",
            Self::I9 => "every event is on its topic",
            Self::I10 => "events of a payment stand in order, without gaps",
            Self::I11 => "nothing is on a topic that no step emitted",
            Self::I12 => "one step per cause",
            Self::I13 => "every consumed command left a step or a dead letter",
            Self::I15 => "no callback but a verified one changed anything, none thanked for is lost",
            Self::I16 => "only legal steps, versions without gaps",
            Self::I17 => "one payment per key, its answer as stored; by a load's log, each replay",
            Self::I18 => "the application cannot rewrite ledger, steps and audit",
            Self::I19 => "one checkpointing owner per lane, epochs never fall",
            Self::I20 => "no session idles in a transaction; no more of them than the pools have",
            Self::I21 => "no canary is in topics, tables, Redis or logs",
            Self::I24 => "memory, descriptors, tasks and queues stay under their caps",
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
            Self::I13 => "consumed commands",
            Self::I15 => "callbacks and their steps",
            Self::I17 => "keys",
            Self::I18 => "privileges and triggers",
            Self::I19 => "checkpoints",
            Self::I20 => "sightings of sessions",
            Self::I21 => "records, rows, values and files",
            Self::I24 => "samples",
            Self::I25 => "requests",
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is none of the invariants that can be judged from books, topics, logs and samples: I1–I13, I15–I21, I24–I26"
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
        assert!("I14".parse::<Invariant>().is_err());
    }
}
