//! The README's commands, read out of it and run as they stand.

use std::collections::BTreeMap;

use payfleet::gateway_sim::behaviour::TABLE;
use serde_json::Value;
use tokio::process::Command;

use super::Dev;

const README: &str = include_str!("../../../README.md");

/// Between the answers of two paragraphs.
const MARK: char = '\u{1e}';

/// The blocks of shell commands of a section, one after the other.
fn commands(section: &str) -> Vec<String> {
    let (_, text) = README.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// What each paragraph of commands says, by its comment. They run in one shell, as if typed one after the other.
async fn run(blocks: &[String]) -> BTreeMap<String, String> {
    let paragraphs: Vec<&str> =
        blocks.iter().flat_map(|block| block.split("\n\n")).filter(|lines| !lines.trim().is_empty()).collect();
    let script: String = paragraphs.iter().map(|lines| format!("{lines}\nprintf '{MARK}'\n")).collect();
    let done = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().await.unwrap();
    let (said, errors) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(done.status.success(), "{errors}\n{said}");
    let titled = paragraphs.iter().map(|lines| lines.lines().next().unwrap().trim_start_matches("# ").to_owned());
    titled.zip(said.split(MARK).map(str::to_owned)).collect()
}

/// The answer of the one paragraph whose comment begins so.
fn answer<'a>(said: &'a BTreeMap<String, String>, title: &str) -> &'a str {
    let mut found = said.iter().filter(|(comment, _)| comment.starts_with(title));
    match (found.next(), found.next()) {
        (Some((_, answer)), None) => answer,
        _ => panic!("not one paragraph that begins with `{title}` among {:?}", said.keys()),
    }
}

fn json(answer: &str) -> Value {
    let last = answer.trim().lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[tokio::test]
async fn the_readmes_commands_do_what_it_says_as_they_stand() {
    let blocks = commands("Quick start");
    assert_eq!(blocks[0].trim(), "make run");
    // What `make run` runs once it has built it; the port is the usual one, since the commands name it.
    let dev = Dev::begin("readme", &[]).await;
    let said = run(&blocks[1..]).await;

    let first = answer(&said, "A deposit of 12.50 EUR");
    assert_eq!(json(first)["status"], "created");
    assert_eq!(json(first)["gateway"], "stripe");
    assert_eq!(answer(&said, "The same key again"), first, "the answer under a key stands to the byte");
    let ends = |title: &str| {
        let payment = json(answer(&said, title));
        let text = |field: &str| payment[field].as_str().unwrap_or_default().to_owned();
        (text("gateway"), text("status"), text("substatus"))
    };
    let end =
        |gateway: &str, status: &str, substatus: &str| (gateway.to_owned(), status.to_owned(), substatus.to_owned());
    assert_eq!(ends("It ends in a credited balance"), end("stripe", "succeeded", ""));
    assert_eq!(ends("The customer approves"), end("paypal", "succeeded", ""));
    assert_eq!(ends("A bank needs a moment"), end("bank", "succeeded", ""));
    assert_eq!(ends("A withdrawal"), end("bank", "succeeded", ""));
    assert_eq!(ends("One that the gateway declines"), end("bank", "failed", "declined"));
    let short = json(answer(&said, "More than there is"));
    assert_eq!((&short["status"], &short["code"]), (&402.into(), &"insufficient_funds".into()));
    let balance = json(answer(&said, "12.50 + 20.00 + 7.00 - 3.00"));
    assert_eq!(balance["balances"], serde_json::json!([{ "currency": "EUR", "available": 3650, "held": 0 }]));
    assert_books_hold(&dev).await;
    dev.stop().await;
}

/// All but what the topics would tell: the embedded broker forgets.
async fn assert_books_hold(dev: &Dev) {
    let judged = dev.command().args(["verify", "--json"]).output().await.unwrap();
    let report: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(judged.status.code(), Some(2), "{report:#}");
    let lines = report["invariants"].as_array().unwrap();
    let held = |line: &&Value| line["verdict"] == "held";
    let others: Vec<&Value> = lines.iter().filter(|line| !held(line)).map(|line| &line["invariant"]).collect();
    assert_eq!(others, ["I9", "I10", "I11", "I13"], "{report:#}");
    assert!(lines.len() > 12, "{report:#}");
}

#[test]
fn the_readme_names_every_amount_that_means_something_to_the_simulator() {
    for row in TABLE {
        let line = format!("| …{} | `{}` | {} |", row.ending, row.name, row.meaning);
        assert!(README.contains(&line), "the README lacks: {line}");
    }
    let rows = README.lines().filter(|line| line.starts_with("| …9")).count();
    assert_eq!(rows, TABLE.len(), "the README has amounts that mean nothing");
}
