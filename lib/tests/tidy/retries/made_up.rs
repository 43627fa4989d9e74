//! Nobody makes up waits of his own: what looks like a schedule, a number of tries or a wait before the next stands in the policy.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::super::{Source, assert_none, place, rust};
use super::MAKERS;

/// They stand for other people's clients and gateways, whose patience is theirs, or wait for servers of a developer's machine.
const OTHERS: [&str; 3] = ["load", "gateway_sim", "dev"];

/// Looks at something by the clock, however the last look went: not a second try of anything.
const LOOKS: [(&str, &str); 3] = [
    ("lib/kafka/watch.rs", "EVERY"),
    ("lib/cli/migrate/migrating.rs", "WATCH"),
    ("lib/service/http/connection.rs", "PEEK"),
];

/// librdkafka's own pause while its queue is full: nothing has failed.
const NO_FAILURE: &str = "fetch.queue.backoff.ms";

/// Counts the stages of one admission, each of which is another question to Redis.
const STAGES: &str = "lib/ingress/door.rs";

/// What constants and settings are called that say when or how often something is tried again.
const WORDS: [&str; 8] = ["tries", "retry", "retries", "pause", "busy", "rest", "backoff", "reconnect"];

fn is_of_a_schedule(name: &str) -> bool {
    name.to_lowercase().split('_').any(|word| WORDS.contains(&word))
}

fn ident(tree: Option<&TokenTree>) -> String {
    if let Some(TokenTree::Ident(ident)) = tree { ident.to_string() } else { String::new() }
}

fn is_punct(tree: Option<&TokenTree>, mark: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

fn parenthesized(tree: Option<&TokenTree>) -> Option<Vec<TokenTree>> {
    match tree {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            Some(group.stream().into_iter().collect())
        }
        _ => None,
    }
}

