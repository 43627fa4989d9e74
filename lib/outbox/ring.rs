//! The ring of slots that the outbox is partitioned into. Writers append to the current one; slots that every lane has passed are
//! truncated, which costs nothing per row, leaves no dead ones, and is not held up by old snapshots.
//!
//! ```text
//! current ──rotate (only into an empty slot)──▶ behind ──every stored cursor has passed it──▶ truncated ──▶ empty
//! ```
//!
//! If it dies here: truncation is one transaction. A slot that cannot be entered makes the current one grow; writers never wait.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::history::History;
use crate::service::failpoint::{self, Window};
use crate::service::planted::{self, Bug};

/// Slots of the ring, as the migration made them.
pub const SLOTS: i16 = 4;

/// When to leave a slot.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: i64,
    /// Also a slot of fewer bytes, if it has any, is left after this long.
    pub age_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    NotDue,
    /// Writers append to this slot from now on.
    Into(i16),
    /// Due, but the next slot still has rows: the current one goes on growing.
    Blocked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truncation {
    /// Some lane still needs rows of it, or it is written to.
    NotPassed,
    Done,
    /// Somebody is using the slot; waiting for them would hold up writers. Try again in half a minute, not sooner.
    Busy,
}

/// Lets writers go on to the next slot if it is time and that one is empty.
pub async fn rotate(connection: &mut PgConnection, limits: Limits) -> Result<Rotation, sqlx::Error> {
    let ring = sqlx::query!(
        r#"SELECT slot, pg_relation_size(format('outbox_%s', slot)::regclass) AS "bytes!",
                  rotated_at < clock_timestamp() - $1::bigint * interval '1 millisecond' AS "old!"
           FROM outbox_ring"#,
        limits.age_ms
    )
    .fetch_one(&mut *connection)
    .await?;
    metrics::gauge!("payfleet_outbox_slot_bytes").set(ring.bytes as f64);
    if ring.bytes < limits.bytes && !(ring.old && ring.bytes > 0) {
        return Ok(Rotation::NotDue);
    }
    let next = (ring.slot + 1) % SLOTS;
    let moved = sqlx::query!(
        "UPDATE outbox_ring SET slot = $2, rotated_at = clock_timestamp()
         WHERE slot = $1 AND NOT EXISTS (SELECT FROM outbox WHERE outbox.slot = $2)",
        ring.slot,
        next
    )
    .execute(connection)
    .await?;
    Ok(if moved.rows_affected() == 1 { Rotation::Into(next) } else { Rotation::Blocked })
}

/// Slots that hold rows and are not written to.
pub async fn behind(connection: &mut PgConnection) -> Result<Vec<i16>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT slot::smallint AS "slot!" FROM generate_series(0, $1::int - 1) AS slot
           WHERE slot <> (SELECT outbox_ring.slot FROM outbox_ring)
             AND pg_relation_size(format('outbox_%s', slot)::regclass) > 0"#,
        i32::from(SLOTS)
    )
    .fetch_all(connection)
    .await
}

/// Empties a slot if every lane has passed it.
///
/// Whether it has been passed is asked again under the lock, in a statement of its own: a writer that was late may have committed
/// into the slot between the question and the lock, and only a snapshot taken after the lock shows it.
pub async fn truncate(connection: &mut PgConnection, slot: i16, history: History) -> Result<Truncation, sqlx::Error> {
    if !is_passed(connection, slot, history).await? {
        return Ok(Truncation::NotPassed);
    }
    let mut truncating = connection.begin().await?;
    sqlx::query("SET LOCAL lock_timeout = '50ms'").execute(&mut *truncating).await?;
    // Whoever stands still between the lock and the commit holds up every writer and reader of the outbox.
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '500ms'").execute(&mut *truncating).await?;
    let (lock, truncate) = statements(slot);
    match sqlx::query(lock).execute(&mut *truncating).await {
        Ok(_) => {}
        Err(error) if is_lock_timeout(&error) => {
            truncating.rollback().await?;
            return Ok(Truncation::Busy);
        }
        Err(error) => return Err(error),
    }
    let passed = if planted::is(Bug::TruncationChecksBeforeItLocks) {
        Ok(true)
    } else {
        is_passed(&mut truncating, slot, history).await
    };
    match passed {
        Ok(true) => {}
        Ok(false) => {
            truncating.rollback().await?;
            return Ok(Truncation::NotPassed);
        }
        // The question reads the other slots too.
        Err(error) if is_lock_timeout(&error) => {
            truncating.rollback().await?;
            return Ok(Truncation::Busy);
        }
        Err(error) => return Err(error),
    }
    failpoint::reached(Window::C18).await;
    sqlx::query(truncate).execute(&mut *truncating).await?;
    truncating.commit().await?;
    Ok(Truncation::Done)
}

async fn is_passed(connection: &mut PgConnection, slot: i16, history: History) -> Result<bool, sqlx::Error> {
    let passed = sqlx::query_file_scalar!(
        "lib/outbox/sql/slot_is_passed.sql",
        slot,
        history.system_identifier,
        history.timeline
    );
    passed.fetch_one(connection).await
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|database| database.code()).as_deref() == Some("55P03")
}

/// Names of tables cannot be bound.
fn statements(slot: i16) -> (&'static str, &'static str) {
    match slot {
        0 => ("LOCK TABLE outbox_0 IN ACCESS EXCLUSIVE MODE", "TRUNCATE outbox_0"),
        1 => ("LOCK TABLE outbox_1 IN ACCESS EXCLUSIVE MODE", "TRUNCATE outbox_1"),
        2 => ("LOCK TABLE outbox_2 IN ACCESS EXCLUSIVE MODE", "TRUNCATE outbox_2"),
        _ => ("LOCK TABLE outbox_3 IN ACCESS EXCLUSIVE MODE", "TRUNCATE outbox_3"),
    }
}
