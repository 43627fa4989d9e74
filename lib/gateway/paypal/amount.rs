//! Amounts as PayPal writes them: decimals in text.
//!
//! Source: developer.paypal.com/reference/currency-codes. The forint and the Taiwan dollar have decimals in ISO 4217, but none here.

use serde::Deserialize;

use crate::domain::money::{Currency, Money};
use crate::service::planted::{self, Bug};

/// Orders say `currency_code`, payouts `currency`.
#[derive(Deserialize)]
pub(super) struct Amount {
    #[serde(alias = "currency")]
    currency_code: String,
    value: String,
}

impl Amount {
    pub(super) fn money(&self) -> Option<Money> {
        let currency: Currency = self.currency_code.parse().ok()?;
        if planted::is(Bug::FloatRounding) {
            let scale = 10f64.powi(currency.exponent()? as i32);
            return Some(Money::new((self.value.parse::<f64>().ok()? * scale) as i64, currency));
        }
        Money::from_decimal(&self.value, currency).ok()
    }
}

/// None when there is nothing to add, or it is of more than one currency, or cannot be read.
pub(super) fn sum<'a>(amounts: impl Iterator<Item = &'a Amount>) -> Option<Money> {
    amounts
        .map(Amount::money)
        .reduce(|sum, next| {
            let (sum, next) = (sum?, next?);
            let minor = sum.minor.checked_add(next.minor)?;
            (sum.currency == next.currency).then_some(Money::new(minor, sum.currency))
        })
        .flatten()
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("PayPal moves {0} in whole units only")]
pub(super) struct NotWhole(Currency);

/// The decimal text of an amount.
pub(super) fn to_paypal(money: Money) -> Result<String, NotWhole> {
    let text = money.to_decimal();
    if !matches!(money.currency.code(), "HUF" | "TWD") {
        return Ok(text);
    }
    match text.split_once('.') {
        Some((whole, "00")) => Ok(whole.to_owned()),
        _ => Err(NotWhole(money.currency)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap())
    }

    #[test]
    fn amounts_are_written_as_paypal_writes_them() {
        assert_eq!(to_paypal(money(1250, "EUR")).unwrap(), "12.50");
        assert_eq!(to_paypal(money(1250, "JPY")).unwrap(), "1250");
        assert_eq!(to_paypal(money(125_000, "HUF")).unwrap(), "1250");
        assert!(to_paypal(money(1250, "HUF")).is_err());
        assert!(to_paypal(money(1255, "TWD")).is_err());
    }

    #[test]
    fn every_amount_is_read_to_its_last_minor_unit() {
        for amount in (0..10_000).map(|minor| money(minor, "EUR")) {
            let read = Amount { currency_code: "EUR".into(), value: to_paypal(amount).unwrap() };
            assert_eq!(read.money(), Some(amount));
        }
    }

    #[test]
    fn amounts_of_two_currencies_have_no_sum() {
        let amount = |code: &str, value: &str| Amount { currency_code: code.into(), value: value.into() };
        assert_eq!(sum([amount("EUR", "1.00"), amount("EUR", "0.25")].iter()), Some(money(125, "EUR")));
        assert_eq!(sum([amount("EUR", "1.00"), amount("USD", "0.25")].iter()), None);
        assert_eq!(sum([amount("EUR", "1.00"), amount("EUR", "?")].iter()), None);
        assert_eq!(sum([].iter()), None);
    }
}
