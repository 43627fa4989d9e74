//! Who drains which lane: membership of relays, and leases on lanes.
//!
//! A relay lives while its heartbeat is younger than the lease *and* the session lives that registered it: that session holds an
//! advisory lock, so that a killed relay is noticed at once and only a frozen one has to be waited for. Time is the database's; a heartbeat
//! from further ahead than the lease was made before that clock was set back, and says nothing.
//!
//! If it dies here: its lock goes with its session, its lanes are taken by the others under new epochs.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Told when lanes have become free or a relay has come, so that the others need not wait for their next look.
pub const CHANNEL: &str = "payfleet_lanes";

/// First half of the advisory locks that relays hold; the second is the relay's `lock_key`. The view `connected_relays` knows it too.
const LOCK_CLASS: i32 = 740_218;

/// A lane that is held, and the number of its holder in the row of all that ever held it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub lane: i16,
    pub epoch: i64,
}

/// What a look at the fleet has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Living relays, in the order of their coming.
    pub relays: Vec<Uuid>,
    /// Who holds what. A lane without an entry is free, or its holder is dead.
    pub held: Vec<(Held, Uuid)>,
    pub lanes: usize,
    /// Where the ids of the outbox stand.
    pub written: i64,
    /// The database's clock.
    pub at: Option<OffsetDateTime>,
}

impl View {
    /// The lanes of one relay.
    pub fn of(&self, relay: Uuid) -> impl Iterator<Item = Held> + '_ {
        self.held.iter().filter(move |(_, holder)| *holder == relay).map(|(held, _)| *held)
    }

    /// How many lanes a relay should hold: shares differ by one at most, and those who came first take the larger ones.
    /// Nothing for a relay that does not live.
    pub fn share_of(&self, relay: Uuid) -> usize {
        let Some(rank) = self.relays.iter().position(|id| *id == relay) else { return 0 };
        let (whole, rest) = (self.lanes / self.relays.len(), self.lanes % self.relays.len());
        whole + usize::from(rank < rest)
    }
}

/// Makes the session's relay a member; it stays one as long as the session lives and the heart beats.
pub async fn register(connection: &mut PgConnection, relay: Uuid, name: &str) -> Result<(), sqlx::Error> {
    let mut registering = connection.begin().await?;
    let lock_key = sqlx::query_scalar!("INSERT INTO relays (id, name) VALUES ($1, $2) RETURNING lock_key", relay, name)
        .fetch_one(&mut *registering)
        .await?;
    sqlx::query!("SELECT pg_advisory_lock($1, $2)", LOCK_CLASS, lock_key).execute(&mut *registering).await?;
    sqlx::query("NOTIFY payfleet_lanes").execute(&mut *registering).await?;
    registering.commit().await
}

/// Says that the relay lives. False: it is no longer a member.
pub async fn beat(connection: &mut PgConnection, relay: Uuid) -> Result<bool, sqlx::Error> {
    let beaten = sqlx::query!("UPDATE relays SET beat_at = clock_timestamp() WHERE id = $1", relay);
    Ok(beaten.execute(connection).await?.rows_affected() == 1)
}

/// Ends the membership and frees what is still held.
pub async fn leave(connection: &mut PgConnection, relay: Uuid) -> Result<(), sqlx::Error> {
    let mut leaving = connection.begin().await?;
    sqlx::query!("UPDATE lanes SET relay = NULL WHERE relay = $1", relay).execute(&mut *leaving).await?;
    sqlx::query!("DELETE FROM relays WHERE id = $1", relay).execute(&mut *leaving).await?;
    sqlx::query("NOTIFY payfleet_lanes").execute(&mut *leaving).await?;
    leaving.commit().await
}

/// Who lives, and who holds what.
pub async fn look(connection: &mut PgConnection, lease: Duration) -> Result<View, sqlx::Error> {
    let lease_ms = lease.as_millis() as i64;
    let relays = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM connected_relays
           WHERE beat_at BETWEEN clock_timestamp() - $1::bigint * interval '1 millisecond'
                             AND clock_timestamp() + $1::bigint * interval '1 millisecond'
           ORDER BY started_at, id"#,
        lease_ms
    )
    .fetch_all(&mut *connection)
    .await?;
    let rows = sqlx::query!("SELECT lane, epoch, relay FROM lanes ORDER BY lane").fetch_all(&mut *connection).await?;
    let present = sqlx::query!(r#"SELECT last_value AS written, clock_timestamp() AS "at!" FROM outbox_id"#)
        .fetch_one(connection)
        .await?;
    let lanes = rows.len();
    let held = rows
        .into_iter()
        .filter_map(|row| Some((Held { lane: row.lane, epoch: row.epoch }, row.relay?)))
        .filter(|(_, relay)| relays.contains(relay))
        .collect();
    Ok(View { relays, held, lanes, written: present.written, at: Some(present.at) })
}

/// Takes up to `count` lanes that nobody alive holds, each under a new epoch.
pub async fn claim(
    connection: &mut PgConnection,
    relay: Uuid,
    count: usize,
    lease: Duration,
) -> Result<Vec<Held>, sqlx::Error> {
    let lease_ms = lease.as_millis() as i64;
    let rows = sqlx::query_file!("lib/outbox/sql/claim_lanes.sql", relay, count as i64, lease_ms);
    let rows = rows.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| Held { lane: row.lane, epoch: row.epoch }).collect())
}

/// Lets go of lanes, those of them that are still held under these epochs.
pub async fn release(connection: &mut PgConnection, held: &[Held]) -> Result<(), sqlx::Error> {
    let lanes: Vec<i16> = held.iter().map(|held| held.lane).collect();
    let epochs: Vec<i64> = held.iter().map(|held| held.epoch).collect();
    sqlx::query!(
        "UPDATE lanes SET relay = NULL FROM unnest($1::smallint[], $2::bigint[]) AS given (lane, epoch)
         WHERE lanes.lane = given.lane AND lanes.epoch = given.epoch",
        &lanes,
        &epochs
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query("NOTIFY payfleet_lanes").execute(connection).await?;
    Ok(())
}

/// Forgets relays that have been dead for ten leases.
pub async fn trim(connection: &mut PgConnection, lease: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM relays WHERE beat_at < clock_timestamp() - $1::bigint * interval '10 milliseconds'
         AND NOT EXISTS (SELECT FROM connected_relays connected WHERE connected.id = relays.id)",
        lease.as_millis() as i64
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(relays: usize, lanes: usize) -> View {
        View { relays: (1..=relays as u128).map(Uuid::from_u128).collect(), lanes, ..View::default() }
    }

    #[test]
    fn shares_cover_all_lanes_and_differ_by_one_at_most() {
        for relays in 1..=40 {
            let fleet = fleet(relays, 16);
            let shares: Vec<usize> = fleet.relays.iter().map(|relay| fleet.share_of(*relay)).collect();
            assert_eq!(shares.iter().sum::<usize>(), 16);
            assert!(shares.iter().all(|share| *share <= 16_usize.div_ceil(relays)), "{shares:?}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }

    #[test]
    fn a_relay_that_does_not_live_has_no_share() {
        assert_eq!(fleet(2, 16).share_of(Uuid::from_u128(9)), 0);
        assert_eq!(fleet(0, 16).share_of(Uuid::from_u128(9)), 0);
    }
}
