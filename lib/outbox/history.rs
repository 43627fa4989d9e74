//! Which history of the database a snapshot belongs to. Transaction numbers mean nothing on another server, after a failover, or after
//! a restore to an earlier point in time.

use sqlx::postgres::PgConnection;

use super::position::Position;
use super::snapshot::Snapshot;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    pub system_identifier: i64,
    /// Rises with each promotion and each recovery to a point in time.
    pub timeline: i32,
}

/// Why a stored cursor must not be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Foreign {
    #[error(
        "the cursor of lane {lane} is of another database server or timeline (stored {stored:?}, here {here:?}): after a failover or restore run `payfleet outbox rebase`"
    )]
    History { lane: i16, stored: History, here: History },
    #[error(
        "the cursor of lane {lane} has seen transaction {seen}, but this server has only come to {reached}: it was set back in time; run `payfleet outbox rebase`"
    )]
    Future { lane: i16, seen: u64, reached: u64 },
}

/// The server at the other end: its history, and how far it has come. Fails on a standby, whose snapshots are not the primary's.
pub async fn here(connection: &mut PgConnection) -> Result<(History, Snapshot), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT (SELECT system_identifier FROM pg_control_system()) AS "system_identifier!",
                  pg_walfile_name(pg_current_wal_lsn()) AS "wal_file!",
                  pg_current_snapshot()::text AS "snapshot!""#
    )
    .fetch_one(connection)
    .await?;
    let undecodable = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    // The first eight digits of a WAL file's name are its timeline; the control file learns of a new one only at the next checkpoint.
    let timeline = row.wal_file.get(..8).unwrap_or_default();
    let timeline = i32::from_str_radix(timeline, 16).map_err(|error| undecodable(error.into()))?;
    let snapshot = row.snapshot.parse().map_err(|error: super::snapshot::Malformed| undecodable(error.into()))?;
    Ok((History { system_identifier: row.system_identifier, timeline }, snapshot))
}

/// May a cursor that was stored under `stored` be used by a session that is `here` and sees `now`?
pub fn check(lane: i16, position: &Position, stored: History, here: History, now: &Snapshot) -> Result<(), Foreign> {
    if stored != here {
        return Err(Foreign::History { lane, stored, here });
    }
    let seen = position.to.as_ref().map_or(0, Snapshot::xmax).max(position.from.xmax());
    if seen > now.xmax() {
        return Err(Foreign::Future { lane, seen, reached: now.xmax() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_only_good_where_it_was_made() {
        let here = History { system_identifier: 7, timeline: 2 };
        let now: Snapshot = "50:50:".parse().unwrap();
        let position = |from: &str, to: Option<&str>| Position {
            from: from.parse().unwrap(),
            to: to.map(|text| text.parse().unwrap()),
            last_id: 0,
        };
        assert_eq!(check(1, &position("50:50:", None), here, here, &now), Ok(()));
        for stored in [History { timeline: 1, ..here }, History { system_identifier: 8, ..here }] {
            let refused = check(1, &position("9:9:", None), stored, here, &now);
            assert_eq!(refused, Err(Foreign::History { lane: 1, stored, here }));
        }
        for ahead in [position("51:51:", None), position("9:9:", Some("51:51:"))] {
            let refused = check(1, &ahead, here, here, &now);
            assert_eq!(refused, Err(Foreign::Future { lane: 1, seen: 51, reached: 50 }));
        }
    }
}
