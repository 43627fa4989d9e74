//! Settings as they are shown to people: names, origins, and nothing secret.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Default,
    /// The variable's name.
    Environment(String),
    /// The file's path.
    File(String),
}

impl Origin {
    /// The setting as the person who gave it knows it.
    pub(super) fn name_of(&self, path: &str) -> String {
        match self {
            Self::Environment(variable) => variable.clone(),
            Self::File(file) => format!("{path} (in {file})"),
            Self::Default => variable_of(path),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(variable) if variable.ends_with("_FILE") => f.write_str("file named in the environment"),
            Self::Environment(_) => f.write_str("environment"),
            Self::File(file) => f.write_str(file),
        }
    }
}

/// One setting in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub setting: String,
    pub value: String,
    pub origin: Origin,
}

pub(super) fn tree<T: Serialize>(settings: &T) -> Value {
    serde_json::to_value(settings).unwrap_or(Value::Null)
}

pub(super) fn lines<T: Serialize>(settings: &T, origins: &BTreeMap<String, Origin>) -> Vec<Line> {
    let mut lines = Vec::new();
    walk(&mut Vec::new(), &tree(settings), &mut |path, value| {
        let origin = origins.get(path).cloned().unwrap_or(Origin::Default);
        lines.push(Line { setting: variable_of(path), value: masked(value), origin });
    });
    lines
}

fn walk(path: &mut Vec<String>, value: &Value, each: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                path.push(key.clone());
                walk(path, inner, each);
                path.pop();
            }
        }
        leaf => each(&path.join("."), leaf),
    }
}

/// `gateways.stripe.base_url` is `PAYFLEET_GATEWAYS__STRIPE__BASE_URL`.
pub(super) fn variable_of(path: &str) -> String {
    format!("{}{}", super::PREFIX, path.to_uppercase().replace('.', "__"))
}

/// A value as shown: the password inside a URL is a secret even where the URL is not.
pub(super) fn masked(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", without_password(text)),
        Value::Null => "(unset)".to_owned(),
        other => without_password(&other.to_string()),
    }
}

/// A URL as it may be shown: its password redacted, whether it stands before the host or among the parameters.
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    if query.is_some_and(|query| query.contains('@')) && place.contains(':') && !place.contains('@') {
        // The question mark may be one of a password, which should have been written as %3F.
        return format!("{scheme}://[redacted]");
    }
    let place = match place.rsplit_once('@') {
        Some((credentials, host)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{user}:[redacted]@{host}"),
            None => place.to_owned(),
        },
        None => place.to_owned(),
    };
    let query = query.map(|query| query.split('&').map(without_value_of_secret).collect::<Vec<_>>().join("&"));
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{place}{query}")
}

fn without_value_of_secret(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}=[redacted]"),
        _ => parameter.to_owned(),
    }
}
