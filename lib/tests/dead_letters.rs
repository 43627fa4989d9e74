//! Guarantees of dead letters: a record that can never be handled is kept with its reason, told about once, and holds nobody up.

mod replay;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use payfleet::dead_letters::DeadLetters;
use payfleet::domain::event::{self, Command, DeadRecord, commands_of, header, kind};
use payfleet::domain::ids::Kind;
use payfleet::domain::lane::lane_of;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::kafka::consumer::{Death, Graveyard, HandleError, Handler, Record, Room};
use payfleet::outbox::doorbell::Doorbell;
use payfleet::postgres::Settings;
use payfleet::worker;
use payfleet::worker::attempt::Attempts;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::payments::Fleet;
use crate::harness::road::Road;
use crate::harness::topics::Topics;
use crate::harness::{Database, eventually};
use crate::kafka::{LIMIT, Running, Topic};

pub fn graveyard(database: &Database) -> Arc<DeadLetters> {
    let doorbell = Doorbell::start(&database.settings(), &TaskTracker::new(), CancellationToken::new());
    Arc::new(DeadLetters::new(database.app.clone(), &database.settings(), doorbell))
}

fn record(offset: i64, payload: &'static [u8]) -> Record {
    Record {
        topic: "payments.commands.bank".into(),
        partition: 3,
        offset,
        key: Some(Bytes::from_static(b"key")),
        payload: Some(Bytes::from_static(payload)),
        headers: vec![("odd".into(), Bytes::from_static(b"\0\xff"))],
    }
}

