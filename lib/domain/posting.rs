//! Double entry: which accounts an effect debits and credits. Users' accounts are liabilities (a credit raises them), `owed` is a
//! claim on the user (a debit raises it), `clearing` is what a gateway has for us.

use super::ids::Kind;
use super::transaction::Transaction;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    Hold,
    Post,
    Release,
    Credit,
    Reverse,
    Suspend,
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Post => "post",
            Self::Release => "release",
            Self::Credit => "credit",
            Self::Reverse => "reverse",
            Self::Suspend => "suspend",
        }
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
        Kind::Deposit => {
            let repaid = transaction.owed.min(amount);
            let credit = |account, amount| Posting { effect: Effect::Credit, account, side: Side::Credit, amount };
            let mut postings =
                vec![Posting { effect: Effect::Credit, account: Account::Clearing, side: Side::Debit, amount }];
            postings.extend((repaid > 0).then(|| credit(Account::Owed, repaid)));
            postings.extend((amount > repaid).then(|| credit(Account::Available, amount - repaid)));
            postings
        }
    }
}

/// What any end without success books: a withdrawal's hold is released; a deposit had booked nothing.
pub fn on_failure(transaction: &Transaction) -> Vec<Posting> {
    match transaction.kind {
        Kind::Withdrawal => pair(Effect::Release, Account::Held, Account::Available, transaction.money.minor),
        Kind::Deposit => Vec::new(),
    }
}
