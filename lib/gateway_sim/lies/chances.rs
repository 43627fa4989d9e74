//! How likely each lie is at one gateway.

use serde::{Deserialize, Serialize};

use super::lie::Lie;

/// Shares of what could be lied about, from 0 to 1, and whether the gateway is there at all.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lies {
    /// Neither executed nor answered.
    pub lost_before: f64,
    /// Executed, never answered.
    pub lost_after: f64,
    /// Answered with a server error, not executed.
    pub failed_before: f64,
    /// Executed, answered with a server error.
    pub failed_after: f64,
    /// The connection is reset in the middle of the answer.
    pub reset: f64,
    /// The answer comes byte by byte.
    pub drip: f64,
    /// The answer comes after a gibibyte of blanks.
    pub huge: f64,
    /// The answer is gzip that unpacks to a gibibyte.
    pub bomb: f64,
    /// The answer breaks off in bytes that are no text.
    pub garbage: f64,
    /// Answers, questions and callbacks tell another amount than was charged.
    pub wrong_amount: f64,
    /// Answers, questions and callbacks tell another currency than was charged.
    pub wrong_currency: f64,
    /// 429 with `Retry-After`.
    pub rate_limited: f64,
    /// Each callback is sent five times at once.
    pub callback_duplicate: f64,
    /// Callbacks that are not the last are held back for `callbacks.delayed_ms`, so that later ones overtake them.
    pub callback_reordered: f64,
    /// Callbacks wait for up to `callbacks.delayed_ms`.
    pub callback_delayed: f64,
    /// No callback is ever sent.
    pub callback_missing: f64,
    /// Another callback, validly signed, tells the opposite result.
    pub callback_contradicting: f64,
    /// Another callback, signed badly, tells the opposite result.
    pub callback_forged: f64,
    /// The callback is delivered before the call is answered.
    pub callback_first: f64,
    /// Connections are closed as soon as a request is on them.
    pub down: bool,
    /// Requests are taken and never answered.
    pub frozen: bool,
    /// Up and down in turn, each for this long, beginning at a moment that the seed chooses; 0: never.
    pub flapping_ms: u64,
}

impl Lies {
    /// Of those without a chance: 0.
    pub fn chance(&self, lie: Lie) -> f64 {
        match lie {
            Lie::LostBefore => self.lost_before,
            Lie::LostAfter => self.lost_after,
            Lie::FailedBefore => self.failed_before,
            Lie::FailedAfter => self.failed_after,
            Lie::Reset => self.reset,
            Lie::Drip => self.drip,
            Lie::Huge => self.huge,
            Lie::Bomb => self.bomb,
            Lie::Garbage => self.garbage,
            Lie::WrongAmount => self.wrong_amount,
            Lie::WrongCurrency => self.wrong_currency,
            Lie::RateLimited => self.rate_limited,
            Lie::CallbackDuplicate => self.callback_duplicate,
            Lie::CallbackReordered => self.callback_reordered,
            Lie::CallbackDelayed => self.callback_delayed,
            Lie::CallbackMissing => self.callback_missing,
            Lie::CallbackContradicting => self.callback_contradicting,
            Lie::CallbackForged => self.callback_forged,
            Lie::CallbackFirst => self.callback_first,
            Lie::Down | Lie::Frozen | Lie::Flapping => 0.0,
        }
    }

    /// Chances that are none, as `name: why`.
    pub fn problems(&self) -> Vec<String> {
        let bad = Lie::ALL.into_iter().filter(|lie| !(0.0..=1.0).contains(&self.chance(*lie)));
        bad.map(|lie| format!("{}: is not between 0 and 1", lie.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lie_has_its_chance_under_its_own_name() {
        for lie in Lie::ALL {
            let lies: Lies = serde_json::from_value(serde_json::json!({ lie.as_str(): 0.5 })).unwrap();
            let above_zero: Vec<Lie> = Lie::ALL.into_iter().filter(|lie| lies.chance(*lie) > 0.0).collect();
            assert_eq!(above_zero, [lie]);
        }
    }

    #[test]
    fn a_chance_outside_of_0_to_1_is_told_by_its_name() {
        for bad in [-0.1, 1.1, f64::NAN] {
            let lies = Lies { drip: bad, ..Lies::default() };
            assert_eq!(lies.problems(), ["drip: is not between 0 and 1"]);
        }
        assert!(Lies { drip: 1.0, ..Lies::default() }.problems().is_empty());
    }
}