fn dead<'a>(record: &'a Record, reason: &'a str) -> Death<'a> {
    Death { record, reason, group: "payfleet.worker.bank", attempts: 1 }
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

const LETTERS: &str = "SELECT count(*) FROM dead_letters";
const TOLD: &str = "SELECT count(*) FROM outbox WHERE topic = 'payments.dead'";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_buried_many_times_is_one_letter_and_told_about_once() {
    let database = Database::new().await;
    let graveyard = graveyard(&database);
    let record = record(7, b"{");
    futures_util::future::join_all((0..8).map(|_| graveyard.bury(dead(&record, "nonsense")))).await;
    graveyard.bury(dead(&record, "another reason")).await.unwrap();
    assert_eq!((count(&database.owner, LETTERS).await, count(&database.owner, TOLD).await), (1, 1));

    let (lane, seq, aggregate, payload): (i16, i64, Uuid, Vec<u8>) =
        sqlx::query_as("SELECT lane, seq, aggregate, payload FROM outbox").fetch_one(&database.owner).await.unwrap();
    let told: DeadRecord = serde_json::from_slice(&payload).unwrap();
    assert_eq!((lane, seq, aggregate), (lane_of(told.dead_letter_id), 1, told.dead_letter_id));
    assert_eq!((told.partition, told.offset, told.reason.as_str()), (3, 7, "nonsense"));
    let kept: (Uuid, Vec<u8>, Vec<u8>) = sqlx::query_as("SELECT id, event_hash, record_value FROM dead_letters")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(kept, (told.dead_letter_id, event::hash(&payload), b"{".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_record_in_the_place_of_a_dead_one_is_another_letter() {
    let database = Database::new().await;
    let graveyard = graveyard(&database);
    for payload in [b"{", b"}"] {
        graveyard.bury(dead(&record(7, payload), "the topic was made anew")).await.unwrap();
    }
    assert_eq!(count(&database.owner, LETTERS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burial_does_not_wait_for_ever_for_a_server_that_has_vanished_without_a_word() {
    let (database, road) = (Database::new().await, Road::new().await);
    let settings = Settings { pool: 1, statement_ms: 500, ..road.settings(&database) };
    let doorbell = Doorbell::start(&database.settings(), &TaskTracker::new(), CancellationToken::new());
    let pool = settings.lazy_pool("test").unwrap();
    let graveyard = DeadLetters::new(pool.clone(), &settings, doorbell);
    graveyard.bury(dead(&record(7, b"{"), "nonsense")).await.unwrap();
    // The pool pings what comes back to it, without a limit of its own.
    eventually("the connection to be back", LIMIT, async || (pool.num_idle() == 1).then_some(())).await;
    road.fall_silent();
    // The first may find its connection gone already; whatever it finds, it is found in time.
    tokio::time::timeout(LIMIT, graveyard.bury(dead(&record(8, b"{"), "nonsense"))).await.unwrap().ok();
    eventually("a burial over a connection that speaks", LIMIT, async || {
        graveyard.bury(dead(&record(8, b"{"), "nonsense")).await.inspect_err(|error| eprintln!("{error}")).ok()
    })
    .await;
    assert_eq!(count(&database.owner, LETTERS).await, 2);
}

/// Buries at the third try only.
struct AwayAtFirst {
    behind: Arc<DeadLetters>,
    tries: Arc<AtomicUsize>,
}

#[async_trait]
impl Graveyard for AwayAtFirst {
    async fn bury(&self, death: Death<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self.tries.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err("the database is away".into()),
            _ => self.behind.bury(death).await,
        }
    }
}

struct FirstIsDead;

impl Handler for FirstIsDead {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        if record.offset == 0 { Err(HandleError::Dead("the first".into())) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_passes_a_dead_record_only_when_it_is_buried() {
    let (database, topic) = (Database::new().await, Topic::new(1).await);
    topic.fill(3).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let away = AwayAtFirst { behind: graveyard(&database), tries: tries.clone() };
    let running = Running::with_graveyard(topic.member(), FirstIsDead, Arc::new(away));
    eventually("the partition to move on", LIMIT, async || topic.is_committed_to(3).await.then_some(())).await;
    assert_eq!((tries.load(Ordering::SeqCst), count(&database.owner, LETTERS).await), (3, 1));
    let origin: (Option<String>, i32) =
        sqlx::query_as("SELECT consumer, attempts FROM dead_letters").fetch_one(&database.owner).await.unwrap();
    assert_eq!(origin, (Some(topic.group.clone()), 3));
    running.stop().await.unwrap();
}

/// Puts a record where commands are.
pub async fn put(topics: &Topics, key: Uuid, kind: &str, payload: Option<&str>) {
    let producer: FutureProducer = topics.settings.client().create().unwrap();
    let (topic, key) = (topics.settings.topic(&commands_of("stripe")), key.to_string());
    let headers = OwnedHeaders::new().insert(Header { key: header::TYPE, value: Some(kind) });
    let mut record = FutureRecord::<str, str>::to(&topic).partition(5).key(&key).headers(headers);
    record.payload = payload;
    producer.send(record, Timeout::Never).await.unwrap();
}

fn json_of(command: &Command) -> serde_json::Value {
    serde_json::to_value(command).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_the_commands_is_dead_with_its_reason_and_the_others_are_carried_out() {
    let fleet = Fleet::with(0).await;
    let topics = Topics::of_gateways(&["stripe", "bank"]).await;
    let (id, stranger) = (fleet.accepted(Kind::Deposit, 500).await, Uuid::now_v7());
    fleet.stripe.then(Outcome::Succeeded { reference: "pi_1".into(), money: Money::new(500, "EUR".parse().unwrap()) });
    let good = json_of(&Fleet::first_command(id));
    let mut odd = good.clone();
    odd["version"] = json!("the first");
    put(&topics, id, kind::COMMAND, Some("{not json")).await;
    put(&topics, id, kind::COMMAND, None).await;
    put(&topics, id, kind::COMMAND, Some("null")).await;
    put(&topics, id, kind::COMMAND, Some(&odd.to_string())).await;
    put(&topics, id, "payfleet.gateway.command.v2", Some(&good.to_string())).await;
    put(&topics, stranger, kind::COMMAND, Some(&good.to_string())).await;
    put(&topics, stranger, kind::COMMAND, Some(&json_of(&Fleet::first_command(stranger)).to_string())).await;
    put(&topics, id, kind::COMMAND, Some(&good.to_string())).await;

    let stop = CancellationToken::new();
    let attempts = Attempts::new(fleet.settlement.clone());
    let (kafka, graveyard, stopping) = (topics.settings.clone(), graveyard(&fleet.database), stop.clone());
    let running = tokio::spawn(async move {
        worker::run(&worker::Settings::default(), &kafka, &["stripe", "bank"], attempts, graveyard, stopping).await
    });
    eventually("the good one", LIMIT, async || (fleet.status(id).await.0 == "succeeded").then_some(())).await;
    stop.cancel();
    running.await.unwrap().unwrap();

    let reasons: Vec<String> = sqlx::query_scalar(r#"SELECT reason FROM dead_letters ORDER BY "offset""#)
        .fetch_all(&fleet.database.owner)
        .await
        .unwrap();
    let expected = ["Syntax", "no payload", "Data", "Data", "command.v2", "key is not the payment", "no payment"];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, part) in reasons.iter().zip(expected) {
        assert!(reason.contains(part), "expected {part:?} in {reason:?}");
    }
    assert_eq!(fleet.count(TOLD).await, 7);
}
