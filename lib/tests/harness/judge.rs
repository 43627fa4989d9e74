//! Reads topics from their beginning to their end and compares them with the journal.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use payfleet::domain::event::hash;
use payfleet::domain::lane::{LANES, lane_of};
use payfleet::kafka::Settings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::postgres::PgPool;
use uuid::Uuid;

/// What was found. All but the first two are violations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    pub records: u64,
    pub repeated: u64,
    /// Committed, but on no topic (I9).
    pub missing: u64,
    /// On a topic, but never committed, or with other bytes (I11).
    pub unknown: u64,
    /// First seen after a later event of its aggregate, on the same topic (I10).
    pub disordered: u64,
    /// On another partition than its lane.
    pub misplaced: u64,
}

impl Verdict {
    /// The violations alone.
    pub fn violations(&self) -> Self {
        Self { records: 0, repeated: 0, ..self.clone() }
    }

    pub fn assert_clean(&self) {
        assert_eq!(self.violations(), Self::default(), "the topics do not agree with what was committed: {self:?}");
    }
}

/// Kept small: there may be millions.
struct Committed {
    hash: [u8; 32],
    /// Its place among the topics that are judged.
    topic: u8,
    seen: bool,
}

#[derive(Default)]
struct Aggregate {
    /// By number, from 1 on.
    events: Vec<Committed>,
    /// The highest number first seen, by topic.
    highest: Vec<i64>,
}

type Books = HashMap<Uuid, Aggregate>;

/// Judges all records of these topics by the journal of the database.
pub async fn judge(pool: &PgPool, settings: &Settings, topics: &[&str]) -> Verdict {
    let mut books = journal(pool, topics).await;
    let (settings, topics): (Settings, Vec<String>) =
        (settings.clone(), topics.iter().map(|topic| (*topic).to_owned()).collect());
    tokio::task::spawn_blocking(move || {
        let mut verdict = Verdict::default();
        for (place, topic) in topics.iter().enumerate() {
            read(&settings, topic, &mut |message| look(&mut books, place, message, &mut verdict));
        }
        verdict.missing =
            books.values().flat_map(|aggregate| &aggregate.events).filter(|event| !event.seen).count() as u64;
        verdict
    })
    .await
    .unwrap()
}

async fn journal(pool: &PgPool, topics: &[&str]) -> Books {
    let mut rows = sqlx::query_as::<_, (Uuid, i64, String, Vec<u8>)>(
        "SELECT aggregate, seq, topic, hash FROM journal ORDER BY aggregate, seq",
    )
    .fetch(pool);
    let mut books = Books::new();
    while let Some((aggregate, seq, topic, hash)) = rows.try_next().await.unwrap() {
        let aggregate = books.entry(aggregate).or_default();
        aggregate.highest.resize(topics.len(), 0);
        assert_eq!(aggregate.events.len() as i64 + 1, seq, "the journal itself has a gap");
        // One that is on none of these topics is never seen, and so counts as missing.
        let topic = topics.iter().position(|judged| *judged == topic).unwrap_or(topics.len()) as u8;
        aggregate.events.push(Committed { topic, hash: hash.try_into().unwrap(), seen: false });
    }
    books
}

fn look(books: &mut Books, topic: usize, message: &BorrowedMessage<'_>, verdict: &mut Verdict) {
    verdict.records += 1;
    let key = Uuid::parse_str(std::str::from_utf8(message.key().unwrap()).unwrap()).unwrap();
    let seq: i64 = header(message, "payfleet-seq").parse().unwrap();
    assert_eq!(header(message, "ce_id"), format!("{key}/{seq}"));
    verdict.misplaced += u64::from(message.partition() != i32::from(lane_of(key)));
    let Some(aggregate) = books.get_mut(&key) else {
        verdict.unknown += 1;
        return;
    };
    let known = aggregate.events.get_mut(seq as usize - 1);
    let same = |event: &&mut Committed| {
        usize::from(event.topic) == topic && event.hash[..] == hash(message.payload().unwrap())[..]
    };
    let Some(event) = known.filter(same) else {
        verdict.unknown += 1;
        return;
    };
    if event.seen {
        verdict.repeated += 1;
        return;
    }
    event.seen = true;
    let highest = &mut aggregate.highest[topic];
    verdict.disordered += u64::from(seq < *highest);
    *highest = seq.max(*highest);
}

/// The text of a header that must be there.
pub fn header(message: &BorrowedMessage<'_>, key: &str) -> String {
    let headers = message.headers().unwrap();
    let found = headers.iter().find(|header| header.key == key).unwrap_or_else(|| panic!("no header {key}"));
    String::from_utf8(found.value.unwrap().to_vec()).unwrap()
}

/// Hands over every record that the topic holds now.
pub fn read(settings: &Settings, topic: &str, each: &mut dyn FnMut(&BorrowedMessage<'_>)) {
    let topic = settings.topic(topic);
    let consumer: BaseConsumer =
        settings.client().set("group.id", "judge").set("enable.auto.commit", "false").create().unwrap();
    let patience = Duration::from_secs(20);
    let mut left = 0;
    let mut all = TopicPartitionList::new();
    for partition in 0..i32::from(LANES) {
        let (low, high) = consumer.fetch_watermarks(&topic, partition, patience).unwrap();
        if high > low {
            left += high - low;
            all.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&all).unwrap();
    while left > 0 {
        let message = consumer.poll(patience).expect("the rest of the topic").unwrap();
        each(&message);
        left -= 1;
    }
}
