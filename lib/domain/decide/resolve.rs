//! How a human's word ends a payment in review.
//!
//! | in the ledger | `succeeded` | `failed` | `reversed` |
//! |---|---|---|---|
//! | nothing (deposit) | credit | – | refused |
//! | hold | post | release | refused |
//! | hold, release: paid out late | recover | – | refused |
//! | a success | – | refused | reverse |
//!
//! Where what is known says otherwise, a word wants to be told how much the gateway has really moved: `failed` while an attempt is said to
//! have succeeded; `succeeded` while the payment is in review because of another amount, a second success or money taken back, or while its
//! attempt is said to have come to nothing; any while another attempt may have moved money, or that books something while a difference stands
//! in `suspense`.
//!
//! The difference from what the effects say stands in `suspense`. It may be put there once, and once be cleared: the ledger has one entry of an
//! effect on each side of an account.
//!
//! What is booked is booked at the gateway of the attempt that succeeded, and the payment goes on with that one. If two did, one of them is
//! booked; what was moved beyond it, the other's gateway has.

use uuid::Uuid;

use super::build::{Step, attempt_now};
use crate::domain::change::{Actor, Change, Word};
use crate::domain::ids::Kind;
use crate::domain::posting::{self, Account, Effect, Posting, Side};
use crate::domain::reason::{RESOLVED, Reason};
use crate::domain::transaction::{Attempt, AttemptState, Status, Substatus, Transaction};

/// Reasons of a review that say something else than that the payment succeeded, once and as a whole.
const DOUBTS: [&str; 3] = ["amount_differs", "second_success", "taken_back"];

/// How a payment ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    Succeeded,
    Failed,
    Reversed,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Reversed => "reversed",
        }
    }
}

/// What a human has found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling {
    /// Its own: of two humans who say the same, one is heard, and the other is told so.
    pub id: Uuid,
    pub end: End,
    /// What the gateway has moved of this payment, and not given back, in minor units, where that is not what the end says.
    pub moved: Option<i64>,
    /// The version that the human has looked at; None: whichever.
    pub seen: Option<i64>,
    pub word: Word,
}

/// What the ledger has of a payment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Booked {
    pub effects: Vec<Effect>,
    /// The fold of its entries on `clearing`.
    pub clearing: i64,
    /// The sides of `clearing` on which differences were booked: each at most once.
    pub suspended: Vec<Side>,
    /// The gateway at which they were.
    pub suspended_at: Option<String>,
}

impl Booked {
    fn has(&self, effect: Effect) -> bool {
        self.effects.contains(&effect)
    }

    fn success(&self) -> bool {
        [Effect::Credit, Effect::Post, Effect::Recover].into_iter().any(|effect| self.has(effect))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unresolvable {
    #[error("it stands at {}: only what is in review waits for a human", .0.as_str())]
    NotInReview(Status),
    #[error("it stands at version {now}, not at {seen}: look at it again")]
    MovedOn { seen: i64, now: i64 },
    #[error("its success is booked: if the money is gone again, resolve it as reversed")]
    HadSucceeded,
    #[error("its success was never booked, so there is nothing to reverse: resolve it as failed")]
    NeverSucceeded,
    #[error(
        "its gateway says that it has succeeded: resolve it as succeeded, or say by --moved what the gateway has moved and not given \
         back, 0 if that is nothing"
    )]
    SaidToHaveSucceeded,
    #[error(
        "its gateway says that it has come to nothing ({}): resolve it as failed, or say by --moved what the gateway has moved and not \
         given back", .0.as_str()
    )]
    SaidToHaveFailed(AttemptState),
    #[error(
        "it is in review because of {reason} ({known}): say by --moved what the gateway has moved and not given back"
    )]
    SaidOtherwise { reason: String, known: String },
    #[error(
        "its attempt {number} at {gateway} may have moved money too: ask there, and say by --moved what the gateways have moved in all and not \
         given back"
    )]
    InDoubt { number: i16, gateway: String },
    #[error(
        "a difference of it stands in suspense, and would be booked once more: say by --moved what the gateway has moved and not given back"
    )]
    InSuspense,
    #[error("a difference of it was booked to suspense in this direction before")]
    SuspendedBefore,
    #[error("a gateway cannot have moved {0}")]
    NotAnAmount(i64),
}

pub fn resolve(transaction: &Transaction, booked: &Booked, ruling: &Ruling) -> Result<Change, Unresolvable> {
    if transaction.status != Status::Review {
        return Err(Unresolvable::NotInReview(transaction.status));
    }
    if let Some(seen) = ruling.seen.filter(|seen| *seen != transaction.version) {
        return Err(Unresolvable::MovedOn { seen, now: transaction.version });
    }
    let mut postings = effects_of(transaction, booked, ruling.end)?;
    let gap = match ruling.moved {
        Some(moved) => gap(transaction, booked, &postings, moved)?,
        None => {
            agrees_with_what_is_known(transaction, booked, ruling.end, &postings)?;
            Vec::new()
        }
    };
    let paid_by = paid_by(transaction, booked);
    let books_success = booked.success() || postings.iter().any(|posting| posting.account == Account::Clearing);
    let gap_at = gap_at(transaction, booked, paid_by.filter(|_| books_success), &gap);
    postings.extend(gap);
    let to = match ruling.end {
        End::Succeeded => Status::Succeeded,
        End::Failed => Status::Failed,
        End::Reversed => Status::Reversed,
    };
    let cause = format!("resolve:{}", ruling.id);
    let step = Step::new(transaction, to, cause, Actor::Operator).word(ruling.word.clone()).postings(postings);
    let step = match paid_by {
        Some(attempt) => step.attempt_number(attempt.number).route(&attempt.gateway, attempt.round),
        None => step,
    };
    let step = step.suspended_at(gap_at);
    // That nothing was moved, says that what was told of a success was not so: told again, it is news.
    let untrue = paid_by.filter(|attempt| ruling.moved == Some(0) && attempt.state == AttemptState::Succeeded);
    let step = match (ruling.end, untrue) {
        (End::Failed, Some(attempt)) => step.attempt(attempt_now(attempt, AttemptState::NotExecuted)),
        _ => step,
    };
    let step = match ruling.end {
        End::Succeeded => step,
        End::Failed => step.substatus(Substatus::NotExecuted),
        End::Reversed => step.substatus(taken_back(transaction.kind)),
    };
    Ok(step.reason(RESOLVED, "Settled by an operator.", None).done())
}

