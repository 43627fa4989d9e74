//! JSON, with bounds that hold before anything is built of it.

use serde_json::Value;

/// Objects and arrays inside each other; an order needs two.
const DEEPEST: usize = 8;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in super::super) enum Malformed {
    #[error("not valid JSON, at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
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
    let tree: Value = serde_json::from_slice(body)
        .map_err(|error| Malformed::NotJson { line: error.line(), column: error.column() })?;
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
