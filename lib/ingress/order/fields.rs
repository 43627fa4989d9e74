//! Taking known fields out of an object, and telling of all that are missing, wrong or unknown.

use serde_json::{Map, Value};

use super::Wrong;
use crate::service::http::FieldError;

/// How many unknown fields are told of.
const UNKNOWN_TOLD: usize = 10;
/// Of a name that we do not know, so much is repeated in the answer.
const NAME_SHOWN: usize = 40;

pub(super) struct Fields {
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    pub(super) fn of(tree: Value) -> Self {
        match tree {
            Value::Object(left) => Self { left, errors: Vec::new() },
            _ => Self { left: Map::new(), errors: Vec::new() },
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&mut self, field: &str, (code, message): Wrong) {
        self.errors.push(FieldError::new(field, code, message));
    }

    pub(super) fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Wrong>) -> Option<T> {
        let value = self.take(name)?;
        read(&value).map_err(|wrong| self.wrong(name, wrong)).ok()
    }

    pub(super) fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Wrong>) -> Option<T> {
        match self.take(name) {
            Some(value) => read(&value).map_err(|wrong| self.wrong(name, wrong)).ok(),
            None => {
                self.wrong(name, ("required", "is required"));
                None
            }
        }
    }

    /// All that was wrong, unknown fields included: a misspelt option must not be ignored where money moves.
    pub(super) fn done(mut self) -> Result<(), Vec<FieldError>> {
        for name in self.left.keys().take(UNKNOWN_TOLD) {
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            self.errors.push(FieldError::new(shown, "unknown_field", "is not a field of this request"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}

/// At most so many characters, none of them a control character.
pub(super) fn is_text(text: &str, longest: usize) -> bool {
    text.chars().count() <= longest && !text.chars().any(char::is_control)
}
