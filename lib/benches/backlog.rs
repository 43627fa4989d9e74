//! A backlog as the ingress leaves it while no relay lives: rows appended by many commits, with ticks between them.

use payfleet::domain::event::{self, StatusChanged};
use payfleet::domain::ids::Kind;
use payfleet::domain::lane::lane_of;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::say;

/// Rows of one commit.
const COMMIT: usize = 2_000;

#[derive(Default)]
struct Columns {
    lane: Vec<i16>,
    aggregate: Vec<Uuid>,
    seq: Vec<i64>,
    topic: Vec<String>,
    kind: Vec<String>,
    payload: Vec<Vec<u8>>,
}

/// Appends the rows, and keeps their ticks for [`rewind`].
pub async fn fill(owner: &mut PgConnection, rows: usize) -> anyhow::Result<()> {
    append(owner, rows).await?;
    // Each by itself: VACUUM and CHECKPOINT run in no transaction, and several statements at once are one.
    run(
        owner,
        &[
            "DROP TABLE IF EXISTS kept_ticks",
            "CREATE TABLE kept_ticks AS SELECT snapshot, written FROM outbox_ticks",
            "VACUUM ANALYZE",
        ],
    )
    .await
}

/// Appends `rows` rows: an event and a command of each payment, as acceptance does, with their real payloads.
pub async fn append(owner: &mut PgConnection, rows: usize) -> anyhow::Result<()> {
    say(&format!("writing a backlog of {rows} events"));
    let mut written = 0;
    while written < rows {
        let mut columns = Columns::default();
        for _ in 0..COMMIT.min(rows - written) / 2 {
            columns.add_payment();
        }
        written += columns.lane.len();
        sqlx::query(
            "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, traceparent, payload)
             SELECT 0, lane, aggregate, seq, topic, type, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', payload
             FROM unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::bytea[])
                  AS row (lane, aggregate, seq, topic, type, payload)
             ORDER BY aggregate, seq",
        )
        .bind(&columns.lane)
        .bind(&columns.aggregate)
        .bind(&columns.seq)
        .bind(&columns.topic)
        .bind(&columns.kind)
        .bind(&columns.payload)
        .execute(&mut *owner)
        .await?;
        // What the doorbell writes every 250 ms of traffic, here once per so many rows.
        sqlx::query(
            "INSERT INTO outbox_ticks (snapshot, written) SELECT pg_current_snapshot(), last_value FROM outbox_id",
        )
        .execute(&mut *owner)
        .await?;
    }
    Ok(())
}

pub async fn run(owner: &mut PgConnection, statements: &[&'static str]) -> anyhow::Result<()> {
    for statement in statements {
        sqlx::query(*statement).execute(&mut *owner).await?;
    }
    Ok(())
}

/// As if none of it had been relayed yet.
pub async fn rewind(owner: &mut PgConnection) -> anyhow::Result<()> {
    run(
        owner,
        &[
            "DELETE FROM checkpoints",
            "UPDATE lanes SET relay = NULL, taken_at = NULL",
            "DELETE FROM relays",
            "DELETE FROM outbox_ticks",
            "INSERT INTO outbox_ticks (snapshot, written) SELECT snapshot, written FROM kept_ticks ORDER BY written",
            "CHECKPOINT",
        ],
    )
    .await
}

impl Columns {
    fn add_payment(&mut self) {
        let id = Uuid::now_v7();
        let event = StatusChanged {
            transaction_id: id,
            r#type: Kind::Withdrawal,
            version: 1,
            status: "created".into(),
            substatus: None,
            amount: 12_345,
            currency: "EUR".into(),
            gateway: "stripe".into(),
            attempt: 0,
            reason: None,
        };
        let (act, gateway) = (event::Act::Create, "stripe".to_owned());
        let command = event::Command { transaction_id: id, act, attempt: 1, gateway, version: 1, calls: 0 };
        self.add(id, 1, event::EVENTS.to_owned(), event::kind::STATUS_CHANGED, event::to_payload(&event));
        self.add(id, 2, event::commands_of("stripe"), event::kind::COMMAND, event::to_payload(&command));
    }

    fn add(&mut self, aggregate: Uuid, seq: i64, topic: String, kind: &str, payload: Vec<u8>) {
        self.lane.push(lane_of(aggregate));
        self.aggregate.push(aggregate);
        self.seq.push(seq);
        self.topic.push(topic);
        self.kind.push(kind.to_owned());
        self.payload.push(payload);
    }
}
