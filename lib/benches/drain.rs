//! P3 and P4: how fast a relay drains a backlog, against what reading and producing alone can do, and against deleting as one goes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use payfleet::kafka::topics;
use payfleet::{kafka, relay};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row as _};
use tokio_util::sync::CancellationToken;

use super::rounds::Rates;
use super::stand::{Database, Stand};
use super::table::{Found, Row};
use super::{Scale, backlog, say};

/// Rows read, or deleted, at a time.
const PAGE: usize = 1_000;

pub async fn measure(stand: &Stand, scale: Scale) -> anyhow::Result<Found> {
    let database = stand.database("bench_drain").await?;
    let mut owner = database.owner().await?;
    backlog::fill(&mut owner, scale.backlog).await?;
    // Once before everything counts: caches are warm for all alike, and the relay leaves the records that the producer repeats.
    let warm = stand.kafka();
    relay_rate(&database, &warm, scale.backlog).await?;
    let records = read_records(&warm, scale.backlog)?;
    stand.forget(&warm).await?;

    let (mut reading, mut producing, mut deleting, mut relaying) =
        (Rates::default(), Rates::default(), Rates::default(), Rates::default());
    for round in 1..=scale.rounds {
        say(&format!("P3, P4: round {round} of {}", scale.rounds));
        reading.push(read_rate(&database).await?);
        // New topics for each, so that what is delivered can be counted; gone after the round, so that the broker is as it was.
        let (produced, relayed) = (stand.kafka(), stand.kafka());
        producing.push(produce_rate(produced.clone(), &records).await?);
        relaying.push(relay_rate(&database, &relayed, scale.backlog).await?);
        stand.forget(&produced).await?;
        stand.forget(&relayed).await?;
        deleting.push(delete_rate(&database, scale.backlog).await?);
    }
    owner.close().await?;
    let limit = reading.min(&producing);
    let against =
        format!("the slower of reading ({:.0}/s) and producing ({:.0}/s)", reading.median(), producing.median());
    let row = |name, limit, against: String, reach| Row {
        name,
        measure: format!("relay drain of {} events", scale.backlog),
        ours: relaying.clone(),
        limit,
        against,
        unit: "/s",
        reach: Some(reach),
    };
    let deletes = "DELETE … SKIP LOCKED, 1,000 a batch, nothing sent".to_owned();
    Ok(Found { rows: vec![row("P3", limit, against, 0.6), row("P4", deleting, deletes, 5.0)], notes: Vec::new() })
}

/// The limit on one side: the same rows read through a cursor, on one connection.
async fn read_rate(database: &Database) -> anyhow::Result<f64> {
    let mut reader = database.owner().await?;
    let mut reading = reader.begin().await?;
    sqlx::query(
        "DECLARE page NO SCROLL CURSOR FOR SELECT id, aggregate, seq, topic, type, traceparent, payload, at FROM outbox",
    )
    .execute(&mut *reading)
    .await?;
    // In the order of the table, without a sort or an index: nothing reads faster.
    let (begin, mut rows) = (Instant::now(), 0);
    loop {
        let page = sqlx::query("FETCH 1000 FROM page").fetch_all(&mut *reading).await?;
        let payloads: usize = page.iter().map(|row| row.get::<&[u8], _>("payload").len()).sum();
        rows += page.len();
        if page.is_empty() {
            break;
        }
        std::hint::black_box(payloads);
    }
    let rate = rows as f64 / begin.elapsed().as_secs_f64();
    reading.rollback().await?;
    reader.close().await?;
    Ok(rate)
}

/// A record as the relay sent it.
struct Sent {
    topic: String,
    partition: i32,
    key: Vec<u8>,
    payload: Vec<u8>,
    headers: OwnedHeaders,
}

/// What lies on the topics, up to `limit` records.
fn read_records(settings: &kafka::Settings, limit: usize) -> anyhow::Result<Vec<Sent>> {
    let consumer: BaseConsumer =
        settings.client().set("group.id", "bench").set("enable.auto.commit", "false").create()?;
    let mut all = TopicPartitionList::new();
    for topic in topics::declared(["stripe"]) {
        for lane in 0..payfleet::domain::lane::LANES {
            all.add_partition_offset(&settings.topic(&topic), i32::from(lane), Offset::Beginning)?;
        }
    }
    consumer.assign(&all)?;
    let mut records = Vec::with_capacity(limit);
    while records.len() < limit {
        let message =
            consumer.poll(Duration::from_secs(30)).context("the relay's records are not on their topics")??;
        let headers = message.headers().context("a record without headers")?.iter();
        records.push(Sent {
            topic: message.topic()[settings.topic_prefix.len()..].to_owned(),
            partition: message.partition(),
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers.fold(OwnedHeaders::new(), OwnedHeaders::insert),
        });
    }
    Ok(records)
}

struct Failures;

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            say(&format!("a record was not delivered: {error}"));
        }
    }
}

