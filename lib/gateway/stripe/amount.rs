//! Amounts as Stripe counts them: its minor units differ from ISO 4217's for a few currencies, and there a mistake is a factor of 100.
//!
//! Source: docs.stripe.com/currencies, "Zero-decimal currencies", "Special cases", "Three-decimal currencies".

use crate::domain::ids::Kind;
use crate::domain::money::{Currency, Money};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not an amount that Stripe can move")]
pub(super) struct NotRepresentable(Money);

/// Decimals of Stripe's smallest unit.
fn decimals(currency: Currency) -> Option<u32> {
    match currency.code() {
        // ISO 4217 still gives it two; Stripe counts whole ariary.
        "MGA" => Some(0),
        // Without decimals in ISO 4217, but counted with two "for backwards compatibility".
        "ISK" | "UGX" => Some(2),
        _ => currency.exponent(),
    }
}

/// What an amount must be a multiple of.
fn step(currency: Currency, kind: Kind) -> i64 {
    match (currency.code(), kind) {
        ("ISK" | "UGX", _) | ("HUF" | "TWD", Kind::Withdrawal) => 100,
        ("BHD" | "JOD" | "KWD" | "OMR" | "TND", _) => 10,
        _ => 1,
    }
}

fn rescale(minor: i64, from: u32, to: u32) -> Option<i64> {
    if to >= from {
        return minor.checked_mul(10i64.checked_pow(to - from)?);
    }
    let factor = 10i64.checked_pow(from - to)?;
    (minor % factor == 0).then_some(minor / factor)
}

pub(super) fn to_stripe(money: Money, kind: Kind) -> Result<i64, NotRepresentable> {
    let iso = money.currency.exponent();
    let stripe = decimals(money.currency);
    iso.zip(stripe)
        .and_then(|(iso, stripe)| rescale(money.minor, iso, stripe))
        .filter(|amount| amount % step(money.currency, kind) == 0)
        .ok_or(NotRepresentable(money))
}

/// None when the currency is unknown, or the amount has no exact form in ISO 4217's minor units.
pub(super) fn from_stripe(amount: i64, lower_case_code: &str) -> Option<Money> {
    let currency: Currency = lower_case_code.to_ascii_uppercase().parse().ok()?;
    let minor = rescale(amount, decimals(currency)?, currency.exponent()?)?;
    Some(Money::new(minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap())
    }

    #[test]
    fn amounts_are_counted_as_stripe_counts_them() {
        let cases = [
            ("EUR", 1250, Some(1250)),
            ("JPY", 1250, Some(1250)),
            ("ISK", 1250, Some(125_000)),
            ("UGX", 1250, Some(125_000)),
            ("MGA", 1200, Some(12)),
            ("MGA", 1250, None),
            ("KWD", 1250, Some(1250)),
            ("KWD", 1255, None),
            ("HUF", 1250, Some(1250)),
            ("XAU", 1, None),
        ];
        for (code, minor, stripe) in cases {
            assert_eq!(to_stripe(money(minor, code), Kind::Deposit).ok(), stripe, "{code} {minor}");
            if let Some(amount) = stripe {
                assert_eq!(from_stripe(amount, &code.to_lowercase()), Some(money(minor, code)), "{code}");
            }
        }
    }

    #[test]
    fn payouts_of_forint_and_taiwan_dollars_are_whole() {
        assert_eq!(to_stripe(money(1200, "HUF"), Kind::Withdrawal), Ok(1200));
        assert!(to_stripe(money(1250, "HUF"), Kind::Withdrawal).is_err());
        assert!(to_stripe(money(1250, "TWD"), Kind::Withdrawal).is_err());
    }

    #[test]
    fn an_amount_without_an_exact_form_is_not_guessed() {
        assert_eq!(from_stripe(125_050, "isk"), None);
        assert_eq!(from_stripe(1250, "zzz"), None);
        assert!(to_stripe(money(i64::MAX, "ISK"), Kind::Deposit).is_err());
    }
}
