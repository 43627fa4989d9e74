//! What came after a question was put, or a call was allowed, is not forgotten for its answer.

use super::*;

const STAYS_DUE: &str = "it is due for what came since";

fn ends(change: &Change) -> bool {
    change.from != change.to && matches!(change.to, Status::Succeeded | Status::Failed | Status::Expired)
}

impl Learner<'_> {
    /// Something was told, or done, after the call was allowed or the question put: the news knows nothing of that.
    pub(super) fn is_outdated(&self) -> bool {
        match self.news.source {
            Source::Call { begun, .. } => begun < self.transaction.version,
            Source::Answer { asked_at, .. } => asked_at < self.transaction.updated_at,
            Source::Callback { .. } => false,
        }
    }

    /// What came since is not forgotten for outdated news: an answer ends no payment without success then, nor a doubt, nor the asking about one
    /// that has ended, nor does it contradict the end, unless by telling of money.
    pub(super) fn heeding_what_came_since(&self, decision: Decision) -> Decision {
        let Transaction { status, is_due, version, asks, .. } = *self.transaction;
        let had_ended = self.is_current() && status.is_final();
        let tells_of_money = matches!(self.news.outcome, Outcome::Succeeded { .. } | Outcome::Reversed { .. });
        let ends_doubt =
            matches!(&decision, Decision::Step(change) if self.is_doubted() && change.to != Status::Review);
        match decision {
            _ if !(self.was_asked() && self.is_outdated()) => decision,
            _ if ends_doubt || (self.is_doubted() && !tells_of_money) => Decision::Nothing(STAYS_DUE),
            Decision::LookAgain { .. } if had_ended && is_due => Decision::Nothing(STAYS_DUE),
            Decision::Step(_) if had_ended && !tells_of_money && is_due => Decision::Nothing(STAYS_DUE),
            Decision::Step(_) if had_ended && !tells_of_money => {
                Decision::LookAgain { version, due_in: Some(self.context.policy.ask_in(0)), asks }
            }
            Decision::Step(change) if ends(&change) && change.to != Status::Succeeded => Decision::Nothing(STAYS_DUE),
            decision => decision,
        }
    }

    /// A payment that ends by outdated news is asked about once more, and so is one of which an earlier attempt is in doubt.
    pub(super) fn due_if_in_doubt(&self, decision: Decision) -> Decision {
        let in_doubt = self.is_outdated() || self.transaction.is_in_doubt();
        match decision {
            Decision::Step(mut change) if in_doubt && ends(&change) => {
                change.due_in = Some(self.context.policy.ask_in(0));
                Decision::Step(change)
            }
            decision => decision,
        }
    }
}
