//! What is due: the same question to every table that has a `due_at`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

/// Where and how to look for rows that are due.
#[derive(Clone, Debug)]
pub struct Search {
    /// No row that became due before this is looked at. None: from the very beginning.
    pub from: Option<OffsetDateTime>,
    /// Gateways whose rows are left alone.
    pub except: Vec<String>,
    /// Rows taken at most.
    pub limit: usize,
    /// For how long a row that is taken is nobody else's: longer than looking at it takes.
    pub leave: Duration,
    /// The longest time until it is due again, however long it has not moved.
    pub longest: Duration,
}

/// A row that was taken; its `due_at` has been pushed forward.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: Uuid,
    pub gateway: String,
    /// When it had become due.
    pub due_at: OffsetDateTime,
}

/// The rows taken, the longest due first, and the database's time.
#[derive(Clone, Debug)]
pub struct Found {
    pub now: OffsetDateTime,
    pub due: Vec<Due>,
}

/// A row of a claiming statement: the time always, a claim where there was one.
#[derive(Debug)]
pub struct Row {
    pub now: OffsetDateTime,
    pub id: Option<Uuid>,
    pub gateway: Option<String>,
    pub due_at: Option<OffsetDateTime>,
}

impl Found {
    fn of(rows: Vec<Row>) -> Result<Self, sqlx::Error> {
        let now = rows.first().map(|row| row.now).ok_or(sqlx::Error::RowNotFound)?;
        let due = rows.into_iter().filter_map(|row| {
            let (id, gateway, due_at) = (row.id?, row.gateway?, row.due_at?);
            Some(Due { id, gateway, due_at })
        });
        Ok(Self { now, due: due.collect() })
    }
}

/// For a search from the very beginning.
const WHOLE_LIMIT: Duration = Duration::from_secs(600);

/// A table's own claiming statement, run on the connection of a claim.
pub type Taking = for<'c> fn(&'c mut PgConnection, &'c Search) -> BoxFuture<'c, Result<Vec<Row>, sqlx::Error>>;

/// Takes what is due by the table's own statement. `limit` is that of an ordinary statement.
///
/// A search from the very beginning may have to read past millions of dead entries while an old snapshot is held open, and is given the
/// time for it: cut off, it would never get further. To begin and to commit take no such time. What was taken and not told is due again
/// by itself.
pub async fn claim(pool: &PgPool, search: &Search, limit: Duration, taking: Taking) -> Result<Found, sqlx::Error> {
    let whole = search.from.is_none();
    let beginning = async {
        let mut claim = pool.begin().await?;
        if whole {
            sqlx::query("SET LOCAL statement_timeout = '10min'").execute(&mut *claim).await?;
        }
        Ok::<_, sqlx::Error>(claim)
    };
    let mut claim = super::within(limit, beginning).await?;
    let longest = if whole { WHOLE_LIMIT.max(limit) } else { limit };
    let rows = super::within(longest, taking(&mut claim, search)).await?;
    super::within(limit, claim.commit()).await?;
    Found::of(rows)
}

/// Milliseconds, as the statements take them.
pub fn millis(duration: Duration) -> f64 {
    duration.as_millis() as f64
}
