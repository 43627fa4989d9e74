//! The payment is on the gateway's books, result to come: accepted, the customer's turn, approved.

use super::*;

/// Questions that follow each other within this time are too many for each to order a capture again.
const CLOSE: Duration = Duration::from_secs(60);

/// Of questions that are close to each other these order: the 1st, the 2nd, and from there every 4th, so that an order that was dropped
/// is not missed for long.
fn orders_again(asks: i16) -> bool {
    asks.unsigned_abs().is_power_of_two() || asks % 4 == 0
}

impl Learner<'_> {
    pub(super) fn accepted(&self) -> Decision {
        if !self.is_live() {
            return self.on_the_books_after_the_end(AttemptState::Accepted);
        }
        match self.transaction.status {
            Status::AwaitingGateway if self.was_asked() => self.ask_later(),
            Status::AwaitingGateway => self.note(AttemptState::Accepted),
            // While a capture is under way, "accepted" is about the order, not about the capture.
            Status::Submitting if self.capture_under_way() && !self.answers_capture() => {
                Decision::Nothing("a capture is under way")
            }
            _ => Decision::step(
                self.step(Status::AwaitingGateway, AttemptState::Accepted)
                    .due_in(Some(self.context.policy.ask_in(0)))
                    .done(),
            ),
        }
    }

    /// On the books by an attempt that the payment does not wait for: given up, or ended here.
    fn on_the_books_after_the_end(&self, state: AttemptState) -> Decision {
        if self.was_given_up() {
            return self.given_up_on_the_books(state);
        }
        match (self.news.source, self.transaction.status) {
            (Source::Answer { .. }, Status::Succeeded | Status::Failed | Status::Expired) => self.contradicted(),
            // The answer to a call that was given up on: what ended here may come to something after all.
            (Source::Call { .. }, Status::Failed | Status::Expired) => self.ask_first(),
            // So may what was refused, and is on the books.
            (Source::Callback { .. }, Status::Failed | Status::Expired) if self.becomes_doubtful() => self.ask_first(),
            _ => Decision::Nothing("not news"),
        }
    }

    pub(super) fn answers_capture(&self) -> bool {
        matches!(self.news.source, Source::Call { operation: Operation::Capture, .. })
    }

    pub(super) fn capture_under_way(&self) -> bool {
        self.transaction.status == Status::Submitting && self.attempt.operation(Operation::Capture).is_some()
    }

    /// How often the capture may have been sent. Captures are paced by this alone: questions that were put early do not put them off.
    pub(super) fn captures(&self) -> i16 {
        self.attempt.operation(Operation::Capture).map_or(0, |capture| capture.calls)
    }

    /// How long the latest capture was sent too lately for the next.
    fn capture_rests_for(&self) -> Option<Duration> {
        let policy = self.context.policy;
        let sent_at = self.attempt.operation(Operation::Capture)?.send_by - policy.send_within;
        let next = sent_at + policy.ask_in(self.captures().saturating_sub(1));
        (next > self.context.now).then(|| (next - self.context.now).unsigned_abs())
    }

    pub(super) fn needs_customer(&self, url: &str, expires_at: Option<OffsetDateTime>) -> Decision {
        let has_ended = self.is_current() && self.transaction.status.is_final();
        if has_ended && self.was_asked() {
            return self.unpaid_after_the_end();
        }
        if !self.is_live() || self.transaction.kind == Kind::Withdrawal {
            return self.accepted();
        }
        let asked = self.was_asked();
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
                    .due_in(Some(self.context.policy.ask_in(0)))
                    .done(),
            ),
        }
    }

    /// The capture is ordered by a command in the same commit; should it get lost, or the capture fail, the next question orders it again (of
    /// questions close to each other, not each), however early that is put no sooner than the schedule has it.
    pub(super) fn approved(&self) -> Decision {
        if !self.is_live() {
            return self.on_the_books_after_the_end(AttemptState::Approved);
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
        if self.transaction.is_in_doubt() && self.transaction.status != Status::Submitting {
            return self.ask_later();
        }
        if let Some(rest) = self.capture_rests_for() {
            let Transaction { version, asks, .. } = *self.transaction;
            return Decision::LookAgain { version, due_in: Some(rest), asks };
        }
        let was_sent = self.attempt.operation(Operation::Capture).is_some();
        let asks = if ordered || was_sent { self.transaction.asks.saturating_add(1) } else { 0 };
        // Ordered, and not made yet: most likely the order waits for a worker that is behind, and each further one would wait with it. Or it
        // was dropped, because calls to the gateway failed: while questions are few, each of them orders.
        let waits = ordered && !was_sent;
        let policy = self.context.policy;
        let thinned_out = policy.ask_in(asks) <= CLOSE && !orders_again(asks);
        if waits && (thinned_out || self.order_waits()) {
            return self.ask_later();
        }
        let step = self.step(to, AttemptState::Approved).command(Act::Capture).asks(asks);
        let wait = if waits { self.in_turn(asks) } else { policy.ask_in(self.captures()) };
        Decision::step(step.due_in(Some(wait)).done())
    }
}
