//! Guarantees about parked events, and about what an operator does with them, by the program as it is shipped.

use std::process::Output;
use std::time::Duration;

use payfleet::outbox::lanes::{self, Held};
use payfleet::outbox::parked::{self, Pair, Refused, Resent};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::harness::Database;

async fn outbox(postgres: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
    command.env_clear().env("PAYFLEET_POSTGRES__URL", postgres).arg("outbox").args(arguments);
    command.output().await.unwrap()
}

/// What it says on standard output, once it has done what it was asked for.
async fn done(database: &Database, arguments: &[&str]) -> String {
    let done = outbox(&database.url, arguments).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

async fn answer(database: &Database, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(database, arguments).await).unwrap()
}

#[tokio::test]
async fn parked_events_are_listed_with_their_reasons_and_sent_again_when_a_person_says_so() {
    let database = Database::new().await;
    assert_eq!(answer(&database, &["parked", "--json"]).await, json!([]));
    assert_eq!(done(&database, &["parked"]).await, "nothing is parked\n");
    let aggregate = Uuid::now_v7();
    // More than a page.
    sqlx::query(
        "INSERT INTO parked (id, lane, aggregate, seq, topic, type, payload, at, reason)
         SELECT n, 3, $1, n, 'payments.events', 't', 'four', clock_timestamp(), 'too large' FROM generate_series(1, 1500) n",
    )
    .bind(aggregate)
    .execute(&database.app)
    .await
    .unwrap();

    let listed = answer(&database, &["parked", "--json"]).await;
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>(), (1..=1500).collect::<Vec<_>>());
    let first = &rows[0];
    assert_eq!((&first["aggregate"], &first["topic"]), (&json!(aggregate), &json!("payments.events")));
    assert_eq!((&first["reason"], &first["bytes"], &first["retry_at"]), (&json!("too large"), &json!(4), &Value::Null));
    let table = done(&database, &["parked"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1501);
    let column = lines[0].find("reason").unwrap();
    assert!(lines[1..].iter().all(|line| line[column..] == *"too large" && line.contains("when told")), "{table}");

    let one = ["retry-parked", "--reason", "try it", "--aggregate", &Uuid::nil().to_string()];
    assert_eq!(done(&database, &one).await, "rows to be sent again  0\n");
    assert_eq!(audit(&database).await, json!([]), "nothing came of it");
    let asked = ["retry-parked", "--reason", "the topic takes more now", "--actor", "ana"];
    assert_eq!(answer(&database, &[&asked[..], &["--json"]].concat()).await, json!({ "rows": 1500 }));
    let due: i64 = sqlx::query_scalar("SELECT count(*) FROM parked WHERE retry_at <= clock_timestamp()")
        .fetch_one(&database.app)
        .await
        .unwrap();
    assert_eq!(due, 1500);
    assert!(answer(&database, &["parked", "--json"]).await[0]["retry_at"].is_string());
    assert_eq!(done(&database, &asked).await, "rows to be sent again  0\n", "they are to be already");
    let audit = audit(&database).await;
    let act = json!(["ana", "parked.retry", "every aggregate", "the topic takes more now"]);
    assert_eq!(json!([audit[0]["actor"], audit[0]["act"], audit[0]["subject"], audit[0]["reason"]]), act);
    assert_eq!((&audit[0]["details"]["rows"], audit.as_array().unwrap().len()), (&json!(1500), 1));
}

