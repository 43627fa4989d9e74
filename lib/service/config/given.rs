//! What was given, from which source, before anyone has judged it.

use std::collections::BTreeMap;

use ::config::{Config, File, FileFormat, Value, ValueKind};

use super::fault::{self, Fault};
use super::{Origin, PREFIX};

/// One value under its path, with the name under which a person gave it.
#[derive(Debug)]
pub(super) struct Given {
    pub path: Vec<String>,
    pub value: Value,
    pub origin: Origin,
}

impl Given {
    pub fn probe(path: &[String]) -> Self {
        Self { path: path.to_vec(), value: Value::new(None, "probe"), origin: Origin::Environment("probe".into()) }
    }
}

/// Variables that other programs of this repository read; they are no settings.
fn is_setting(name: &str) -> bool {
    let is_for_tests = name.starts_with("PAYFLEET_TEST_")
        || name.starts_with("PAYFLEET_CHAOS_")
        || (cfg!(feature = "failpoints") && name.starts_with("PAYFLEET_FAILPOINTS"))
        || (cfg!(feature = "planted-bugs") && name == "PAYFLEET_PLANTED_BUG");
    name.starts_with(PREFIX) && name != "PAYFLEET_CONFIG" && !is_for_tests
}

/// Everything given, the file's values first and without those that the environment overrides.
pub(super) fn collect(
    variables: impl IntoIterator<Item = (String, String)>,
    defaults: &serde_json::Value,
) -> (Vec<Given>, Vec<Fault>) {
    let variables: BTreeMap<String, String> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let (mut environment, mut faults) = (Vec::new(), Vec::new());
    for (name, value) in variables.iter().filter(|(name, _)| is_setting(name)) {
        match from_variable(name, value, defaults, &variables) {
            Ok(given) => environment.push(given),
            Err(fault) => faults.push(fault),
        }
    }
    let mut given = match variables.get("PAYFLEET_CONFIG").map(|path| from_file(path)) {
        Some(Ok(given)) => given,
        Some(Err(fault)) => {
            faults.push(fault);
            Vec::new()
        }
        None => Vec::new(),
    };
    given.retain(|low| !environment.iter().any(|high| low.path.starts_with(&high.path)));
    given.extend(environment);
    (given, faults)
}

fn from_variable(
    name: &str,
    value: &str,
    defaults: &serde_json::Value,
    variables: &BTreeMap<String, String>,
) -> Result<Given, Fault> {
    let path = path_of(name);
    let origin = Origin::Environment(name.to_owned());
    // A key that ends in `_file` by itself stays what it is; otherwise the suffix means "read it from there".
    if at(&path, defaults).is_none()
        && let Some(base) = name.strip_suffix("_FILE")
        && at(&path_of(base), defaults).is_some()
    {
        if variables.contains_key(base) {
            return Err(fault::twice(name, base));
        }
        let content = std::fs::read_to_string(value).map_err(|error| fault::unreadable(name, value, &error))?;
        let path = path_of(base);
        let value = typed(content.trim_end_matches(['\r', '\n']), at(&path, defaults));
        return Ok(Given { path, value, origin });
    }
    let value = typed(value, at(&path, defaults));
    Ok(Given { path, value, origin })
}

/// `PAYFLEET_GATEWAYS__STRIPE__BASE_URL` is `gateways.stripe.base_url`.
fn path_of(name: &str) -> Vec<String> {
    name[PREFIX.len()..].split("__").map(str::to_lowercase).collect()
}

/// The environment knows only text: where the default is a list, commas separate its entries.
fn typed(text: &str, default: Option<&serde_json::Value>) -> Value {
    match default {
        Some(serde_json::Value::Array(_)) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Value::new(None, ValueKind::Array(entries.map(|entry| Value::new(None, entry)).collect()))
        }
        _ => Value::new(None, text),
    }
}

fn from_file(path: &str) -> Result<Vec<Given>, Fault> {
    let text = std::fs::read_to_string(path).map_err(|error| fault::unreadable("PAYFLEET_CONFIG", path, &error))?;
    let parsed = Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build()
        .map_err(|error| fault::malformed_file(path, &error))?;
    let mut given = Vec::new();
    flatten(&mut Vec::new(), parsed.cache, path, &mut given);
    Ok(given)
}

fn flatten(path: &mut Vec<String>, value: Value, file: &str, given: &mut Vec<Given>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (key, inner) in table {
                path.push(key);
                flatten(path, inner, file, given);
                path.pop();
            }
        }
        kind => {
            let origin = Origin::File(file.to_owned());
            given.push(Given { path: path.clone(), value: Value::new(None, kind), origin });
        }
    }
}

/// The default under a path.
pub(super) fn at<'a>(path: &[String], tree: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(tree, |tree, key| tree.get(key))
}

/// For a path that leads nowhere: the settings that exist at the place where it leaves the known ones.
pub(super) fn unknown(path: &[String], defaults: &serde_json::Value) -> Option<Vec<String>> {
    let depth = (1..=path.len()).find(|&depth| at(&path[..depth], defaults).is_none())?;
    let parent = at(&path[..depth - 1], defaults)?.as_object()?;
    Some(parent.keys().map(|key| [&path[..depth - 1], std::slice::from_ref(key)].concat().join(".")).collect())
}
