//! Starting the lanes anew after the database has become another one: a failover, a restore, a dump read into a new server.
//!
//! Cursors and ticks of the other history are worth nothing, so every lane goes back to the ring's beginning and everything that is
//! still in the ring is sent again, under a higher incarnation number. All rows are given one new transaction number: theirs could be
//! taken for running or future ones here, and under one number the index has them in the order of their ids, so that a ring of any
//! length is read in pages of the same cost although there are no ticks. Needs the owner's role: the application may not change rows.
//! The steps of payments keep the number of their rows, and follow.
//!
//! If it dies here: it is one transaction.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::history;
use super::snapshot::{Malformed, Snapshot};

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rebased {
    pub incarnation: i32,
    /// Rows in the ring, which were given a new transaction number.
    pub renumbered: u64,
}

/// Relays may be running: they lose their lanes and take them again where this has put them. So may writers: what they have not
/// committed yet is found like any late row.
pub async fn rebase(connection: &mut PgConnection) -> Result<Rebased, sqlx::Error> {
    let (here, _) = history::here(connection).await?;
    let mut rebasing = connection.begin().await?;
    // It takes as long as the ring and the history of payments are.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *rebasing).await?;
    renumber_steps(&mut rebasing).await?;
    // A tick from before the rows have their new number would end a slice with later rows in it and without these.
    sqlx::query("LOCK TABLE outbox_ticks IN SHARE ROW EXCLUSIVE MODE").execute(&mut *rebasing).await?;
    sqlx::query!("UPDATE lanes SET epoch = epoch + 1, relay = NULL").execute(&mut *rebasing).await?;
    let incarnation = sqlx::query_scalar!("UPDATE outbox_ring SET incarnation = incarnation + 1 RETURNING incarnation")
        .fetch_one(&mut *rebasing)
        .await?;
    let ring = sqlx::query!(
        r#"WITH renumbered AS (UPDATE outbox SET xid = pg_current_xact_id() RETURNING xid)
           SELECT count(*) AS "rows!", pg_current_snapshot()::text AS "seen!", pg_current_xact_id()::text AS "number!"
           FROM renumbered"#
    )
    .fetch_one(&mut *rebasing)
    .await?;
    let undecodable = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let seen: Snapshot = ring.seen.parse().map_err(|error: Malformed| undecodable(error.into()))?;
    let number: u64 = ring.number.parse().map_err(|error: std::num::ParseIntError| undecodable(error.into()))?;
    // Everything that was committed has this number now, and nothing of it is behind the lanes.
    let beginning = seen.without(number);
    sqlx::query!("DELETE FROM outbox_ticks").execute(&mut *rebasing).await?;
    sqlx::query!(
        "INSERT INTO checkpoints (lane, epoch, from_snapshot, system_identifier, timeline, rebased)
         SELECT lane, epoch, $3::text::pg_snapshot, $1, $2, true FROM lanes",
        here.system_identifier,
        here.timeline,
        beginning.to_string()
    )
    .execute(&mut *rebasing)
    .await?;
    rebasing.commit().await?;
    Ok(Rebased { incarnation, renumbered: ring.rows as u64 })
}

/// Steps with a number that nobody has taken here yet would count as not delivered until this server has come so far. Those whose rows are
/// in the ring are delivered when these are; the others' are gone, and get the first number that there is: every cursor has passed it.
async fn renumber_steps(rebasing: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE transitions SET xid = pg_current_xact_id()
         FROM outbox
         WHERE outbox.aggregate = transitions.transaction_id
           AND outbox.seq IN (transitions.event_seq, transitions.command_seq)
           AND NOT pg_visible_in_snapshot(transitions.xid, (SELECT pg_current_snapshot()))"
    )
    .execute(&mut *rebasing)
    .await?;
    sqlx::query!(
        "UPDATE transitions SET xid = '3'
         WHERE NOT pg_visible_in_snapshot(xid, (SELECT pg_current_snapshot())) AND xid <> pg_current_xact_id()"
    )
    .execute(rebasing)
    .await?;
    Ok(())
}

/// How often the lanes were started anew; part of every record.
pub async fn incarnation(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!("SELECT incarnation FROM outbox_ring").fetch_one(connection).await
}