/// A word that names no amount says that all or nothing was moved.
fn agrees_with_what_is_known(
    transaction: &Transaction,
    booked: &Booked,
    end: End,
    effects: &[Posting],
) -> Result<(), Unresolvable> {
    let one_succeeded = transaction.attempts.iter().any(|attempt| attempt.state == AttemptState::Succeeded);
    if end == End::Failed && one_succeeded {
        return Err(Unresolvable::SaidToHaveSucceeded);
    }
    if end == End::Succeeded {
        let doubt = transaction.reason.as_ref().filter(|reason| DOUBTS.contains(&reason.code.as_str()));
        if let Some(Reason { code, message, .. }) = doubt.cloned() {
            let known = message.trim_end_matches('.').to_owned();
            return Err(Unresolvable::SaidOtherwise { reason: code, known });
        }
        let state = transaction.current_attempt().map(|attempt| attempt.state);
        if let Some(state) = state.filter(|state| state.is_without_success()) {
            return Err(Unresolvable::SaidToHaveFailed(state));
        }
    }
    let other = |attempt: &&Attempt| attempt.number != transaction.attempt;
    if let Some(Attempt { number, gateway, .. }) = transaction.attempts.iter().filter(other).find(|a| a.state.is_open())
    {
        return Err(Unresolvable::InDoubt { number: *number, gateway: gateway.clone() });
    }
    if !effects.is_empty() && !booked.suspended.is_empty() {
        return Err(Unresolvable::InSuspense);
    }
    Ok(())
}

/// The attempt by which the money was moved: the payment's own, unless another succeeded and that one did not.
fn paid_by<'a>(transaction: &'a Transaction, booked: &Booked) -> Option<&'a Attempt> {
    let current = transaction.current_attempt();
    let succeeded = |attempt: &&Attempt| attempt.state == AttemptState::Succeeded;
    match current {
        Some(attempt) if booked.success() || succeeded(&attempt) => current,
        _ => transaction.attempts.iter().find(succeeded).or(current),
    }
}

/// Where the difference stands, if not at the gateway of the payment's attempt: where it was put before, or, beyond a success that is booked
/// by `paid_by`, at that of another attempt that succeeded too.
fn gap_at(transaction: &Transaction, booked: &Booked, paid_by: Option<&Attempt>, gap: &[Posting]) -> Option<String> {
    let at_gateway: i64 = gap.iter().filter(|p| p.account == Account::Clearing).map(Posting::delta).sum();
    let beyond = match transaction.kind {
        Kind::Deposit => at_gateway > 0,
        Kind::Withdrawal => at_gateway < 0,
    };
    let other = |attempt: &&Attempt| {
        attempt.state == AttemptState::Succeeded && paid_by.is_some_and(|paid_by| paid_by.id != attempt.id)
    };
    let moved_too = transaction.attempts.iter().find(other).filter(|_| beyond);
    booked.suspended_at.clone().or_else(|| moved_too.map(|attempt| attempt.gateway.clone()))
}

fn effects_of(transaction: &Transaction, booked: &Booked, end: End) -> Result<Vec<Posting>, Unresolvable> {
    let released = booked.has(Effect::Release);
    match (end, booked.success()) {
        (End::Succeeded, true) => Ok(Vec::new()),
        (End::Succeeded, false) if released => Ok(posting::on_late_payout(transaction)),
        (End::Succeeded, false) => Ok(posting::on_success(transaction)),
        (End::Failed, true) => Err(Unresolvable::HadSucceeded),
        (End::Failed, false) if released => Ok(Vec::new()),
        (End::Failed, false) => Ok(posting::on_failure(transaction)),
        (End::Reversed, true) => Ok(posting::on_reversal(transaction)),
        (End::Reversed, false) => Err(Unresolvable::NeverSucceeded),
    }
}

/// What remains between the effects and what the gateway has really moved.
fn gap(
    transaction: &Transaction,
    booked: &Booked,
    effects: &[Posting],
    moved: i64,
) -> Result<Vec<Posting>, Unresolvable> {
    if !(0..=crate::domain::accept::LARGEST_AMOUNT).contains(&moved) {
        return Err(Unresolvable::NotAnAmount(moved));
    }
    let at_gateway = match transaction.kind {
        Kind::Deposit => moved,
        Kind::Withdrawal => -moved,
    };
    let new: i64 = effects.iter().filter(|p| p.account == Account::Clearing).map(Posting::delta).sum();
    let postings = posting::on_gap(at_gateway - booked.clearing - new);
    let again = |p: &Posting| p.account == Account::Clearing && booked.suspended.contains(&p.side);
    if postings.iter().any(again) {
        return Err(Unresolvable::SuspendedBefore);
    }
    Ok(postings)
}

/// What is taken back of a deposit is a chargeback, a payout comes back as returned, unless the gateway has another word for it.
fn taken_back(kind: Kind) -> Substatus {
    match kind {
        Kind::Deposit => Substatus::Chargeback,
        Kind::Withdrawal => Substatus::Returned,
    }
}
