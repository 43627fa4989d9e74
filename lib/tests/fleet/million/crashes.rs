//! Crashes, each when it costs most: by what is seen of the relays, not by the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use payfleet::service::failpoint::Window;
use sqlx::Row;
use time::OffsetDateTime;

use super::super::process::Process;
use super::super::windows::Windows;
use super::STEP;
use super::stand::Stand;
use crate::harness::eventually;

/// Rows that a relay reads before it is killed: the load flows through it.
const UNDER_LOAD: f64 = 200.0;

/// Rows that a relay reads while the brokers stand still: a page or two of each lane, if it had just made its producer anew.
const ON_THEIR_WAY: f64 = 8.0;

/// How often the brokers are stopped until that is so, and for how long each time.
const TRIES: usize = 10;
const A_WHILE: Duration = Duration::from_secs(4);

/// Transaction numbers taken and lost with the crash.
const BURNT: usize = 1_000;

/// Something may be flushed between the last number and the crash: it is done again then.
const CRASHES: usize = 3;

async fn rows_read(relay: &Process) -> f64 {
    relay.metric("payfleet_relay_rows_read_total").await.unwrap_or_default()
}

/// When the statements began that sessions of this name run or have run last, by process id.
async fn statements(stand: &Stand, application: &str) -> Vec<(i32, OffsetDateTime)> {
    sqlx::query_as(
        "SELECT pid, query_start FROM pg_stat_activity WHERE application_name = $1 AND query_start IS NOT NULL",
    )
    .bind(application)
    .fetch_all(&stand.owner)
    .await
    .unwrap()
}

/// Waits until each of so many sessions of this name has begun so many statements from now on.
async fn look_again(stand: &Stand, application: &str, sessions: usize, times: usize) {
    let since: OffsetDateTime = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&stand.owner).await.unwrap();
    let mut begun: BTreeMap<i32, BTreeSet<OffsetDateTime>> = BTreeMap::new();
    let what = format!("{sessions} sessions of `{application}` to look {times} times");
    eventually(&what, STEP, async || {
        for (session, at) in statements(stand, application).await {
            if at > since {
                begun.entry(session).or_default().insert(at);
            }
        }
        (begun.values().filter(|begun| begun.len() >= times).count() >= sessions).then_some(())
    })
    .await;
}

/// The lanes that the relay of this name holds, with their epochs.
async fn holds(stand: &Stand, name: &str) -> Vec<(i16, i64)> {
    let lanes =
        "SELECT lane, epoch FROM relays JOIN lanes ON lanes.relay = relays.id WHERE relays.name = $1 ORDER BY lane";
    sqlx::query_as(lanes).bind(name).fetch_all(&stand.owner).await.unwrap()
}

async fn holding(stand: &Stand, name: &str, lanes: usize) {
    let what = format!("{name} to hold {lanes} lanes");
    eventually(&what, STEP, async || (holds(stand, name).await.len() >= lanes).then_some(())).await;
}

/// The highest transaction number that has been given out and ended.
async fn reached(stand: &Stand) -> i64 {
    let xmax = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    sqlx::query_scalar(xmax).fetch_one(&stand.owner).await.unwrap()
}

impl Stand {
    /// Waits until the relay has read so many rows more than `before`.
    async fn read_by(&self, place: usize, before: f64, rows: f64) {
        let relay = self.relay(place);
        let what = format!("{} to read {rows} rows", relay.name);
        eventually(&what, self.limit(), async || (rows_read(relay).await >= before + rows).then_some(())).await;
    }

    /// kill -9 of a relay that the load flows through.
    pub async fn kill_under_load(&mut self, place: usize) {
        let before = rows_read(self.relay(place)).await;
        self.read_by(place, before, UNDER_LOAD).await;
        self.replace(place, "").await;
        holding(self, &self.relay(place).name, 1).await;
    }

    /// The brokers stand still until some relay has records on their way and has had time to store progress, were there any. Then it is
    /// killed: what it counted as delivered without an answer is lost.
    pub async fn kill_with_full_flights(&mut self) {
        let mut victim = None;
        for _ in 0..TRIES {
            // Asked before: it may read all that it has room for in the moment after.
            let before = self.read_by_each().await;
            self.site.kafka.freeze();
            victim = self.reads_on(&before, ON_THEIR_WAY).await;
            if victim.is_some() {
                break;
            }
            // All of them had their hands full when the brokers stopped, with poison perhaps.
            self.site.kafka.thaw();
            let before = self.read_by_each().await;
            self.reads_on(&before, UNDER_LOAD).await;
        }
        let place = victim.expect("no relay ever had records on their way while the brokers stood still");
        // It looks round every 250 ms and stores every 100 ms.
        look_again(self, "relay membership", 3, 3).await;
        self.replace(place, "").await;
        self.site.kafka.thaw();
        holding(self, &self.relay(place).name, 1).await;
    }

