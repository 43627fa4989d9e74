//! What a rule consists of, and how the tables write it.

use std::fmt;
use std::time::Duration;

use crate::service::retry::Waits;

/// Between two tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// The n-th wait lies anywhere between 0 and `first` · 2ⁿ, at most `longest`.
    Jittered {
        first: Duration,
        longest: Duration,
    },
    /// The n-th wait is `first` · 2ⁿ, at most `longest`.
    Doubling {
        first: Duration,
        longest: Duration,
    },
    Every(Duration),
    /// Without a wait: something else has happened meanwhile, and the next try sees it.
    AtOnce,
    /// When the other side has said, at most so late; where it has not said, as the rule after it.
    Told {
        longest: Duration,
    },
    /// One wait after the other, as the settings write them.
    Listed(&'static str),
    Never,
}

/// How long it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    Endless,
    For(Duration),
    /// So often, the first time included.
    Tries(usize),
    /// From its acceptance on, by the payment's kind.
    WhileItMayBeSent {
        deposit: Duration,
        withdrawal: Duration,
    },
    /// Until the schedule is used up.
    Scheduled,
    None,
}

/// One class of errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// As the code names it.
    pub name: &'static str,
    pub fails: &'static str,
    pub schedule: Schedule,
    pub patience: Patience,
    /// What becomes of it then.
    pub then: &'static str,
}

impl Rule {
    /// The waits of one row of failures, with full jitter.
    pub fn waits(&self) -> Waits {
        Waits::new(self.first(), self.longest())
    }

    pub const fn first(&self) -> Duration {
        match self.schedule {
            Schedule::Jittered { first, .. } | Schedule::Doubling { first, .. } | Schedule::Every(first) => first,
            Schedule::AtOnce | Schedule::Told { .. } | Schedule::Listed(_) | Schedule::Never => Duration::ZERO,
        }
    }

    pub const fn longest(&self) -> Duration {
        match self.schedule {
            Schedule::Jittered { longest, .. }
            | Schedule::Doubling { longest, .. }
            | Schedule::Told { longest }
            | Schedule::Every(longest) => longest,
            Schedule::AtOnce | Schedule::Listed(_) | Schedule::Never => Duration::ZERO,
        }
    }

    /// In milliseconds, as settings have it.
    pub const fn first_ms(&self) -> u64 {
        self.first().as_millis() as u64
    }

    pub const fn longest_ms(&self) -> u64 {
        self.longest().as_millis() as u64
    }

    /// The schedule as the settings write it.
    pub const fn listed(&self) -> &'static str {
        match self.schedule {
            Schedule::Listed(listed) => listed,
            _ => "",
        }
    }

    pub const fn limit(&self) -> Duration {
        match self.patience {
            Patience::For(limit) => limit,
            _ => Duration::MAX,
        }
    }

    /// How often, the first time included.
    pub const fn tries(&self) -> usize {
        match self.patience {
            Patience::Tries(tries) => tries,
            Patience::None => 1,
            _ => usize::MAX,
        }
    }
}

/// What one class of a gateway's answers leads to, for a payment whose result is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// As metrics and operations name the outcome.
    pub name: &'static str,
    pub means: &'static str,
    /// To the only call of a payment's creation.
    pub only_call: Follows,
    /// To a question, which is put when a call may have been made.
    pub question: Follows,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follows {
    /// The payment has ended.
    End,
    /// Each rule when the one before it is through.
    Rules(&'static [Rule]),
    /// No such answer is given there.
    Never,
}

/// For people: `500 ms`, `3.5 s`, `10 min`, `24 h`.
fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 3_600_000 == 0 => format!("{} h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{} min", millis / 60_000),
        millis if millis % 1_000 == 0 => format!("{} s", millis / 1_000),
        millis if millis > 1_000 && millis % 100 == 0 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        millis => format!("{millis} ms"),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jittered { first, longest } => write!(f, "{} → {}, full jitter", shown(*first), shown(*longest)),
            Self::Doubling { first, longest } => write!(f, "{} → {}, doubling", shown(*first), shown(*longest)),
            Self::Every(wait) => write!(f, "every {}", shown(*wait)),
            Self::AtOnce => f.write_str("at once"),
            Self::Told { longest } => write!(f, "when it says, no sooner than `NOT_SENT`, {} at most", shown(*longest)),
            Self::Listed(listed) => {
                let waits: Vec<&str> = listed.split(' ').collect();
                let last = waits.last().copied().unwrap_or_default();
                let different = waits.iter().filter(|wait| **wait != last).copied().collect::<Vec<_>>().join(", ");
                write!(f, "{different}, then {}× {last}", waits.iter().filter(|wait| **wait == last).count())
            }
            Self::Never => f.write_str("never"),
        }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endless => f.write_str("without end"),
            Self::For(limit) => f.write_str(&shown(*limit)),
            Self::Tries(1) => f.write_str("once"),
            Self::Tries(tries) => write!(f, "{tries} times"),
            Self::WhileItMayBeSent { deposit, withdrawal } => {
                write!(f, "deposit {}, withdrawal {}", shown(*deposit), shown(*withdrawal))
            }
            Self::Scheduled => f.write_str("the schedule is used up"),
            Self::None => f.write_str("–"),
        }
    }
}

/// A row of the table.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, fails, schedule, patience, then } = self;
        write!(f, "| `{name}` | {fails} | {schedule} | {patience} | {then} |")
    }
}

impl fmt::Display for Follows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the end"),
            Self::Rules(rules) => {
                let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.name)).collect();
                f.write_str(&names.join(", then "))
            }
            Self::Never => f.write_str("–"),
        }
    }
}

/// A row of the table of answers.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, means, only_call, question } = self;
        write!(f, "| `{name}` | {means} | {only_call} | {question} |")
    }
}
