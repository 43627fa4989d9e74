//! P7: what a transaction that somebody holds open changes: a reader with an old snapshot, then a writer that neither commits nor
//! rolls back. Payments are spread over many accounts. The relay drains a backlog that was written under the open transaction, and
//! large enough that a relay's start counts for little.
//!
//! Told beside it is what such a transaction does change, by PostgreSQL's nature: rows that are updated again and again cannot be pruned
//! under an old snapshot. These are one hot account, and the due sweep, which pushes forward what it takes.

use std::time::{Duration, Instant};

use payfleet::load::Payer;
use payfleet::postgres::due::Search;
use payfleet::{kafka, relay, transactions};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::accept::{self, CURRENCIES};
use super::processes::{self, Ingress};
use super::rounds::Rates;
use super::stand::{Database, Stand};
use super::table::{Found, Row};
use super::{Scale, backlog, drain, say};

/// Payments that one statement of the due sweep takes: as many as the reconciler's own.
const PAGE: usize = 32;

/// Rows that a round's topics are warmed with.
const WARM_ROWS: usize = 20_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Nothing,
    Reader,
    Writer,
}

const KINDS: [Held; 3] = [Held::Nothing, Held::Reader, Held::Writer];

/// What was measured under one kind.
#[derive(Default)]
struct Under {
    ingress: Rates,
    relay: Rates,
    hot_account: Rates,
    due_sweep: Rates,
    outbox: Scars,
}

/// What an append-only table must not have.
#[derive(Clone, Copy, Default)]
struct Scars {
    /// Counted row by row, while the transaction was still open.
    dead: i64,
    updated_or_deleted: i64,
}

pub async fn measure(stand: &Stand, scale: Scale) -> anyhow::Result<Found> {
    let database = stand.database("bench_held").await?;
    processes::migrate(stand, &database).await?;
    let mut owner = database.owner().await?;
    backlog::run(&mut owner, &["CREATE EXTENSION pgstattuple"]).await?;
    let payers = accept::seed(&mut owner, scale.users).await?;
    let ingress = Ingress::start(stand, &database, &payers[0].credential, &[]).await?;
    say("P7: warming up");
    accept::http_rate(&ingress.base, &payers, 2).await?;

    let mut under: [Under; KINDS.len()] = Default::default();
    for round in 0..scale.rounds {
        // Topics for a whole round, with something on them before anything counts; gone after it, so that the broker is as it was.
        let topics = made(stand).await?;
        backlog::append(&mut owner, WARM_ROWS).await?;
        drain_what_is_there(&database, &topics, None).await?;
        for turn in 0..KINDS.len() {
            // Each goes first as often as the others: tables only grow.
            let kind = (round + turn) % KINDS.len();
            say(&format!("P7: round {} of {}, {:?} held", round + 1, scale.rounds, KINDS[kind]));
            let run = Run { database: &database, topics: &topics, base: &ingress.base, payers: &payers, scale };
            run.measure(KINDS[kind], &mut under[kind]).await?;
            // All of it has been relayed or is of no interest: each kind finds the outbox as the one before did.
            backlog::run(&mut owner, &["TRUNCATE outbox", "VACUUM accounts, transactions", "CHECKPOINT"]).await?;
        }
        stand.forget(&topics).await?;
    }
    ingress.stop().await?;
    Ok(found(under, scale))
}

async fn made(stand: &Stand) -> anyhow::Result<kafka::Settings> {
    let topics = stand.kafka();
    kafka::topics::ensure(&topics, &kafka::topics::declared(["stripe", "paypal", "bank"])).await?;
    Ok(topics)
}

struct Run<'a> {
    database: &'a Database,
    topics: &'a kafka::Settings,
    base: &'a payfleet::load::Base,
    payers: &'a [Payer],
    scale: Scale,
}

/// Payments that are due for the sweep to begin with.
const DUE: i64 = 1_000;

/// A payment's first look is due some seconds after it was accepted.
async fn many_are_due(owner: &mut PgConnection) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(60);
    let due = "SELECT count(*) FROM transactions WHERE due_at <= clock_timestamp()";
    while sqlx::query_scalar::<_, i64>(due).fetch_one(&mut *owner).await? < DUE {
        anyhow::ensure!(Instant::now() < patience, "no {DUE} payments became due within a minute");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

impl Run<'_> {
    /// Everything with the transaction open from before the first to after the last.
    async fn measure(&self, held: Held, under: &mut Under) -> anyhow::Result<()> {
        let mut owner = self.database.owner().await?;
        let mut holder = self.database.owner().await?;
        let mut open = holder.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let mut writer: Option<String> = None;
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
        under.ingress.push(accept::http_rate(self.base, self.payers, self.scale.seconds).await?);
        backlog::append(&mut owner, self.scale.backlog / 2).await?;
        under.relay.push(drain_what_is_there(self.database, self.topics, writer.as_deref()).await?);
        under.hot_account.push(accept::http_rate(self.base, &self.payers[..1], self.scale.seconds).await?);
        many_are_due(&mut owner).await?;
        under.due_sweep.push(self.due_sweep_rate().await?);
        under.outbox.add(scars(&mut owner).await?);
        open.rollback().await?;
        holder.close().await?;
        owner.close().await?;
        Ok(())
    }

    /// Payments taken per second by the sweep's own statement, each page entered where the one before ended. What is taken is due again
    /// at once, so there is always enough.
    async fn due_sweep_rate(&self) -> anyhow::Result<f64> {
        let pool = PgPoolOptions::new().max_connections(1).connect(&self.database.app_url).await?;
        let (begin, mut taken, mut from) = (Instant::now(), 0, None);
        while begin.elapsed() < Duration::from_secs(self.scale.seconds) {
            let (leave, longest) = (Duration::ZERO, Duration::ZERO);
            let search = Search { from, except: Vec::new(), limit: PAGE, leave, longest };
            let found = transactions::due::claim(&pool, &search, Duration::from_secs(60)).await?;
            anyhow::ensure!(!found.due.is_empty(), "nothing was due");
            taken += found.due.len();
            from = found.due.last().map(|last| last.due_at);
        }
        let rate = f64::from(u32::try_from(taken)?) / begin.elapsed().as_secs_f64();
        pool.close().await;
        Ok(rate)
    }
}

