//! The map of faults: every row has its tests, which are in the tree, and every crash point stands where the map says.

use std::collections::BTreeSet;

use payfleet::service::failpoint::Window;

use super::{Source, assert_none, files, rust};

const MAP: &str = "lib/tests/FAULTS.md";
const FAULTS: &str = "| component | fault | expected | tests |";
const POINTS: &str = "| point | where | killed there | tests |";

/// What there is to fail.
const COMPONENTS: [&str; 10] =
    ["ingress", "Postgres", "relay", "Kafka", "worker", "gateway", "callback", "Redis", "clock", "all"];

/// Kills in windows of its own choice.
const KILLING: &str = "processes_killed_in_every_window_and_a_frozen_relay_lose_double_and_forget_nothing";
const VICTIMS: &str = "lib/tests/fleet/killed.rs";

/// The cells of the table below this head.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let below = text.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    below.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The tests of the tree. Those that are not run do not count.
fn tests(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        let mut lines = source.text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                continue;
            }
            let after: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).take(4).collect();
            let ignored = after.iter().any(|line| line.starts_with("#[ignore"));
            let name = after.iter().find_map(|line| line.split_once("fn ")?.1.split('(').next());
            found.extend(name.filter(|_| !ignored).map(str::to_owned));
        }
    }
    found
}

/// Of one row: empty cells, no tests, tests that are not there.
fn row_offences(row: &[&str], known: &BTreeSet<String>) -> Vec<String> {
    let title = row.join(" | ").chars().take(60).collect::<String>();
    let &[one, other, third, cell] = row else { return vec![format!("{title}: not four cells")] };
    let mut found = Vec::new();
    if [one, other, third].contains(&"") {
        found.push(format!("{title}: an empty cell"));
    }
    let named = named(cell);
    if named.is_empty() {
        found.push(format!("{title}: no test"));
    }
    found.extend(named.iter().filter(|test| !known.contains(**test)).map(|test| format!("{title}: no test `{test}`")));
    found
}

fn fault_offences(map: &str, known: &BTreeSet<String>) -> Vec<String> {
    let rows = table(map, FAULTS);
    let mut found: Vec<String> = rows.iter().flat_map(|row| row_offences(row, known)).collect();
    let missing = COMPONENTS.iter().filter(|component| !rows.iter().any(|row| row[0] == **component));
    found.extend(missing.map(|component| format!("nothing fails of: {component}")));
    found.extend(rows.iter().filter(|row| !COMPONENTS.contains(&row[0])).map(|row| format!("unknown: {}", row[0])));
    found
}

/// Points that are missing, stand elsewhere, or are said to be aimed at by whom they are not.
fn point_offences(map: &str, sources: &[Source], known: &BTreeSet<String>) -> Vec<String> {
    let rows = table(map, POINTS);
    let mut found: Vec<String> = rows.iter().flat_map(|row| row_offences(row, known)).collect();
    let text = |path: &str| sources.iter().find(|source| source.path == path).map_or("", |source| source.text.as_str());
    for window in Window::ALL {
        let name = window.name().to_uppercase();
        let Some(row) = rows.iter().find(|row| row[0] == name && row.len() == 4) else {
            found.push(format!("{name} is missing"));
            continue;
        };
        let place = named(row[1]).first().copied().unwrap_or_default();
        if !text(place).contains(&format!("failpoint::reached(Window::{name})")) {
            found.push(format!("{name} does not stand in {place}"));
        }
        let aimed_at = text(VICTIMS).contains(&format!("(Window::{name}, "));
        if aimed_at != named(row[3]).contains(&KILLING) {
            found.push(format!("{name}: {VICTIMS} says otherwise"));
        }
    }
    found
}

#[test]
fn every_fault_has_its_tests_and_every_test_named_is_there() {
    assert_none(fault_offences(&files(MAP, MAP).remove(0).text, &tests(&rust())));
}

#[test]
fn every_crash_point_stands_where_the_map_says_and_somebody_is_killed_there() {
    let sources = rust();
    assert_none(point_offences(&files(MAP, MAP).remove(0).text, &sources, &tests(&sources)));
}

#[test]
fn a_row_without_tests_and_a_test_that_is_not_there_are_found() {
    let sources = [Source::made_up(
        "lib/tests/a.rs",
        "#[test]\nfn a_test() {\n\n#[tokio::test(flavor = \"multi_thread\")]\n#[ignore]\nasync fn not_run() {\n\nfn helper() {",
    )];
    let known = tests(&sources);
    assert_eq!(known.iter().collect::<Vec<_>>(), ["a_test"]);
    let map = |tests: &str| {
        let rows = COMPONENTS.map(|component| format!("| {component} | dies | lives | {tests} |\n")).concat();
        format!("{FAULTS}\n|---|---|---|---|\n{rows}\nAnd more.")
    };
    assert_none(fault_offences(&map("`a_test`"), &known));
    for wrong in ["", "`helper`", "`not_run`", "`a_test` | more"] {
        assert_eq!(fault_offences(&map(wrong), &known).len(), COMPONENTS.len(), "{wrong}");
    }
    assert_eq!(fault_offences("no table at all", &known).len(), COMPONENTS.len());
}

#[test]
fn a_crash_point_that_is_missing_or_stands_elsewhere_is_found() {
    let sources = [Source::made_up("lib/a.rs", "failpoint::reached(Window::C1).await")];
    let known = BTreeSet::from(["a_test".to_owned()]);
    let map = |row: &str| format!("{POINTS}\n|---|---|---|---|\n{row}\n");
    let others = Window::ALL.len() - 1;
    let found = |row: &str| point_offences(&map(row), &sources, &known).len() - others;
    assert_eq!(found("| C1 | `lib/a.rs` | relay | `a_test` |"), 0);
    assert_eq!(found("| C1 | `lib/b.rs` | relay | `a_test` |"), 1);
    assert_eq!(found("| C1 | `lib/a.rs` |  | `a_test` |"), 1);
    assert_eq!(found("| C1 | `lib/a.rs` | relay | `gone` |"), 1);
}
