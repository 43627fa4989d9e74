//! Where a withdrawal's money goes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::UnknownWord;

/// Kinds of account that money can be paid out to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    Iban,
    AccountNumber,
    Email,
    Token,
}

impl DestinationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iban => "iban",
            Self::AccountNumber => "account_number",
            Self::Email => "email",
            Self::Token => "token",
        }
    }
}

impl FromStr for DestinationKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [Self::Iban, Self::AccountNumber, Self::Email, Self::Token]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// An account to pay out to. Serialised only to be sealed; its Debug shows the kind and nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    Iban(String),
    AccountNumber { account_number: String, bank_code: String },
    Email(String),
    Token(String),
}

impl Destination {
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Iban(_) => DestinationKind::Iban,
            Self::AccountNumber { .. } => DestinationKind::AccountNumber,
            Self::Email(_) => DestinationKind::Email,
            Self::Token(_) => DestinationKind::Token,
        }
    }

    /// The last four characters: all that an answer or a log may show. Shorter accounts show less, never all of it.
    pub fn last4(&self) -> String {
        let text = match self {
            Self::Iban(text) | Self::Email(text) | Self::Token(text) => text,
            Self::AccountNumber { account_number, .. } => account_number,
        };
        let length = text.chars().count();
        text.chars().skip(length - length.saturating_sub(4).min(4)).collect()
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({})", self.kind().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_four_characters_are_ever_shown() {
        let iban = Destination::Iban("DE89370400440532013000".into());
        assert_eq!(iban.last4(), "3000");
        assert_eq!(Destination::Token("abc".into()).last4(), "");
        assert_eq!(format!("{iban:?}"), "Destination(iban)");
    }
}
