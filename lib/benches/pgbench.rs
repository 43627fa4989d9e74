//! The limit of P1: pgbench runs the ingress's own statement, one payment at a time, with the values of a payment that the ingress
//! itself has accepted. Only what must differ from payment to payment is drawn anew.

use std::path::PathBuf;

use anyhow::Context;
use sqlx::postgres::PgConnection;
use tokio::process::Command;

use super::stand::Database;

const STATEMENT: &str = include_str!("../transactions/sql/accept.sql");

pub struct Pgbench {
    script: PathBuf,
    users: usize,
}

/// The columns of a real payment that the script repeats, as SQL literals, by the parameter of the statement that they are.
async fn sample(owner: &mut PgConnection) -> anyhow::Result<Vec<(usize, String)>> {
    let row: (String, String, String, String, String, String, String, String, String, String) = sqlx::query_as(
        "SELECT quote_nullable(payment.destination_kind), quote_nullable(payment.destination_last4),
                quote_nullable(payment.destination_sealed), quote_nullable(payment.destination_key_id),
                quote_nullable(payment.gateway), quote_nullable(key.reply_type), quote_nullable(key.reply_body),
                quote_nullable(event.payload), quote_nullable(command.payload), quote_nullable(command.topic)
         FROM transactions payment
         JOIN idempotency_keys key ON key.transaction_id = payment.id
         JOIN outbox event ON event.aggregate = payment.id AND event.seq = 1
         JOIN outbox command ON command.aggregate = payment.id AND command.seq = 2
         WHERE payment.type = 'withdrawal' LIMIT 1",
    )
    .fetch_one(owner)
    .await
    .context("the ingress has accepted no withdrawal to take the values from")?;
    let (kind, last4, sealed, key_id, gateway, reply_type, reply_body, event, command, topic) = row;
    Ok(vec![
        (8, kind),
        (9, last4),
        (10, sealed),
        (11, key_id),
        (16, gateway),
        (24, reply_type),
        (25, reply_body),
        (26, event),
        (28, topic),
        (29, command),
    ])
}

/// What is not taken from the sample: (parameter, expression). `:user`, `:draw` and `:currency` are drawn by pgbench.
fn drawn() -> Vec<(usize, String)> {
    // A version 7 UUID like those of the ingress: its time first, so that it lands at the index's right edge.
    let id = "(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '70008' || lpad(to_hex(:draw::bigint), 15, '0'))::uuid";
    let hash = format!("'\\x{}'", "5a".repeat(32));
    let fixed = |text: &str| text.to_owned();
    vec![
        (1, fixed(id)),
        (2, fixed("'withdrawal'")),
        (3, fixed("('00000000-0000-7000-8000-' || lpad(to_hex(:user::bigint), 12, '0'))::uuid")),
        (4, fixed("100")),
        (5, fixed("(ARRAY['EUR','USD','JPY','NGN'])[:currency::int]")),
        (6, fixed("'DE'")),
        (7, fixed("NULL")),
        (12, fixed("NULL")),
        (13, fixed("'load-019a00000000700080000000000000-' || :draw")),
        (14, fixed("NULL")),
        (15, fixed("NULL")),
        (17, fixed("clock_timestamp()")),
        (18, fixed("clock_timestamp() + interval '15 seconds'")),
        (19, fixed("clock_timestamp() + interval '1 day'")),
        (20, fixed("'POST /v1/withdrawals'")),
        (21, fixed("'load-019a00000000700080000000000000-' || :draw")),
        (22, hash.clone()),
        (23, fixed("202")),
        (27, hash.clone()),
        (30, hash),
        (31, fixed("(:draw::bigint % 16)")),
        (32, fixed("-100")),
        (33, fixed("100")),
    ]
}

/// The postings of a hold, one array per column.
const HOLD: [(usize, &str); 5] = [
    (34, "ARRAY[1, 1]"),
    (35, "ARRAY['hold', 'hold']"),
    (36, "ARRAY['available', 'held']"),
    (37, "ARRAY['debit', 'credit']"),
    (38, "ARRAY[100, 100]"),
];

fn script(values: &[(usize, String)]) -> anyhow::Result<String> {
    let mut statement: String =
        STATEMENT.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
    // From the last to the first: `$1` begins `$12` as well.
    for parameter in (1..=99).rev() {
        let name = format!("${parameter}::");
        if !statement.contains(&name) {
            continue;
        }
        let value = values.iter().find(|(of, _)| *of == parameter).map(|(_, value)| format!("ARRAY[{value}]"));
        let value =
            value.or_else(|| HOLD.iter().find(|(of, _)| *of == parameter).map(|(_, value)| (*value).to_owned()));
        let value =
            value.with_context(|| format!("accept.sql has a parameter ${parameter} that the bench does not know"))?;
        statement = statement.replace(&name, &format!("{value}::"));
    }
    anyhow::ensure!(!statement.contains('$'), "accept.sql uses a parameter without a cast");
    Ok(format!(
        "\\set user random(1, :users)\n\\set draw random(1, 4503599627370495)\n\\set currency random(1, 4)\n{};\n",
        statement.trim_end().trim_end_matches(';')
    ))
}

impl Pgbench {
    /// Writes the script, with the values of a payment that stands in the database.
    pub async fn prepare(owner: &mut PgConnection, users: usize, script_path: PathBuf) -> anyhow::Result<Self> {
        let values = [sample(owner).await?, drawn()].concat();
        std::fs::write(&script_path, script(&values)?)?;
        Ok(Self { script: script_path, users })
    }

    /// Payments per second; only those are counted that were really made.
    pub async fn rate(&self, database: &Database, clients: usize, seconds: u64) -> anyhow::Result<f64> {
        let mut owner = database.owner().await?;
        let before: i64 = sqlx::query_scalar("SELECT count(*) FROM transactions").fetch_one(&mut owner).await?;
        let done = Command::new("pgbench")
            .args(["-n", "-M", "prepared", "-j", "2", "-f"])
            .arg(&self.script)
            .args(["-c", &clients.to_string(), "-T", &seconds.to_string(), "-D", &format!("users={}", self.users)])
            .arg(&database.app_url)
            .output()
            .await
            .context("pgbench")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        anyhow::ensure!(done.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&done.stderr));
        let after: i64 = sqlx::query_scalar("SELECT count(*) FROM transactions").fetch_one(&mut owner).await?;
        let field = |name: &str| {
            Some(said.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.to_owned())
        };
        let transactions: i64 = field("number of transactions actually processed: ")
            .and_then(|text| text.parse().ok())
            .with_context(|| said.clone())?;
        // A statement that meets an account which another one has locked makes none.
        let made = after - before;
        anyhow::ensure!(made >= transactions / 2, "pgbench ran {transactions} statements, which made {made} payments");
        let statements: f64 = field("tps = ").and_then(|text| text.parse().ok()).with_context(|| said.clone())?;
        Ok(statements * made as f64 / transactions as f64)
    }
}
