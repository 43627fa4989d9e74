//! What a payment meets at the simulated gateways: by its amount, else by the settings' chances.
//!
//! Only amounts (in minor units) that end in 901 to 999 mean something, and of those only the ones in [`TABLE`]; everything
//! else is an ordinary payment. The table is the one place where a behaviour is told and described.
//!
//! The call that moves the money is meant wherever a row speaks of charging: the capture for PayPal deposits, else the create.
//! What befalls it befalls the first request of its key; a repeat is served. What the chances of `lies/` have in store befalls
//! amounts that have no lie of their own, repeats included.

pub mod dice;

use super::lies::Lie;
use super::settings::Settings;

/// Everything that is decided about a payment beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub verdict: Verdict,
    pub pace: Pace,
    pub approval: Approval,
    /// What it is lied to about, whatever chance has in store.
    pub lie: Option<Lie>,
    /// How many of the calls with the amount, whatever their key, are told to come again later before one is let in.
    pub sent_away: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Succeeds,
    /// On the books as failed.
    Declined,
    /// Refused before it reaches the books.
    Rejected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As the vendor does it: cards and captures at once, payouts and bank payments a little later.
    Usual,
    /// Accepted first, finished later, whatever it is.
    Later,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Approval {
    /// As the vendor does it: only PayPal asks the customer.
    Usual,
    /// The customer must approve a deposit at any gateway.
    Needed,
}

/// An amount with a meaning.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// The amount's last three digits.
    pub ending: u16,
    pub name: &'static str,
    /// For people, one line.
    pub meaning: &'static str,
    pub plan: Plan,
}

pub(super) const ORDINARY: Plan =
    Plan { verdict: Verdict::Succeeds, pace: Pace::Usual, approval: Approval::Usual, lie: None, sent_away: 0 };

const fn lie(lie: Lie) -> Plan {
    Plan { lie: Some(lie), ..ORDINARY }
}

pub const TABLE: &[Behaviour] = &[
    Behaviour {
        ending: 901,
        name: "declined",
        meaning: "The gateway declines: no money moves.",
        plan: Plan { verdict: Verdict::Declined, ..ORDINARY },
    },
    Behaviour {
        ending: 902,
        name: "customer",
        meaning: "A deposit needs the customer's approval at any gateway (at PayPal every deposit does).",
        plan: Plan { approval: Approval::Needed, ..ORDINARY },
    },
    Behaviour {
        ending: 903,
        name: "lost_after",
        meaning: "The money moves, but the call is never answered.",
        plan: lie(Lie::LostAfter),
    },
    Behaviour {
        ending: 904,
        name: "lost_before",
        meaning: "The first call is never answered and nothing happens; repeated with its key it succeeds.",
        plan: lie(Lie::LostBefore),
    },
    Behaviour {
        ending: 905,
        name: "failed_after",
        meaning: "The money moves, but the answer is a server error.",
        plan: lie(Lie::FailedAfter),
    },
    Behaviour {
        ending: 906,
        name: "failed_before",
        meaning: "The first call is answered with a server error and nothing happens; repeated with its key it succeeds.",
        plan: lie(Lie::FailedBefore),
    },
    Behaviour {
        ending: 907,
        name: "later",
        meaning: "Accepted without a result; a callback brings it.",
        plan: Plan { pace: Pace::Later, ..ORDINARY },
    },
    Behaviour {
        ending: 908,
        name: "silent",
        meaning: "Accepted without a result, and no callback ever comes: only asking tells.",
        plan: Plan { pace: Pace::Later, ..lie(Lie::CallbackMissing) },
    },
    Behaviour {
        ending: 909,
        name: "too_many",
        meaning: "Of the calls with such an amount two get 429 with Retry-After: 1, the third succeeds.",
        plan: Plan { sent_away: 2, ..ORDINARY },
    },
    Behaviour {
        ending: 910,
        name: "rejected",
        meaning: "A documented refusal: the payment never reaches this gateway's books.",
        plan: Plan { verdict: Verdict::Rejected, ..ORDINARY },
    },
    Behaviour {
        ending: 911,
        name: "callback_first",
        meaning: "The callback arrives before the call is answered.",
        plan: lie(Lie::CallbackFirst),
    },
    Behaviour {
        ending: 912,
        name: "callback_repeated",
        meaning: "Each callback is sent five times at once.",
        plan: lie(Lie::CallbackDuplicate),
    },
    Behaviour {
        ending: 913,
        name: "reset",
        meaning: "The money moves, but the connection is reset in the middle of the answer.",
        plan: lie(Lie::Reset),
    },
    Behaviour {
        ending: 914,
        name: "garbage",
        meaning: "The money moves, but the answer breaks off in garbage.",
        plan: lie(Lie::Garbage),
    },
    Behaviour {
        ending: 915,
        name: "wrong_amount",
        meaning: "The gateway tells another amount than it moves, whenever it tells of the payment.",
        plan: lie(Lie::WrongAmount),
    },
    Behaviour {
        ending: 916,
        name: "callback_contradicting",
        meaning: "A second callback, validly signed, tells the opposite result.",
        plan: lie(Lie::CallbackContradicting),
    },
    Behaviour {
        ending: 917,
        name: "callback_forged",
        meaning: "A second callback, whose signature is wrong, tells the opposite result.",
        plan: lie(Lie::CallbackForged),
    },
];

/// The row of an amount in minor units, when it has a meaning.
pub fn of_amount(minor: i64) -> Option<&'static Behaviour> {
    TABLE.iter().find(|behaviour| i64::from(behaviour.ending) == minor % 1_000)
}

/// What the payment made under `key` will meet.
pub fn plan(settings: &Settings, minor: i64, key: &str) -> Plan {
    if let Some(behaviour) = of_amount(minor) {
        return behaviour.plan;
    }
    if dice::happens(settings.seed, "decline", key, settings.decline_rate) {
        return Plan { verdict: Verdict::Declined, ..ORDINARY };
    }
    ORDINARY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_endings_of_the_table_mean_something() {
        for minor in [1, 900, 1_000, 1_250, 91_000, 10_900] {
            assert_eq!(plan(&Settings::default(), minor, "k"), ORDINARY, "{minor}");
        }
        assert_eq!(of_amount(12_901).map(|row| row.name), Some("declined"));
        assert_eq!(of_amount(901).map(|row| row.name), Some("declined"));
    }

    #[test]
    fn endings_rise_and_stay_in_their_range() {
        assert!(TABLE.windows(2).all(|pair| pair[0].ending < pair[1].ending));
        assert!(TABLE.iter().all(|row| (901..=999).contains(&row.ending)));
    }

    #[test]
    fn an_amount_with_a_meaning_is_never_declined_by_chance() {
        let settings = Settings { decline_rate: 1.0, ..Settings::default() };
        assert_eq!(plan(&settings, 5_903, "k").verdict, Verdict::Succeeds);
        assert_eq!(plan(&settings, 5_000, "k").verdict, Verdict::Declined);
    }
}
