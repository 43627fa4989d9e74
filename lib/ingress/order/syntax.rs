//! JSON, with bounds that hold before anything is built of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Objects and arrays inside each other; an order needs two.
const DEEPEST: usize = 8;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in super::super) enum Malformed {
    #[error("not valid JSON, at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("a member of an object stands there twice, at line {line}, column {column}")]
    Repeated { line: usize, column: usize },
    #[error("objects are nested more than {DEEPEST} deep")]
    TooDeep,
    #[error("the body must be a JSON object")]
    NotAnObject,
}

/// The tree of an object.
pub(in super::super) fn from_json(body: &[u8]) -> Result<Value, Malformed> {
    if is_too_deep(body) {
        return Err(Malformed::TooDeep);
    }
    let Tree(tree) = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // A tree takes all that JSON is: the only thing that it refuses itself is a repeated member.
        if error.is_data() { Malformed::Repeated { line, column } } else { Malformed::NotJson { line, column } }
    })?;
    if tree.is_object() { Ok(tree) } else { Err(Malformed::NotAnObject) }
}

/// Counts brackets outside of strings.
fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

/// A tree of values in which no member stands twice. Readers of such JSON differ in which one counts, and then somebody has signed, or
/// shown, or checked another amount than the one that is paid.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Growing).map(Self)
    }
}

struct Growing;

impl<'de> Visitor<'de> for Growing {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Tree(entry)) = entries.next_element()? {
            all.push(entry);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Tree(value))) = members.next_entry::<String, Tree>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated"));
            }
        }
        Ok(Value::Object(all))
    }
}
