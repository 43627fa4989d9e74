//! Identifiers: UUIDv7 inside (RFC 9562: they sort by time of making), typed prefixes outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Deposit or withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Deposit,
    Withdrawal,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Deposit => "dep_",
            Self::Withdrawal => "wdr_",
        }
    }
}

impl FromStr for Kind {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text {
            "deposit" => Ok(Self::Deposit),
            "withdrawal" => Ok(Self::Withdrawal),
            _ => Err(BadId),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an identifier of a payment: expected dep_ or wdr_ and 32 hexadecimal digits")]
pub struct BadId;

/// The public name of a transaction: `dep_` or `wdr_` and the 32 hexadecimal digits of its UUIDv7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicId {
    pub kind: Kind,
    pub id: Uuid,
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.id.simple())
    }
}

impl FromStr for PublicId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let kind = [Kind::Deposit, Kind::Withdrawal].into_iter().find(|k| text.starts_with(k.prefix())).ok_or(BadId)?;
        let digits = &text[kind.prefix().len()..];
        let canonical = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = Uuid::try_parse(digits).map_err(|_| BadId)?;
        if canonical { Ok(Self { kind, id }) } else { Err(BadId) }
    }
}

/// One act on an attempt that may move money. Each has its own key at the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    Capture,
    Cancel,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Capture => "capture",
            Self::Cancel => "cancel",
        }
    }

    /// The idempotency key of this operation at the gateway: the attempt's id and a letter, 33 characters, so that it also fits
    /// ISO 20022's Max35Text.
    pub fn key(self, attempt: Uuid) -> String {
        let letter = match self {
            Self::Create => 'c',
            Self::Capture => 'k',
            Self::Cancel => 'x',
        };
        format!("{}{letter}", attempt.simple())
    }

    /// The inverse of [`Operation::key`]; None when the text is not such a key.
    pub fn of_key(key: &str) -> Option<(Uuid, Self)> {
        let (digits, letter) = key.split_at_checked(32)?;
        let operation = match letter {
            "c" => Self::Create,
            "k" => Self::Capture,
            "x" => Self::Cancel,
            _ => return None,
        };
        Some((Uuid::try_parse(digits).ok()?, operation))
    }
}

impl FromStr for Operation {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text {
            "create" => Ok(Self::Create),
            "capture" => Ok(Self::Capture),
            "cancel" => Ok(Self::Cancel),
            _ => Err(BadId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_id_reads_back() {
        let id = PublicId { kind: Kind::Withdrawal, id: Uuid::now_v7() };
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id = PublicId { kind: Kind::Deposit, id: Uuid::now_v7() }.to_string();
        for bad in [id.to_uppercase(), id.replace("dep_", "pay_"), format!("{id}0"), String::new(), "dep_é".into()] {
            assert_eq!(bad.parse::<PublicId>(), Err(BadId), "{bad}");
        }
    }

    #[test]
    fn each_operation_of_an_attempt_has_its_own_key() {
        let attempt = Uuid::now_v7();
        for operation in [Operation::Create, Operation::Capture, Operation::Cancel] {
            let key = operation.key(attempt);
            assert!(key.len() <= 35);
            assert_eq!(Operation::of_key(&key), Some((attempt, operation)));
        }
    }
}
