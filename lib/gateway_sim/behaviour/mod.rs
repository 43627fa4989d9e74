//! What a payment meets at the simulated gateways: by its amount, else by the settings' chances.
//!
//! Only amounts (in minor units) that end in 901 to 999 mean something, and of those only the ones in [`TABLE`]; everything
//! else is an ordinary payment. The table is the one place where a behaviour is told and described.
//!
//! The call that moves the money is meant wherever a row speaks of charging: the capture for PayPal deposits, else the create.
//! What befalls it befalls the first request of its key; a repeat is served.

pub mod dice;

use super::settings::Settings;

/// Everything that is decided about a payment beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub verdict: Verdict,
    pub pace: Pace,
    pub approval: Approval,
    pub mishap: Mishap,
    pub callbacks: Callbacks,
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

/// What goes wrong with the call that moves the money, or with the first calls of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    None,
    /// Executed, never answered.
    LostAfter,
    /// Neither executed nor answered.
    LostBefore,
    /// Executed, answered with a server error.
    FailedAfter,
    /// Answered with a server error, not executed.
    FailedBefore,
    /// The first calls with the amount, whatever their key, are told to come again later.
    TooMany(u32),
}

impl Mishap {
    /// How many requests of a key are lost or failed unexecuted before one is let in.
    pub fn turns_away(self) -> u32 {
        match self {
            Self::LostBefore | Self::FailedBefore => 1,
            Self::None | Self::LostAfter | Self::FailedAfter | Self::TooMany(_) => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callbacks {
    Usual,
    Never,
    /// The callback of the call that moves the money is delivered before the call is answered.
    BeforeAnswer,
    /// Each is sent this many times at once.
    Repeated(u32),
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

const ORDINARY: Plan = Plan {
    verdict: Verdict::Succeeds,
    pace: Pace::Usual,
    approval: Approval::Usual,
    mishap: Mishap::None,
    callbacks: Callbacks::Usual,
};

const fn mishap(mishap: Mishap) -> Plan {
    Plan { mishap, ..ORDINARY }
}

const fn callbacks(pace: Pace, callbacks: Callbacks) -> Plan {
    Plan { pace, callbacks, ..ORDINARY }
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
        plan: mishap(Mishap::LostAfter),
    },
    Behaviour {
        ending: 904,
        name: "lost_before",
        meaning: "The first call is never answered and nothing happens; repeated with its key it succeeds.",
        plan: mishap(Mishap::LostBefore),
    },
    Behaviour {
        ending: 905,
        name: "failed_after",
        meaning: "The money moves, but the answer is a server error.",
        plan: mishap(Mishap::FailedAfter),
    },
    Behaviour {
        ending: 906,
        name: "failed_before",
        meaning: "The first call is answered with a server error and nothing happens; repeated with its key it succeeds.",
        plan: mishap(Mishap::FailedBefore),
    },
    Behaviour {
        ending: 907,
        name: "later",
        meaning: "Accepted without a result; a callback brings it.",
        plan: callbacks(Pace::Later, Callbacks::Usual),
    },
    Behaviour {
        ending: 908,
        name: "silent",
        meaning: "Accepted without a result, and no callback ever comes: only asking tells.",
        plan: callbacks(Pace::Later, Callbacks::Never),
    },
    Behaviour {
        ending: 909,
        name: "too_many",
        meaning: "Of the calls with such an amount two get 429 with Retry-After: 1, the third succeeds.",
        plan: mishap(Mishap::TooMany(2)),
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
        plan: callbacks(Pace::Usual, Callbacks::BeforeAnswer),
    },
    Behaviour {
        ending: 912,
        name: "callback_repeated",
        meaning: "Each callback is sent five times at once.",
        plan: callbacks(Pace::Usual, Callbacks::Repeated(5)),
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
