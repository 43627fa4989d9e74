//! Amounts as Stripe counts them (docs.stripe.com/currencies): ISO 4217's minor units, except where it says otherwise.

use crate::domain::money::{Currency, Money};

/// Decimals of Stripe's unit of account.
fn decimals(currency: Currency) -> Option<u32> {
    match currency.code() {
        "ISK" | "UGX" => Some(2),
        "MGA" => Some(0),
        _ => currency.exponent(),
    }
}

/// None when the amount has no exact form in ISO 4217's minor units, in which the books are kept.
pub fn read(amount: i64, currency: Currency) -> Option<Money> {
    scaled(amount, decimals(currency)?, currency.exponent()?).map(|minor| Money::new(minor, currency))
}

pub fn shown(money: Money) -> i64 {
    let scales = decimals(money.currency).zip(money.currency.exponent());
    scales.and_then(|(stripe, iso)| scaled(money.minor, iso, stripe)).unwrap_or(money.minor)
}

fn scaled(amount: i64, from: u32, to: u32) -> Option<i64> {
    let factor = 10_i64.checked_pow(from.abs_diff(to))?;
    if to >= from { amount.checked_mul(factor) } else { (amount % factor == 0).then_some(amount / factor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_kept_in_minor_units_of_iso_4217() {
        for (code, stripe, minor) in
            [("EUR", 1250, 1250), ("JPY", 1250, 1250), ("ISK", 125_000, 1250), ("MGA", 12, 1200)]
        {
            let money = read(stripe, code.parse().unwrap()).unwrap();
            assert_eq!((money.minor, shown(money)), (minor, stripe), "{code}");
        }
        assert_eq!(read(125_050, "ISK".parse().unwrap()), None);
    }
}