/// A string's text, without its quotes.
fn text(tree: Option<&TokenTree>) -> Option<String> {
    let Some(TokenTree::Literal(literal)) = tree else { return None };
    Some(literal.to_string().strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

fn is_number(tree: Option<&TokenTree>) -> bool {
    matches!(tree, Some(TokenTree::Literal(literal)) if literal.to_string().starts_with(|c: char| c.is_ascii_digit()))
}

/// 20, or Some(20).
fn is_given_number(trees: &[TokenTree]) -> bool {
    let some = ident(trees.first()) == "Some";
    is_number(trees.first()) || (some && parenthesized(trees.get(1)).is_some_and(|inner| is_number(inner.first())))
}

/// A time that is written out, or a constant that is not the policy's.
fn is_made_up_time(source: &Source, trees: &[TokenTree]) -> bool {
    let names: Vec<String> = trees.iter().map(|tree| ident(Some(tree))).collect();
    if names.iter().any(|name| name == "policy") {
        return false;
    }
    let written = trees.iter().enumerate().any(|(n, _)| {
        names[n].starts_with("from_") && parenthesized(trees.get(n + 1)).is_some_and(|inner| is_number(inner.first()))
    });
    let is_look = |name: &str| LOOKS.contains(&(source.path.as_str(), name));
    let is_constant = |name: &String| name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    written || names.iter().any(|name| is_constant(name) && !is_look(name))
}

/// What is wrong at the n-th token.
fn offence(source: &Source, trees: &[TokenTree], n: usize) -> Option<&'static str> {
    let (here, name) = (ident(trees.get(n)), ident(trees.get(n + 1)));
    let until_semicolon = || trees[n..].iter().take_while(|tree| !is_punct(Some(tree), ';'));
    let is_the_policys = || until_semicolon().any(|tree| ident(Some(tree)) == "policy");
    if here == "const" && is_of_a_schedule(&name) && !is_the_policys() {
        return Some("a constant of a schedule of its own");
    }
    if here == "Waits" && ident(trees.get(n + 3)) == "new" {
        return Some("waits of its own");
    }
    if here == "sleep" && parenthesized(trees.get(n + 1)).is_some_and(|inner| is_made_up_time(source, &inner)) {
        return Some("sleeps for a time of its own");
    }
    let is_field = is_punct(trees.get(n + 1), ':') && !is_punct(trees.get(n + 2), ':');
    if is_field && is_of_a_schedule(&here) && is_given_number(&trees[n + 2..]) {
        return Some("a setting of a schedule of its own");
    }
    let setting = text(trees.get(n)).filter(|setting| is_of_a_schedule(&setting.replace('.', "_")));
    let is_written = text(trees.get(n + 2)).is_some_and(|value| value.starts_with(|c: char| c.is_ascii_digit()));
    if setting.is_some_and(|setting| setting != NO_FAILURE) && is_punct(trees.get(n + 1), ',') && is_written {
        return Some("a librdkafka setting of a schedule of its own");
    }
    // for _ in 0..5
    let is_loop = here == "for" && name == "_" && is_punct(trees.get(n + 4), '.') && is_number(trees.get(n + 6));
    (is_loop && source.path != STAGES).then_some("a number of tries of its own")
}

/// Of the tokens, and of what they enclose; what is compiled for tests only is left out.
fn look(source: &Source, tokens: TokenStream, found: &mut Vec<String>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut n = 0;
    while let Some(tree) = trees.get(n) {
        if let TokenTree::Group(group) = tree {
            if is_punct(n.checked_sub(1).and_then(|before| trees.get(before)), '#')
                && group.stream().to_string().replace(' ', "") == "cfg(test)"
            {
                let is_end = |tree: &TokenTree| {
                    is_punct(Some(tree), ';')
                        || matches!(tree, TokenTree::Group(body) if body.delimiter() == Delimiter::Brace)
                };
                n += 1 + trees[n + 1..].iter().take_while(|tree| !is_end(tree)).count();
            } else {
                look(source, group.stream(), found);
            }
        }
        if let Some(why) = offence(source, &trees, n) {
            found.push(format!("{}: {why}", place(source, tree.span())));
        }
        n += 1;
    }
}

fn made_up(sources: &[Source]) -> Vec<String> {
    let is_ours = |source: &&Source| {
        let of_tests = source.is_test() || source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
        !of_tests && !OTHERS.contains(&source.room()) && !MAKERS.contains(&source.path.as_str())
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(is_ours) {
        look(source, source.text.parse().unwrap(), &mut found);
    }
    found
}

#[test]
fn nobody_makes_up_waits_of_his_own() {
    assert_none(made_up(&rust()));
}

#[test]
fn waits_and_tries_of_ones_own_are_found_however_they_are_written() {
    let count = |path: &str, text: &str| made_up(&[Source::made_up(path, text)]).len();
    for text in [
        "const TRIES: usize = 20;",
        "const TRIES_IN_COMPANY: usize = 2;",
        "/// How long.\nconst PAUSE: Duration = Duration::from_millis(50);",
        "const BUSY: Duration = Duration::from_secs(30);",
        "const RECONNECT: Duration = Duration::from_secs(1);",
        "const TOKEN_RETRY_MS: u64 = 1_000;",
        "fn f() { Waits::new(a, b) }",
        "async fn f() { tokio::time::sleep(Duration::from_millis(50)).await; }",
        "async fn f() { tokio::select! { () = tokio::time::sleep(NAP) => {} } }",
        "fn f() { thread::sleep(2 * LIMIT); }",
        "fn f() -> Settings { Settings { rest_ms: 1_000 } }",
        "fn f() -> Outcome { Outcome::Later { retry_after_ms: Some(60_000), code } }",
        r#"fn f() { client.set("reconnect.backoff.max.ms", "500"); }"#,
        "fn f() { for _ in 0..5 { ask(); } }",
        "#[cfg(test)] mod tests { const TRIES: usize = 1; } const TRIES: usize = 2;",
    ] {
        assert_eq!(count("lib/relay/mod.rs", text), 1, "{text}");
        assert_eq!(count("lib/tests/relay.rs", text) + count("lib/load/mod.rs", text), 0, "{text}");
    }
    for text in [
        "const TRIES: usize = policy::MOVED.tries();",
        "const METADATA_ENTRIES: usize = 50;",
        "async fn f() { tokio::time::sleep(policy::SLOT.first()).await; tokio::time::sleep(waits.next_wait()).await; }",
        "async fn f() { tokio::time::sleep(Duration::from_millis(settings.watch_ms)).await; }",
        "fn f() -> Settings { Settings { rest_ms: policy::REDIS.first_ms() } }",
        "struct Settings { rest_ms: u64 }",
        "#[cfg(test)] mod tests { const TRIES: usize = 1; fn f() { for _ in 0..5 {} } }",
    ] {
        assert_eq!(count("lib/relay/mod.rs", text), 0, "{text}");
    }
    assert_eq!(count("lib/kafka/watch.rs", "async fn f() { sleep(EVERY).await }"), 0);
    assert_eq!(count("lib/kafka/topics.rs", "async fn f() { sleep(EVERY).await }"), 1);
}
