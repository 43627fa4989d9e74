//! Configuration: environment first, an optional TOML file below it, defaults beside the code that uses them.
//!
//! `PAYFLEET_<PART>__<KEY>` sets one setting; `PAYFLEET_<PART>__<KEY>_FILE` names a file that holds it, as secrets are mounted;
//! `PAYFLEET_CONFIG` names the TOML file. A variable that is empty counts as not given. Nothing is guessed: a key that no part
//! knows is refused, and all that is wrong is told at once, because a deployment that fails five times for five typing errors
//! is a worse one.
//!
//! If it dies here: nothing has been touched yet. The process ends with [`EXIT_BAD_SETTINGS`].

mod fault;
mod given;
mod shown;

use std::collections::BTreeMap;

use ::config::{Map, Value, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use fault::{Fault, Faults};
use given::Given;
pub use shown::{Line, Origin, without_password};

/// The exit code of a process whose settings cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_BAD_SETTINGS: u8 = 64;

const PREFIX: &str = "PAYFLEET_";

/// A root of settings: what every process of one fleet can be told. `check` tells what no single key can.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Faults that lie between settings, such as a demo key in production. Only called when each key is good by itself.
    fn check(&self) -> Vec<Fault> {
        Vec::new()
    }
}

/// Settings, and where each that was given came from.
#[derive(Debug)]
pub struct Loaded<T> {
    pub settings: T,
    origins: BTreeMap<String, Origin>,
}

impl<T: Serialize> Loaded<T> {
    /// Every setting in effect, secrets redacted.
    pub fn lines(&self) -> Vec<Line> {
        shown::lines(&self.settings, &self.origins)
    }
}

/// Reads the settings of this process.
pub fn load<T: Settings>() -> Result<Loaded<T>, Faults> {
    load_from(std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into())))
}

/// Reads settings from variables given as an argument, for programs that set up others and for tests.
pub fn load_from<T: Settings>(variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded<T>, Faults> {
    let defaults = shown::tree(&T::default());
    let (given, mut faults) = given::collect(variables, &defaults);
    // Each value is tried alone, so that one bad key does not hide the next.
    faults.extend(given.iter().filter_map(|one| fault_of::<T>(one, &defaults)));
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let base = given.iter().fold(Map::new(), |table, one| with_neighbours(table, one, &defaults));
    let whole = Value::new(None, ValueKind::Table(given.iter().fold(base, merged)));
    let settings: T = whole.try_deserialize().map_err(|error| Faults(vec![fault::whole(&error)]))?;
    let faults = settings.check();
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Ok(Loaded { settings, origins: given.into_iter().map(|one| (one.path.join("."), one.origin)).collect() })
}

fn fault_of<T: Settings>(one: &Given, defaults: &serde_json::Value) -> Option<Fault> {
    let alone = Value::new(None, ValueKind::Table(merged(with_neighbours(Map::new(), one, defaults), one)));
    let error = alone.try_deserialize::<T>().err()?;
    if let Some(known_here) = given::unknown(&one.path, defaults) {
        return Some(fault::unknown(one, &known_here));
    }
    if (1..=one.path.len()).any(|depth| is_secret::<T>(&one.path[..depth])) {
        return Some(fault::unusable_secret(one));
    }
    Some(fault::unusable(one, &fault::problem::<T>(one, &error), defaults))
}

/// Whether a setting is of a type that redacts itself: found by giving it a value and looking at what is shown of it.
fn is_secret<T: Settings>(path: &[String]) -> bool {
    let probe = Given::probe(path);
    let tried = Value::new(None, ValueKind::Table(merged(Map::new(), &probe))).try_deserialize::<T>();
    match tried {
        Ok(settings) => {
            given::at(path, &shown::tree(&settings)).is_none_or(|shown| !shown.to_string().contains("probe"))
        }
        // It cannot even hold a text: judge by the name.
        Err(_) => path
            .last()
            .is_some_and(|key| ["key", "secret", "password", "pepper", "token"].iter().any(|word| key.contains(word))),
    }
}

fn merged(mut table: Map<String, Value>, one: &Given) -> Map<String, Value> {
    insert(&mut table, &one.path, one.value.clone());
    table
}

/// The defaults of the numbers and switches beside it: a group that is only good as a whole, such as a quota, can be given in part.
fn with_neighbours(mut table: Map<String, Value>, one: &Given, defaults: &serde_json::Value) -> Map<String, Value> {
    let Some((_, group)) = one.path.split_last() else { return table };
    let neighbours = given::at(group, defaults).and_then(serde_json::Value::as_object).into_iter().flatten();
    for (key, default) in neighbours.filter(|(_, default)| default.is_number() || default.is_boolean()) {
        let path = [group, std::slice::from_ref(key)].concat();
        insert(&mut table, &path, Value::new(None, default.to_string()));
    }
    table
}

fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let inner = table.entry(key.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
    match &mut inner.kind {
        ValueKind::Table(inner) => insert(inner, rest, value),
        scalar => {
            let mut fresh = Map::new();
            insert(&mut fresh, rest, value);
            *scalar = ValueKind::Table(fresh);
        }
    }
}

#[cfg(test)]
mod tests;
