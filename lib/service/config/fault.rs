//! What is wrong with a setting, and what to do about it.

use ::config::{ConfigError, Value, ValueKind};

use super::given::{self, Given};
use super::shown::{masked, variable_of};

/// One thing wrong: which setting, what it holds, why that cannot be used, what would help.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub setting: String,
    /// Already redacted where it must be.
    pub value: Option<String>,
    pub problem: String,
    pub remedy: String,
}

impl Fault {
    /// A fault that lies between settings; `path` as in `relay.lease_ms`.
    pub fn between(path: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { setting: variable_of(path), value: None, problem: problem.into(), remedy: remedy.into() }
    }
}

/// Everything that is wrong, to be printed as one text.
#[derive(Debug, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        writeln!(f, "{count} setting{} cannot be used:", if count == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            match &fault.value {
                Some(value) => writeln!(f, "\n  {} = {value}", fault.setting)?,
                None => writeln!(f, "\n  {}", fault.setting)?,
            }
            writeln!(f, "    problem: {}", fault.problem)?;
            writeln!(f, "    remedy:  {}", fault.remedy)?;
        }
        Ok(())
    }
}

pub(super) fn unknown(one: &Given, known_here: &[String]) -> Fault {
    let path = one.path.join(".");
    let nearest = known_here.iter().max_by(|a, b| strsim::jaro(&path, a).total_cmp(&strsim::jaro(&path, b)));
    let known = known_here.iter().map(|path| variable_of(path)).collect::<Vec<_>>().join(", ");
    Fault {
        setting: one.origin.name_of(&path),
        // Nobody knows what it was meant to be, so it may have been meant to be a secret.
        value: Some("[not shown]".into()),
        problem: "there is no such setting".into(),
        remedy: match nearest.filter(|near| strsim::jaro(&path, near) > 0.9) {
            Some(near) => format!("did you mean {}? Known here: {known}", variable_of(near)),
            None => format!("remove it, or use one that exists here: {known}"),
        },
    }
}

/// What the reading library says. It does not list the values of a choice; the JSON reader does.
pub(super) fn problem<T: serde::de::DeserializeOwned>(one: &Given, error: &ConfigError) -> String {
    match (error, &one.value.kind) {
        (ConfigError::Type { expected, .. }, _) => format!("expected {expected}"),
        (_, ValueKind::String(text)) => {
            let leaf = serde_json::Value::String(text.clone());
            let tree = one.path.iter().rev().fold(leaf, |inner, key| serde_json::json!({ key: inner }));
            serde_json::from_value::<T>(tree).err().map_or_else(|| error.to_string(), |error| error.to_string())
        }
        _ => error.to_string(),
    }
}

pub(super) fn unusable(one: &Given, problem: &str, defaults: &serde_json::Value) -> Fault {
    let path = one.path.join(".");
    let remedy = match given::at(&one.path, defaults) {
        Some(serde_json::Value::Object(_)) => format!("set its keys one by one: {}__<KEY>", variable_of(&path)),
        Some(default) if !default.is_null() => {
            format!("give a value like the default, {}, or unset it", masked(default))
        }
        _ => "correct it, or unset it".to_owned(),
    };
    Fault { setting: one.origin.name_of(&path), value: Some(plain(&one.value)), problem: problem.to_owned(), remedy }
}

/// The library's message would quote the value.
pub(super) fn unusable_secret(one: &Given) -> Fault {
    Fault {
        setting: one.origin.name_of(&one.path.join(".")),
        value: Some("[redacted]".to_owned()),
        problem: "it is not of the form that this secret has".to_owned(),
        remedy: "correct it, or unset it".to_owned(),
    }
}

pub(super) fn twice(file_variable: &str, variable: &str) -> Fault {
    Fault {
        setting: file_variable.to_owned(),
        value: None,
        problem: format!("{variable} is set as well, so it is unclear which one counts"),
        remedy: "unset one of the two".to_owned(),
    }
}

pub(super) fn unreadable(variable: &str, path: &str, error: &std::io::Error) -> Fault {
    Fault {
        setting: variable.to_owned(),
        value: Some(format!("\"{path}\"")),
        problem: format!("the file cannot be read: {error}"),
        remedy: "name a file that exists and that this user may read".to_owned(),
    }
}

pub(super) fn malformed_file(path: &str, error: &ConfigError) -> Fault {
    Fault {
        setting: "PAYFLEET_CONFIG".to_owned(),
        value: Some(format!("\"{path}\"")),
        problem: format!("the file is not TOML{}", place_of(error)),
        remedy: "correct the file at that place".to_owned(),
    }
}

/// Where it is. The library's message shows the line itself, which may hold a secret.
fn place_of(error: &ConfigError) -> String {
    let text = error.to_string();
    let number = |word: &str| {
        let digits = text.lines().next()?.split_once(word)?.1;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse::<usize>().ok()
    };
    match (number("line "), number("column ")) {
        (Some(line), Some(column)) => format!(": line {line}, column {column}"),
        _ => String::new(),
    }
}

pub(super) fn whole(error: &ConfigError) -> Fault {
    Fault {
        setting: "PAYFLEET_*".to_owned(),
        value: None,
        problem: error.to_string(),
        remedy: "each setting is good by itself, but together they do not fit".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => masked(&serde_json::Value::String(text.clone())),
        ValueKind::Array(_) => format!("[{}]", value.to_string().trim_matches(['[', ']'])),
        _ => value.to_string(),
    }
}
