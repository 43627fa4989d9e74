//! Users to try payfleet with: fixed names and keys, so that every command of the README can be pasted as it stands.

use serde::Serialize;
use sqlx::postgres::PgConnection;

use crate::accounts::{self, ApiKey, Pepper, RateLimit};
use crate::domain::money::{Currency, Money};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DemoUser {
    pub handle: &'static str,
    pub country: &'static str,
    pub currency: &'static str,
    pub key: &'static str,
}

/// Balances begin at 0: money only ever comes in by a deposit.
pub const USERS: [DemoUser; 4] = [
    DemoUser { handle: "demo-de", country: "DE", currency: "EUR", key: "pf_test_demo_de" },
    DemoUser { handle: "demo-us", country: "US", currency: "USD", key: "pf_test_demo_us" },
    DemoUser { handle: "demo-ng", country: "NG", currency: "NGN", key: "pf_test_demo_ng" },
    DemoUser { handle: "demo-jp", country: "JP", currency: "JPY", key: "pf_test_demo_jp" },
];

/// Makes the users, their accounts and keys, unless they are there.
pub async fn seed(owner: &mut PgConnection, pepper: &Pepper) -> Result<(), sqlx::Error> {
    for user in USERS {
        let id = accounts::create_user(owner, user.handle, user.country).await?;
        let currency: Currency = user.currency.parse().map_err(|unknown| sqlx::Error::Encode(Box::new(unknown)))?;
        accounts::open_account(owner, id, currency).await?;
        accounts::create_key(owner, id, &ApiKey::known(user.key), pepper, RateLimit::Applies).await?;
    }
    Ok(())
}

/// What each has now, as in `12.50 EUR`.
pub async fn balances(owner: &mut PgConnection) -> Result<Vec<(DemoUser, String)>, sqlx::Error> {
    let mut all = Vec::new();
    for user in USERS {
        let id = accounts::create_user(owner, user.handle, user.country).await?;
        let balances = accounts::balances(owner, id).await?;
        let shown = balances.iter().map(|balance| match balance.currency.parse() {
            Ok(currency) => Money::new(balance.available, currency).to_string(),
            Err(_) => format!("{} {}", balance.available, balance.currency),
        });
        all.push((user, shown.collect::<Vec<_>>().join(", ")));
    }
    Ok(all)
}