#[tokio::test]
async fn a_parked_event_is_shown_with_its_reason_and_the_record_as_it_will_be_sent_and_stays_as_it_is() {
    let database = Database::new().await;
    let (head, follower) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::query(
        "INSERT INTO parked (id, lane, aggregate, seq, topic, type, traceparent, payload, at, reason)
         VALUES (7, 3, $1, 2, 'payments.events', 'payfleet.test.v1', '00-4b-f0-01', $3, '2026-01-02 03:04:05Z', 'too large'),
                (9, 3, $2, 1, 'payments.events', 'payfleet.test.v1', NULL, $4, '2026-01-02 03:04:05Z', 'behind row 7')",
    )
    .bind(head)
    .bind(follower)
    .bind(br#"{"sealed":"k1:oQ=="}"#)
    .bind(b"\0\xff")
    .execute(&database.app)
    .await
    .unwrap();
    let before = answer(&database, &["parked", "--json"]).await;

    let shown = answer(&database, &["show-parked", "7", "--json"]).await;
    let row = &before[0];
    assert_eq!((&shown["id"], &shown["reason"], &shown["bytes"]), (&json!(7), &json!("too large"), &row["bytes"]));
    assert_eq!(shown["parked_at"], row["parked_at"]);
    assert_eq!(shown["key"], json!({ "text": head }));
    assert_eq!(shown["payload"], json!({ "text": r#"{"sealed":"k1:oQ=="}"# }), "what is sealed stays so");
    let header = |shown: &Value, name: &str| {
        let headers = shown["headers"].as_array().unwrap().clone();
        headers
            .into_iter()
            .find(|header| header[0] == name)
            .map(|header| header[1]["text"].as_str().unwrap().to_owned())
    };
    assert_eq!(header(&shown, "ce_id"), Some(format!("{head}/2")));
    assert_eq!(header(&shown, "ce_type").as_deref(), Some("payfleet.test.v1"));
    assert_eq!(header(&shown, "ce_time").as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(header(&shown, "traceparent").as_deref(), Some("00-4b-f0-01"));

    let shown = answer(&database, &["show-parked", "9", "--json"]).await;
    assert_eq!((header(&shown, "traceparent"), &shown["payload"]), (None, &json!({ "base64": "AP8=" })));

    let lines = done(&database, &["show-parked", "7"]).await;
    for line in
        ["row         7", "reason      too large", "sent again  when told", "header      ce_type: payfleet.test.v1"]
    {
        assert!(lines.lines().any(|found| found == line), "{line}: {lines}");
    }
    assert!(lines.ends_with("payload     {\"sealed\":\"k1:oQ==\"}\n"), "{lines}");
    assert_eq!(answer(&database, &["parked", "--json"]).await, before, "looking changes nothing");
    assert_eq!(audit(&database).await, json!([]));
}

#[tokio::test]
async fn a_row_that_is_not_parked_is_not_shown_and_the_answer_says_where_to_look() {
    let database = Database::new().await;
    for row in ["8", "0", "-9223372036854775808", "9223372036854775807"] {
        let refused = outbox(&database.url, &["show-parked", "--", row]).await;
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), b"".as_slice()), "{told}");
        assert!(
            told.starts_with(&format!("payfleet: no row {row} is parked")) && told.contains("outbox parked"),
            "{told}"
        );
    }
    assert_eq!(outbox(&database.url, &["show-parked", "head"]).await.status.code(), Some(64));
}

#[tokio::test]
async fn nothing_is_sent_again_without_a_reason_and_of_one_aggregate_only_if_that_was_named() {
    let database = Database::new().await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::query(
        "INSERT INTO parked (id, lane, aggregate, seq, topic, type, payload, at, reason)
         SELECT n, 3, CASE n % 2 WHEN 0 THEN $1 ELSE $2 END, n, CASE WHEN n < 3 THEN 'a' ELSE 'b' END, 't', '', now(), 'too large'
         FROM generate_series(1, 4) n",
    )
    .bind(one)
    .bind(other)
    .execute(&database.app)
    .await
    .unwrap();
    for reason in [&[] as &[&str], &["--reason", " "]] {
        let refused = outbox(&database.url, &[&["retry-parked"][..], reason].concat()).await;
        assert_eq!(refused.status.code(), Some(64), "{reason:?}");
    }
    let one = one.to_string();
    let some = ["retry-parked", "--reason", "r", "--aggregate", &one, "--topic", "b", "--json"];
    assert_eq!(answer(&database, &some).await, json!({ "rows": 1 }));
    let due: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM parked WHERE retry_at IS NOT NULL").fetch_all(&database.app).await.unwrap();
    assert_eq!(due, [4]);
    // An actor who is not named is this machine's user.
    assert!(!audit(&database).await[0]["actor"].as_str().unwrap().is_empty());
}

async fn audit(database: &Database) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
    command.env_clear().env("PAYFLEET_POSTGRES__URL", &database.url).args(["audit", "list", "--json"]);
    serde_json::from_slice(&command.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn without_postgresql_all_of_them_fail_and_say_why() {
    for command in [&["parked"] as &[&str], &["show-parked", "7"], &["retry-parked", "--reason", "try it"]] {
        let failed = outbox("postgres://payfleet_app@127.0.0.1:1/payfleet", command).await;
        let told = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{told}");
        assert!(told.starts_with("payfleet: PostgreSQL cannot be used: "), "{told}");
    }
}

/// The first of them stood there because its topic was missing, the others behind it; then the lane's owner was stopped half-way.
#[tokio::test]
async fn what_is_left_of_a_pair_that_was_sent_again_in_part_is_due_for_the_next_owner() {
    let database = Database::new().await;
    let mut connection = database.settings().connect("test").await.unwrap();
    let held = lanes::claim(&mut connection, Uuid::now_v7(), 16, Duration::from_secs(5)).await.unwrap()[3];
    let pair = Pair { aggregate: Uuid::now_v7(), topic: "payments.events".into() };
    sqlx::query(
        "INSERT INTO parked (id, lane, aggregate, seq, topic, type, payload, at, reason, retry_at)
         SELECT n, $1, $2, n, $3, 't', 'four', clock_timestamp(), 'no topic', CASE n WHEN 1 THEN clock_timestamp() END
         FROM generate_series(1, 3) n",
    )
    .bind(held.lane)
    .bind(pair.aggregate)
    .bind(&pair.topic)
    .execute(&database.app)
    .await
    .unwrap();
    let other = Pair { topic: "payments.commands.stripe".into(), ..pair.clone() };
    let both = vec![pair.clone(), other];
    let rows = parked::rows_of(&mut connection, &both, 2).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 2]);

    let half_way = Resent { pairs: both, delivered: vec![1], refused: vec![] };
    assert_eq!(parked::settle(&mut connection, held, &half_way).await.unwrap(), Some(vec![pair.clone()]));
    assert_eq!(parked::due(&mut connection, &[held.lane]).await.unwrap(), [(held.lane, pair.clone())]);

    let refused = Refused { pair: pair.clone(), reason: "too large".into(), retry_in: None };
    let refused = Resent { delivered: vec![2], refused: vec![refused], ..half_way };
    assert_eq!(parked::settle(&mut connection, held, &refused).await.unwrap(), Some(vec![pair]));
    assert!(parked::due(&mut connection, &[held.lane]).await.unwrap().is_empty(), "a person says when");
    let taken = Held { epoch: held.epoch - 1, ..held };
    assert_eq!(parked::settle(&mut connection, taken, &refused).await.unwrap(), None, "another relay has the lane");
}
