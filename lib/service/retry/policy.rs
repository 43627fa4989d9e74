//! What is tried again, in which case, on which schedule, and what becomes of it when that is over. The only place where waits are made
//! up; `RETRIES.md` beside it has the same as tables, and a test holds the two together.
//!
//! Infrastructure is waited for without end; a payment is looked at for a bounded time, and then a person decides; a decline is final.

mod rule;

use std::time::Duration;

pub use rule::{Answer, Follows, Patience, Rule, Schedule};

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

pub const CROSSED: Rule = Rule {
    name: "CROSSED",
    fails: "an order in a combined statement, whose key is being claimed elsewhere",
    schedule: Schedule::AtOnce,
    patience: Patience::Tries(2),
    then: "`ALONE`",
};

pub const ALONE: Rule = Rule {
    name: "ALONE",
    fails: "such an order in a statement of its own: each time the other's commit makes the next try see it",
    schedule: Schedule::AtOnce,
    patience: Patience::Tries(6),
    then: "503: nothing was committed",
};

pub const KEY: Rule = Rule {
    name: "KEY",
    fails: "an order whose key another request has under way, as Redis says",
    schedule: Schedule::Jittered { first: ms(8), longest: ms(200) },
    patience: Patience::For(ms(3_500)),
    then: "409: that one has not ended",
};

pub const MOVED: Rule = Rule {
    name: "MOVED",
    fails: "a step of a payment that has moved on while it was decided: read and decided again",
    schedule: Schedule::AtOnce,
    patience: Patience::Tries(20),
    then: "as what wanted the step: `RECORD`, `ANSWER`, `SWEEP`; a client gets 503",
};

