//! The tables of what is tried again say what the code does: same rules, same schedules, same order; and nobody makes up waits of his own.

mod answers;
mod made_up;

use payfleet::gateway::breaker;
use payfleet::redis;
use payfleet::service::retry::policy::{
    ANSWERS, BREAKS_A_RULE, CONNECTION_LOST, GATEWAY, NOT_SENT, OF_THE_MOMENT, POISON, REDIS, RULES, STATEMENT, UNKNOWN,
};
use payfleet::settlement::Settings;

use super::{Source, assert_none, files, rust};

const DOCUMENT: &str = "lib/service/retry/RETRIES.md";

const HEAD: &str = "| rule | what fails | tried again | for how long | then |";
const HEAD_OF_ANSWERS: &str = "| outcome | what the gateway says | to a payment's only call | to a question |";

/// Where waits are made.
const MAKERS: [&str; 3] = ["lib/service/retry.rs", "lib/service/retry/policy.rs", "lib/service/retry/policy/rule.rs"];

/// Nothing is waited for, or the rules of the domain follow them, which name nobody's policy: `answers` sees to those.
const WITHOUT_CODE: [&str; 4] = ["POISON", "DECLINED", "ROUTE", "LATER"];

/// The rows of a table in a document.
fn table(text: &str, head: &str) -> Vec<String> {
    let below = text.lines().skip_while(|line| *line != head).skip(2);
    below.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// Where the tables and the code say different things.
fn differences(text: &str) -> Vec<String> {
    let (mut rules, answers) = (compared(text, HEAD, &RULES), compared(text, HEAD_OF_ANSWERS, &ANSWERS));
    rules.extend(answers);
    rules
}

fn compared(text: &str, head: &str, meant: &[impl ToString]) -> Vec<String> {
    let (written, meant): (_, Vec<String>) = (table(text, head), meant.iter().map(ToString::to_string).collect());
    let rows = written.len().max(meant.len());
    let pair = |n: usize| (written.get(n).map_or("", String::as_str), meant.get(n).map_or("", String::as_str));
    let different = (0..rows).map(pair).filter(|(written, meant)| written != meant);
    different.map(|(written, meant)| format!("the table: {written}\nthe code:  {meant}")).collect()
}

#[test]
fn the_tables_of_what_is_tried_again_say_what_the_code_does() {
    assert_none(differences(&files(DOCUMENT, ".md").remove(0).text));
}

#[test]
fn a_table_that_lacks_a_row_or_says_another_time_is_found() {
    let written = |rules: &[String]| {
        let answers = ANSWERS.map(|answer| answer.to_string()).join("\n");
        format!("{HEAD}\n|---|\n{}\n\nAnd more.\n{HEAD_OF_ANSWERS}\n|---|\n{answers}\n", rules.join("\n"))
    };
    let rules = RULES.map(|rule| rule.to_string());
    let right = written(&rules);
    assert_none(differences(&right));
    assert_eq!(differences(&written(&rules[..RULES.len() - 1])).len(), 1);
    for (said, instead) in [
        ("20 ms → 500 ms", "20 ms → 400 ms"),
        ("1 s → 30 s", "1 s → 20 s"),
        ("`ROUTE`, then `LATER`", "`LATER`"),
        ("409: that", "503: that"),
    ] {
        assert_eq!(differences(&right.replace(said, instead)).len(), 1, "{said}");
    }
    assert_eq!(differences(&right.replace("deposit 15 min", "deposit 20 min")).len(), 4);
    assert_eq!(differences("no table at all").len(), RULES.len() + ANSWERS.len());
}

/// Rules that nobody outside follows.
fn idle(sources: &[Source]) -> Vec<String> {
    let code: Vec<&Source> =
        sources.iter().filter(|source| !source.is_test() && !MAKERS.contains(&source.path.as_str())).collect();
    let names = RULES.iter().filter(|rule| !WITHOUT_CODE.contains(&rule.name)).map(|rule| rule.name);
    names
        .filter(|name| !code.iter().any(|source| source.text.contains(&format!("policy::{name}."))))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_rule_is_followed() {
    assert_none(idle(&rust()));
    let one = [Source::made_up("lib/relay/mod.rs", "policy::SESSION.waits()")];
    assert_eq!(idle(&one).len(), RULES.len() - WITHOUT_CODE.len() - 1);
}

#[test]
fn the_errors_that_the_table_names_are_those_that_the_code_knows() {
    let codes = CONNECTION_LOST.iter().chain(&OF_THE_MOMENT);
    assert_none(codes.filter(|code| !STATEMENT.fails.contains(**code)).map(|code| (*code).to_owned()).collect());
    assert!(BREAKS_A_RULE.iter().all(|code| POISON.fails.contains(code)));
}

#[test]
fn the_settings_begin_with_what_the_tables_say() {
    let settings = Settings::default();
    assert_eq!(settings.schedule, UNKNOWN.listed());
    let waits = (settings.retry_first_ms, settings.retry_longest_ms);
    assert_eq!(waits, (NOT_SENT.first_ms(), NOT_SENT.longest_ms()));
    let breaker = breaker::Settings::default();
    assert_eq!((breaker.rest_ms, breaker.longest_rest_ms), (GATEWAY.first_ms(), GATEWAY.longest_ms()));
    assert_eq!(redis::Settings::default().rest_ms, REDIS.first_ms());
}
