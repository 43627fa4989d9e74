//! A payment as the rules see it: where it stands, and what was tried at which gateway.

use time::OffsetDateTime;
use uuid::Uuid;

use super::destination::DestinationKind;
use super::ids::{Kind, Operation};
use super::money::Money;
use super::reason::{NOT_SENT, RESOLVED, Reason};
pub use super::status::{AttemptState, Status, Substatus, UnknownWord};

/// An act on an attempt that may move money, and how often its bytes may have left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationState {
    pub kind: Operation,
    /// Times that it may have been sent, take-overs included. Above 1, a refusal proves nothing.
    pub calls: i16,
    pub send_by: OffsetDateTime,
    /// Its last sending was answered with a documented rejection.
    pub rejected: bool,
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
    /// What the account's owner may spend at the moment of reading; a reversal takes from it first.
    pub available: i64,
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
    /// It is to be looked at. One that has ended is so only for a while: after a success that is to be confirmed, an end by outdated news, or
    /// when somebody rings or contradicts.
    pub is_due: bool,
    /// Somebody said, after the payment had ended as it stands, that it ended otherwise.
    pub contradicted: bool,
    /// The gateway, asked, has said that the money came back, and nothing has happened to the payment since.
    pub came_back_when_asked: bool,
    /// Why it stands so, where that is not plain.
    pub reason: Option<Reason>,
    pub submit_until: OffsetDateTime,
    pub created_at: OffsetDateTime,
    /// When the latest step was taken.
    pub updated_at: OffsetDateTime,
    pub attempts: Vec<Attempt>,
}

impl Transaction {
    /// It stands as a human has settled it.
    pub fn is_resolved(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.code == RESOLVED)
    }

    pub fn current_attempt(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.number == self.attempt)
    }

    /// Attempts beside the current one that were given up, and rung about since: nobody knows any more what became of them. None once a human
    /// has settled the payment.
    pub fn doubted(&self) -> impl Iterator<Item = &Attempt> {
        let in_doubt = |attempt: &&Attempt| attempt.state == AttemptState::Unknown && attempt.number != self.attempt;
        self.attempts.iter().filter(in_doubt).filter(|_| !self.is_resolved())
    }

    /// What the gateways are asked about when the payment is due: what is in doubt, and the current attempt. The last attempt of a payment that
    /// could not be sent was refused as each was.
    pub fn asked_about(&self) -> impl Iterator<Item = &Attempt> {
        let not_sent = self.reason.as_ref().is_some_and(|reason| reason.code == NOT_SENT);
        let is_refused = move |attempt: &&Attempt| not_sent && attempt.state.is_definitely_refused();
        self.doubted().chain(self.current_attempt().filter(move |attempt| !is_refused(attempt)))
    }

    /// The position in the query schedule with which a call of this operation leaves the payment. A payment that was sent is asked about
    /// from the beginning; one whose capture failed is where it was, so that captures come at the schedule's pace and end with it.
    pub fn asks_kept_by(&self, operation: Operation) -> i16 {
        if operation == Operation::Capture { self.asks } else { 0 }
    }

    /// Money may have moved, or may still, by another attempt than the current one: by this one none is to be moved meanwhile.
    pub fn is_in_doubt(&self) -> bool {
        self.doubted().next().is_some()
    }

    /// How often this operation of an attempt may have been sent.
    pub fn calls(&self, attempt: i16, operation: Operation) -> i16 {
        let attempt = self.attempts.iter().find(|known| known.number == attempt);
        attempt.and_then(|attempt| attempt.operation(operation)).map_or(0, |operation| operation.calls)
    }

    pub fn attempt_by_id(&self, id: Uuid) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == id)
    }
}
