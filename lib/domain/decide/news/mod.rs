//! News of a gateway about an attempt: the answer to a call, the answer to a question, or a verified callback.

mod doubt;
mod ended;
mod missing;
mod open;
mod outdated;

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::build::{REFERENCE_LIMIT, Step, attempt_now, shortened};
use super::{Context, Decision};
use crate::domain::change::{ASKED, Actor, AttemptChange, Change, OperationChange};
use crate::domain::event::Act;
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, Reversal};
use crate::domain::route::Next;
use crate::domain::transaction::{Attempt, AttemptState, Status, Substatus, Transaction};

/// How the news came. A call's and an answer's are the gateway's word to us; a callback's may be late or out of order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `begun` is the version at which the call was allowed, `calls` how often the operation might have been sent by then, this call
    /// included.
    Call {
        operation: Operation,
        begun: i64,
        calls: i16,
    },
    /// `asked_at` is the database's time shortly before the question went out: what the gateway says is as old as that. `delivered`: by then
    /// the relay had passed the payment's last command. While it has not, no answer orders the same again: every question would leave a
    /// step and its events behind, for as long as a broker is away, and all of them would have to be passed when it is back.
    Answer {
        asked_at: OffsetDateTime,
        delivered: bool,
    },
    Callback {
        id: Uuid,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    pub attempt: Uuid,
    pub source: Source,
    pub outcome: &'a Outcome,
}

/// What follows from the news, as the payment stands.
pub fn learn(transaction: &Transaction, news: News<'_>, context: Context<'_>) -> Decision {
    let Some(attempt) = transaction.attempt_by_id(news.attempt) else {
        return Decision::Nothing("the attempt is not one of this payment");
    };
    let learner = Learner { transaction, attempt, news, context };
    let decision = match news.outcome {
        Outcome::Succeeded { money, .. } => learner.succeeded(*money),
        Outcome::Declined { code, message, .. } => learner.declined(code, message),
        Outcome::Expired { .. } => learner.expired(),
        Outcome::Accepted { .. } => learner.accepted(),
        Outcome::NeedsCustomer { redirect_url, expires_at, .. } => learner.needs_customer(redirect_url, *expires_at),
        Outcome::Approved { .. } => learner.approved(),
        Outcome::Rejected { .. } | Outcome::Unreachable { .. } | Outcome::Later { .. } => learner.refused(),
        Outcome::NotFound => learner.not_found(),
        Outcome::Unseen => learner.unseen(),
        Outcome::Reversed { money, how, .. } => learner.reversed(*money, *how),
        Outcome::Unknown { .. } => learner.unknown(),
    };
    learner.due_if_in_doubt(learner.returning_to_what_is_in_doubt(learner.heeding_what_came_since(decision)))
}

/// A callback that only says "look": the gateway is asked, by a command in the same commit.
pub fn rung(transaction: &Transaction, attempt: Uuid, callback: Uuid, context: Context<'_>) -> Decision {
    let Some(attempt) = transaction.attempt_by_id(attempt) else {
        return Decision::Nothing("the attempt is not one of this payment");
    };
    let outcome = Outcome::Unknown { why: "a callback asks to look".into() };
    let news = News { attempt: attempt.id, source: Source::Callback { id: callback }, outcome: &outcome };
    let learner = Learner { transaction, attempt, news, context };
    match transaction.status {
        Status::Reversed | Status::Cancelled => Decision::Nothing("nothing can follow by itself"),
        // For whoever decides about it: what it rings for is news to him. His is the last word, answer or not.
        Status::Review => {
            let step = Step::new(transaction, Status::Review, learner.cause(), learner.actor());
            Decision::step(step.callback(learner.callback()).ask_about(attempt).done())
        }
        // After a success too: what the gateway wants seen may be that it took the money back.
        _ => learner.ask_first(),
    }
}

struct Learner<'a> {
    transaction: &'a Transaction,
    attempt: &'a Attempt,
    news: News<'a>,
    context: Context<'a>,
}

impl<'a> Learner<'a> {
    fn is_current(&self) -> bool {
        self.attempt.number == self.transaction.attempt
    }

    /// The payment is at the gateway by this very attempt, result open.
    fn is_live(&self) -> bool {
        let open = [Status::Submitting, Status::AwaitingGateway, Status::RequiresAction, Status::Unknown];
        self.is_current() && open.contains(&self.transaction.status)
    }

    fn cause(&self) -> String {
        match self.news.source {
            Source::Call { operation, begun, .. } => format!("call:{}:{begun}", operation.key(self.attempt.id)),
            // Two questions may be answered while the payment stands at one version, about two attempts or otherwise.
            Source::Answer { .. } => {
                let (version, number) = (self.transaction.version, self.attempt.number);
                format!("{ASKED}{version}:{number}:{}", self.news.outcome.name())
            }
            Source::Callback { id } => format!("callback:{id}"),
        }
    }

    fn actor(&self) -> Actor {
        match self.news.source {
            Source::Call { .. } => Actor::Worker,
            Source::Answer { .. } => Actor::Reconciler,
            Source::Callback { .. } => Actor::Callback,
        }
    }

    /// The news is what the gateway said when asked.
    fn was_asked(&self) -> bool {
        matches!(self.news.source, Source::Answer { .. })
    }

    /// The news is the answer to a call after which another was allowed, or somebody took over: it says nothing about the calls since.
    fn is_stale(&self) -> bool {
        match self.news.source {
            Source::Call { operation, calls, .. } => {
                self.attempt.operation(operation).is_none_or(|standing| standing.calls != calls)
            }
            _ => false,
        }
    }

