//! What is tried again, in which case, on which schedule, and what becomes of it when that is over. The only place where waits are made
//! up; ARCHITECTURE.md has the same as a table ("Trying again"), and a test holds the two together.
//!
//! Infrastructure is waited for without end; a payment is looked at for a bounded time, and then a person decides; a decline is final.

use std::fmt;
use std::time::Duration;

use super::Waits;

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
    /// One wait after the other, as the settings write them.
    Listed(&'static str),
    Never,
}

/// How long it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    Endless,
    For(Duration),
    /// As long as the payment may be sent: the rules know.
    WhileItMayBeSent,
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
            Schedule::Listed(_) | Schedule::Never => Duration::ZERO,
        }
    }

    pub const fn longest(&self) -> Duration {
        match self.schedule {
            Schedule::Jittered { longest, .. } | Schedule::Doubling { longest, .. } | Schedule::Every(longest) => {
                longest
            }
            Schedule::Listed(_) | Schedule::Never => Duration::ZERO,
        }
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
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server that is away: found again within 5 s, and not overrun when it is back.
const AWAY: Schedule = Schedule::Jittered { first: ms(50), longest: ms(5_000) };

pub const STATEMENT: Rule = Rule {
    name: "STATEMENT",
    fails: "a combined statement: connection lost (08, 57P, 53300, 25006), or rolled back for the moment (40P01, 40001, 55P03, 57014, 53)",
    schedule: Schedule::Jittered { first: ms(20), longest: ms(500) },
    patience: Patience::For(ms(5_000)),
    then: "503: nothing was committed, or not known: the same key again",
};

pub const LOCKED: Rule = Rule {
    name: "LOCKED",
    fails: "a payment or account that another session has locked",
    schedule: Schedule::Jittered { first: ms(2), longest: ms(100) },
    patience: Patience::For(ms(5_000)),
    then: "503: nothing was committed",
};

pub const SESSION: Rule = Rule {
    name: "SESSION",
    fails: "a relay's session with PostgreSQL; not where the database is another one (the relay ends)",
    schedule: AWAY,
    patience: Patience::Endless,
    then: "–",
};

pub const DELIVERY: Rule = Rule {
    name: "DELIVERY",
    fails: "a lane's delivery, unless the record or its topic is refused",
    schedule: AWAY,
    patience: Patience::Endless,
    then: "–",
};

pub const TOPIC: Rule = Rule {
    name: "TOPIC",
    fails: "an event whose topic is missing or closed to us: parked",
    schedule: Schedule::Every(ms(60_000)),
    patience: Patience::Endless,
    then: "–",
};

pub const RECORD: Rule = Rule {
    name: "RECORD",
    fails: "a consumed record, while something else is in the way",
    schedule: AWAY,
    patience: Patience::Endless,
    then: "–",
};

pub const ANSWER: Rule = Rule {
    name: "ANSWER",
    fails: "a gateway's answer that cannot be recorded yet",
    schedule: AWAY,
    patience: Patience::Endless,
    then: "–",
};

pub const SWEEP: Rule =
    Rule { name: "SWEEP", fails: "taking what is due", schedule: AWAY, patience: Patience::Endless, then: "–" };

pub const LISTENING: Rule = Rule {
    name: "LISTENING",
    fails: "a connection for bells and nudges (polling goes on meanwhile)",
    schedule: Schedule::Every(ms(500)),
    patience: Patience::Endless,
    then: "–",
};

pub const STORE: Rule = Rule {
    name: "STORE",
    fails: "at the start: a database that is away, or has not this schema",
    schedule: Schedule::Every(ms(500)),
    patience: Patience::Endless,
    then: "–",
};

pub const MIGRATION: Rule = Rule {
    name: "MIGRATION",
    fails: "a migration that waits for a lock (55P03, 40P01): payments are let by before the next try",
    schedule: Schedule::Jittered { first: ms(1_000), longest: ms(4_000) },
    patience: Patience::For(ms(60_000)),
    then: "`payfleet migrate` fails and names who holds the lock",
};

pub const POISON: Rule = Rule {
    name: "POISON",
    fails: "a record that breaks a rule (22, 23), cannot be read or names nothing; an event that Kafka refuses for itself",
    schedule: Schedule::Never,
    patience: Patience::None,
    then: "a dead letter; parked: a person replays it",
};

pub const NOT_SENT: Rule = Rule {
    name: "NOT_SENT",
    fails: "a payment that was certainly not sent: no route takes it now",
    schedule: Schedule::Doubling { first: ms(15_000), longest: ms(600_000) },
    patience: Patience::WhileItMayBeSent,
    then: "`failed` (not_sent), hold released",
};

pub const UNKNOWN: Rule = Rule {
    name: "UNKNOWN",
    fails: "a payment that may have been sent: the gateway is asked",
    schedule: Schedule::Listed(
        "5s 15s 1m 3m 10m 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h 1h",
    ),
    patience: Patience::Scheduled,
    then: "`review`",
};

pub const DECLINED: Rule = Rule {
    name: "DECLINED",
    fails: "a decline of a gateway, a rejection by every route",
    schedule: Schedule::Never,
    patience: Patience::None,
    then: "`failed`, hold released",
};

/// In the order of the table.
pub const RULES: [Rule; 15] = [
    STATEMENT, LOCKED, SESSION, DELIVERY, TOPIC, RECORD, ANSWER, SWEEP, LISTENING, STORE, MIGRATION, POISON, NOT_SENT,
    UNKNOWN, DECLINED,
];

/// SQLSTATEs, or their beginnings, that say that the connection is of no use: connection exceptions, the server ends the session, no
/// connection left, and the server takes no writes.
pub const CONNECTION_LOST: [&str; 4] = ["08", "57P", "53300", READ_ONLY];
/// The server takes no writes, such as a standby: the statement did nothing.
pub const READ_ONLY: &str = "25006";
/// … that the statement was rolled back for a reason that lies in the moment: deadlock, serialisation failure, lock not available,
/// statement timeout, no disk or memory left.
pub const OF_THE_MOMENT: [&str; 5] = ["40P01", "40001", "55P03", "57014", "53"];
/// … that it breaks a rule of the schema: data exception, integrity constraint violation.
pub const BREAKS_A_RULE: [&str; 2] = ["22", "23"];

/// Whether a SQLSTATE is one of these, or begins with one.
pub fn is_of(code: &str, codes: &[&str]) -> bool {
    codes.iter().any(|known| code.starts_with(known))
}

/// For people: `500 ms`, `5 s`, `10 min`.
fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 60_000 == 0 => format!("{} min", millis / 60_000),
        millis if millis % 1_000 == 0 => format!("{} s", millis / 1_000),
        millis => format!("{millis} ms"),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jittered { first, longest } => write!(f, "{} → {}, full jitter", shown(*first), shown(*longest)),
            Self::Doubling { first, longest } => write!(f, "{} → {}, doubling", shown(*first), shown(*longest)),
            Self::Every(wait) => write!(f, "every {}", shown(*wait)),
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
            Self::WhileItMayBeSent => f.write_str("deposit 15 min, withdrawal 24 h"),
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
