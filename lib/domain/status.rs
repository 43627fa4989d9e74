//! Where a payment and its attempts stand: the words of the database, and which may follow which.
//!
//! ```text
//! created ─▶ submitting ─▶ awaiting_gateway ─┬▶ succeeded ─▶ reversed
//!    │  ▲        │  │  └─▶ requires_action ──┼▶ failed
//!    │  └────────┘  └────▶ unknown ──────────┤
//!    └▶ cancelled, failed (not_sent)         └▶ review (a human decides); requires_action ─▶ expired
//! ```
//!
//! From `created`, `awaiting_gateway` and `requires_action` a payment returns to `unknown` if an attempt that was refused is in doubt.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a payment stands. The database's word; [`Status::public`] gives the API's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Created,
    Submitting,
    AwaitingGateway,
    RequiresAction,
    Unknown,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    Review,
    Reversed,
}

impl Status {
    pub const ALL: [Self; 11] = [
        Self::Created,
        Self::Submitting,
        Self::AwaitingGateway,
        Self::RequiresAction,
        Self::Unknown,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Review,
        Self::Reversed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Submitting => "submitting",
            Self::AwaitingGateway => "awaiting_gateway",
            Self::RequiresAction => "requires_action",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Review => "review",
            Self::Reversed => "reversed",
        }
    }

    /// (status, substatus) as the API shows them; a failed or reversed payment shows its own substatus instead.
    pub fn public(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Created => ("created", Some("queued")),
            Self::Submitting => ("processing", Some("submitting")),
            Self::AwaitingGateway => ("processing", Some("awaiting_gateway")),
            Self::Unknown => ("processing", Some("unknown")),
            Self::RequiresAction => ("requires_action", Some("awaiting_customer")),
            other => (other.as_str(), None),
        }
    }

    /// No step follows by itself. `review` is not final: a human decides.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired | Self::Reversed)
    }

    /// The legal steps. A step may also leave the status as it is, to record what was learned or asked.
    /// The database holds the same list (`transitions_legal`).
    pub fn may_become(self, next: Self) -> bool {
        use Status::*;
        match self {
            Created => matches!(next, Created | Submitting | Unknown | Cancelled | Failed | Review),
            Submitting => !matches!(next, Cancelled | Expired | Reversed),
            AwaitingGateway => matches!(next, AwaitingGateway | RequiresAction | Unknown | Succeeded | Failed | Review),
            RequiresAction => !matches!(next, Created | Cancelled | Reversed),
            Unknown => !matches!(next, Created | Cancelled | Expired | Reversed),
            Succeeded => matches!(next, Succeeded | Reversed | Review),
            Failed => matches!(next, Failed | Succeeded | Review),
            Expired => matches!(next, Expired | Succeeded | Review),
            Review => matches!(next, Review | Succeeded | Failed | Reversed),
            Cancelled | Reversed => false,
        }
    }

    /// The money of a withdrawal is still set aside.
    pub fn holds(self) -> bool {
        !self.is_final()
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a known value of this column")]
pub struct UnknownWord(pub String);

impl FromStr for Status {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// Why a payment failed, or how it was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Substatus {
    Declined,
    Rejected,
    NotExecuted,
    NotSent,
    Chargeback,
    Returned,
}

impl Substatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Rejected => "rejected",
            Self::NotExecuted => "not_executed",
            Self::NotSent => "not_sent",
            Self::Chargeback => "chargeback",
            Self::Returned => "returned",
        }
    }
}

impl FromStr for Substatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [Self::Declined, Self::Rejected, Self::NotExecuted, Self::NotSent, Self::Chargeback, Self::Returned]
            .into_iter()
            .find(|substatus| substatus.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// One of a payment's tries, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    Open,
    Accepted,
    NeedsCustomer,
    Approved,
    Succeeded,
    Declined,
    Rejected,
    Unreachable,
    Later,
    Unknown,
    NotExecuted,
    Expired,
}

impl AttemptState {
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Accepted,
        Self::NeedsCustomer,
        Self::Approved,
        Self::Succeeded,
        Self::Declined,
        Self::Rejected,
        Self::Unreachable,
        Self::Later,
        Self::Unknown,
        Self::NotExecuted,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::NeedsCustomer => "needs_customer",
            Self::Approved => "approved",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::Later => "later",
            Self::Unknown => "unknown",
            Self::NotExecuted => "not_executed",
            Self::Expired => "expired",
        }
    }

    /// Whether news beside a step may replace this state by `next`: what is known is never forgotten for something vaguer.
    pub fn yields_to(self, next: Self) -> bool {
        match self {
            Self::Succeeded => next == Self::Succeeded,
            Self::Declined | Self::NotExecuted | Self::Expired => next.is_final(),
            Self::Approved => next.is_final() || next == Self::Approved,
            _ => true,
        }
    }

    fn is_final(self) -> bool {
        self == Self::Succeeded || self.is_without_success()
    }

    /// Its gateway has said that nothing is paid by it.
    pub fn is_without_success(self) -> bool {
        matches!(self, Self::Declined | Self::NotExecuted | Self::Expired)
    }

    /// It may still come to something, or have.
    pub fn is_open(self) -> bool {
        !self.is_final() && !self.is_definitely_refused()
    }

    /// The payment certainly never reached the gateway's books by this attempt.
    pub fn is_definitely_refused(self) -> bool {
        matches!(self, Self::Rejected | Self::Unreachable | Self::Later)
    }
}

impl FromStr for AttemptState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_final_state_of_an_attempt_yields_to_a_vaguer_one_and_success_to_none() {
        use AttemptState::*;
        for known in [Succeeded, Declined, NotExecuted, Expired] {
            for vague in [Open, Accepted, NeedsCustomer, Approved, Rejected, Unreachable, Later, Unknown] {
                assert!(!known.yields_to(vague), "{known:?} → {vague:?}");
            }
        }
        assert!(AttemptState::ALL.into_iter().all(|next| Succeeded.yields_to(next) == (next == Succeeded)));
        assert!(!Approved.yields_to(Accepted) && !Approved.yields_to(NeedsCustomer));
        assert!(Approved.yields_to(Succeeded) && Declined.yields_to(Succeeded) && Later.yields_to(Accepted));
    }

    #[test]
    fn every_status_reads_back_from_its_column() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for state in AttemptState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("paid".parse::<Status>().is_err());
    }

    /// The pairs that the CHECK `transitions_legal` lists, read out of the migration.
    fn pairs_of_the_database() -> Vec<(Status, Status)> {
        let migration = include_str!("../../migrations/0013_returning_to_attempts_in_doubt.sql");
        let (_, check) = migration.split_once("CONSTRAINT transitions_legal CHECK").unwrap();
        let (cases, _) = check.split_once("ELSE").unwrap();
        let words = |text: &str| -> Vec<Status> {
            text.split('\'').skip(1).step_by(2).map(|word| word.parse().unwrap()).collect()
        };
        cases
            .split("WHEN")
            .skip(1)
            .flat_map(|case| {
                let (from, to) = case.split_once("THEN").unwrap();
                let from = words(from)[0];
                words(to).into_iter().map(move |to| (from, to))
            })
            .collect()
    }

    #[test]
    fn the_rules_and_the_database_know_the_same_legal_steps() {
        let listed = pairs_of_the_database();
        assert!(listed.len() > 30, "{listed:?}");
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.may_become(to), listed.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }
}