/// Events per second, by a relay that goes on from the stored cursors until they have passed all that is there.
async fn drain_what_is_there(
    database: &Database,
    topics: &kafka::Settings,
    writer: Option<&str>,
) -> anyhow::Result<f64> {
    let mut owner = database.owner().await?;
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox event
         LEFT JOIN (SELECT DISTINCT ON (lane) lane, from_snapshot FROM checkpoints ORDER BY lane, epoch DESC, id DESC) cursor
              ON cursor.lane = event.lane
         WHERE NOT coalesce(pg_visible_in_snapshot(event.xid, cursor.from_snapshot), false)",
    )
    .fetch_one(&mut owner)
    .await?;
    let settings = relay::Settings { rotate_bytes: i64::MAX, rotate_ms: 86_400_000, ..relay::Settings::default() };
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay::run(settings, database.settings(), topics.clone(), stop.clone()));
    let drained = drain::drained_in(&mut owner, writer, Duration::from_secs(300)).await;
    stop.cancel();
    running.await??;
    owner.close().await?;
    Ok(rows as f64 / drained?.as_secs_f64())
}

async fn scars(owner: &mut PgConnection) -> anyhow::Result<Scars> {
    let counted = sqlx::query_as(
        "SELECT coalesce(sum((pgstattuple(relid)).dead_tuple_count), 0)::bigint, coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint
         FROM pg_stat_user_tables WHERE relname ~ '^outbox_[0-9]+$'",
    );
    let (dead, updated_or_deleted) = counted.fetch_one(owner).await?;
    Ok(Scars { dead, updated_or_deleted })
}

impl Scars {
    /// Dead rows of several rounds, each of which began with none; the server counts changes from its start.
    fn add(&mut self, later: Self) {
        self.dead += later.dead;
        self.updated_or_deleted = later.updated_or_deleted;
    }
}

fn found(under: [Under; KINDS.len()], scale: Scale) -> Found {
    let scars = note(&under, scale);
    let [nothing, reader, writer] = under;
    let accounts = scale.users * CURRENCIES.len();
    let row = |what: String, ours: Rates, limit: &Rates, reach| Row {
        name: "P7",
        measure: what,
        ours,
        limit: limit.clone(),
        against: "the same with nothing held".to_owned(),
        unit: "/s",
        reach,
    };
    let ingress = |who: &str| format!("ingress with a {who} held open, {accounts} accounts");
    let relay = |who: &str| format!("relay drain of {} events with a {who} held open", scale.backlog / 2);
    let stated = "with a reader held open, a stated limit";
    Found {
        rows: vec![
            row(ingress("reader"), reader.ingress, &nothing.ingress, Some(0.95)),
            row(ingress("writer"), writer.ingress, &nothing.ingress, Some(0.95)),
            row(relay("reader"), reader.relay, &nothing.relay, Some(0.95)),
            row(relay("writer"), writer.relay, &nothing.relay, Some(0.95)),
            row(format!("ingress, one hot account, {stated}"), reader.hot_account, &nothing.hot_account, None),
            row(format!("due sweep, payments taken, {stated}"), reader.due_sweep, &nothing.due_sweep, None),
        ],
        notes: vec![("P7", scars)],
    }
}

/// A row that was inserted and rolled back is dead without ever having been updated or deleted: that, and no more, is allowed.
fn note(under: &[Under; KINDS.len()], scale: Scale) -> String {
    let counted: Vec<String> = KINDS
        .iter()
        .zip(under)
        .map(|(kind, under)| {
            let Scars { dead, updated_or_deleted } = under.outbox;
            format!("{kind:?} held: {dead} dead, {updated_or_deleted} updated or deleted")
        })
        .collect();
    let only_rolled_back = under.iter().all(|under| under.outbox.updated_or_deleted == 0);
    format!(
        "tuples of the outbox while the transaction was open: {}; none but rolled-back inserts may be dead: {}",
        counted.join("; "),
        scale.judgement(only_rolled_back)
    )
}
