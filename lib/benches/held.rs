//! P7: what a transaction that somebody holds open changes: a reader with an old snapshot, then a writer that neither commits nor
//! rolls back. Payments are spread over many accounts; the relay drains what the ingress has just written.

use std::time::Duration;

use payfleet::load::Payer;
use payfleet::relay;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use super::accept::{self, CURRENCIES};
use super::processes::{self, Ingress};
use super::rounds::Rates;
use super::stand::{Database, Stand};
use super::table::{Found, Row};
use super::{Scale, drain, say};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Nothing,
    Reader,
    Writer,
}

/// Rates of ingress and relay under one kind.
#[derive(Default)]
struct Under {
    ingress: Rates,
    relay: Rates,
}

pub async fn measure(stand: &Stand, scale: Scale) -> anyhow::Result<Found> {
    let database = stand.database("bench_held").await?;
    processes::migrate(stand, &database).await?;
    let mut owner = database.owner().await?;
    let payers = accept::seed(&mut owner, scale.users).await?;
    let ingress = Ingress::start(stand, &database, &payers[0].credential).await?;
    say("P7: warming up");
    accept::http_rate(&ingress.base, &payers, 2).await?;
    drain_what_is_there(&database, stand, None).await?;

    let kinds = [Held::Nothing, Held::Reader, Held::Writer];
    let mut under: [Under; 3] = Default::default();
    for round in 0..scale.rounds {
        for turn in 0..kinds.len() {
            // Each goes first as often as the others: tables only grow.
            let kind = (round + turn) % kinds.len();
            say(&format!("P7: round {} of {}, {:?} held", round + 1, scale.rounds, kinds[kind]));
            let run = Run { stand, database: &database, base: &ingress.base, payers: &payers, scale };
            let (accepted, relayed) = run.rates(kinds[kind]).await?;
            under[kind].ingress.push(accepted);
            under[kind].relay.push(relayed);
        }
    }
    ingress.stop().await?;
    let dead = dead_tuples(&mut owner).await?;
    Ok(found(under, dead, scale))
}

struct Run<'a> {
    stand: &'a Stand,
    database: &'a Database,
    base: &'a payfleet::load::Base,
    payers: &'a [Payer],
    scale: Scale,
}

impl Run<'_> {
    /// Accepted payments and relayed events per second, with the transaction open from before the first to after the last.
    async fn rates(&self, held: Held) -> anyhow::Result<(f64, f64)> {
        let mut holder = self.database.owner().await?;
        let mut open = holder.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let mut writer = None;
        match held {
            Held::Nothing => {}
            Held::Reader => drop(sqlx::query("SELECT count(*) FROM accounts").fetch_one(&mut *open).await?),
            Held::Writer => {
                sqlx::query("INSERT INTO outbox_ticks (snapshot, written) SELECT pg_current_snapshot(), 0")
                    .execute(&mut *open)
                    .await?;
                writer = Some(sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut *open).await?);
            }
        }
        let accepted = accept::http_rate(self.base, self.payers, self.scale.seconds).await?;
        let relayed = drain_what_is_there(self.database, self.stand, writer).await?;
        open.rollback().await?;
        holder.close().await?;
        Ok((accepted, relayed))
    }
}

/// Events per second, by a relay that goes on from the stored cursors until they have passed all that is there.
async fn drain_what_is_there(database: &Database, stand: &Stand, writer: Option<String>) -> anyhow::Result<f64> {
    let mut owner = database.owner().await?;
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox event
         LEFT JOIN (SELECT DISTINCT ON (lane) lane, from_snapshot FROM checkpoints ORDER BY lane, epoch DESC, id DESC) cursor
              ON cursor.lane = event.lane
         WHERE NOT coalesce(pg_visible_in_snapshot(event.xid, cursor.from_snapshot), false)",
    )
    .fetch_one(&mut owner)
    .await?;
    let kafka = stand.kafka();
    payfleet::kafka::topics::ensure(&kafka, &payfleet::kafka::topics::declared(["stripe", "paypal", "bank"])).await?;
    let settings = relay::Settings { rotate_bytes: i64::MAX, rotate_ms: 86_400_000, ..relay::Settings::default() };
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay::run(settings, database.settings(), kafka, stop.clone()));
    let drained = drain::drained_in(&mut owner, writer.as_deref(), Duration::from_secs(300)).await;
    stop.cancel();
    running.await??;
    owner.close().await?;
    Ok(rows as f64 / drained?.as_secs_f64())
}

/// In the outbox, by the server's own statistics.
async fn dead_tuples(owner: &mut PgConnection) -> anyhow::Result<i64> {
    sqlx::query("ANALYZE outbox").execute(&mut *owner).await?;
    let dead = sqlx::query_scalar(
        "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relname ~ '^outbox_[0-9]+$'",
    );
    Ok(dead.fetch_one(owner).await?)
}

fn found(under: [Under; 3], dead: i64, scale: Scale) -> Found {
    let [nothing, reader, writer] = under;
    let accounts = scale.users * CURRENCIES.len();
    let row = |what: &str, who: &str, ours: Rates, limit: &Rates| Row {
        name: "P7",
        measure: format!("{what} with a {who} held open, {accounts} accounts"),
        ours,
        limit: limit.clone(),
        against: "the same with nothing held".to_owned(),
        unit: "/s",
        reach: Some(0.95),
    };
    Found {
        rows: vec![
            row("ingress", "reader", reader.ingress, &nothing.ingress),
            row("ingress", "writer", writer.ingress, &nothing.ingress),
            row("relay", "reader", reader.relay, &nothing.relay),
            row("relay", "writer", writer.relay, &nothing.relay),
        ],
        notes: vec![("P7", format!("dead tuples in the outbox afterwards: {dead}"))],
    }
}
