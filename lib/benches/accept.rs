//! P1: accepted payments a second over HTTP, against PostgreSQL running the same statement for one payment at a time. Once as the ingress is,
//! once without its combiner: a statement and a connection of its own for each payment under way.

use std::sync::Arc;
use std::time::Duration;

use payfleet::accounts::Pepper;
use payfleet::load::{self, Base, Funding, Mix, Pace, Payer, Payers, Plan, Until};
use payfleet::service::secret::Secret;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use super::pgbench::Pgbench;
use super::processes::{self, Ingress};
use super::rounds::Rates;
use super::stand::{Database, PEPPER, Stand};
use super::table::{Found, Row};
use super::{Scale, backlog, say};

pub const CONNECTIONS: usize = 64;
pub const CURRENCIES: [&str; 4] = ["EUR", "USD", "JPY", "NGN"];
/// Client counts that pgbench is tried at; its best one is the limit.
const CLIENTS: [usize; 7] = [4, 8, 16, 32, 64, 96, 128];
/// Up to here all are tried; more only for as long as more is better.
const ALWAYS_TRIED: usize = 64;

pub async fn measure(stand: &Stand, scale: Scale) -> anyhow::Result<Found> {
    let database = stand.database("bench_accept").await?;
    processes::migrate(stand, &database).await?;
    let mut owner = database.owner().await?;
    let payers = seed(&mut owner, scale.users).await?;
    let ingress = Ingress::start(stand, &database, &payers[0].credential, &[]).await?;
    let one_by_one = [("ACCEPTOR_BATCH", "1".to_owned()), ("ACCEPTORS", CONNECTIONS.to_string())];
    let single = Ingress::start(stand, &database, &payers[0].credential, &one_by_one).await?;
    say("P1: warming up");
    http_rate(&ingress.base, &payers, 2).await?;
    http_rate(&single.base, &payers, 2).await?;
    let pgbench = Pgbench::prepare(&mut owner, scale.users, stand.path().join("accept.pgbench")).await?;
    let clients = best_clients(&pgbench, &database, scale).await?;

    let (mut limit, mut ours, mut ours_singly) = (Rates::default(), Rates::default(), Rates::default());
    for round in 1..=scale.rounds {
        say(&format!("P1: round {round} of {}", scale.rounds));
        backlog::run(&mut owner, &["CHECKPOINT"]).await?;
        limit.push(pgbench.rate(&database, clients, scale.seconds).await?);
        backlog::run(&mut owner, &["CHECKPOINT"]).await?;
        ours.push(http_rate(&ingress.base, &payers, scale.seconds).await?);
        backlog::run(&mut owner, &["CHECKPOINT"]).await?;
        ours_singly.push(http_rate(&single.base, &payers, scale.seconds).await?);
    }
    ingress.stop().await?;
    single.stop().await?;
    let accounts = scale.users * CURRENCIES.len();
    let row = |how: &str, ours, reach| Row {
        name: "P1",
        measure: format!("withdrawals accepted over HTTP, {how}{CONNECTIONS} connections, {accounts} accounts"),
        ours,
        limit: limit.clone(),
        against: format!("pgbench -M prepared, the same statement, {clients} clients"),
        unit: "/s",
        reach: Some(reach),
    };
    let rows = vec![row("", ours, 1.0), row("one a statement, not combined, ", ours_singly, 0.4)];
    Ok(Found { rows, notes: Vec::new() })
}

async fn best_clients(pgbench: &Pgbench, database: &Database, scale: Scale) -> anyhow::Result<usize> {
    let (mut best, mut last) = ((0.0, CLIENTS[0]), CLIENTS[0]);
    for clients in CLIENTS {
        if clients > ALWAYS_TRIED && best.1 != last {
            break;
        }
        let rate = pgbench.rate(database, clients, (scale.seconds / 2).max(1)).await?;
        say(&format!("P1: pgbench with {clients} clients: {rate:.0}/s"));
        if rate > best.0 {
            best = (rate, clients);
        }
        last = clients;
    }
    Ok(best.1)
}

/// Accepted payments per second by the load generator, each connection sending the next as soon as it was answered.
pub async fn http_rate(base: &Base, payers: &[Payer], seconds: u64) -> anyhow::Result<f64> {
    let plan = Plan {
        bases: vec![base.clone()],
        payers: Payers::Known(payers.to_vec()),
        mix: Mix { withdrawals: 1.0, amounts: 100..=800, ..Mix::default() },
        pace: Pace::Saturating,
        until: Until::Elapsed(Duration::from_secs(seconds)),
        connections: CONNECTIONS,
        funding: Funding::None,
        settle_within: None,
        ..Plan::default()
    };
    let outcome = load::run(&plan, &|_| (), &CancellationToken::new()).await?;
    let figures = &outcome.figures;
    anyhow::ensure!(
        figures.accepted == figures.meant && figures.lost == 0,
        "of {} payments {} were accepted, {} answers were lost: {:?} {:?}",
        figures.meant,
        figures.accepted,
        figures.lost,
        figures.refused,
        figures.put_off
    );
    Ok(outcome.accepted_per_s())
}

/// Users with an account in each currency and more money than they can spend, and a key each that is not rate-limited.
pub async fn seed(owner: &mut PgConnection, users: usize) -> anyhow::Result<Vec<Payer>> {
    let pepper = Pepper::new(&Secret::new(PEPPER)).ok_or_else(|| anyhow::anyhow!("the pepper is too short"))?;
    let keys: Vec<String> = (1..=users).map(|user| format!("pf_test_bench_{user:024}")).collect();
    let hashes: Vec<Vec<u8>> = keys.iter().map(|key| pepper.hash(key).as_bytes().to_vec()).collect();
    sqlx::query(
        "WITH made AS (
             INSERT INTO users (id, handle, country)
             SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'bench-' || n, 'DE'
             FROM generate_series(1, cardinality($1)) n RETURNING id, handle),
         keyed AS (
             INSERT INTO api_keys (id, user_id, key_hash, shown_as, rate_exempt)
             SELECT gen_random_uuid(), made.id, key.hash, 'pf_test_bench', true
             FROM made JOIN unnest($1) WITH ORDINALITY AS key (hash, n) ON made.handle = 'bench-' || key.n)
         INSERT INTO accounts (user_id, currency, available)
         SELECT made.id, currency, 1000000000000 FROM made CROSS JOIN unnest($2::text[]) AS currency",
    )
    .bind(&hashes)
    .bind(CURRENCIES.map(str::to_owned).to_vec())
    .execute(&mut *owner)
    .await?;
    // Whatever a withdrawal is paid to, some gateway pays to it in every currency.
    let routes = "INSERT INTO routes (priority, gateway) VALUES (2, 'stripe'), (3, 'paypal') ON CONFLICT DO NOTHING";
    backlog::run(owner, &[routes, "VACUUM ANALYZE"]).await?;
    let payer = |key: &Arc<str>, currency: &str| Payer { credential: Arc::clone(key), currency: currency.to_owned() };
    let keys: Vec<Arc<str>> = keys.into_iter().map(Into::into).collect();
    // Users in turn, so that one user's payments are far apart.
    Ok(CURRENCIES.iter().flat_map(|currency| keys.iter().map(|key| payer(key, currency))).collect())
}
