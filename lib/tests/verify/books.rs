//! A small, lawful world to corrupt: books in PostgreSQL, records for the topics, the simulator's log and a load's, as the fleet would
//! have left them. Written as the owner, by hand, so that the checker is not judged by the code that it judges.

use std::path::PathBuf;

use payfleet::domain::event;
use payfleet::domain::ids::Kind;
use payfleet::domain::lane::lane_of;
use payfleet::kafka;
use payfleet::ops::verify::{Finding, Inputs, Invariant, Report, Rest, Sightings, verify, verify_with};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::payments::Payment;
use super::topics::{Record, Topics};
use crate::harness::Database;

pub struct World {
    pub database: Database,
    pub user: Uuid,
    pub account: i64,
    /// To be produced by [`World::publish`], in this order.
    pub records: Vec<Record>,
    /// Lines of the simulator's log.
    pub charges: Vec<Value>,
    /// Lines of the load's log.
    pub requests: Vec<Value>,
    topics: Option<Topics>,
    directory: PathBuf,
}

pub fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap()
}

pub fn sha256(text: &[u8]) -> String {
    event::hash(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    /// One user with one account, and nothing else.
    pub async fn empty() -> Self {
        let database = Database::new().await;
        let user = Uuid::now_v7();
        sqlx::query("INSERT INTO users (id, handle, country) VALUES ($1, 'demo', 'DE')")
            .bind(user)
            .execute(&database.owner)
            .await
            .unwrap();
        let account = sqlx::query_scalar("INSERT INTO accounts (user_id, currency) VALUES ($1, 'EUR') RETURNING id")
            .bind(user)
            .fetch_one(&database.owner)
            .await
            .unwrap();
        let directory = std::env::temp_dir().join(format!("payfleet-verify-{}", Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let (records, charges, requests) = (Vec::new(), Vec::new(), Vec::new());
        Self { database, user, account, records, charges, requests, topics: None, directory }
    }

    /// Payments of every kind and end, all final; one callback, one dead letter, checkpoints of all lanes.
    pub async fn lawful() -> Self {
        let mut world = Self::empty().await;
        world.settled(Kind::Deposit, 5_000).await;
        world.settled(Kind::Deposit, 2_500).await;
        world.settled(Kind::Withdrawal, 1_000).await;
        world.declined(Kind::Withdrawal, 700).await;
        world.declined(Kind::Deposit, 901).await;
        world.approved(1_902).await;
        world.told(3_100).await;
        world.refused_request().await;
        world.callback().await;
        world.dead_letter().await;
        world.sql("UPDATE lanes SET epoch = 3").await;
        // What was emitted so far, every lane has passed.
        for (lane, epoch) in [(0, 1), (0, 1), (1, 2)].into_iter().chain((0..16).map(|lane| (lane, 3))) {
            world.checkpoint(lane, epoch).await;
        }
        world
    }

    pub fn owner(&self) -> &PgPool {
        &self.database.owner
    }

    /// Whatever it says, as the owner; several statements at once.
    pub async fn sql(&self, statements: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(self.owner()).await.unwrap();
    }

    pub async fn callback(&mut self) {
        self.callback_about(None, "ignored").await;
    }

    /// As it is stored, and in the list of its gateway's events.
    pub async fn callback_about(&mut self, payment: Option<&Payment>, state: &str) -> Uuid {
        let id = Uuid::now_v7();
        let payload = json!({ "callback_id": id }).to_string().into_bytes();
        sqlx::query(
            "INSERT INTO callbacks (id, gateway, event_id, event_type, transaction_id, attempt_id, notice, raw_sealed, raw_key_id, state,
                                    event_hash)
             VALUES ($1, 'stripe', $1::text, 'payment_intent.succeeded', $2, $3, '{}', '', 'k1', $4, $5)",
        )
        .bind(id)
        .bind(payment.map(|payment| payment.id))
        .bind(payment.map(|payment| payment.attempt))
        .bind(state)
        .bind(event::hash(&payload))
        .execute(self.owner())
        .await
        .unwrap();
        self.records.push(Record::of(event::CALLBACKS, id, 1, &payload));
        self.charges.push(json!({
            "entry": "callback", "gateway": "stripe", "reference": "pi_1", "event_id": id, "event_type": "payment_intent.succeeded",
            "state": "queued", "tries": 0, "at": now(),
        }));
        id
    }

    async fn dead_letter(&mut self) {
        let id = Uuid::now_v7();
        let payload = json!({ "dead_letter_id": id }).to_string().into_bytes();
        sqlx::query(
            "INSERT INTO dead_letters (id, topic, partition, \"offset\", headers, record_hash, reason, event_hash)
             VALUES ($1, 'payments.events', 0, 7, '{}', sha256('record'), 'bad', $2)",
        )
        .bind(id)
        .bind(event::hash(&payload))
        .execute(self.owner())
        .await
        .unwrap();
        self.records.push(Record::of(event::DEAD, id, 1, &payload));
    }

    /// The lane has delivered all that can be seen now.
    pub async fn checkpoint(&self, lane: i16, epoch: i64) {
        let now: String =
            sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(self.owner()).await.unwrap();
        self.checkpoint_at(lane, epoch, &now).await;
    }

    pub async fn checkpoint_at(&self, lane: i16, epoch: i64, snapshot: &str) {
        sqlx::query(
            "INSERT INTO checkpoints (lane, epoch, from_snapshot, system_identifier, timeline) VALUES ($1, $2, $3::pg_snapshot, 1, 1)",
        )
        .bind(lane)
        .bind(epoch)
        .bind(snapshot)
        .execute(self.owner())
        .await
        .unwrap();
    }

    /// Puts the event into the outbox ring as well, as if it waited for a relay.
    pub async fn in_outbox(&self, record: &Record) {
        sqlx::query(
            "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload) VALUES (0, $1, $2, $3, $4, 'test', $5)",
        )
        .bind(lane_of(record.aggregate))
        .bind(record.aggregate)
        .bind(record.seq)
        .bind(&record.topic)
        .bind(&record.payload)
        .execute(self.owner())
        .await
        .unwrap();
    }

    /// Makes the topics, and produces every record so far.
    pub async fn publish(&mut self) {
        if self.topics.is_none() {
            self.topics = Some(Topics::make().await);
        }
        let records = std::mem::take(&mut self.records);
        self.topics.as_ref().unwrap().produce(&records).await;
    }

    pub fn kafka(&self) -> Option<kafka::Settings> {
        self.topics.as_ref().map(|topics| topics.settings.clone())
    }

    fn log(&self, name: &str, lines: &[Value]) -> PathBuf {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.file(name, &text)
    }

    /// A file that goes with the world.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Everything there is to judge by.
    pub fn inputs(&self, rest: Rest) -> Inputs {
        Inputs {
            postgres: self.database.settings(),
            kafka: self.kafka(),
            charge_log: Some(self.log("charges.jsonl", &self.charges)),
            load_log: Some(self.log("load.jsonl", &self.requests)),
            rest,
            only: Default::default(),
        }
    }

    pub async fn judge(&self, rest: Rest) -> Report {
        verify(&self.inputs(rest), &|_| ()).await.unwrap()
    }

    /// The finding about one invariant.
    pub async fn judge_only(&self, invariant: Invariant, rest: Rest) -> Finding {
        self.judge_seen(invariant, rest, &Sightings::default()).await
    }

    /// The same, with what else was seen.
    pub async fn judge_seen(&self, invariant: Invariant, rest: Rest, sightings: &Sightings) -> Finding {
        let inputs = Inputs { only: [invariant].into(), ..self.inputs(rest) };
        let report = verify_with(&inputs, sightings, &|_| ()).await.unwrap();
        assert_eq!(report.findings.len(), 1, "{}", report.table());
        report.findings[0].clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}