/// The limit on the other side: the same bytes handed to a producer that is told the same, and nothing else done.
async fn produce_rate(settings: kafka::Settings, records: &[Sent]) -> anyhow::Result<f64> {
    topics::ensure(&settings, &topics::declared(["stripe"])).await?;
    let producer: ThreadedProducer<Failures> = settings
        .client()
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("compression.type", settings.compression.as_str())
        .set("batch.size", settings.message_max_bytes.to_string())
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072")
        .create_with_context(Failures)?;
    producer.client().fetch_metadata(Some(&settings.topic("payments.events")), Duration::from_secs(10))?;
    let names: HashMap<&str, String> =
        records.iter().map(|record| (record.topic.as_str(), settings.topic(&record.topic))).collect();
    tokio::task::block_in_place(|| {
        let begin = Instant::now();
        for record in records {
            let mut outgoing = BaseRecord::to(&names[record.topic.as_str()])
                .partition(record.partition)
                .key(&record.key)
                .payload(&record.payload)
                .headers(record.headers.clone());
            while let Err((_, returned)) = producer.send(outgoing) {
                outgoing = returned;
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        producer.flush(Duration::from_secs(120))?;
        Ok(records.len() as f64 / begin.elapsed().as_secs_f64())
    })
}

/// Ours: from when a relay has taken the lanes to when its stored cursors have passed everything.
pub async fn relay_rate(database: &Database, kafka: &kafka::Settings, rows: usize) -> anyhow::Result<f64> {
    let mut owner = database.owner().await?;
    backlog::rewind(&mut owner).await?;
    topics::ensure(kafka, &topics::declared(["stripe"])).await?;
    // The backlog is drained again in the next round: its slot must not be left, let alone truncated.
    let settings = relay::Settings { rotate_bytes: i64::MAX, rotate_ms: 86_400_000, ..relay::Settings::default() };
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay::run(settings, database.settings(), kafka.clone(), stop.clone()));
    let drained = drained_in(&mut owner, None, Duration::from_secs(300)).await;
    stop.cancel();
    running.await??;
    owner.close().await?;
    let rate = rows as f64 / drained?.as_secs_f64();
    let delivered = delivered(kafka)?;
    anyhow::ensure!(delivered >= rows as i64, "{delivered} of {rows} events were delivered");
    Ok(rate)
}

/// From when all lanes were taken until every stored cursor has passed what is in the outbox now. `writer` is a transaction that will not
/// end meanwhile.
pub async fn drained_in(owner: &mut PgConnection, writer: Option<&str>, limit: Duration) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let last: String =
        sqlx::query_scalar("SELECT max(xid::text::bigint)::text FROM outbox").fetch_one(&mut *owner).await?;
    loop {
        // Of each lane the first checkpoint that has passed the last commit of the backlog; all by the database's clock.
        let micros: Option<i64> = sqlx::query_scalar(
            "SELECT CASE WHEN count(*) = (SELECT count(*) FROM lanes) AND bool_and(passed_at IS NOT NULL)
                         THEN (extract(epoch FROM max(passed_at) - max(taken_at)) * 1000000)::bigint END
             FROM (SELECT lanes.lane, lanes.taken_at, min(checkpoint.at) AS passed_at
                   FROM lanes LEFT JOIN checkpoints checkpoint
                        ON checkpoint.lane = lanes.lane AND pg_snapshot_xmax(checkpoint.from_snapshot) > $1::text::xid8
                        AND checkpoint.epoch = lanes.epoch
                        AND NOT EXISTS (SELECT FROM pg_snapshot_xip(checkpoint.from_snapshot) running (xid)
                                        WHERE running.xid IS DISTINCT FROM $2::text::xid8 AND running.xid <= $1::text::xid8)
                   WHERE lanes.taken_at IS NOT NULL
                   GROUP BY lanes.lane) lane",
        )
        .bind(&last)
        .bind(writer)
        .fetch_one(&mut *owner)
        .await?;
        if let Some(micros) = micros {
            return Ok(Duration::from_micros(micros.unsigned_abs()));
        }
        anyhow::ensure!(begin.elapsed() < limit, "the backlog was not drained in {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Records on all topics of the prefix.
fn delivered(settings: &kafka::Settings) -> anyhow::Result<i64> {
    let consumer: BaseConsumer = settings.client().create()?;
    let mut records = 0;
    for topic in topics::declared(["stripe"]) {
        for lane in 0..payfleet::domain::lane::LANES {
            records += consumer.fetch_watermarks(&settings.topic(&topic), i32::from(lane), Duration::from_secs(10))?.1;
        }
    }
    Ok(records)
}

/// What relays that claim rows pay at the least: rows like ours, deleted a batch at a time and handed over, with nothing sent anywhere.
async fn delete_rate(database: &Database, rows: usize) -> anyhow::Result<f64> {
    let mut owner = database.owner().await?;
    sqlx::raw_sql(
        "DROP TABLE IF EXISTS queue;
         CREATE TABLE queue (id bigint PRIMARY KEY, lane smallint, aggregate uuid, seq bigint, topic text, type text,
                             traceparent text, payload bytea, at timestamptz)",
    )
    .execute(&mut owner)
    .await?;
    sqlx::query(
        "INSERT INTO queue SELECT id, lane, aggregate, seq, topic, type, traceparent, payload, at FROM outbox ORDER BY id LIMIT $1",
    )
    .bind(rows as i64)
    .execute(&mut owner)
    .await?;
    backlog::run(&mut owner, &["VACUUM ANALYZE queue", "CHECKPOINT"]).await?;
    let (begin, mut deleted) = (Instant::now(), 0);
    loop {
        let batch = sqlx::query(
            "DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING id, lane, aggregate, seq, topic, type, traceparent, payload, at",
        )
        .bind(PAGE as i64)
        .fetch_all(&mut owner)
        .await?;
        if batch.is_empty() {
            break;
        }
        deleted += batch.len();
    }
    let rate = deleted as f64 / begin.elapsed().as_secs_f64();
    owner.close().await?;
    Ok(rate)
}
