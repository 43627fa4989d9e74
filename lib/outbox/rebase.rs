//! Starting the lanes anew after the database has become another one: a failover, a restore, a dump read into a new server.
//!
//! Cursors and ticks of the other history are worth nothing, so every lane goes back to the ring's beginning and everything that is
//! still in the ring is sent again, under a higher incarnation number. Needs the owner's role: rows with transaction numbers that
//! could be taken for running or future ones here are given a new one, and the application may not change rows of the outbox.
//!
//! If it dies here: it is one transaction.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::history;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rebased {
    pub incarnation: i32,
    /// Rows of the other history that were given a new transaction number.
    pub renumbered: u64,
}

/// Relays may be running: they lose their lanes and take them again where this has put them.
pub async fn rebase(connection: &mut PgConnection) -> Result<Rebased, sqlx::Error> {
    let (here, _) = history::here(connection).await?;
    let mut rebasing = connection.begin().await?;
    sqlx::query!("UPDATE lanes SET epoch = epoch + 1, relay = NULL").execute(&mut *rebasing).await?;
    let incarnation = sqlx::query_scalar!("UPDATE outbox_ring SET incarnation = incarnation + 1 RETURNING incarnation")
        .fetch_one(&mut *rebasing)
        .await?;
    let renumbered = sqlx::query!(
        "UPDATE outbox SET xid = pg_current_xact_id() WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())"
    )
    .execute(&mut *rebasing)
    .await?
    .rows_affected();
    sqlx::query!("DELETE FROM outbox_ticks").execute(&mut *rebasing).await?;
    sqlx::query!(
        "INSERT INTO checkpoints (lane, epoch, from_snapshot, system_identifier, timeline)
         SELECT lane, epoch, '1:1:', $1, $2 FROM lanes",
        here.system_identifier,
        here.timeline
    )
    .execute(&mut *rebasing)
    .await?;
    rebasing.commit().await?;
    Ok(Rebased { incarnation, renumbered })
}

/// How often the lanes were started anew; part of every record.
pub async fn incarnation(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!("SELECT incarnation FROM outbox_ring").fetch_one(connection).await
}
