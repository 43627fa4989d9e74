//! Guarantees about dead letters in an operator's hands, by the program as it is shipped.

use std::process::Output;

use bytes::Bytes;
use payfleet::dead_letters::replay::{Begun, Order, begin, take_turn};
use payfleet::kafka::consumer::{Graveyard, HandleError, Handler, Record, Room};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use super::{count, dead, graveyard};
use crate::harness::{Database, eventually, kafka_brokers};
use crate::kafka::{LIMIT, Running, Topic};

async fn payfleet(database: &Database, brokers: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
    command.env_clear().env("PAYFLEET_POSTGRES__URL", &database.url).env("PAYFLEET_KAFKA__BROKERS", brokers);
    command.args(arguments).output().await.unwrap()
}

/// What it says, once it has done what it was asked for.
async fn done(database: &Database, arguments: &[&str]) -> Value {
    let done = payfleet(database, &kafka_brokers(), &both(arguments, &["--json"])).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn both<'a>(first: &[&'a str], then: &[&'a str]) -> Vec<&'a str> {
    [first, then].concat()
}

const BECAUSE: [&str; 4] = ["--reason", "the key is back", "--actor", "ana"];

async fn replay(database: &Database, which: &[&str]) -> Value {
    done(database, &both(&both(&["dead", "replay"], which), &BECAUSE)).await
}

/// What a topic of one partition holds.
#[derive(Clone, Default)]
struct Reading(std::sync::Arc<std::sync::Mutex<Vec<Record>>>);

impl Handler for Reading {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

async fn records(topic: &Topic, expected: usize) -> Vec<Record> {
    let (reading, mut member) = (Reading::default(), topic.member());
    (member.group, member.concurrency) = (format!("reading.{}", Uuid::now_v7()), 1.into());
    let running = Running::start(member, reading.clone());
    eventually("all records", LIMIT, async || (reading.0.lock().unwrap().len() >= expected).then_some(())).await;
    running.stop().await.unwrap();
    let mut records = reading.0.lock().unwrap().clone();
    records.sort_by_key(|record| record.offset);
    records
}

fn at(topic: &Topic, offset: i64, key: Option<&'static [u8]>, payload: Option<&'static [u8]>) -> Record {
    Record {
        topic: topic.name.as_str().into(),
        partition: 0,
        offset,
        key: key.map(Bytes::from_static),
        payload: payload.map(Bytes::from_static),
        headers: vec![
            ("ce_type".into(), Bytes::from_static(b"t")),
            ("odd".into(), Bytes::from_static(b"\0\xff")),
            ("odd".into(), Bytes::from_static(b"again")),
        ],
    }
}

/// Buries these records; gives the letters' ids, as listed.
async fn buried(database: &Database, records: &[Record]) -> Vec<String> {
    let graveyard = graveyard(database);
    for record in records {
        graveyard.bury(dead(record, "no such key")).await.unwrap();
    }
    let listed = done(database, &["dead", "list"]).await;
    listed.as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_record_stands_on_its_old_partition_byte_for_byte_and_is_replayed_only_once() {
    let (database, topic) = (Database::new().await, Topic::new(1).await);
    let odd = at(&topic, 7, None, None);
    let ids = buried(&database, &[at(&topic, 5, Some(b"key"), Some(b"{\xfe")), odd.clone()]).await;
    let letter = &done(&database, &["dead", "list"]).await[0];
    let expected = json!([topic.name, 0, 5, "payfleet.worker.bank", 1, "no such key", null]);
    let fields = ["topic", "partition", "offset", "consumer", "attempts", "reason", "replayed_at"];
    assert_eq!(Value::from_iter(fields.map(|field| letter[field].clone())), expected);
    let shown = done(&database, &["dead", "show", &ids[0]]).await;
    assert_eq!((&shown["key"]["text"], &shown["payload"]["base64"]), (&json!("key"), &json!("e/4=")));
    assert_eq!(shown["headers"][1], json!(["odd", { "base64": "AP8=" }]));

    let replayed = replay(&database, &[&ids[1]]).await;
    assert_eq!(replayed, json!([{ "letter": ids[1], "result": "replayed", "offset": 0, "note": null }]));
    let again = replay(&database, &[&ids[1]]).await;
    assert_eq!((&again[0]["result"], &again[0]["offset"]), (&json!("replayed_before"), &json!(0)));
    assert_eq!(
        replay(&database, &["--all"]).await[0]["letter"],
        json!(ids[0]),
        "the other one was still to be replayed"
    );
    assert_eq!(replay(&database, &["--all"]).await, json!([]));

    let records = records(&topic, 2).await;
    assert_eq!(records.len(), 2, "each was sent once");
    assert_eq!((&records[0].key, &records[0].payload, &records[0].headers), (&None, &None, &odd.headers));
    assert_eq!((records[1].key.as_deref(), records[1].payload.as_deref()), (Some(&b"key"[..]), Some(&b"{\xfe"[..])));
    assert_eq!(audit_of(&database, &ids[1]).await, json!([["ana", "dead_letter.replay", "the key is back"]]));
}

/// Who did what, and why, to this letter.
async fn audit_of(database: &Database, id: &str) -> Value {
    let entries = done(database, &["audit", "list"]).await;
    let of_it = entries.as_array().unwrap().iter().filter(|entry| entry["subject"] == id);
    of_it.map(|entry| json!([entry["actor"], entry["act"], entry["reason"]])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_replayed_together_keep_the_order_in_which_they_were_consumed() {
    let (database, topic) = (Database::new().await, Topic::new(1).await);
    let payloads: [&'static [u8]; 4] = [b"3", b"1", b"2", b"0"];
    let died = payloads.map(|payload| at(&topic, i64::from(payload[0]), Some(b"one payment"), Some(payload)));
    buried(&database, &died).await;
    assert_eq!(replay(&database, &["--all"]).await.as_array().unwrap().len(), 4);
    let sent: Vec<_> = records(&topic, 4).await.into_iter().map(|record| record.payload.unwrap()).collect();
    assert_eq!(sent, ["0", "1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_died_in_the_middle_or_found_no_broker_is_on_record_and_done_by_the_next() {
    let (database, topic) = (Database::new().await, Topic::new(1).await);
    let ids = buried(&database, &[at(&topic, 1, Some(b"k"), Some(b"a")), at(&topic, 2, Some(b"k"), Some(b"b"))]).await;
    let mut dying = database.settings().connect("test").await.unwrap();
    assert!(take_turn(&mut dying).await.unwrap());
    let order = Order { actor: "bo", reason: "first try" };
    assert_eq!(begin(&mut dying, ids[0].parse().unwrap(), order).await.unwrap(), Begun::Send);
    // As long as it may still send, nobody else does.
    let refused = payfleet(&database, &kafka_brokers(), &both(&["dead", "replay", "--all"], &BECAUSE)).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another `payfleet dead replay`"), "{refused:?}");
    drop(dying);

    let nowhere = eventually("the turn of the dead to be over", LIMIT, async || {
        let all = both(&["dead", "replay", "--all", "--json"], &BECAUSE);
        let away = payfleet(&database, "127.0.0.1:1", &all).await;
        (!away.stdout.is_empty()).then_some(away)
    })
    .await;
    let told: Value = serde_json::from_slice(&nowhere.stdout).unwrap();
    assert_eq!(
        (nowhere.status.code(), &told[0]["result"], &told[1]["result"]),
        (Some(1), &json!("failed"), &json!("failed"))
    );
    assert!(told[0]["note"].as_str().unwrap().contains("has not acknowledged it"), "{told}");
    assert!(told[1]["note"].as_str().unwrap().contains("an earlier one"), "it would overtake the first: {told}");
    assert!(done(&database, &["dead", "list"]).await[0]["replay_begun_at"].is_string());

    replay(&database, &["--all"]).await;
    let sent: Vec<_> = records(&topic, 2).await.into_iter().map(|record| record.payload.unwrap()).collect();
    assert_eq!(sent, ["a", "b"]);
    let audit = audit_of(&database, &ids[0]).await;
    assert_eq!(audit.as_array().unwrap().iter().map(|act| &act[0]).collect::<Vec<_>>(), ["bo", "ana", "ana"]);
    assert_eq!(count(&database.owner, "SELECT count(*) FROM dead_letter_replays WHERE done_at IS NOT NULL").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replayed_without_a_reason_or_if_one_of_the_letters_does_not_exist() {
    let (database, topic) = (Database::new().await, Topic::new(1).await);
    let ids = buried(&database, &[at(&topic, 1, Some(b"k"), Some(b"a"))]).await;
    let stranger = Uuid::now_v7().to_string();
    for (arguments, code) in [
        (both(&[&ids[0], &stranger], &BECAUSE), 1),
        (vec![ids[0].as_str()], 64),
        (vec![ids[0].as_str(), "--reason", " "], 64),
        (BECAUSE.to_vec(), 64),
    ] {
        let refused = payfleet(&database, &kafka_brokers(), &both(&["dead", "replay"], &arguments)).await;
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&refused.stderr));
    }
    assert_eq!(done(&database, &["audit", "list"]).await, json!([]));
    assert_eq!(done(&database, &["dead", "list"]).await[0]["replay_begun_at"], Value::Null);
}

#[tokio::test]
async fn the_audit_can_be_written_to_and_never_rewritten_and_has_no_act_without_actor_or_reason() {
    let database = Database::new().await;
    let act = "INSERT INTO audit (actor, act, subject, reason) VALUES ('ana', 'a', 's', 'r')";
    sqlx::query(act).execute(&database.app).await.unwrap();
    for rewriting in ["UPDATE audit SET actor = 'bo'", "DELETE FROM audit", "TRUNCATE audit"] {
        let refused = sqlx::query(rewriting).execute(&database.app).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{rewriting}");
    }
    for (nameless, constraint) in [
        ("INSERT INTO audit (actor, act, subject, reason) VALUES (' ', 'a', 's', 'r')", "audit_has_an_actor"),
        ("INSERT INTO audit (actor, act, subject, reason) VALUES ('ana', 'a', 's', '')", "audit_has_a_reason"),
    ] {
        let refused = sqlx::query(nameless).execute(&database.app).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some(constraint));
    }
}
