//! How a human's word ends a payment in review.
//!
//! | in the ledger | `succeeded` | `failed` | `reversed` |
//! |---|---|---|---|
//! | nothing (deposit) | credit | – | refused |
//! | hold | post | release | refused |
//! | hold, release: paid out late | recover | – | refused |
//! | a success | – | refused | reverse |
//!
//! While an attempt is said to have succeeded, `failed` wants to be told how much the gateway has kept.
//!
//! Where a human says how much the gateway really moved, the difference from what the effects say stands in `suspense`.
//! It may be put there once, and once be cleared: the ledger has one entry of an effect on each side of an account.

use uuid::Uuid;

use super::build::Step;
use crate::domain::change::{Actor, Change, RESOLVED, Word};
use crate::domain::ids::Kind;
use crate::domain::posting::{self, Account, Effect, Posting, Side};
use crate::domain::transaction::{AttemptState, Status, Substatus, Transaction};

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
}

impl Booked {
    fn has(&self, effect: Effect) -> bool {
        self.effects.contains(&effect)
    }

    fn success(&self) -> bool {
        [Effect::Credit, Effect::Post, Effect::Recover].into_iter().any(|effect| self.has(effect))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
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
    let is_said_to_have_succeeded = transaction.attempts.iter().any(|attempt| attempt.state == AttemptState::Succeeded);
    if ruling.end == End::Failed && ruling.moved.is_none() && is_said_to_have_succeeded {
        return Err(Unresolvable::SaidToHaveSucceeded);
    }
    postings.extend(gap(transaction, booked, &postings, ruling.moved)?);
    let to = match ruling.end {
        End::Succeeded => Status::Succeeded,
        End::Failed => Status::Failed,
        End::Reversed => Status::Reversed,
    };
    let cause = format!("resolve:{}", ruling.id);
    let step = Step::new(transaction, to, cause, Actor::Operator).word(ruling.word.clone()).postings(postings);
    let step = match ruling.end {
        End::Succeeded => step,
        End::Failed => step.substatus(Substatus::NotExecuted),
        End::Reversed => step.substatus(taken_back(transaction.kind)),
    };
    Ok(step.reason(RESOLVED, "Settled by an operator.", None).done())
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
    moved: Option<i64>,
) -> Result<Vec<Posting>, Unresolvable> {
    let Some(moved) = moved else { return Ok(Vec::new()) };
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
