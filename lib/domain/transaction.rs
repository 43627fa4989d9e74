//! A payment as the rules see it: where it stands, and what was tried at which gateway.
//!
//! ```text
//! created ─▶ submitting ─▶ awaiting_gateway ─┬▶ succeeded ─▶ reversed
//!    │  ▲        │  │  └─▶ requires_action ──┼▶ failed
//!    │  └────────┘  └────▶ unknown ──────────┤
//!    └▶ cancelled, failed (not_sent)         └▶ review (a human decides); requires_action ─▶ expired
//! ```

use serde::{Deserialize, Serialize};
use std::str::FromStr;
use time::OffsetDateTime;
use uuid::Uuid;

use super::change::{AttemptChange, Change, OperationChange};
use super::destination::DestinationKind;
use super::ids::{Kind, Operation};
use super::money::Money;

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
            Created => matches!(next, Created | Submitting | Cancelled | Failed | Review),
            Submitting => !matches!(next, Cancelled | Expired | Reversed),
            AwaitingGateway => matches!(next, AwaitingGateway | RequiresAction | Succeeded | Failed | Review),
            RequiresAction => !matches!(next, Created | Unknown | Cancelled | Reversed),
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

/// An act on an attempt that may move money, and how often its bytes may have left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationState {
    pub kind: Operation,
    /// Times that it may have been sent, take-overs included. Above 1, a refusal proves nothing.
    pub calls: i16,
    pub send_by: OffsetDateTime,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub id: Uuid,
    pub number: i16,
    pub round: i16,
    pub gateway: String,
    pub state: AttemptState,
    pub reference: Option<String>,
    /// How many times the gateway, asked, did not know the payment, each at least one settle window after the one before.
    pub not_found: i16,
    pub not_found_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    pub operations: Vec<OperationState>,
}

impl Attempt {
    pub fn operation(&self, kind: Operation) -> Option<&OperationState> {
        self.operations.iter().find(|operation| operation.kind == kind)
    }

    /// The last moment at which bytes of any call of this attempt may leave us.
    pub fn last_send_by(&self) -> Option<OffsetDateTime> {
        self.operations.iter().map(|operation| operation.send_by).max()
    }
}

/// A transaction as it stands in the database, with its attempts in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    pub id: Uuid,
    pub kind: Kind,
    pub user_id: Uuid,
    pub account_id: i64,
    /// What the account's owner owes at the moment of reading; a credit repays it first.
    pub owed: i64,
    pub money: Money,
    pub country: String,
    pub pinned_gateway: Option<String>,
    pub destination_kind: Option<DestinationKind>,
    pub return_url: Option<String>,
    pub status: Status,
    pub substatus: Option<Substatus>,
    pub gateway: String,
    /// Number of the current attempt, 0 before the first.
    pub attempt: i16,
    pub round: i16,
    pub next_action_url: Option<String>,
    pub next_action_expires_at: Option<OffsetDateTime>,
    pub version: i64,
    /// Questions asked since the status last changed: the position in the gateway's query schedule.
    pub asks: i16,
    pub submit_until: OffsetDateTime,
    pub created_at: OffsetDateTime,
    pub attempts: Vec<Attempt>,
}

impl Transaction {
    pub fn current_attempt(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.number == self.attempt)
    }

    /// The payment as it stands once `change` is committed; the few times that only the database knows are taken as `now`.
    pub fn after(&self, change: &Change, now: OffsetDateTime) -> Self {
        let mut next = self.clone();
        next.status = change.to;
        next.substatus = change.substatus;
        next.gateway.clone_from(&change.gateway);
        next.attempt = change.attempt;
        next.round = change.round;
        next.next_action_url = change.next_action.as_ref().map(|action| action.redirect_url.clone());
        next.next_action_expires_at = change.next_action.as_ref().and_then(|action| action.expires_at);
        next.version += 1;
        next.asks = change.asks;
        if let Some(news) = &change.attempt_change {
            next.take_attempt(news, change.operation_change.as_ref(), now);
        }
        next
    }

    fn take_attempt(&mut self, news: &AttemptChange, operation: Option<&OperationChange>, now: OffsetDateTime) {
        if self.attempt_by_id(news.id).is_none() {
            self.attempts.push(Attempt {
                id: news.id,
                number: news.number,
                round: news.round,
                gateway: news.gateway.clone(),
                state: news.state,
                reference: None,
                not_found: 0,
                not_found_at: None,
                created_at: now,
                operations: Vec::new(),
            });
        }
        let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.id == news.id) else { return };
        attempt.state = news.state;
        if let Some(reference) = &news.reference {
            attempt.reference = Some(reference.clone());
        }
        if let Some(count) = news.not_found {
            attempt.not_found = count;
            attempt.not_found_at = Some(now);
        }
        let standing = |attempt: &mut Attempt, kind: Operation| attempt.operations.iter().position(|o| o.kind == kind);
        match operation {
            Some(OperationChange::MayBeSent { kind, for_at_most }) => match standing(attempt, *kind) {
                Some(index) => {
                    attempt.operations[index].calls += 1;
                    attempt.operations[index].send_by = now + *for_at_most;
                }
                None => attempt.operations.push(OperationState { kind: *kind, calls: 1, send_by: now + *for_at_most }),
            },
            Some(OperationChange::TakenOver { kind }) => {
                if let Some(index) = standing(attempt, *kind) {
                    attempt.operations[index].calls += 1;
                }
            }
            Some(OperationChange::Answered { .. }) | None => {}
        }
    }

    pub fn attempt_by_id(&self, id: Uuid) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let migration = include_str!("../../migrations/0004_transactions.sql");
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
