//! Making up a [`Change`]: the parts that every step shares.

use std::time::Duration;

use crate::domain::change::{Actor, AttemptChange, Available, CONTRADICTS, Change, NextAction, OperationChange, Word};
use crate::domain::event::{self, Act, Command, Emission, StatusChanged};
use crate::domain::posting::{self, Posting};
use crate::domain::reason::Reason;
use crate::domain::transaction::{Attempt, AttemptState, Status, Substatus, Transaction};

/// Characters of a gateway's own id at most: no gateway's is longer, and the index of references has its limit.
pub(super) const REFERENCE_LIMIT: usize = 255;
/// Characters of a text of a gateway at most.
const TEXT_LIMIT: usize = 500;

/// What is kept of a gateway's text.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(TEXT_LIMIT).collect()
}

/// A step in the making. Starts as "nothing changes but the version".
pub(super) struct Step<'a> {
    transaction: &'a Transaction,
    change: Change,
    act: Option<Act>,
    /// The attempt to ask about, where it is not the current one.
    about: Option<(i16, String)>,
}

impl<'a> Step<'a> {
    pub fn new(transaction: &'a Transaction, to: Status, cause: String, actor: Actor) -> Self {
        let next_action = match (to, &transaction.next_action_url) {
            (Status::RequiresAction, Some(url)) => {
                Some(NextAction { redirect_url: url.clone(), expires_at: transaction.next_action_expires_at })
            }
            _ => None,
        };
        let change = Change {
            transaction_id: transaction.id,
            expected_version: transaction.version,
            cause,
            actor,
            from: transaction.status,
            to,
            substatus: if to == transaction.status { transaction.substatus } else { None },
            reason: None,
            gateway: transaction.gateway.clone(),
            attempt: transaction.attempt,
            round: transaction.round,
            next_action,
            asks: 0,
            due_in: None,
            attempt_change: None,
            operation_change: None,
            postings: Vec::new(),
            suspended_at: None,
            expected_owed: None,
            expected_available: None,
            word: None,
            event: Emission { topic: event::EVENTS.into(), kind: event::kind::STATUS_CHANGED, payload: Vec::new() },
            command: None,
            callback: None,
        };
        Self { transaction, change, act: None, about: None }
    }

    /// What caused it says otherwise than the payment stands after it: not forgotten, should the gateway give no answer.
    pub fn contradicts(mut self) -> Self {
        self.change.cause.push_str(CONTRADICTS);
        self
    }

    pub fn due_in(mut self, due_in: Option<Duration>) -> Self {
        self.change.due_in = due_in;
        self
    }

    pub fn asks(mut self, asks: i16) -> Self {
        self.change.asks = asks;
        self
    }

    pub fn substatus(mut self, substatus: Substatus) -> Self {
        self.change.substatus = Some(substatus);
        self
    }

    pub fn reason(mut self, code: &str, message: impl Into<String>, gateway_code: Option<String>) -> Self {
        let (message, gateway_code) = (shortened(&message.into()), gateway_code.as_deref().map(shortened));
        self.change.reason = Some(Reason { code: code.into(), message, gateway_code });
        self
    }

    pub fn route(mut self, gateway: &str, round: i16) -> Self {
        self.change.gateway = gateway.into();
        self.change.round = round;
        self
    }

    pub fn attempt_number(mut self, number: i16) -> Self {
        self.change.attempt = number;
        self
    }

    pub fn next_action(mut self, redirect_url: String, expires_at: Option<time::OffsetDateTime>) -> Self {
        self.change.next_action = Some(NextAction { redirect_url, expires_at });
        self
    }

    pub fn attempt(mut self, attempt: AttemptChange) -> Self {
        self.change.attempt_change = Some(attempt);
        self
    }

    pub fn operation(mut self, operation: OperationChange) -> Self {
        self.change.operation_change = Some(operation);
        self
    }

    pub fn command(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }

    pub fn ask_about(mut self, attempt: &Attempt) -> Self {
        self.act = Some(Act::Ask);
        self.about = Some((attempt.number, attempt.gateway.clone()));
        self
    }

    pub fn callback(mut self, callback: Option<uuid::Uuid>) -> Self {
        self.change.callback = callback;
        self
    }

    /// The payment has succeeded: the ledger says so in the same commit.
    pub fn post_success(self) -> Self {
        let postings = posting::on_success(self.transaction);
        self.postings(postings)
    }

    /// The payment has ended without success: a hold is released in the same commit.
    pub fn post_failure(self) -> Self {
        let postings = posting::on_failure(self.transaction);
        self.postings(postings)
    }

    /// The gateway has taken the money back: what was booked is booked the other way round in the same commit.
    pub fn post_reversal(self) -> Self {
        let postings = posting::on_reversal(self.transaction);
        self.postings(postings)
    }

    /// A difference is put into suspense there.
    pub fn suspended_at(mut self, gateway: Option<String>) -> Self {
        self.change.suspended_at = gateway;
        self
    }

    /// On an operator's word.
    pub fn word(mut self, word: Word) -> Self {
        self.change.word = Some(word);
        self
    }

    pub fn postings(mut self, postings: Vec<Posting>) -> Self {
        let Transaction { available, owed, .. } = *self.transaction;
        if !postings.is_empty() {
            self.change.expected_owed = Some(owed);
        }
        if let Some(taken) = posting::taken_from_owner(&postings) {
            self.change.expected_available =
                Some(if taken.owed > 0 { Available::Exactly(available) } else { Available::AtLeast(taken.available) });
        }
        self.change.postings = postings;
        self
    }

    pub fn done(mut self) -> Change {
        let transaction = self.transaction;
        let version = transaction.version + 1;
        let change = &self.change;
        let (status, shown) = change.to.public();
        let substatus = change.substatus.map(Substatus::as_str).or(shown);
        let payload = event::to_payload(&StatusChanged {
            transaction_id: transaction.id,
            r#type: transaction.kind,
            version,
            status: status.into(),
            substatus: substatus.map(Into::into),
            amount: transaction.money.minor,
            currency: transaction.money.currency.to_string(),
            gateway: change.gateway.clone(),
            attempt: change.attempt,
            reason: change.reason.as_ref().map(|reason| reason.code.clone()),
        });
        let command = self.act.map(|act| {
            // A `create` of a payment that waits in `created` makes the next attempt; everything else goes on with one that stands.
            let makes_next = act == Act::Create && change.to == Status::Created;
            let current = (change.attempt + i16::from(makes_next), change.gateway.clone());
            let (attempt, gateway) = self.about.clone().unwrap_or(current);
            let topic = event::commands_of(&gateway);
            let calls = act.operation().map_or(0, |operation| transaction.calls(attempt, operation));
            let transaction_id = transaction.id;
            let payload = event::to_payload(&Command { transaction_id, act, attempt, gateway, version, calls });
            Emission { topic, kind: event::kind::COMMAND, payload }
        });
        self.change.event.payload = payload;
        self.change.command = command;
        self.change
    }
}

/// News about an attempt that stands: its state, keeping everything else.
pub(super) fn attempt_now(attempt: &Attempt, state: AttemptState) -> AttemptChange {
    AttemptChange {
        id: attempt.id,
        number: attempt.number,
        round: attempt.round,
        gateway: attempt.gateway.clone(),
        state,
        reference: None,
        gateway_code: None,
        gateway_text: None,
        not_found: None,
    }
}