    /// What was ordered last is not on its topic yet, so it need not be ordered again.
    fn order_waits(&self) -> bool {
        matches!(self.news.source, Source::Answer { delivered: false, .. })
    }

    fn callback(&self) -> Option<Uuid> {
        match self.news.source {
            Source::Callback { id } => Some(id),
            _ => None,
        }
    }

    fn attempt_becomes(&self, state: AttemptState) -> AttemptChange {
        let mut change = attempt_now(self.attempt, state);
        // Cut short, an id would be another payment's: one that is no id of any gateway is not kept at all.
        change.reference =
            self.news.outcome.reference().filter(|id| id.chars().count() <= REFERENCE_LIMIT).map(Into::into);
        if let Outcome::Declined { code, message, .. } | Outcome::Rejected { code, message } = self.news.outcome {
            change.gateway_code = Some(shortened(code));
            change.gateway_text = Some(shortened(message));
        }
        change
    }

    /// A step caused by this news. The operation keeps only what its latest call was answered.
    fn step(&self, to: Status, attempt: AttemptState) -> Step<'a> {
        let step = Step::new(self.transaction, to, self.cause(), self.actor())
            .attempt(self.attempt_becomes(attempt))
            .callback(self.callback());
        match self.news.source {
            Source::Call { operation, .. } if !self.is_stale() => {
                step.operation(OperationChange::Answered { kind: operation, outcome: self.news.outcome.name() })
            }
            _ => step,
        }
    }

    fn note(&self, state: AttemptState) -> Decision {
        Decision::Note(self.attempt_becomes(state))
    }

    fn ask_later(&self) -> Decision {
        let asks = self.transaction.asks.saturating_add(1);
        let due_in = Some(self.in_turn(asks).max(self.retry_after().unwrap_or_default()));
        Decision::LookAgain { version: self.transaction.version, due_in, asks }
    }

    /// Until the next question after `asks`: however many of them were put early, it comes no later than in its turn.
    fn in_turn(&self, asks: i16) -> Duration {
        let (policy, attempt) = (self.context.policy, self.attempt);
        let wait = policy.ask_in(asks);
        policy.next_in(attempt.created_at, self.context.now).map_or(wait, |in_turn| in_turn.min(wait))
    }

    /// The payment keeps its status; a worker asks the gateway at once, and the sweep asks should the command get lost. What says something
    /// else than how the payment ended is marked, so that it is not forgotten should the gateway give no answer; an attempt that was given up
    /// is in doubt from now on.
    fn ask_first(&self) -> Decision {
        if self.becomes_doubtful() && self.transaction.status == Status::Created {
            return self.return_and_ask();
        }
        let says_nothing = matches!(self.news.outcome, Outcome::Unknown { .. });
        let step = Step::new(self.transaction, self.transaction.status, self.cause(), self.actor());
        let step = match self.becomes_doubtful() {
            true => step.attempt(self.attempt_becomes(AttemptState::Unknown)),
            false => step,
        };
        let contradicts = self.transaction.status.is_final() && !says_nothing && self.is_current();
        let step = if contradicts { step.contradicts() } else { step };
        let step = step
            .callback(self.callback())
            .asks(self.transaction.asks)
            .due_in(Some(self.context.policy.ask_in(0)))
            .ask_about(self.attempt);
        Decision::step(step.done())
    }

    /// This question about a payment that has ended here was the last of the schedule.
    fn was_last(&self) -> bool {
        let asks = self.transaction.asks.saturating_add(1);
        self.context.policy.is_used_up(asks, self.attempt.created_at, self.context.now)
    }

    /// Asked about a payment that has ended here, the gateway says something else. If it still does at the last question, a human decides.
    /// Before that it is a step, so that no answer to a question that was put before counts for more.
    fn contradicted(&self) -> Decision {
        if self.was_last() {
            let message = "Asked again and again, the gateway contradicts how the payment ended.";
            return self.review("contradiction", message, self.attempt.state);
        }
        let asks = self.transaction.asks.saturating_add(1);
        let step = self.step(self.transaction.status, self.attempt.state).contradicts();
        Decision::step(step.asks(asks).due_in(Some(self.in_turn(asks))).done())
    }

    /// Asked about a payment that has ended here, the gateway gives no answer. After the last question it is left at that if it has
    /// succeeded and nobody contradicted; one without success may have been paid after all, so a human decides.
    fn unanswered(&self) -> Decision {
        if !self.is_current() {
            return self.given_up_unanswered();
        }
        // It ended while the question was out, which was about something else.
        if !self.transaction.is_due {
            return Decision::Nothing("it has ended");
        }
        let without_success = matches!(self.transaction.status, Status::Failed | Status::Expired);
        if self.was_last() && !self.transaction.contradicted && without_success {
            let message = "The gateway rang about a payment that ended without success, and gave no answer when asked.";
            return self.review("bell_unanswered", message, self.attempt.state);
        }
        let in_doubt = self.transaction.contradicted || self.transaction.is_in_doubt();
        if self.was_last() && !in_doubt {
            return Decision::LookAgain { version: self.transaction.version, due_in: None, asks: 0 };
        }
        self.ask_later()
    }

    fn review(&self, code: &str, message: &str, attempt: AttemptState) -> Decision {
        Decision::step(self.step(Status::Review, attempt).reason(code, message, None).done())
    }
}
