//! The lies by name, and what each comes to.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::money::Money;
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::charge_log::Answer;
use crate::gateway_sim::house::Denial;
use crate::gateway_sim::spoil::Spoil;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// 429 with `Retry-After`; not executed.
    RateLimited,
    /// Neither executed nor answered.
    LostBefore,
    /// Answered with a server error, not executed.
    FailedBefore,
    /// Executed, never answered.
    LostAfter,
    /// Executed, answered with a server error.
    FailedAfter,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// The answer comes byte by byte.
    Drip,
    /// The answer comes after a gibibyte of blanks.
    Huge,
    /// The answer unpacks to a gibibyte.
    Bomb,
    /// The answer breaks off in bytes that are no text.
    Garbage,
    /// Whatever tells of the payment tells another amount.
    WrongAmount,
    /// Whatever tells of the payment tells another currency.
    WrongCurrency,
    /// Each callback is sent five times at once.
    CallbackDuplicate,
    /// Callbacks that are not the last are held back, so that later ones overtake them.
    CallbackReordered,
    CallbackDelayed,
    /// There is none, ever.
    CallbackMissing,
    /// Another callback, validly signed, tells the opposite result.
    CallbackContradicting,
    /// Another callback, signed badly, tells the opposite result.
    CallbackForged,
    /// The callback is delivered before the call is answered.
    CallbackFirst,
    /// Connections are closed at once.
    Down,
    /// Connections stay open without an answer.
    Frozen,
    /// Up and down in turn.
    Flapping,
}

/// What a lie does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    Denied(Denial),
    Spoilt(Spoil),
    /// The answer is let be.
    OfPayment,
}