    async fn read_by_each(&self) -> [f64; 3] {
        [rows_read(self.relay(0)).await, rows_read(self.relay(1)).await, rows_read(self.relay(2)).await]
    }

    /// The first relay that has read so many rows more than before; None if none does for a while.
    async fn reads_on(&self, before: &[f64; 3], rows: f64) -> Option<usize> {
        let first = async || {
            let read = self.read_by_each().await;
            (0..3).find(|place| read[*place] >= before[*place] + rows)
        };
        let found = eventually("a relay to read on", STEP, first);
        tokio::time::timeout(A_WHILE, found).await.ok()
    }

    /// SIGSTOP of a relay that is about to store progress, until others have stored theirs under newer epochs for all of its lanes. Which of
    /// its clocks it hears first when it is thawed is chance: it may find its lease lost, and forget what it was about to do. It is done
    /// again then.
    pub async fn freeze_past_lease(&mut self, place: usize) {
        for _ in 0..TRIES {
            if self.goes_on_after_its_lease(place).await {
                return;
            }
        }
        panic!("whenever it was thawed, the relay forgot what it was about to store: nothing is proved");
    }

    async fn goes_on_after_its_lease(&mut self, place: usize) -> bool {
        self.replace(place, &Windows::for_a_while(Window::C7, 5)).await;
        let relay = self.relay(place);
        let log = Windows { log: self.site.windows() };
        let stay = log.until_inside(Window::C7, relay, STEP).await;
        relay.freeze();
        let lanes = holds(self, &relay.name).await;
        if log.has_left(Window::C7, stay) || lanes.is_empty() {
            // Frozen too late.
            relay.thaw();
            return false;
        }
        let (numbers, epochs): (Vec<i16>, Vec<i64>) = lanes.into_iter().unzip();
        let newer = "SELECT bool_and(EXISTS (SELECT FROM checkpoints WHERE checkpoints.lane = held.lane AND checkpoints.epoch > held.epoch))
                     FROM unnest($1::smallint[], $2::bigint[]) AS held (lane, epoch)";
        eventually("others to store progress of its lanes", self.limit(), async || {
            let stored: bool =
                sqlx::query_scalar(newer).bind(&numbers).bind(&epochs).fetch_one(&self.owner).await.unwrap();
            stored.then_some(())
        })
        .await;
        relay.thaw();
        // It takes lanes again only when it has left the window, one way or the other.
        holding(self, &relay.name, 1).await;
        log.has_left(Window::C7, stay)
    }

    /// Kills PostgreSQL after the relays have seen transaction numbers that no disk has, and lets writers use these again before a
    /// relay looks again.
    pub async fn set_back_in_time(&mut self) {
        for crash in 1.. {
            self.traffic.pause().await;
            self.passed().await;
            self.ring_is_empty().await;
            let burnt = self.burn().await;
            // The first of these statements has seen the last number; that it was taken in is known when another has begun.
            look_again(self, "relay reading", 3, 4).await;
            self.relays().for_each(Process::freeze);
            self.site.postgres.kill().await;
            self.site.postgres.start_again().await.unwrap();
            let reached = reached(self).await;
            let set_back = reached < burnt;
            self.say(&format!("transaction {burnt} was seen, PostgreSQL is back at {reached}"));
            self.traffic.resume();
            if set_back {
                self.overwrite(burnt).await;
            }
            // One after the other, so that the first takes its own lanes too.
            for relay in self.relays() {
                relay.thaw();
                holding(self, &relay.name, if relay.name == self.relay(0).name { 16 } else { 1 }).await;
            }
            if set_back {
                return;
            }
            assert!(crash < CRASHES, "no transaction number was lost: nothing is proved");
        }
    }

    /// Waits until there is nothing to truncate any more: truncation is flushed, and all that was before it.
    async fn ring_is_empty(&self) {
        let size = "SELECT sum(pg_relation_size(inhrelid)) = 0 FROM pg_inherits WHERE inhparent = 'outbox'::regclass";
        eventually("the ring to be empty", self.limit(), async || {
            sqlx::query_scalar::<_, bool>(size).fetch_one(&self.owner).await.unwrap().then_some(())
        })
        .await;
    }

    /// Takes transaction numbers that nobody is told of; gives the highest.
    async fn burn(&self) -> i64 {
        let mut connection = self.owner.acquire().await.unwrap();
        let mut burnt = 0;
        for _ in 0..BURNT {
            let take = sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()::text::bigint; ROLLBACK");
            burnt = take.fetch_one(&mut *connection).await.unwrap().get(0);
        }
        burnt
    }

    /// Waits until the writers have used the lost numbers again.
    async fn overwrite(&self, burnt: i64) {
        let what = "the writers to use the lost transaction numbers again";
        eventually(what, self.limit(), async || (reached(self).await > burnt).then_some(())).await;
    }
}
