//! Events of made-up aggregates, written to the outbox as payments write theirs, and a journal that says what was committed: in the
//! same transaction, so that it is the truth whatever becomes of the connection.

use payfleet::domain::lane::{LANES, lane_of};
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

/// The two topics that a step writes to, besides each other on the same lane.
pub const TOPICS: [&str; 2] = ["payments.events", "payments.commands.stripe"];

const TABLES: &str = "
    CREATE TABLE journal_aggregates (id uuid PRIMARY KEY, lane smallint NOT NULL, last_seq bigint NOT NULL DEFAULT 0);
    CREATE TABLE journal (aggregate uuid, seq bigint, topic text NOT NULL, hash bytea NOT NULL, PRIMARY KEY (aggregate, seq));
    GRANT ALL ON journal_aggregates, journal TO payfleet_app";

/// One step of each aggregate: an event on either topic, numbered by one counter, in one statement.
const STEP: &str = "
    WITH locked AS MATERIALIZED (
        SELECT id FROM journal_aggregates WHERE id = ANY ($1) ORDER BY id FOR UPDATE
    ), counted AS (
        UPDATE journal_aggregates SET last_seq = last_seq + 2 FROM locked WHERE journal_aggregates.id = locked.id
        RETURNING journal_aggregates.id, lane, last_seq
    ), events AS (
        SELECT id, lane, last_seq - 2 + part.n AS seq, part.topic,
               convert_to(format('{\"aggregate\":\"%s\",\"seq\":%s,\"filling\":\"%s\"}',
                                 id, last_seq - 2 + part.n, repeat('x', $2)), 'UTF8') AS payload
        FROM counted, (VALUES (1, 'payments.events'), (2, 'payments.commands.stripe')) AS part (n, topic)
    ), journalled AS (
        INSERT INTO journal SELECT id, seq, topic, sha256(payload) FROM events
    )
    INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
    SELECT (SELECT slot FROM outbox_ring), lane, id, seq, topic, 'test.step.v1', payload
    FROM events ORDER BY id, seq";

pub struct Journal {
    pub aggregates: Vec<Uuid>,
}

impl Journal {
    /// So many aggregates, evenly over the lanes, none of which has taken a step.
    pub async fn new(owner: &PgPool, aggregates: usize) -> Self {
        sqlx::raw_sql(TABLES).execute(owner).await.unwrap();
        let of = |lane| std::iter::repeat_with(Uuid::now_v7).find(|id| lane_of(*id) == lane).expect("it never ends");
        let aggregates: Vec<Uuid> = (0..LANES as i16).cycle().take(aggregates).map(of).collect();
        let lanes: Vec<i16> = aggregates.iter().copied().map(lane_of).collect();
        sqlx::query("INSERT INTO journal_aggregates (id, lane) SELECT * FROM unnest($1::uuid[], $2::smallint[])")
            .bind(&aggregates)
            .bind(&lanes)
            .execute(owner)
            .await
            .unwrap();
        Self { aggregates }
    }

    /// The aggregates of one lane.
    pub fn of_lane(&self, lane: i16) -> Vec<Uuid> {
        self.aggregates.iter().copied().filter(|aggregate| lane_of(*aggregate) == lane).collect()
    }
}

/// One step of each of these aggregates, with payloads of about so many bytes.
pub async fn step(connection: &mut PgConnection, aggregates: &[Uuid], bytes: i32) -> Result<(), sqlx::Error> {
    sqlx::query(STEP).bind(aggregates).bind(bytes).execute(connection).await?;
    Ok(())
}

/// Events that were committed.
pub async fn committed(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM journal").fetch_one(pool).await.unwrap()
}

/// Is everything committed behind the stored cursors, and nothing parked?
pub async fn is_drained(pool: &PgPool) -> bool {
    let parked = "SELECT EXISTS (SELECT FROM parked)";
    is_passed(pool).await && !sqlx::query_scalar::<_, bool>(parked).fetch_one(pool).await.unwrap()
}

/// A row is outside a cursor if its transaction came after it, or was running when its snapshot was taken: ranges of the index, looked
/// into once each (hence LIMIT), whatever the outbox holds.
const PASSED: &str = "
    WITH cursor AS MATERIALIZED (
        SELECT lanes.lane, coalesce(pg_snapshot_xmax(latest.from_snapshot), '0'::xid8) AS since,
               ARRAY(SELECT pg_snapshot_xip(latest.from_snapshot)) AS late
        FROM lanes LEFT JOIN LATERAL (
            SELECT from_snapshot FROM checkpoints WHERE checkpoints.lane = lanes.lane ORDER BY epoch DESC, id DESC LIMIT 1
        ) latest ON true
    )
    SELECT NOT EXISTS (
        SELECT FROM cursor CROSS JOIN LATERAL (
            SELECT FROM outbox WHERE outbox.lane = cursor.lane AND outbox.xid >= cursor.since LIMIT 1
        ) later
    ) AND NOT EXISTS (
        SELECT FROM cursor CROSS JOIN unnest(cursor.late) AS late (xid) CROSS JOIN LATERAL (
            SELECT FROM outbox WHERE outbox.lane = cursor.lane AND outbox.xid = late.xid LIMIT 1
        ) running
    )";

/// Is everything committed behind the stored cursors, sent or parked?
pub async fn is_passed(pool: &PgPool) -> bool {
    sqlx::query_scalar(PASSED).fetch_one(pool).await.unwrap()
}

/// Checkpoints of an epoch that came after one of a later epoch of the same lane (I19).
pub async fn overtaken(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM checkpoints older JOIN checkpoints newer
         ON newer.lane = older.lane AND newer.epoch > older.epoch AND newer.id < older.id",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}
