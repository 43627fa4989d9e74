//! Dashboards and alerts ask only for metrics that some process tells.

use std::collections::BTreeSet;

use super::{Source, assert_none, files, rust};

/// Told by libraries of ours, under names of their own.
const FROM_LIBRARIES: [&str; 2] = ["process_", "up"];

/// What an exporter adds to a metric's name.
const ENDINGS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Names of ours in a text: `payfleet_` and what follows.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|word| word.starts_with("payfleet_") && !word.ends_with('_'));
    words.map(str::to_owned).collect()
}

/// Names that are given to a metric in code.
fn told(sources: &[Source]) -> BTreeSet<String> {
    let code = sources.iter().filter(|source| !source.is_test());
    code.flat_map(|source| named(&source.text)).collect()
}

fn offences(asking: &[Source], told: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for source in asking {
        let unknown = named(&source.text).into_iter().filter(|name| {
            let bare = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
            !told.contains(bare) && !told.contains(name)
        });
        found.extend(unknown.map(|name| format!("{}: nobody tells `{name}`", source.path)));
    }
    found
}

#[test]
fn every_metric_in_a_dashboard_is_told_by_the_code() {
    let dashboards = files("grafana", ".json");
    assert_none(offences(&dashboards, &told(&rust())));
    for dashboard in &dashboards {
        let json: serde_json::Value = serde_json::from_str(&dashboard.text).unwrap();
        let expressions = expressions(&json);
        assert!(!expressions.is_empty(), "{}: no panel asks for anything", dashboard.path);
        let ours =
            |asked: &&String| named(asked).is_empty() && !FROM_LIBRARIES.iter().any(|library| asked.contains(library));
        assert_none(expressions.iter().filter(ours).map(|asked| format!("{}: {asked}", dashboard.path)).collect());
    }
}

/// Every query of a dashboard.
fn expressions(json: &serde_json::Value) -> Vec<String> {
    match json {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("expr", Some(asked)) => vec![asked.to_owned()],
                _ => expressions(value),
            })
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_metric_in_an_alert_is_told_by_the_code_and_every_alert_says_what_to_do() {
    let alerts = files("grafana/alerts.yml", ".yml");
    assert_none(offences(&alerts, &told(&rust())));
    let count = |part: &str| alerts[0].text.matches(part).count();
    assert!(count("- alert: ") >= 3 && count("- alert: ") == count("action: "));
    assert!(named(&alerts[0].text).contains("payfleet_dead_letters_total"));
}

#[test]
fn a_metric_that_nobody_tells_is_found() {
    let code = [Source::made_up("lib/relay/run.rs", r#"metrics::histogram!("payfleet_relay_page_seconds")"#)];
    let dashboard = |asked: &str| [Source::made_up("grafana/dashboards/a.json", asked)];
    assert_none(offences(&dashboard("sum by (le) (rate(payfleet_relay_page_seconds_bucket[1m]))"), &told(&code)));
    assert_eq!(offences(&dashboard("rate(payfleet_relay_pages_total[1m])"), &told(&code)).len(), 1);
}