pub const OPERATOR: Rule = Rule {
    name: "OPERATOR",
    fails: "an operator's word on a payment that moves on or is locked",
    schedule: Schedule::Every(ms(50)),
    patience: Patience::Tries(20),
    then: "`payfleet resolve` fails: nothing was done",
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

pub const SLOT: Rule = Rule {
    name: "SLOT",
    fails: "a slot of the outbox that is to be emptied and is in use: waiting for its lock holds up writers",
    schedule: Schedule::Every(ms(30_000)),
    patience: Patience::Endless,
    then: "–",
};

pub const BROKER: Rule = Rule {
    name: "BROKER",
    fails: "a connection to a Kafka broker, which librdkafka makes again",
    schedule: Schedule::Doubling { first: ms(100), longest: ms(500) },
    patience: Patience::Endless,
    then: "–",
};

pub const FETCH: Rule = Rule {
    name: "FETCH",
    fails: "a partition that its broker does not read out, which librdkafka asks for again",
    schedule: Schedule::Every(ms(100)),
    patience: Patience::Endless,
    then: "–",
};

pub const MADE: Rule = Rule {
    name: "MADE",
    fails: "a topic just made that the brokers do not show yet",
    schedule: Schedule::Every(ms(50)),
    patience: Patience::For(ms(10_000)),
    then: "`payfleet topics` fails and names it",
};

pub const REDIS: Rule = Rule {
    name: "REDIS",
    fails: "Redis, half of whose latest calls failed: none is made; until then each call that fails is gone on without, never repeated",
    schedule: Schedule::Every(ms(1_000)),
    patience: Patience::Endless,
    then: "– (meanwhile limits count in the process, keys and answers are found in PostgreSQL)",
};

pub const GATEWAY: Rule = Rule {
    name: "GATEWAY",
    fails: "a gateway that leaves too many calls unanswered: none is made, then one at a time tries whether it is back",
    schedule: Schedule::Doubling { first: ms(1_000), longest: ms(30_000) },
    patience: Patience::Endless,
    then: "– (its payments are at `NOT_SENT` or `UNKNOWN`)",
};

pub const DOOR: Rule = Rule {
    name: "DOOR",
    fails: "taking a connection while there is no file descriptor for it",
    schedule: Schedule::Every(ms(50)),
    patience: Patience::Endless,
    then: "–",
};

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

/// A payment that no gateway has may be sent for so long, and then ends.
const MAY_BE_SENT: Patience = Patience::WhileItMayBeSent { deposit: ms(15 * 60_000), withdrawal: ms(24 * 3_600_000) };

pub const ROUTE: Rule = Rule {
    name: "ROUTE",
    fails: "a payment that a gateway certainly has not got: the next one of its route",
    schedule: Schedule::AtOnce,
    patience: Patience::Tries(1),
    then: "once each was tried: as the last answer has it",
};

pub const NOT_SENT: Rule = Rule {
    name: "NOT_SENT",
    fails: "a payment that was certainly not sent: no route takes it now",
    schedule: Schedule::Doubling { first: ms(15_000), longest: ms(600_000) },
    patience: MAY_BE_SENT,
    then: "`failed` (not_sent), hold released",
};

pub const LATER: Rule = Rule {
    name: "LATER",
    fails: "a payment that a gateway does not take now (429): no other route takes it",
    schedule: Schedule::Told { longest: NOT_SENT.longest() },
    patience: MAY_BE_SENT,
    then: "`failed` (not_sent), hold released",
};

pub const CREDENTIALS: Rule = Rule {
    name: "CREDENTIALS",
    fails: "a payment whose gateway refuses our credentials (401, 403): somebody must change them",
    schedule: Schedule::Every(ms(60_000)),
    patience: MAY_BE_SENT,
    then: "`failed` (not_sent), hold released",
};

pub const TOKEN: Rule = Rule {
    name: "TOKEN",
    fails: "a payment whose access token PayPal refuses: the next call gets another",
    schedule: Schedule::Every(ms(1_000)),
    patience: MAY_BE_SENT,
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

/// In the order of the table: infrastructure, what meets itself, payments.
pub const RULES: [Rule; 31] = [
    STATEMENT,
    LOCKED,
    CROSSED,
    ALONE,
    KEY,
    MOVED,
    OPERATOR,
    SESSION,
    DELIVERY,
    TOPIC,
    RECORD,
    ANSWER,
    SWEEP,
    SLOT,
    BROKER,
    FETCH,
    MADE,
    REDIS,
    GATEWAY,
    DOOR,
    LISTENING,
    STORE,
    MIGRATION,
    POISON,
    ROUTE,
    NOT_SENT,
    LATER,
    CREDENTIALS,
    TOKEN,
    UNKNOWN,
    DECLINED,
];

const fn refusal(name: &'static str, means: &'static str, rules: &'static [Rule]) -> Answer {
    Answer { name, means, only_call: Follows::Rules(rules), question: Follows::Rules(&[UNKNOWN]) }
}

const fn open(name: &'static str, means: &'static str) -> Answer {
    refusal(name, means, &[UNKNOWN])
}

const fn final_word(name: &'static str, means: &'static str, follows: Follows) -> Answer {
    Answer { name, means, only_call: follows, question: follows }
}

const fn to_a_question(name: &'static str, means: &'static str) -> Answer {
    Answer { name, means, only_call: Follows::Never, question: Follows::Rules(&[UNKNOWN]) }
}

/// What gateways say, and the rules that follow from it. A refusal counts only as the answer to the only call: later ones say nothing of
/// the earlier.
pub const ANSWERS: [Answer; 13] = [
    open("accepted", "on its books, result to come"),
    open("needs_customer", "the customer must act first"),
    open("approved", "the customer has approved; the capture is ordered at the pace of the questions"),
    final_word("succeeded", "the money has moved", Follows::End),
    final_word("declined", "on its books as failed", Follows::Rules(&[DECLINED])),
    final_word("expired", "the customer's time is over", Follows::Rules(&[DECLINED])),
    refusal("rejected", "a documented refusal: never on its books", &[ROUTE, DECLINED]),
    refusal("unreachable", "no byte has left us", &[ROUTE, NOT_SENT]),
    refusal("later", "not now (429; credentials refused)", &[ROUTE, LATER]),
    to_a_question(
        "not_found",
        "no such payment: sent again under its key while that is safe; told twice, the end or review",
    ),
    to_a_question("unseen", "asking cannot tell: sent again under its key while that is safe"),
    open("reversed", "taken back: asked about once more"),
    open("unknown", "time-out, 5xx, unreadable, same key in progress"),
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
