//! Money: an integer in minor units plus an ISO 4217 code. Never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An ISO 4217 currency code that is in use, such as `EUR` (two decimals) or `JPY` (none).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an ISO 4217 currency code in capitals")]
pub struct UnknownCurrency(pub String);

impl Currency {
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// How many decimals the currency has: 2 for EUR, 0 for JPY, 3 for KWD. None for units of account such as XAU.
    pub fn exponent(&self) -> Option<u32> {
        iso_currency::Currency::from_code(self.code()).and_then(|known| known.exponent()).map(u32::from)
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| UnknownCurrency(code.to_owned()))?;
        let known = bytes.iter().all(u8::is_ascii_uppercase) && iso_currency::Currency::from_code(code).is_some();
        if known { Ok(Self(bytes)) } else { Err(UnknownCurrency(code.to_owned())) }
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units of its currency. Amounts of payments are positive; the type does not insist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadDecimal {
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    #[error("`{0}` has more decimals than {1} has")]
    TooPrecise(String, Currency),
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl Money {
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// `12.50` for 1250 EUR, `1250` for 1250 JPY: the form that PayPal and ISO 20022 use.
    pub fn to_decimal(self) -> String {
        let decimals = self.currency.exponent().unwrap_or(0) as usize;
        if decimals == 0 {
            return self.minor.to_string();
        }
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        format!("{sign}{whole}.{fraction}")
    }

    /// Reads what [`Money::to_decimal`] writes; fewer decimals than the currency has are accepted, more only if they are zeros.
    pub fn from_decimal(text: &str, currency: Currency) -> Result<Self, BadDecimal> {
        let not_a_number = || BadDecimal::NotANumber(text.to_owned());
        let decimals = currency.exponent().unwrap_or(0) as usize;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
            return Err(not_a_number());
        }
        if digits.ends_with('.') {
            return Err(not_a_number());
        }
        let kept = fraction.get(..decimals.min(fraction.len())).unwrap_or(fraction);
        if fraction[kept.len()..].chars().any(|c| c != '0') {
            return Err(BadDecimal::TooPrecise(text.to_owned(), currency));
        }
        let all = format!("{whole}{kept:0<decimals$}");
        let minor: i64 = all.parse().map_err(|_| BadDecimal::TooLarge(text.to_owned()))?;
        Ok(Self::new(if negative { -minor } else { minor }, currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(Money::new(1250, currency("EUR")).to_decimal(), "12.50");
        assert_eq!(Money::new(5, currency("EUR")).to_decimal(), "0.05");
        assert_eq!(Money::new(1250, currency("JPY")).to_decimal(), "1250");
        assert_eq!(Money::new(1250, currency("KWD")).to_decimal(), "1.250");
    }

    #[test]
    fn more_precision_than_the_currency_has_is_refused() {
        assert!(matches!(Money::from_decimal("12.505", currency("EUR")), Err(BadDecimal::TooPrecise(..))));
        assert!(matches!(Money::from_decimal("12.5", currency("JPY")), Err(BadDecimal::TooPrecise(..))));
        assert_eq!(Money::from_decimal("12.500", currency("EUR")).unwrap().minor, 1250);
        assert_eq!(Money::from_decimal("1250.00", currency("JPY")).unwrap().minor, 1250);
    }

    #[test]
    fn only_decimal_numbers_are_amounts() {
        for text in ["", ".", "-", "1.", ".5", "1e3", "1,5", "+1", "0x1", "١"] {
            assert!(Money::from_decimal(text, currency("EUR")).is_err(), "{text}");
        }
    }

    #[test]
    fn only_iso_4217_codes_are_currencies() {
        for code in ["eur", "EU", "EURO", "ZZZ", "E\u{dc}"] {
            assert!(code.parse::<Currency>().is_err(), "{code}");
        }
    }

    proptest! {
        #[test]
        fn decimal_text_reads_back_to_the_same_amount(minor in any::<i64>().prop_filter("abs", |m| *m != i64::MIN),
                                                      code in prop::sample::select(vec!["EUR", "JPY", "KWD", "NGN"])) {
            let money = Money::new(minor, currency(code));
            prop_assert_eq!(Money::from_decimal(&money.to_decimal(), currency(code)).unwrap(), money);
        }
    }
}
