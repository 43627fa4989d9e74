//! Every bug that can be planted stands in the code, has a catcher that there is, and is told of in the docs.

use payfleet::service::planted::Bug;

use super::{Source, assert_none, files, rust};

const LIST: &str = "lib/service/planted.rs";

/// Behind what the code knows stand the seconds that it took, the build aside, and what two minutes of chaos saw of it, once that was tried.
const HEAD: &str = "| planted | what is wrong then | caught by | in | two minutes of chaos |";

/// The rows of the docs as the list has them. What a bug is stands in its comment, on one line.
fn meant(list: &str) -> Vec<String> {
    let lines: Vec<&str> = list.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let (what, (_, rest)) = (pair[0].strip_prefix("/// ")?, pair[1].split_once(" = \"")?);
        let (name, (catcher, _)) =
            rest.split_once("\" by \"").and_then(|(name, rest)| Some((name, rest.split_once("\" saying \"")?)))?;
        Some(format!("| `{name}` | {what} | `{catcher}` |"))
    });
    pairs.collect()
}

/// What two minutes of chaos saw, by bug.
fn seen_in_chaos(row: &str) -> Option<(&str, &str)> {
    let name = row.strip_prefix("| `")?.split_once('`')?.0;
    Some((name, row.strip_suffix(" |")?.rsplit_once(" | ")?.1))
}

/// The row without what was measured; a row without that is left as it stands.
fn known_part(row: &str) -> &str {
    let measured = row.strip_suffix(" |").and_then(|row| {
        let (row, _chaos) = row.rsplit_once(" | ")?;
        let (row, seconds) = row.rsplit_once(" | ")?;
        let seconds: u32 = seconds.strip_suffix(" s")?.parse().ok()?;
        (seconds > 0).then_some(row)
    });
    measured.map_or(row, |known| &row[..known.len() + " |".len()])
}

fn written(text: &str) -> Vec<String> {
    let below = text.lines().skip_while(|line| *line != HEAD).skip(2);
    below.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// Whether a test of this name, or one below it, is in the tree.
fn exists(catcher: &str, sources: &[Source]) -> bool {
    let (rooms, name) = catcher.rsplit_once("::").unwrap_or(("", catcher));
    let within = |path: &str| sources.iter().filter(|source| source.path == path).any(|source| has(source, name));
    let of_the_library = rooms.strip_suffix("::tests").map(|room| room.replace("::", "/"));
    let rooms = rooms.replace("::", "/");
    let of_the_fleet = [format!("lib/tests/{rooms}.rs"), format!("lib/tests/{rooms}/mod.rs")];
    let own = of_the_library
        .into_iter()
        .flat_map(|room| [format!("lib/{room}.rs"), format!("lib/{room}/mod.rs"), format!("lib/{room}/tests.rs")]);
    of_the_fleet.into_iter().chain(own).any(|path| within(&path))
}

fn has(source: &Source, name: &str) -> bool {
    let tests = ["#[test]", "#[tokio::test"].iter().any(|mark| source.text.contains(mark));
    tests && (name.is_empty() || source.text.contains(&format!("fn {name}(")))
}

#[test]
fn every_planted_bug_has_a_catcher_that_there_is() {
    let sources = rust();
    let without = Bug::ALL.iter().filter(|bug| !exists(bug.catcher(), &sources));
    assert_none(without.map(|bug| format!("{}: there is no {}", bug.name(), bug.catcher())).collect());
    assert!(Bug::ALL.len() >= 25);
}

#[test]
fn a_catcher_that_there_is_not_is_found() {
    let sources = [
        Source::made_up("lib/tests/worker.rs", "#[tokio::test]\nasync fn it_works() {}"),
        Source::made_up("lib/relay/lane/tests.rs", "#[test]\nfn it_works() {}"),
        Source::made_up("lib/relay/mod.rs", "fn it_works() {}"),
    ];
    for there_is in ["worker::it_works", "worker::", "relay::lane::tests::it_works"] {
        assert!(exists(there_is, &sources), "{there_is}");
    }
    for there_is_not in ["worker::it_work", "relay::it_works", "relay::tests::it_works", "it_works", "worker"] {
        assert!(!exists(there_is_not, &sources), "{there_is_not}");
    }
}

#[test]
fn every_planted_bug_stands_somewhere_in_the_code() {
    let code: Vec<Source> = rust().into_iter().filter(|source| !source.is_test() && source.path != LIST).collect();
    let nowhere = |bug: &&Bug| !code.iter().any(|source| source.text.contains(&format!("planted::is(Bug::{bug:?})")));
    assert_none(Bug::ALL.iter().filter(nowhere).map(|bug| format!("{}: planted nowhere", bug.name())).collect());
}

#[test]
fn the_docs_tell_of_every_planted_bug_as_the_code_does() {
    let meant = meant(&files("lib/service", "planted.rs").remove(0).text);
    let names = Bug::ALL.iter().map(|bug| format!("| `{}` | ", bug.name()));
    assert_none(names.zip(&meant).filter(|(name, row)| !row.starts_with(name)).map(|(name, _)| name).collect());
    assert_eq!(meant.len(), Bug::ALL.len(), "a bug without a comment on one line");
    let written = written(&files("README.md", ".md").remove(0).text);
    assert_eq!(written.iter().map(|row| known_part(row)).collect::<Vec<_>>(), meant);
    for (name, seen) in written.iter().filter_map(|row| seen_in_chaos(row)) {
        let bug = Bug::ALL.iter().find(|bug| bug.name() == name).unwrap();
        let is_it = |found: &str| found.split('|').any(|words| seen.contains(words));
        assert!(bug.in_chaos().map_or(seen == "–", is_it), "{name}: {seen}");
    }
}
