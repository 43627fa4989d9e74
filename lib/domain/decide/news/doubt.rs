//! Attempts that were given up: refused, or come to nothing, and the payment went on or ended. One that is rung about is in doubt until its
//! gateway, asked, has told; while it is, the payment is sent nowhere, captured nowhere, and does not end without success.

use super::*;

impl Learner<'_> {
    /// The payment has gone on, or is about to.
    pub(super) fn was_given_up(&self) -> bool {
        !self.is_current() || self.transaction.status == Status::Created
    }

    /// The attempt was given up, and is in doubt.
    pub(super) fn is_doubted(&self) -> bool {
        self.transaction.doubted().any(|doubted| doubted.id == self.attempt.id)
    }

    /// To ask about it puts it in doubt, unless its gateway has told how it ended. A page's time may be over by our clock alone.
    pub(super) fn becomes_doubtful(&self) -> bool {
        let state = self.attempt.state;
        let is_certain = matches!(state, AttemptState::Succeeded | AttemptState::Declined);
        state.is_definitely_refused() || (self.was_given_up() && !is_certain)
    }

    /// From now on the payment waits for this attempt, as for any whose outcome is not known.
    fn returning<'s>(&self, step: Step<'s>, attempt: &Attempt) -> Step<'s> {
        let message = "An attempt that was refused may have been carried out; its gateway is being asked.";
        step.attempt_number(attempt.number)
            .route(&attempt.gateway, attempt.round)
            .due_in(Some(self.context.policy.ask_in(0)))
            .reason("outcome_unknown", message, None)
    }

    /// The payment was about to be sent once more: not while this attempt may have been carried out.
    pub(super) fn return_and_ask(&self) -> Decision {
        let step = self.step(Status::Unknown, AttemptState::Unknown);
        Decision::step(self.returning(step, self.attempt).ask_about(self.attempt).done())
    }

    /// What would send the payment elsewhere, or end it without success, takes it back to the attempt that is in doubt.
    pub(super) fn returning_to_what_is_in_doubt(&self, decision: Decision) -> Decision {
        let unpaid = [Status::Created, Status::Failed, Status::Expired];
        match (decision, self.transaction.doubted().next()) {
            (Decision::Step(change), Some(attempt)) if change.from != change.to && unpaid.contains(&change.to) => {
                let step = Step::new(self.transaction, Status::Unknown, change.cause, change.actor);
                let mut back = self.returning(step.callback(change.callback), attempt).done();
                (back.attempt_change, back.operation_change) = (change.attempt_change, change.operation_change);
                Decision::step(back)
            }
            (decision, _) => decision,
        }
    }

    /// Its gateway has it after all, and may carry it out.
    pub(super) fn given_up_on_the_books(&self, state: AttemptState) -> Decision {
        match self.transaction.status {
            Status::Review | Status::Cancelled | Status::Reversed => self.note(state),
            _ if self.attempt.state == AttemptState::Expired && self.was_asked() && self.is_outdated() => {
                Decision::Nothing("it was asked before the attempt was left")
            }
            _ if !self.becomes_doubtful() || (self.was_asked() && self.transaction.is_resolved()) => self.note(state),
            _ if !(self.was_asked() && self.is_doubted()) => self.ask_first(),
            status if !status.is_final() => self.note(AttemptState::Unknown),
            _ if self.was_last() => {
                let message = "An attempt that was given up stands open at its gateway to the end of the schedule.";
                self.review("contradiction", message, AttemptState::Unknown)
            }
            status => {
                let asks = self.transaction.asks.saturating_add(1);
                Decision::step(
                    self.step(status, AttemptState::Unknown).asks(asks).due_in(Some(self.in_turn(asks))).done(),
                )
            }
        }
    }

    /// Of what nobody doubts that is no news, and a doubt ends by no callback: its gateway is asked.
    pub(super) fn given_up_without_success(&self, state: AttemptState) -> Decision {
        match self.news.source {
            Source::Callback { .. } => Decision::Nothing("it was given up"),
            Source::Answer { .. } if self.is_doubted() => self.doubt_ends(state),
            _ => self.note(state),
        }
    }

    /// It was refused, and now is not known: nobody doubts it any more, once the gateway's books must show what was rung for; of a withdrawal,
    /// whose money would be paid out twice, only if it is told so to the end of the schedule.
    pub(super) fn given_up_not_found(&self) -> Decision {
        let Source::Answer { asked_at, .. } = self.news.source else { return Decision::Nothing("not news") };
        let Transaction { kind, status, updated_at, .. } = *self.transaction;
        let too_soon = asked_at < updated_at + self.context.policy.settle_window;
        let proves = kind == Kind::Deposit || (status.is_final() && self.was_last());
        if self.is_doubted() && (too_soon || !proves) {
            return if status.is_final() { self.ask_later() } else { Decision::Nothing("it proves nothing yet") };
        }
        self.given_up_without_success(AttemptState::NotExecuted)
    }

    /// Taken back as a whole, it has come to nothing.
    pub(super) fn given_up_reversed(&self, money: Money) -> Decision {
        match self.transaction.status {
            Status::Review => self.taken_back(money),
            Status::Cancelled | Status::Reversed => self.note(self.attempt.state),
            _ if !self.was_asked() => self.ask_first(),
            _ if money == self.transaction.money => self.given_up_without_success(AttemptState::NotExecuted),
            _ => self.taken_back(money),
        }
    }

    /// Its gateway gives no answer to the end of the schedule: a second charge would be found by nobody else.
    pub(super) fn given_up_unanswered(&self) -> Decision {
        if !self.is_doubted() {
            return Decision::Nothing("nobody doubts it");
        }
        if self.was_last() {
            let message = "The gateway rang about an attempt that was given up, and gave no answer when asked.";
            return self.review("bell_unanswered", message, self.attempt.state);
        }
        self.ask_later()
    }

    /// A step, though the payment stays where it is: it counts only if nobody has rung since.
    fn doubt_ends(&self, state: AttemptState) -> Decision {
        let Transaction { status, asks, .. } = *self.transaction;
        let step = self.step(status, state).asks(asks);
        match status {
            Status::Cancelled | Status::Reversed => self.note(state),
            // The answer to the call would be outdated by it, and a refusal not believed.
            Status::Submitting => Decision::Nothing("a call is under way"),
            Status::Review => Decision::step(step.done()),
            _ => Decision::step(step.due_in(Some(self.context.policy.ask_in(0))).done()),
        }
    }
}
