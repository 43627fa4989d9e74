//! A step of a payment as one value: everything that is committed together when it is taken.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::event::Emission;
use super::ids::Operation;
use super::outcome::Outcome;
use super::posting::Posting;
use super::reason::Reason;
use super::status::{AttemptState, Status, Substatus};
use super::transaction::{Attempt, OperationState, Transaction};

/// How the cause of a step ends that records a contradiction of how the payment ended; `transactions/sql/load.sql` looks for it.
pub const CONTRADICTS: &str = ":contradicts";
/// How the cause of a step begins that was taken because of the answer to a question; `transactions/sql/load.sql` looks for it too.
pub const ASKED: &str = "asked:";

/// As `transactions/sql/load.sql` has it.
fn tells_it_came_back(cause: &str) -> bool {
    let told = cause.strip_prefix(ASKED).and_then(|told| told.strip_suffix(CONTRADICTS));
    told.is_some_and(|told| told.ends_with(":declined") || told.ends_with(":reversed"))
}

/// Who caused a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Actor {
    Client,
    Worker,
    Callback,
    Reconciler,
    Timer,
    Operator,
}

impl Actor {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Callback => "callback",
            Self::Reconciler => "reconciler",
            Self::Timer => "timer",
            Self::Operator => "operator",
        }
    }
}

/// What the postings assume of the owner's spendable balance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Available {
    AtLeast(i64),
    /// All of it is taken, and the rest is owed.
    Exactly(i64),
}

/// On whose word an operator's step was taken, and why. It stays in history, and is not shown to the payment's owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    pub operator: String,
    pub says: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NextAction {
    pub redirect_url: String,
    pub expires_at: Option<OffsetDateTime>,
}

/// What the step writes about the attempt it concerns: a new row, or the news about one that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptChange {
    pub id: Uuid,
    pub number: i16,
    pub round: i16,
    pub gateway: String,
    pub state: AttemptState,
    /// None keeps what is stored.
    pub reference: Option<String>,
    pub gateway_code: Option<String>,
    pub gateway_text: Option<String>,
    /// Some sets the count of "no such payment" and its time (now); None keeps both.
    pub not_found: Option<i16>,
}

/// What the step writes about an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationChange {
    /// It may be sent from now on, for this long: a new row with calls = 1, or calls + 1 on the one that stands.
    MayBeSent { kind: Operation, for_at_most: Duration },
    /// Another took over while it may still be under way: calls + 1, `send_by` stays.
    TakenOver { kind: Operation },
    /// It was answered.
    Answered { kind: Operation, outcome: &'static str },
}

/// Committed as one: it happens only if the transaction still stands at `expected_version`, and no step had this cause before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub transaction_id: Uuid,
    pub expected_version: i64,
    pub cause: String,
    pub actor: Actor,
    pub from: Status,
    pub to: Status,
    pub substatus: Option<Substatus>,
    pub reason: Option<Reason>,
    pub gateway: String,
    pub attempt: i16,
    pub round: i16,
    /// Kept only in `requires_action`; any other status clears it.
    pub next_action: Option<NextAction>,
    /// Position in the query schedule after this step.
    pub asks: i16,
    /// When the fleet looks again, from the commit on. None: never by itself.
    pub due_in: Option<Duration>,
    pub attempt_change: Option<AttemptChange>,
    pub operation_change: Option<OperationChange>,
    pub postings: Vec<Posting>,
    /// The gateway at which a difference is put into suspense, where that is not the payment's.
    pub suspended_at: Option<String>,
    /// What the account's owner was assumed to owe when the postings were made up; the step misses if it is otherwise.
    pub expected_owed: Option<i64>,
    /// What the account's owner was assumed to have, where the postings take of it; the step misses if it is otherwise.
    pub expected_available: Option<Available>,
    /// Of an operator's step.
    pub word: Option<Word>,
    /// On payments.events: every step says so.
    pub event: Emission,
    /// What a worker must do next.
    pub command: Option<Emission>,
    /// The stored callback that this step applies.
    pub callback: Option<Uuid>,
}

impl Change {
    /// The payment as it stands once this is committed; the few times that only the database knows are taken as `now`.
    pub fn applied_to(&self, transaction: &Transaction, now: OffsetDateTime) -> Transaction {
        let mut next = transaction.clone();
        next.status = self.to;
        next.substatus = self.substatus;
        next.gateway.clone_from(&self.gateway);
        next.attempt = self.attempt;
        next.round = self.round;
        next.next_action_url = self.next_action.as_ref().map(|action| action.redirect_url.clone());
        next.next_action_expires_at = self.next_action.as_ref().and_then(|action| action.expires_at);
        next.version += 1;
        next.updated_at = now;
        next.asks = self.asks;
        next.is_due = self.due_in.is_some();
        let (contradicts, stays) = (self.cause.ends_with(CONTRADICTS), self.from == self.to);
        next.contradicted = contradicts || (stays && transaction.contradicted);
        next.came_back_when_asked = tells_it_came_back(&self.cause);
        next.reason = self.reason.clone().or_else(|| transaction.reason.clone().filter(|_| stays));
        if let Some(news) = &self.attempt_change {
            news.applied_to(&mut next, self.operation_change.as_ref(), now);
        }
        next
    }
}

impl AttemptChange {
    fn applied_to(&self, transaction: &mut Transaction, operation: Option<&OperationChange>, now: OffsetDateTime) {
        if transaction.attempt_by_id(self.id).is_none() {
            transaction.attempts.push(Attempt {
                id: self.id,
                number: self.number,
                round: self.round,
                gateway: self.gateway.clone(),
                state: self.state,
                reference: None,
                not_found: 0,
                not_found_at: None,
                created_at: now,
                operations: Vec::new(),
            });
        }
        let Some(attempt) = transaction.attempts.iter_mut().find(|attempt| attempt.id == self.id) else { return };
        attempt.state = self.state;
        if let Some(reference) = &self.reference {
            attempt.reference = Some(reference.clone());
        }
        if let Some(count) = self.not_found {
            attempt.not_found = count;
            attempt.not_found_at = Some(now);
        }
        let standing = |attempt: &mut Attempt, kind: Operation| attempt.operations.iter().position(|o| o.kind == kind);
        match operation {
            Some(OperationChange::MayBeSent { kind, for_at_most }) => match standing(attempt, *kind) {
                Some(index) => {
                    attempt.operations[index].calls += 1;
                    attempt.operations[index].send_by = now + *for_at_most;
                    attempt.operations[index].rejected = false;
                }
                None => attempt.operations.push(OperationState {
                    kind: *kind,
                    calls: 1,
                    send_by: now + *for_at_most,
                    rejected: false,
                }),
            },
            Some(OperationChange::TakenOver { kind }) => {
                if let Some(index) = standing(attempt, *kind) {
                    attempt.operations[index].calls += 1;
                }
            }
            Some(OperationChange::Answered { kind, outcome }) => {
                if let Some(index) = standing(attempt, *kind) {
                    attempt.operations[index].rejected = *outcome == Outcome::REJECTED;
                }
            }
            None => {}
        }
    }
}
