//! Double entry: which accounts an effect debits and credits. Users' accounts are liabilities (a credit raises them), `owed` is a
//! claim on the user (a debit raises it), `clearing` is what a gateway has for us.

use std::str::FromStr;

use super::ids::Kind;
use super::transaction::{Transaction, UnknownWord};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    Hold,
    Post,
    Release,
    Credit,
    Reverse,
    Recover,
    Suspend,
}

impl Effect {
    pub const ALL: [Self; 7] =
        [Self::Hold, Self::Post, Self::Release, Self::Credit, Self::Reverse, Self::Recover, Self::Suspend];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Post => "post",
            Self::Release => "release",
            Self::Credit => "credit",
            Self::Reverse => "reverse",
            Self::Recover => "recover",
            Self::Suspend => "suspend",
        }
    }
}

impl FromStr for Effect {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Account {
    Available,
    Held,
    Owed,
    Clearing,
    Suspense,
}

impl Account {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Held => "held",
            Self::Owed => "owed",
            Self::Clearing => "clearing",
            Self::Suspense => "suspense",
        }
    }

    pub fn is_users(self) -> bool {
        matches!(self, Self::Available | Self::Held | Self::Owed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    Debit,
    Credit,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }
}

/// One entry to be. `amount` is positive, in minor units of the transaction's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posting {
    pub effect: Effect,
    pub account: Account,
    pub side: Side,
    pub amount: i64,
}

impl Posting {
    /// By how much this entry changes the stored balance of its account.
    pub fn delta(&self) -> i64 {
        match (self.account, self.side) {
            (Account::Owed | Account::Clearing, Side::Debit) => self.amount,
            (Account::Owed | Account::Clearing, Side::Credit) => -self.amount,
            (_, Side::Credit) => self.amount,
            (_, Side::Debit) => -self.amount,
        }
    }
}

fn pair(effect: Effect, debit: Account, credit: Account, amount: i64) -> Vec<Posting> {
    vec![
        Posting { effect, account: debit, side: Side::Debit, amount },
        Posting { effect, account: credit, side: Side::Credit, amount },
    ]
}

/// Sets a withdrawal's money aside: available → held.
pub fn hold(amount: i64) -> Vec<Posting> {
    pair(Effect::Hold, Account::Available, Account::Held, amount)
}

/// What success books: a deposit is credited (debts first), a withdrawal's hold is posted to the gateway.
pub fn on_success(transaction: &Transaction) -> Vec<Posting> {
    let amount = transaction.money.minor;
    match transaction.kind {
        Kind::Withdrawal => pair(Effect::Post, Account::Held, Account::Clearing, amount),
        Kind::Deposit => give(Effect::Credit, transaction),
    }
}

/// From the gateway to the owner: debts are repaid first.
fn give(effect: Effect, transaction: &Transaction) -> Vec<Posting> {
    let amount = transaction.money.minor;
    let repaid = transaction.owed.min(amount);
    let credit = |account, amount| Posting { effect, account, side: Side::Credit, amount };
    let mut postings = vec![Posting { effect, account: Account::Clearing, side: Side::Debit, amount }];
    postings.extend((repaid > 0).then(|| credit(Account::Owed, repaid)));
    postings.extend((amount > repaid).then(|| credit(Account::Available, amount - repaid)));
    postings
}

/// From the owner to the gateway: what is no longer there becomes a debt.
fn take(effect: Effect, transaction: &Transaction) -> Vec<Posting> {
    let amount = transaction.money.minor;
    let there = transaction.available.clamp(0, amount);
    let debit = |account, amount| Posting { effect, account, side: Side::Debit, amount };
    let mut postings = Vec::with_capacity(3);
    postings.extend((there > 0).then(|| debit(Account::Available, there)));
    postings.extend((amount > there).then(|| debit(Account::Owed, amount - there)));
    postings.push(Posting { effect, account: Account::Clearing, side: Side::Credit, amount });
    postings
}

/// What it books that the gateway takes a success back: the original stays, and its contra entries join it.
pub fn on_reversal(transaction: &Transaction) -> Vec<Posting> {
    match transaction.kind {
        Kind::Deposit => take(Effect::Reverse, transaction),
        Kind::Withdrawal => give(Effect::Reverse, transaction),
    }
}

/// What it books that a withdrawal was paid out after its hold had been released: the owner has had the money twice.
pub fn on_late_payout(transaction: &Transaction) -> Vec<Posting> {
    take(Effect::Recover, transaction)
}

/// The gateway has `gap` more than the effects of the payment say, or less: nobody's money yet, or nobody's loss.
pub fn on_gap(gap: i64) -> Vec<Posting> {
    match gap {
        0 => Vec::new(),
        1.. => pair(Effect::Suspend, Account::Clearing, Account::Suspense, gap),
        _ => pair(Effect::Suspend, Account::Suspense, Account::Clearing, -gap),
    }
}

/// What [`take`] takes of the owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    pub available: i64,
    pub owed: i64,
}

/// None: the postings take nothing of what the owner may spend, nor make debts.
pub fn taken_from_owner(postings: &[Posting]) -> Option<Taken> {
    let debit = |account: Account| postings.iter().filter(move |p| p.account == account && p.side == Side::Debit);
    let sum = |account: Account| debit(account).map(|posting| posting.amount).sum::<i64>();
    let taken = Taken { available: sum(Account::Available), owed: sum(Account::Owed) };
    (taken.available > 0 || taken.owed > 0).then_some(taken)
}

/// What any end without success books: a withdrawal's hold is released; a deposit had booked nothing.
pub fn on_failure(transaction: &Transaction) -> Vec<Posting> {
    match transaction.kind {
        Kind::Withdrawal => pair(Effect::Release, Account::Held, Account::Available, transaction.money.minor),
        Kind::Deposit => Vec::new(),
    }
}
