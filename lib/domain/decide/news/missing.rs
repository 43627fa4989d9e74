//! No payment, or no information: refused, not found, unknown.

use super::*;

impl Learner<'_> {
    /// "It never reached the books": believed only for the only call of a payment's creation, if nobody rang while it was under way.
    pub(super) fn refused(&self) -> Decision {
        let Source::Call { operation: Operation::Create, .. } = self.news.source else { return self.unknown() };
        let only_call = self.attempt.operation(Operation::Create).is_some_and(|operation| operation.calls == 1);
        let is_believed = only_call && !self.is_outdated();
        if !(self.is_current() && self.transaction.status == Status::Submitting && is_believed) {
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
                .due_in(Some(self.context.not_sent_in(self.transaction, self.try_again_in(round))))
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

    /// Not sooner than the gateway asked for, and not at once because it asked for nothing.
    fn try_again_in(&self, round: i16) -> Duration {
        self.context.policy.retry_in(round).max(self.retry_after().unwrap_or_default())
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.news.outcome {
            Outcome::Later { retry_after_ms, .. } => {
                retry_after_ms.map(Duration::from_millis).map(|wait| wait.min(self.context.policy.retry_longest))
            }
            _ => None,
        }
    }

    /// The gateway, asked, does not know the payment. It may be on its way still, so one such answer proves nothing; and of a withdrawal
    /// it never does: it lets the payment be sent again under its key, and the answer to that tells.
    pub(super) fn not_found(&self) -> Decision {
        let status = self.transaction.status;
        if self.was_asked() && self.was_given_up() {
            return self.given_up_not_found();
        }
        if self.is_live() && status == Status::Submitting {
            return Decision::Nothing("a call is under way");
        }
        // The customer's turn, and yet a capture was sent: the order was on the books, and is gone.
        let was_captured = status == Status::RequiresAction && self.captures() > 0;
        if !(self.is_live() && (status == Status::Unknown || was_captured)) {
            return if self.is_live() { self.ask_later() } else { self.unpaid_after_the_end() };
        }
        let (policy, now) = (self.context.policy, self.context.now);
        // What the gateway knew when it was asked; the answer may have taken its time.
        let asked_at = if let Source::Answer { asked_at, .. } = self.news.source { asked_at } else { now };
        let on_its_way = self.attempt.last_send_by().is_some_and(|send_by| asked_at < send_by + policy.settle_window);
        if on_its_way {
            return self.ask_later();
        }
        if self.may_be_sent_again() && (self.order_waits() || self.transaction.is_in_doubt()) {
            return self.ask_later();
        }
        if self.may_be_sent_again() {
            let asks = self.transaction.asks.saturating_add(1);
            let step = self.step(Status::Unknown, AttemptState::Unknown).command(Act::Create);
            return Decision::step(step.asks(asks).due_in(Some(policy.ask_in(asks))).done());
        }
        let too_soon = self.attempt.not_found_at.is_some_and(|last| asked_at < last + policy.settle_window);
        if too_soon {
            return self.ask_later();
        }
        self.count_not_found()
    }

    /// Asking does not tell whether the gateway has the payment. That is no reason to end it, but one to send it again under its key, on
    /// the same conditions; and where it was sent again and rejected, that has told.
    pub(super) fn unseen(&self) -> Decision {
        let is_open = self.was_asked() && self.is_live() && self.transaction.status == Status::Unknown;
        if is_open && (self.may_be_sent_again() || self.was_rejected_again()) {
            return self.not_found();
        }
        self.unknown()
    }

    fn may_be_sent_again(&self) -> bool {
        let (policy, now) = (self.context.policy, self.context.now);
        let key_honoured = now + policy.call_within < self.attempt.created_at + policy.key_lifetime;
        let never_captured = self.attempt.operation(Operation::Capture).is_none();
        // What another attempt came to after this one is final: sent again, the payment would go on behind it.
        let is_latest = self.transaction.attempts.iter().all(|attempt| attempt.number <= self.attempt.number);
        let may_be_carried_out = never_captured && is_latest && !self.was_rejected_again();
        now < self.transaction.submit_until && key_honoured && may_be_carried_out
    }

    /// Asked about a payment that has ended here, the gateway has nothing that would be paid: it ended so.
    pub(super) fn unpaid_after_the_end(&self) -> Decision {
        match self.transaction.status {
            Status::Failed | Status::Expired if self.is_current() => self.confirmed(),
            Status::Succeeded if self.is_current() && self.was_asked() => self.contradicted(),
            _ => Decision::Nothing("not news"),
        }
    }

    /// Somebody has told what the gateway does not show, or it shows nothing at all: for a settle window after the latest step its books may be
    /// behind its messages.
    pub(super) fn may_not_be_seen_for(&self) -> Option<Duration> {
        let Source::Answer { asked_at, .. } = self.news.source else { return None };
        let seen_from = self.transaction.updated_at + self.context.policy.settle_window;
        let wait = (seen_from - self.context.now).try_into().unwrap_or_default();
        let Transaction { contradicted, is_due, .. } = *self.transaction;
        let may_lag = contradicted || (is_due && matches!(self.news.outcome, Outcome::NotFound));
        (may_lag && asked_at < seen_from).then_some(wait)
    }

    /// Sent again under its key, the payment was rejected. Had an earlier call been executed, its result would have been the answer, and the
    /// resend came after the last moment at which one could still arrive; so none was, whether or not the gateway keeps a key for what
    /// it has rejected (Stripe does not). Sending it once more would say nothing new.
    fn was_rejected_again(&self) -> bool {
        self.attempt.operation(Operation::Create).is_some_and(|create| create.rejected && create.calls > 1)
    }

    pub(super) fn count_not_found(&self) -> Decision {
        let count = self.attempt.not_found.saturating_add(1);
        let message = "The gateway, asked twice, does not know the payment.";
        let waits = self.transaction.status == Status::RequiresAction;
        let still = if waits { self.attempt.state } else { AttemptState::Unknown };
        let is_certain = self.transaction.kind == Kind::Deposit || self.was_rejected_again();
        let step = match (count >= 2, is_certain) {
            (true, true) => self
                .step(Status::Failed, AttemptState::NotExecuted)
                .substatus(Substatus::NotExecuted)
                .reason("not_executed", message, None)
                .post_failure(),
            (true, false) => self.step(Status::Review, AttemptState::Unknown).reason("not_found", message, None),
            (false, _) => self
                .step(self.transaction.status, still)
                .asks(self.transaction.asks)
                .due_in(Some(self.context.policy.settle_window)),
        };
        let mut change = step.done();
        if let Some(attempt) = &mut change.attempt_change {
            attempt.not_found = Some(count);
        }
        Decision::step(change)
    }

    /// No information. After a call it is now official that we do not know; unless another call of the operation is under way since,
    /// whose answer is still to come.
    pub(super) fn unknown(&self) -> Decision {
        // What the order's call was answered says nothing of the capture that is under way.
        if self.is_current() && self.capture_under_way() && !self.answers_capture() {
            return Decision::Nothing("a capture is under way");
        }
        match (self.news.source, self.transaction.status) {
            (Source::Call { operation, .. }, Status::Submitting) if self.is_current() && !self.is_stale() => {
                let state =
                    if self.attempt.state == AttemptState::Open { AttemptState::Unknown } else { self.attempt.state };
                let asks = self.transaction.asks_kept_by(operation);
                let calls = if operation == Operation::Capture { self.captures() } else { 1 };
                let wait = self.context.policy.ask_in(calls.saturating_sub(1));
                let due_in = wait.max(self.retry_after().unwrap_or_default());
                let step = self.step(Status::Unknown, state).asks(asks).due_in(Some(due_in));
                Decision::step(
                    step.reason("outcome_unknown", "The gateway's answer is not known; it is being asked.", None)
                        .done(),
                )
            }
            (Source::Answer { .. }, status) if self.is_live() && status != Status::Submitting => self.ask_later(),
            (Source::Answer { .. }, Status::Failed | Status::Expired | Status::Succeeded) => self.unanswered(),
            _ => Decision::Nothing("no information"),
        }
    }
}
