//! The table of what is tried again says what the code does: same rules, same schedules, same order; and nobody makes up waits of his own.

use payfleet::service::retry::policy::{
    BREAKS_A_RULE, CONNECTION_LOST, OF_THE_MOMENT, POISON, RULES, STATEMENT, UNKNOWN,
};
use payfleet::settlement::Settings;

use super::{Source, assert_none, files, rust};

const HEAD: &str = "| rule | what fails | tried again | for how long | then |";

/// Where waits are made.
const MAKERS: [&str; 2] = ["lib/service/retry.rs", "lib/service/retry/policy.rs"];

/// A load stands for other people's clients, whose patience is theirs.
const CLIENTS: &str = "load";

/// The rows of the table in a document.
fn table(text: &str) -> Vec<String> {
    let below = text.lines().skip_while(|line| *line != HEAD).skip(2);
    below.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// Where table and code say different things.
fn differences(text: &str) -> Vec<String> {
    let (written, meant) = (table(text), RULES.map(|rule| rule.to_string()));
    let rows = written.len().max(meant.len());
    let pair = |n: usize| (written.get(n).map_or("", String::as_str), meant.get(n).map_or("", String::as_str));
    let different = (0..rows).map(pair).filter(|(written, meant)| written != meant);
    different.map(|(written, meant)| format!("the table: {written}\nthe code:  {meant}")).collect()
}

#[test]
fn the_table_of_what_is_tried_again_says_what_the_code_does() {
    assert_none(differences(&files("ARCHITECTURE.md", ".md").remove(0).text));
}

#[test]
fn a_table_that_lacks_a_row_or_says_another_time_is_found() {
    let right = |rules: &[String]| format!("{HEAD}\n|---|---|---|---|---|\n{}\n\nAnd more.", rules.join("\n"));
    let rules = RULES.map(|rule| rule.to_string());
    assert_none(differences(&right(&rules)));
    assert_eq!(differences(&right(&rules[..RULES.len() - 1])).len(), 1);
    assert_eq!(differences(&right(&rules).replace("20 ms → 500 ms", "20 ms → 400 ms")).len(), 1);
    assert_eq!(differences("no table at all").len(), RULES.len());
}

/// Rules that nobody outside follows. Those that never try again have nothing to follow but their errors.
fn idle(sources: &[Source]) -> Vec<String> {
    let code: Vec<&Source> =
        sources.iter().filter(|source| !source.is_test() && !MAKERS.contains(&source.path.as_str())).collect();
    let names = RULES.iter().filter(|rule| !["POISON", "DECLINED"].contains(&rule.name)).map(|rule| rule.name);
    names
        .filter(|name| !code.iter().any(|source| source.text.contains(&format!("policy::{name}."))))
        .map(str::to_owned)
        .collect()
}

/// Waits that are made up elsewhere.
fn made_up(sources: &[Source]) -> Vec<String> {
    let others = sources
        .iter()
        .filter(|source| !source.is_test() && source.room() != CLIENTS && !MAKERS.contains(&source.path.as_str()));
    let told = others.filter(|source| source.text.contains("Waits::new(") || source.text.contains("const RECONNECT"));
    told.map(|source| format!("{}: waits of its own", source.path)).collect()
}

#[test]
fn every_rule_is_followed_and_nobody_makes_up_waits_of_his_own() {
    assert_none(idle(&rust()));
    assert_none(made_up(&rust()));
    assert_eq!(idle(&[Source::made_up("lib/relay/mod.rs", "policy::SESSION.waits()")]).len(), RULES.len() - 3);
    assert_eq!(made_up(&[Source::made_up("lib/relay/mod.rs", "Waits::new(a, b)")]).len(), 1);
}

#[test]
fn the_errors_that_the_table_names_are_those_that_the_code_knows() {
    let codes = CONNECTION_LOST.iter().chain(&OF_THE_MOMENT);
    assert_none(codes.filter(|code| !STATEMENT.fails.contains(**code)).map(|code| (*code).to_owned()).collect());
    assert!(BREAKS_A_RULE.iter().all(|code| POISON.fails.contains(code)));
}

#[test]
fn the_settings_of_payments_begin_with_what_the_table_says() {
    let settings = Settings::default();
    assert_eq!(settings.schedule, UNKNOWN.listed());
    assert_eq!((settings.retry_first_ms, settings.retry_longest_ms), (15_000, 600_000));
}
