//! Users with money, and orders for payments as the ingress would make them of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use payfleet::accounts;
use payfleet::domain::accept::{self, Order, Owner};
use payfleet::domain::destination::{Destination, DestinationKind};
use payfleet::domain::ids::Kind;
use payfleet::domain::money::Money;
use payfleet::domain::route::{GatewayState, Route};
use payfleet::sealing::Sealed;
use payfleet::transactions::accept::{Entry, Reply};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// A user with one account in euros.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub id: Uuid,
    pub account: i64,
}

/// The opening balance is entered as a fact: no deposit stands behind it.
pub async fn user_with(pool: &PgPool, available: i64) -> User {
    let mut connection = pool.acquire().await.unwrap();
    let handle = format!("user-{}", Uuid::now_v7().simple());
    let id = accounts::create_user(&mut connection, &handle, "DE").await.unwrap();
    let account = accounts::open_account(&mut connection, id, "EUR".parse().unwrap()).await.unwrap();
    sqlx::query("UPDATE accounts SET available = $2 WHERE id = $1")
        .bind(account)
        .bind(available)
        .execute(&mut *connection)
        .await
        .unwrap();
    User { id, account }
}

pub async fn balance(pool: &PgPool, user: User) -> (i64, i64) {
    sqlx::query_as("SELECT available, held FROM accounts WHERE id = $1")
        .bind(user.account)
        .fetch_one(pool)
        .await
        .unwrap()
}

pub fn order(kind: Kind, amount: i64, currency: &str) -> Order {
    Order {
        kind,
        money: Money::new(amount, currency.parse().unwrap()),
        country: None,
        pinned_gateway: None,
        destination: (kind == Kind::Withdrawal).then(|| Destination::Iban("DE89370400440532013000".into())),
        return_url: None,
        client_reference: None,
        metadata: BTreeMap::new(),
    }
}

const SENDING: accept::Sending = accept::Sending {
    first_look: Duration::from_secs(15),
    deposit: Duration::from_secs(15 * 60),
    withdrawal: Duration::from_secs(24 * 3_600),
};

/// What the ingress hands to the combiner. Its answer is its own id, so that answers can be told apart.
pub fn entry(user: User, kind: Kind, amount: i64, currency: &str, key: &str) -> Entry {
    let id = Uuid::now_v7();
    let route = Route { country: None, currency: None, priority: 1, gateway: "bank".into() };
    let bank = GatewayState { name: "bank".into(), paused: false, away: false, pays_to: vec![DestinationKind::Iban] };
    let owner = Owner { user_id: user.id, country: "DE" };
    let acceptance =
        accept::accept(id, order(kind, amount, currency), owner, SENDING, &[route], &[bank], OffsetDateTime::now_utc())
            .unwrap();
    Entry {
        acceptance,
        destination: (kind == Kind::Withdrawal).then(|| Sealed { key_id: "k1".into(), bytes: vec![7; 40] }),
        key: key.into(),
        order_hash: [amount as u8; 32],
        reply: Reply {
            status: 202,
            content_type: "application/json".into(),
            body: id.simple().to_string().into_bytes(),
        },
        traceparent: None,
    }
}
