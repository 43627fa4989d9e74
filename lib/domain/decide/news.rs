//! News of a gateway about an attempt: the answer to a call, the answer to a question, or a verified callback.

use std::time::Duration;

use uuid::Uuid;

use super::build::{Step, attempt_now};
use super::{Context, Decision};
use crate::domain::change::{Actor, AttemptChange, Change, OperationChange};
use crate::domain::event::Act;
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::route::Next;
use crate::domain::transaction::{Attempt, AttemptState, Status, Substatus, Transaction};

/// How the news came. A call's and an answer's are the gateway's word to us; a callback's may be late or out of order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `begun` is the version at which the call was allowed.
    Call {
        operation: Operation,
        begun: i64,
    },
    Answer,
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
    match news.outcome {
        Outcome::Succeeded { money, .. } => learner.succeeded(*money),
        Outcome::Declined { code, message, .. } => learner.declined(code, message),
        Outcome::Expired { .. } => learner.expired(),
        Outcome::Accepted { .. } => learner.accepted(),
        Outcome::NeedsCustomer { redirect_url, expires_at, .. } => learner.needs_customer(redirect_url, *expires_at),
        Outcome::Approved { .. } => learner.approved(),
        Outcome::Rejected { .. } | Outcome::Unreachable { .. } | Outcome::Later { .. } => learner.refused(),
        Outcome::NotFound => learner.not_found(),
        Outcome::Reversed { .. } => learner.reversed(),
        Outcome::Unknown { .. } => learner.unknown(),
    }
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
        Status::Reversed | Status::Cancelled | Status::Review => Decision::Nothing("nothing can follow by itself"),
        Status::Succeeded if learner.is_current() => Decision::Nothing("already succeeded"),
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
            Source::Call { operation, begun } => format!("call:{}:{begun}", operation.key(self.attempt.id)),
            Source::Answer => format!("asked:{}", self.transaction.version),
            Source::Callback { id } => format!("callback:{id}"),
        }
    }

    fn actor(&self) -> Actor {
        match self.news.source {
            Source::Call { .. } => Actor::Worker,
            Source::Answer => Actor::Reconciler,
            Source::Callback { .. } => Actor::Callback,
        }
    }

    fn callback(&self) -> Option<Uuid> {
        match self.news.source {
            Source::Callback { id } => Some(id),
            _ => None,
        }
    }

    fn attempt_becomes(&self, state: AttemptState) -> AttemptChange {
        let mut change = attempt_now(self.attempt, state);
        change.reference = self.news.outcome.reference().map(Into::into);
        if let Outcome::Declined { code, message, .. } | Outcome::Rejected { code, message } = self.news.outcome {
            change.gateway_code = Some(code.clone());
            change.gateway_text = Some(message.clone());
        }
        change
    }

    /// A step caused by this news.
    fn step(&self, to: Status, attempt: AttemptState) -> Step<'a> {
        let step = Step::new(self.transaction, to, self.cause(), self.actor())
            .attempt(self.attempt_becomes(attempt))
            .callback(self.callback());
        match self.news.source {
            Source::Call { operation, .. } => {
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
        Decision::LookAgain {
            version: self.transaction.version,
            // When the schedule is used up the next look finds it so, and hands over to a human.
            due_in: Some(self.context.policy.ask_in(asks).unwrap_or(Duration::ZERO)),
            asks,
        }
    }

    /// The payment keeps its status; a worker asks the gateway at once, and the sweep asks should the command get lost.
    fn ask_first(&self) -> Decision {
        let step = Step::new(self.transaction, self.transaction.status, self.cause(), self.actor())
            .callback(self.callback())
            .asks(self.transaction.asks)
            .due_in(Some(self.context.policy.ask_in(0).unwrap_or(self.context.policy.margin)))
            .ask_about(self.attempt);
        Decision::step(step.done())
    }

    fn review(&self, code: &str, message: &str, attempt: AttemptState) -> Decision {
        Decision::step(self.step(Status::Review, attempt).reason(code, message, None).done())
    }

    fn succeeded(&self, money: Money) -> Decision {
        let status = self.transaction.status;
        let asked = matches!(self.news.source, Source::Answer);
        if status == Status::Review || status == Status::Reversed {
            return self.note(AttemptState::Succeeded);
        }
        if money != self.transaction.money {
            let what = format!("The gateway reports {money}, the payment is over {}.", self.transaction.money);
            return self.review("amount_differs", &what, AttemptState::Succeeded);
        }
        if self.is_live() {
            let step = self.step(Status::Succeeded, AttemptState::Succeeded).post_success();
            return Decision::step(step.done());
        }
        match status {
            Status::Succeeded if self.is_current() => self.confirmed(),
            Status::Failed | Status::Expired if self.is_current() && !asked => self.ask_first(),
            Status::Failed | Status::Expired if self.is_current() && self.transaction.kind == Kind::Deposit => {
                let step = self.step(Status::Succeeded, AttemptState::Succeeded).post_success();
                Decision::step(step.reason("late_success", "The gateway executed it after all.", None).done())
            }
            Status::Failed | Status::Expired if self.is_current() => self.review(
                "late_success",
                "The gateway paid out after the hold was released.",
                AttemptState::Succeeded,
            ),
            Status::Cancelled => self.note(AttemptState::Succeeded),
            _ => {
                self.review("second_success", "An attempt succeeded that was given up before.", AttemptState::Succeeded)
            }
        }
    }

    fn declined(&self, code: &str, message: &str) -> Decision {
        let status = self.transaction.status;
        if !self.is_current() {
            return self.note(AttemptState::Declined);
        }
        let by_callback = matches!(self.news.source, Source::Callback { .. });
        if self.is_live() {
            if by_callback && self.transaction.kind == Kind::Withdrawal {
                return self.ask_first();
            }
            let step = self.step(Status::Failed, AttemptState::Declined).substatus(Substatus::Declined);
            let step = step.reason("declined", message, Some(code.to_owned())).post_failure();
            return Decision::step(step.done());
        }
        match status {
            Status::Succeeded if by_callback => self.ask_first(),
            Status::Succeeded => {
                self.review("contradiction", "The gateway reports failure after success.", AttemptState::Declined)
            }
            _ => self.confirmed(),
        }
    }

    /// The payment had ended so already; if it was asked about because of a contradiction, that is settled now.
    fn confirmed(&self) -> Decision {
        match (self.news.source, self.transaction.status.is_final()) {
            (Source::Answer, true) => {
                Decision::LookAgain { version: self.transaction.version, due_in: None, asks: self.transaction.asks }
            }
            _ => Decision::Nothing("already ended so"),
        }
    }

    fn expired(&self) -> Decision {
        if !self.is_live() {
            return self.confirmed();
        }
        if matches!(self.news.source, Source::Callback { .. }) {
            return self.ask_first();
        }
        let message = "The customer did not approve in time.";
        if self.transaction.status == Status::RequiresAction && self.transaction.kind == Kind::Deposit {
            let step = self.step(Status::Expired, AttemptState::Expired).reason("customer_expired", message, None);
            return Decision::step(step.post_failure().done());
        }
        let step = self.step(Status::Failed, AttemptState::Expired).substatus(Substatus::Declined);
        Decision::step(step.reason("declined", message, Some("expired".into())).post_failure().done())
    }

    fn accepted(&self) -> Decision {
        if !self.is_live() {
            return Decision::Nothing("not news");
        }
        match self.transaction.status {
            Status::AwaitingGateway if matches!(self.news.source, Source::Answer) => self.ask_later(),
            Status::AwaitingGateway => self.note(AttemptState::Accepted),
            // While a capture is under way, "accepted" is about the order, not about the capture.
            Status::Submitting if self.capture_under_way() && !matches!(self.news.source, Source::Call { .. }) => {
                Decision::Nothing("a capture is under way")
            }
            _ => Decision::step(
                self.step(Status::AwaitingGateway, AttemptState::Accepted).due_in(self.context.policy.ask_in(0)).done(),
            ),
        }
    }

    fn capture_under_way(&self) -> bool {
        self.transaction.status == Status::Submitting && self.attempt.operation(Operation::Capture).is_some()
    }

    fn needs_customer(&self, url: &str, expires_at: Option<time::OffsetDateTime>) -> Decision {
        if !self.is_live() || self.transaction.kind == Kind::Withdrawal {
            return self.accepted();
        }
        let asked = matches!(self.news.source, Source::Answer);
        match self.transaction.status {
            Status::RequiresAction => {
                let over = self.transaction.next_action_expires_at.is_some_and(|end| self.context.now >= end);
                if asked && over {
                    self.expired()
                } else if asked {
                    self.ask_later()
                } else {
                    Decision::Nothing("not news")
                }
            }
            Status::Submitting if self.capture_under_way() => self.unknown(),
            _ => Decision::step(
                self.step(Status::RequiresAction, AttemptState::NeedsCustomer)
                    .next_action(url.to_owned(), expires_at)
                    .due_in(self.context.policy.ask_in(0))
                    .done(),
            ),
        }
    }

    /// The capture is ordered by a command in the same commit; should it get lost, the next question orders it again.
    fn approved(&self) -> Decision {
        if !self.is_live() {
            return Decision::Nothing("not news");
        }
        let ordered = self.attempt.state == AttemptState::Approved;
        let by_callback = matches!(self.news.source, Source::Callback { .. });
        let to = match self.transaction.status {
            Status::RequiresAction | Status::Unknown if ordered && by_callback => {
                return Decision::Nothing("the capture is ordered already");
            }
            Status::RequiresAction => Status::RequiresAction,
            Status::Submitting if self.capture_under_way() => return self.unknown(),
            Status::Submitting if by_callback => return self.ask_first(),
            _ if self.transaction.status == Status::AwaitingGateway => Status::RequiresAction,
            _ => Status::Unknown,
        };
        if to == Status::RequiresAction && self.transaction.next_action_url.is_none() {
            return self.ask_later();
        }
        let asks = if ordered { self.transaction.asks.saturating_add(1) } else { 0 };
        let due_in = self.context.policy.ask_in(asks).unwrap_or(Duration::ZERO);
        let step = self.step(to, AttemptState::Approved).command(Act::Capture).asks(asks).due_in(Some(due_in));
        Decision::step(step.done())
    }

    /// "It never reached the books": believed only for the only call of a payment's creation.
    fn refused(&self) -> Decision {
        let Source::Call { operation: Operation::Create, .. } = self.news.source else { return self.unknown() };
        let only_call = self.attempt.operation(Operation::Create).is_some_and(|operation| operation.calls == 1);
        if !(self.is_current() && self.transaction.status == Status::Submitting && only_call) {
            return self.unknown();
        }
        let (state, code, message) = match self.news.outcome {
            Outcome::Rejected { code, message } => (AttemptState::Rejected, code.as_str(), message.as_str()),
            Outcome::Later { code, .. } => (AttemptState::Later, code.as_str(), "The gateway asked to come later."),
            _ => (AttemptState::Unreachable, "unreachable", "The gateway could not be reached."),
        };
        let attempt = self.attempt_becomes(state);
        let policy = self.context.policy;
        let change: Change = match self.context.next_route(self.transaction, Some(&attempt)) {
            Next::Try { gateway, round } => self
                .step(Status::Created, state)
                .route(gateway, round)
                .command(Act::Create)
                .due_in(Some(policy.retry_in(0)))
                .done(),
            Next::Wait { gateway, round } => self
                .step(Status::Created, state)
                .route(gateway, round)
                .asks(round)
                .due_in(Some(self.retry_after().unwrap_or(policy.retry_in(round))))
                .done(),
            Next::Nowhere => self
                .step(Status::Failed, state)
                .substatus(Substatus::Rejected)
                .reason("rejected", message, Some(code.to_owned()))
                .post_failure()
                .done(),
        };
        Decision::step(change)
    }

    fn retry_after(&self) -> Option<Duration> {
        match self.news.outcome {
            Outcome::Later { retry_after_ms, .. } => {
                retry_after_ms.map(Duration::from_millis).map(|wait| wait.min(self.context.policy.retry_longest))
            }
            _ => None,
        }
    }

    /// The gateway, asked, does not know the payment. It may be on its way still, so one such answer proves nothing.
    fn not_found(&self) -> Decision {
        if !(self.is_live() && self.transaction.status == Status::Unknown) {
            return if self.is_live() { self.ask_later() } else { Decision::Nothing("not news") };
        }
        let (policy, now) = (self.context.policy, self.context.now);
        let on_its_way = self.attempt.last_send_by().is_some_and(|send_by| now < send_by + policy.settle_window);
        if on_its_way {
            return self.ask_later();
        }
        let key_honoured = now + policy.call_within < self.attempt.created_at + policy.key_lifetime;
        let never_captured = self.attempt.operation(Operation::Capture).is_none();
        if now < self.transaction.submit_until && key_honoured && never_captured {
            let asks = self.transaction.asks.saturating_add(1);
            let due_in = policy.ask_in(asks).unwrap_or(Duration::ZERO);
            let step = self.step(Status::Unknown, AttemptState::Unknown).command(Act::Create);
            return Decision::step(step.asks(asks).due_in(Some(due_in)).done());
        }
        let too_soon = self.attempt.not_found_at.is_some_and(|last| now < last + policy.settle_window);
        if too_soon {
            return self.ask_later();
        }
        self.count_not_found()
    }

    fn count_not_found(&self) -> Decision {
        let count = self.attempt.not_found.saturating_add(1);
        let message = "The gateway, asked twice, does not know the payment.";
        let step = match (count >= 2, self.transaction.kind) {
            (true, Kind::Deposit) => self
                .step(Status::Failed, AttemptState::NotExecuted)
                .substatus(Substatus::NotExecuted)
                .reason("not_executed", message, None)
                .post_failure(),
            (true, Kind::Withdrawal) => {
                self.step(Status::Review, AttemptState::Unknown).reason("not_found", message, None)
            }
            (false, _) => self
                .step(Status::Unknown, AttemptState::Unknown)
                .asks(self.transaction.asks)
                .due_in(Some(self.context.policy.settle_window)),
        };
        let mut change = step.done();
        if let Some(attempt) = &mut change.attempt_change {
            attempt.not_found = Some(count);
        }
        Decision::step(change)
    }

    fn reversed(&self) -> Decision {
        match self.transaction.status {
            Status::Succeeded if !matches!(self.news.source, Source::Answer) => self.ask_first(),
            Status::Review | Status::Reversed => Decision::Nothing("already known"),
            _ if self.is_live() || self.transaction.status == Status::Succeeded => {
                self.review("taken_back", "The gateway took the payment back.", self.attempt.state)
            }
            _ => self.note(self.attempt.state),
        }
    }

    /// No information. After a call it is now official that we do not know.
    fn unknown(&self) -> Decision {
        match (self.news.source, self.transaction.status) {
            (Source::Call { .. }, Status::Submitting) if self.is_current() => {
                let state =
                    if self.attempt.state == AttemptState::Open { AttemptState::Unknown } else { self.attempt.state };
                let step = self.step(Status::Unknown, state).due_in(self.context.policy.ask_in(0));
                Decision::step(
                    step.reason("outcome_unknown", "The gateway's answer is not known; it is being asked.", None)
                        .done(),
                )
            }
            (Source::Answer, status) if self.is_live() && status != Status::Submitting => self.ask_later(),
            (Source::Answer, Status::Failed | Status::Expired | Status::Succeeded) => self.ask_later(),
            _ => Decision::Nothing("no information"),
        }
    }
}
