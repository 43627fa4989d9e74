//! The rules know no I/O, no clock and no chance: the same question has the same answer, always.

use super::{Source, assert_none, files};

/// What must not be named in `domain`.
const IMPURE: [&str; 14] = [
    "async fn",
    ".await",
    "tokio",
    "sqlx",
    "rdkafka",
    "reqwest",
    "tracing::",
    "metrics::",
    "std::fs",
    "std::net",
    "std::env",
    "Instant",
    "SystemTime",
    "now_utc",
];

fn offences(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.room() == "domain") {
        for (n, line) in source.text.lines().enumerate() {
            // Comments may speak of anything.
            let code = line.split("//").next().unwrap_or(line);
            let named = IMPURE.iter().filter(|impure| code.contains(**impure));
            found.extend(named.map(|impure| format!("{}:{}: `{impure}`", source.path, n + 1)));
        }
    }
    found
}

#[test]
fn the_rules_know_no_io_and_no_clock() {
    assert_none(offences(&files("lib/domain", ".rs")));
}

#[test]
fn an_impure_rule_is_found() {
    let impure = "fn due() -> bool { OffsetDateTime::now_utc() > limit }\nasync fn decide() {}";
    assert_eq!(offences(&[Source::made_up("lib/domain/decide/due.rs", impure)]).len(), 2);
    assert_none(offences(&[Source::made_up("lib/worker/run.rs", impure)]));
}
