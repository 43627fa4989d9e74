//! The gateway's final word: succeeded, declined, expired, taken back.

use super::*;

impl Learner<'_> {
    pub(super) fn succeeded(&self, money: Money) -> Decision {
        let status = self.transaction.status;
        if status == Status::Review && self.attempt.state != AttemptState::Succeeded {
            return self.succeeded_in_review(money);
        }
        if status == Status::Review || status == Status::Reversed {
            return self.note(AttemptState::Succeeded);
        }
        if self.was_settled_knowing(AttemptState::Succeeded) {
            return self.confirmed();
        }
        if money != self.transaction.money {
            return self.differs(money);
        }
        if self.is_live() {
            let step = self.step(Status::Succeeded, AttemptState::Succeeded).post_success();
            return Decision::step(step.due_in(self.confirmation()).done());
        }
        match status {
            Status::Succeeded if self.is_current() => self.confirmed(),
            Status::Failed | Status::Expired if self.is_current() && !self.was_asked() => self.ask_first(),
            // The operator may have put the money into suspense, and may have been wrong: what is booked now is a human's again.
            Status::Failed if self.is_current() && self.transaction.is_resolved() => {
                let message = "The gateway executed it after an operator had settled it as failed.";
                self.review("late_success", message, AttemptState::Succeeded)
            }
            Status::Failed | Status::Expired if self.is_current() && self.transaction.kind == Kind::Deposit => {
                let step = self.step(Status::Succeeded, AttemptState::Succeeded).post_success();
                // It may have been waiting for another gateway when it was given up.
                let step = step.route(&self.attempt.gateway, self.attempt.round);
                Decision::step(step.reason("late_success", "The gateway executed it after all.", None).done())
            }
            Status::Failed | Status::Expired if self.is_current() => self.review(
                "late_success",
                "The gateway paid out after the hold was released.",
                AttemptState::Succeeded,
            ),
            Status::Cancelled => self.note(AttemptState::Succeeded),
            _ => self.second_success(),
        }
    }

    /// What a callback alone has told is believed at once and asked about soon after: whoever has the key by which callbacks are signed
    /// is found out by its gateway's books, and a gateway that has told a success in error by its own. If it says nothing to the end of the
    /// schedule, what was told stands.
    fn confirmation(&self) -> Option<Duration> {
        matches!(self.news.source, Source::Callback { .. }).then(|| self.context.policy.ask_in(0))
    }

    /// Whoever decides about it may have looked already: this costs a version, so that no word is taken that knows nothing of it.
    fn succeeded_in_review(&self, money: Money) -> Decision {
        if money != self.transaction.money {
            return self.differs(money);
        }
        if !self.is_current() {
            return self.second_success();
        }
        Decision::step(self.step(Status::Review, AttemptState::Succeeded).done())
    }

    fn differs(&self, money: Money) -> Decision {
        let what = format!("The gateway reports {money}, the payment is over {}.", self.transaction.money);
        self.review("amount_differs", &what, AttemptState::Succeeded)
    }

    fn second_success(&self) -> Decision {
        self.review("second_success", "An attempt succeeded that was given up before.", AttemptState::Succeeded)
    }

    pub(super) fn declined(&self, code: &str, message: &str) -> Decision {
        let status = self.transaction.status;
        if self.was_given_up() {
            return self.given_up_without_success(AttemptState::Declined);
        }
        let by_callback = matches!(self.news.source, Source::Callback { .. });
        if self.is_live() {
            // It would be final. The one callback that says so may be wrong, and the one that says otherwise may never come.
            if by_callback {
                return self.ask_first();
            }
            let step = self.step(Status::Failed, AttemptState::Declined).substatus(Substatus::Declined);
            let step = step.reason("declined", message, Some(code.to_owned())).post_failure();
            return Decision::step(step.done());
        }
        if self.was_settled_knowing(AttemptState::Declined) {
            return self.confirmed();
        }
        match status {
            Status::Succeeded if !self.was_asked() => self.ask_first(),
            Status::Succeeded if self.transaction.kind == Kind::Withdrawal => self.failed_once_paid(),
            Status::Succeeded => {
                self.review("contradiction", "The gateway reports failure after success.", AttemptState::Declined)
            }
            Status::Review => self.unpaid_in_review(AttemptState::Declined),
            _ => self.confirmed(),
        }
    }

    /// As a success told in review: it costs a version. What is known of the attempt is not forgotten for it.
    fn unpaid_in_review(&self, state: AttemptState) -> Decision {
        if self.attempt.state.is_without_success() || !self.attempt.state.yields_to(state) {
            return self.confirmed();
        }
        Decision::step(self.step(Status::Review, state).done())
    }

    /// A human has settled the payment, and had this of the attempt before him: told again, it is no news.
    fn was_settled_knowing(&self, state: AttemptState) -> bool {
        self.transaction.is_resolved() && self.attempt.state == state
    }

    /// The payment had ended so already: if it was asked about because somebody said otherwise, that is settled, once the gateway's books must
    /// show what was said. One of which an earlier attempt is in doubt is asked about on.
    pub(super) fn confirmed(&self) -> Decision {
        if self.was_asked() && self.is_current() && self.transaction.status.is_final() {
            let Transaction { version, asks, .. } = *self.transaction;
            // What uses up the schedule are the questions about those.
            if self.transaction.is_in_doubt() {
                return Decision::LookAgain { version, due_in: Some(self.in_turn(asks.saturating_add(1))), asks };
            }
            return match self.may_not_be_seen_for() {
                Some(wait) => Decision::LookAgain { version, due_in: Some(wait), asks },
                None => Decision::LookAgain { version, due_in: None, asks: 0 },
            };
        }
        Decision::Nothing("already ended so")
    }

    pub(super) fn expired(&self) -> Decision {
        if self.was_given_up() {
            return self.given_up_without_success(AttemptState::Expired);
        }
        if !self.is_live() {
            let contradicts = self.transaction.status == Status::Succeeded;
            let in_review = self.transaction.status == Status::Review;
            return match (contradicts, self.was_asked()) {
                (true, true) => self.contradicted(),
                (true, false) => self.ask_first(),
                (false, _) if in_review => self.unpaid_in_review(AttemptState::Expired),
                (false, _) => self.confirmed(),
            };
        }
        if matches!(self.news.source, Source::Callback { .. }) {
            return self.ask_first();
        }
        // A capture may have taken the money, whatever the order's page says of the customer's time. An order that was captured is not
        // forgotten: that the gateway, asked, has none any more is "no such payment", to be told twice.
        if self.attempt.operation(Operation::Capture).is_some() {
            let may_end = self.was_asked() && self.transaction.kind == Kind::Deposit;
            return if may_end { self.not_found() } else { self.unknown() };
        }
        let message = "The customer did not approve in time.";
        if self.transaction.status == Status::RequiresAction && self.transaction.kind == Kind::Deposit {
            let step = self.step(Status::Expired, AttemptState::Expired).reason("customer_expired", message, None);
            return Decision::step(step.post_failure().done());
        }
        let step = self.step(Status::Failed, AttemptState::Expired).substatus(Substatus::Declined);
        Decision::step(step.reason("declined", message, Some("expired".into())).post_failure().done())
    }

    /// Only the whole of a payment is taken back without a human, and only on the word of a gateway that was asked.
    pub(super) fn reversed(&self, money: Money, how: Reversal) -> Decision {
        if self.was_given_up() {
            return self.given_up_reversed(money);
        }
        let whole = money == self.transaction.money;
        match self.transaction.status {
            Status::Succeeded if !self.was_asked() => self.ask_first(),
            Status::Succeeded if whole => self.take_back(how),
            Status::Failed | Status::Expired if self.was_asked() => self.contradicted(),
            Status::Reversed => Decision::Nothing("already known"),
            Status::Review => self.taken_back(money),
            _ if self.is_live() && !self.was_asked() => self.ask_first(),
            // It had succeeded, unheard: that is booked first, and asked about at once. Should no answer come, a human gets it.
            _ if self.is_live() && whole => Decision::step(
                self.step(Status::Succeeded, AttemptState::Succeeded)
                    .contradicts()
                    .post_success()
                    .due_in(Some(self.context.policy.ask_in(0)))
                    .ask_about(self.attempt)
                    .done(),
            ),
            _ if self.is_live() || self.transaction.status == Status::Succeeded => self.taken_back(money),
            _ => self.note(self.attempt.state),
        }
    }

    /// What was taken back had been paid.
    pub(super) fn taken_back(&self, money: Money) -> Decision {
        let what = format!("The gateway took {money} back, the payment is over {}.", self.transaction.money);
        self.review("taken_back", &what, AttemptState::Succeeded)
    }

    /// Paid, and come back, as a gateway says that was asked: it is asked once more. What a callback said before counts for neither.
    fn failed_once_paid(&self) -> Decision {
        if self.transaction.came_back_when_asked { self.take_back(Reversal::Returned) } else { self.ask_first() }
    }

    /// While another attempt is in doubt, what was taken back may be one of two charges.
    fn take_back(&self, how: Reversal) -> Decision {
        if self.transaction.is_in_doubt() {
            return self.taken_back(self.transaction.money);
        }
        let step = self.step(Status::Reversed, self.attempt.state).substatus(how.substatus());
        let message = match how {
            Reversal::Chargeback => "The gateway took the payment back.",
            Reversal::Returned => "The payment came back.",
        };
        Decision::step(step.reason("taken_back", message, None).post_reversal().done())
    }
}
