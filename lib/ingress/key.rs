//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): a quoted string, or the same without quotes.

use http::HeaderMap;

use super::refusal;
use crate::service::http::Problem;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

pub(super) fn of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let first = given.next().ok_or_else(refusal::key_missing)?;
    if given.next().is_some() {
        return Err(refusal::key_invalid());
    }
    first.to_str().ok().and_then(read).ok_or_else(refusal::key_invalid)
}

fn read(text: &str) -> Option<String> {
    let text = text.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unescape(quoted.strip_suffix('"')?)?,
        None => text.to_owned(),
    };
    let fits = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(key)
}

/// Inside quotes a backslash stands before a quote or a backslash (RFC 9651, 3.3.3).
fn unescape(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '\\' => letters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            '"' => return None,
            other => other,
        });
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_or_not_it_is_the_same_key() {
        assert_eq!(read("8e03978e"), Some("8e03978e".into()));
        assert_eq!(read("\"8e03978e\""), Some("8e03978e".into()));
        assert_eq!(read(r#""a\"b\\c""#), Some(r#"a"b\c"#.into()));
        assert_eq!(read(&"k".repeat(255)).map(|key| key.len()), Some(255));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "\"\"", "\"open", "two words", r#""a"b""#, r#""a\b""#, &"k".repeat(256)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
