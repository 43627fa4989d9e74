//! Callbacks by the ten thousands that nobody must believe: whatever is done to a message, it is refused as it should be, nothing is
//! stored, and the gateways' own are still heard afterwards.
//!
//! `PAYFLEET_TEST_CALLBACKS` says how many, `PAYFLEET_TEST_SEED` which.

mod attack;
mod forge;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use payfleet::accounts::RateLimit;
use payfleet::callback::receive;
use payfleet::gateway::registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use time::OffsetDateTime;

use self::attack::{Attack, Attacker};
use self::forge::{Dialect, Keys, Message};
use crate::gateways::wire;
use crate::harness::Database;
use crate::ingress::api::{self, Api, Choice, euros};
use crate::ingress::client::Client;

const CONNECTIONS: u64 = 32;
/// How much larger the process may be at the end than when it had seen a fifth of them.
const GROWTH_KB: u64 = 48 * 1024;

fn chosen(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

async fn send(client: &mut Client, dialect: Dialect, message: &Message) -> Option<u16> {
    let headers: Vec<(&str, &str)> = message.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.send_request("POST", dialect.path(), &headers, &message.body).await;
    Some(client.try_answer().await?.status)
}

/// Everything that a callback could change, as one text.
async fn books(database: &Database) -> String {
    let all = ["transactions", "transitions", "attempts", "ledger_entries", "accounts", "outbox", "callbacks"];
    let mut told = String::new();
    for table in all {
        let digest =
            format!("SELECT md5(coalesce(string_agg(row::text, ',' ORDER BY row::text), '')) FROM {table} row");
        let digest: String = sqlx::query_scalar(sqlx::AssertSqlSafe(digest)).fetch_one(&database.owner).await.unwrap();
        told.push_str(&format!("{table} {digest}\n"));
    }
    told
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How often each was tried, and what was answered otherwise than it had to be.
#[derive(Default)]
struct Seen {
    tried: BTreeMap<Attack, u64>,
    wrong: Vec<String>,
}

async fn storm(api: &Api, seed: u64, count: u64) -> Seen {
    let attacker = Attacker {
        genuine: Keys::genuine(),
        guessed: Keys::guessed(),
        exchanged: Keys::exchanged(),
        limit: receive::Settings::default().body_bytes,
    };
    let (mut rng, mut client) = (StdRng::seed_from_u64(seed), Client::connect(api.address).await);
    let mut seen = Seen::default();
    for _ in 0..count {
        let dialect = Dialect::ALL[rng.random_range(0..3)];
        let attack = loop {
            let attack = Attack::ALL[rng.random_range(0..Attack::ALL.len())];
            if attack.is_drawn(&mut rng) {
                break attack;
            }
        };
        let message = attacker.make(attack, dialect, &mut rng, OffsetDateTime::now_utc());
        let answered = match send(&mut client, dialect, &message).await {
            Some(status) => Some(status),
            // A connection ends behind a body that nobody wanted to read.
            None => {
                client = Client::connect(api.address).await;
                send(&mut client, dialect, &message).await
            }
        };
        *seen.tried.entry(attack).or_default() += 1;
        if answered != Some(attack.answer()) {
            seen.wrong.push(format!("{attack:?} to {dialect:?} was answered {answered:?}: {:?}", message.headers));
        }
    }
    seen
}

async fn storms(api: &Api, seed: u64, count: u64) -> Seen {
    let all = join_all((0..CONNECTIONS).map(|n| storm(api, seed * CONNECTIONS + n, count / CONNECTIONS))).await;
    all.into_iter().fold(Seen::default(), |mut sum, one| {
        for (attack, tried) in one.tried {
            *sum.tried.entry(attack).or_default() += tried;
        }
        sum.wrong.extend(one.wrong);
        sum
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hostile_callback_is_accepted_or_changes_anything_and_genuine_ones_are_heard_after_all_of_them() {
    let (count, seed) = (chosen("PAYFLEET_TEST_CALLBACKS", 10_000), chosen("PAYFLEET_TEST_SEED", 1));
    let database = Database::new().await;
    let choice = Choice { gateways: registry(&wire::settings("http://127.0.0.1:1")).unwrap(), ..Choice::default() };
    let api = api::open_with(&database, choice).await;
    let customer = api::customer(&database, 0, RateLimit::Exempt).await;
    assert_eq!(customer.post(api.address, "/v1/deposits", "k", &euros(1_250)).await.status, 202);
    let before = books(&database).await;

    let mut seen = storms(&api, seed, count / 5).await;
    let resident = resident_kb();
    let later = storms(&api, seed + 1, count - count / 5).await;
    seen.wrong.extend(later.wrong);
    let grown = resident_kb().saturating_sub(resident);
    eprintln!("seed {seed}, {count} messages, {grown} kB more at the end: {:?}", later.tried);

    assert_eq!(later.tried.len(), Attack::ALL.len(), "not every attack was tried: {:?}", later.tried);
    assert!(
        seen.wrong.is_empty(),
        "{} of {count}, among them {:#?}",
        seen.wrong.len(),
        &seen.wrong[..seen.wrong.len().min(5)]
    );
    assert_eq!(books(&database).await, before);
    assert!(grown < GROWTH_KB, "{grown} kB more after {count} messages");
    let (keys, mut client) = (Keys::genuine(), Client::connect(api.address).await);
    for dialect in Dialect::ALL {
        let message = keys.sign(dialect, "msg_genuine", OffsetDateTime::now_utc(), dialect.body().as_bytes());
        assert_eq!(send(&mut client, dialect, &message).await, Some(202), "{dialect:?}");
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM callbacks").fetch_one(&database.owner).await.unwrap();
    assert_eq!(stored, 3);
}