impl Lie {
    /// Those that have a chance, in the order in which they are thrown.
    pub const ALL: [Self; 19] = [
        Self::RateLimited,
        Self::LostBefore,
        Self::FailedBefore,
        Self::LostAfter,
        Self::FailedAfter,
        Self::Reset,
        Self::Drip,
        Self::Huge,
        Self::Bomb,
        Self::Garbage,
        Self::WrongAmount,
        Self::WrongCurrency,
        Self::CallbackDuplicate,
        Self::CallbackReordered,
        Self::CallbackDelayed,
        Self::CallbackMissing,
        Self::CallbackContradicting,
        Self::CallbackForged,
        Self::CallbackFirst,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::LostBefore => "lost_before",
            Self::FailedBefore => "failed_before",
            Self::LostAfter => "lost_after",
            Self::FailedAfter => "failed_after",
            Self::Reset => "reset",
            Self::Drip => "drip",
            Self::Huge => "huge",
            Self::Bomb => "bomb",
            Self::Garbage => "garbage",
            Self::WrongAmount => "wrong_amount",
            Self::WrongCurrency => "wrong_currency",
            Self::CallbackDuplicate => "callback_duplicate",
            Self::CallbackReordered => "callback_reordered",
            Self::CallbackDelayed => "callback_delayed",
            Self::CallbackMissing => "callback_missing",
            Self::CallbackContradicting => "callback_contradicting",
            Self::CallbackForged => "callback_forged",
            Self::CallbackFirst => "callback_first",
            Self::Down => "down",
            Self::Frozen => "frozen",
            Self::Flapping => "flapping",
        }
    }

    pub fn effect(self) -> Effect {
        match self {
            Self::RateLimited => Effect::Denied(Denial::TooMany),
            Self::LostBefore | Self::LostAfter | Self::Frozen => Effect::Denied(Denial::Unanswered),
            Self::FailedBefore | Self::FailedAfter => Effect::Denied(Denial::ServerError),
            Self::Down | Self::Flapping => Effect::Denied(Denial::Cut),
            Self::Reset => Effect::Spoilt(Spoil::Reset),
            Self::Drip => Effect::Spoilt(Spoil::Drip),
            Self::Huge => Effect::Spoilt(Spoil::Huge),
            Self::Bomb => Effect::Spoilt(Spoil::Bomb),
            Self::Garbage => Effect::Spoilt(Spoil::Garbage),
            Self::WrongAmount
            | Self::WrongCurrency
            | Self::CallbackDuplicate
            | Self::CallbackReordered
            | Self::CallbackDelayed
            | Self::CallbackMissing
            | Self::CallbackContradicting
            | Self::CallbackForged
            | Self::CallbackFirst => Effect::OfPayment,
        }
    }

    /// Whether it keeps a request from being executed.
    pub fn comes_before(self) -> bool {
        matches!(self.effect(), Effect::Denied(_)) && !matches!(self, Self::LostAfter | Self::FailedAfter)
    }

    pub fn is_of_payment(self) -> bool {
        self.effect() == Effect::OfPayment
    }

    /// What the log says of a request that it befell; `done`: of an honest one.
    pub fn logged(self, done: Answer) -> Answer {
        let executed = done == Answer::Executed && !self.comes_before();
        match self.effect() {
            Effect::Denied(Denial::TooMany) => Answer::TooMany,
            Effect::Denied(Denial::Unanswered | Denial::Cut) if executed => Answer::LostAfter,
            Effect::Denied(Denial::Unanswered | Denial::Cut) => Answer::LostBefore,
            Effect::Denied(Denial::ServerError) if executed => Answer::FailedAfter,
            Effect::Denied(Denial::ServerError) => Answer::FailedBefore,
            Effect::Spoilt(_) => Answer::Garbled,
            Effect::OfPayment => done,
        }
    }

    /// Whether chance has it in store for `who`.
    pub fn happens(self, seed: u64, who: &str, share: f64) -> bool {
        dice::happens(seed, &format!("lie/{}", self.as_str()), who, share)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no lie of this name")]
pub struct UnknownLie;

impl FromStr for Lie {
    type Err = UnknownLie;

    fn from_str(name: &str) -> Result<Self, UnknownLie> {
        Self::ALL.into_iter().find(|lie| lie.as_str() == name).ok_or(UnknownLie)
    }
}

/// The money that is told of a payment which meets these lies; None: its own.
pub fn wrong_money(lies: &[Lie], seed: u64, key: &str, money: Money) -> Option<Money> {
    let (amount, currency) = (lies.contains(&Lie::WrongAmount), lies.contains(&Lie::WrongCurrency));
    let off = 1 + dice::up_to(seed, "wrong amount", key, 999) as i64;
    let minor = match amount {
        false => money.minor,
        true if money.minor > off && off % 2 == 0 => money.minor - off,
        true => money.minor.saturating_add(off),
    };
    let other = if money.currency.code() == "EUR" { "USD" } else { "EUR" };
    let told = if currency { other.parse().unwrap_or(money.currency) } else { money.currency };
    (amount || currency).then(|| Money::new(minor, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lie_is_found_by_its_name_which_is_the_one_it_is_logged_under() {
        for lie in Lie::ALL {
            assert_eq!(lie.as_str().parse(), Ok(lie));
            assert_eq!(serde_json::to_value(lie).unwrap(), lie.as_str());
        }
    }

    #[test]
    fn the_log_says_executed_of_nothing_that_a_lie_turned_away() {
        for lie in Lie::ALL.into_iter().chain([Lie::Down, Lie::Frozen, Lie::Flapping]) {
            let logged = lie.logged(Answer::Executed);
            let denied_before = matches!(logged, Answer::TooMany | Answer::LostBefore | Answer::FailedBefore);
            assert_eq!(denied_before, lie.comes_before(), "{lie:?} {logged:?}");
            assert!(!matches!(lie.logged(Answer::Replayed), Answer::LostAfter | Answer::FailedAfter), "{lie:?}");
        }
    }

    #[test]
    fn wrong_money_is_another_that_is_above_zero() {
        let money = |minor, code: &str| Money::new(minor, code.parse().unwrap());
        for key in 0..200 {
            for honest in [money(1, "EUR"), money(1_250, "JPY"), money(99_999_999, "USD")] {
                let told = |lies: &[Lie]| wrong_money(lies, 1, &key.to_string(), honest);
                assert_eq!(told(&[Lie::CallbackForged]), None);
                let (amount, currency) = (told(&[Lie::WrongAmount]).unwrap(), told(&[Lie::WrongCurrency]).unwrap());
                assert!(amount.minor > 0 && amount.minor != honest.minor && amount.currency == honest.currency);
                assert!(currency.minor == honest.minor && currency.currency != honest.currency);
            }
        }
    }
}
