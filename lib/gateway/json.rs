//! JSON from outside: its size and depth are checked before it is parsed, and text that no database column can hold is not taken.

use serde::de::DeserializeOwned;

const SIZE_LIMIT: usize = 256 * 1024;
/// No gateway nests deeper than ten.
const DEPTH_LIMIT: usize = 32;

#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("JSON larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    #[error("JSON nested deeper than {DEPTH_LIMIT}")]
    TooDeep,
    /// The character U+0000, which PostgreSQL stores neither in text nor in jsonb: what it stands in could never be recorded.
    #[error("JSON with a NUL character")]
    Nul,
    /// Line and column only: the text itself may be private.
    #[error("not the JSON it should be, line {}, column {}", .0.line(), .0.column())]
    Malformed(#[from] serde_json::Error),
}

pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    if text.len() > SIZE_LIMIT {
        return Err(Unreadable::TooLarge);
    }
    if depth(text) > DEPTH_LIMIT {
        return Err(Unreadable::TooDeep);
    }
    if has_nul(text) {
        return Err(Unreadable::Nul);
    }
    Ok(serde_json::from_slice(text)?)
}

/// The deepest nesting of arrays and objects, were this text JSON.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Written as `\u0000`; as it is, it is no JSON. A backslash that is itself escaped begins nothing.
fn has_nul(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn text_that_no_column_can_hold_is_refused() {
        for text in [r#""\u0000""#, r#"{"a\u0000": 1}"#, r#""\\\u0000""#, r#""é\n\u0000""#] {
            assert!(matches!(read::<Value>(text.as_bytes()), Err(Unreadable::Nul)), "{text}");
        }
        assert!(matches!(read::<Value>(b"\"\0\""), Err(Unreadable::Malformed(_))));
        for text in [r#""\\u0000""#, r#""\u0001""#, r#""u0000\\""#] {
            assert!(read::<Value>(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn deep_or_large_json_is_refused_before_it_is_parsed() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read::<Value>(nested(DEPTH_LIMIT).as_bytes()).is_ok());
        assert!(matches!(read::<Value>(nested(DEPTH_LIMIT + 1).as_bytes()), Err(Unreadable::TooDeep)));
        assert!(matches!(read::<Value>("{\"a\":".repeat(40_000).as_bytes()), Err(Unreadable::TooDeep)));
        assert!(matches!(read::<Value>(" ".repeat(SIZE_LIMIT + 1).as_bytes()), Err(Unreadable::TooLarge)));
    }

    #[test]
    fn brackets_inside_strings_are_text() {
        let text = format!("{{\"a\": \"{}\\\"{}\"}}", "[".repeat(100), "{".repeat(100));
        assert!(read::<Value>(text.as_bytes()).is_ok());
    }
}
