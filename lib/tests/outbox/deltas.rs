//! Guarantees about reading what is new.

use payfleet::outbox::delta::{self, Delta, Row};
use payfleet::outbox::position::{Position, Span};
use payfleet::outbox::rebase::rebase;
use payfleet::outbox::snapshot::Snapshot;
use payfleet::outbox::{checkpoint, history, ticks};
use sqlx::postgres::PgConnection;

use crate::harness::Database;
use crate::harness::journal::{self, Journal};

async fn reader(database: &Database) -> PgConnection {
    let mut connection = database.settings().connect("test").await.unwrap();
    delta::prepare(&mut connection).await.unwrap();
    connection
}

/// One look at a single lane.
async fn look(
    reader: &mut PgConnection,
    lane: i16,
    position: &Position,
    until: Option<&Snapshot>,
    rows: i64,
) -> (Vec<Row>, Position) {
    let span = position.span(lane, until, rows);
    let Delta { snapshot, mut pages } = delta::read(reader, std::slice::from_ref(&span)).await.unwrap();
    let page = pages.remove(0);
    let after = position.after(&span, page.len(), page.last().map(|row| row.id), &snapshot);
    (page, after)
}

#[tokio::test]
async fn each_lane_is_read_after_its_own_cursor() {
    let database = Database::new().await;
    let journal = Journal::new(&database.owner, 200).await;
    let (mut reader, mut writer) = (reader(&database).await, database.app.acquire().await.unwrap());
    let (_, before) = history::here(&mut reader).await.unwrap();
    journal::step(&mut writer, &journal.aggregates, 10).await.unwrap();
    let (_, between) = history::here(&mut reader).await.unwrap();
    journal::step(&mut writer, &journal.aggregates, 10).await.unwrap();
    let from = |snapshot: &Snapshot| Position { from: snapshot.clone(), to: None, last_id: 0 };
    let spans = [
        from(&before).span(3, None, 1_000),
        from(&between).span(4, None, 1_000),
        from(&between).span(5, Some(&between), 9),
    ];
    let found = delta::read(&mut reader, &spans).await.unwrap();
    let expected = [4 * journal.of_lane(3).len(), 2 * journal.of_lane(4).len(), 0];
    assert_eq!(found.pages.iter().map(Vec::len).collect::<Vec<_>>(), expected);
    assert!(between.is_before(&found.snapshot));
}

#[tokio::test]
async fn a_frozen_slice_is_the_same_whatever_commits_while_it_is_paged() {
    let database = Database::new().await;
    let journal = Journal::new(&database.owner, 400).await;
    let (lane, aggregates) = (7, journal.of_lane(7));
    let mut reader = reader(&database).await;
    let (mut early, mut late) = (database.app.begin().await.unwrap(), database.app.begin().await.unwrap());
    let (first, second) = aggregates.split_at(aggregates.len() / 2);
    journal::step(&mut early, first, 10).await.unwrap();
    journal::step(&mut late, second, 10).await.unwrap();
    early.commit().await.unwrap();

    let start = Position::beginning();
    let (page, within) = look(&mut reader, lane, &start, None, 3).await;
    assert_eq!(page.len(), 3);
    let frozen = within.to.clone().expect("a full page freezes the slice");
    late.commit().await.unwrap();
    let mut slice = page;
    let mut position = within;
    while position.to.is_some() {
        let (page, next) = look(&mut reader, lane, &position, None, 3).await;
        slice.extend(page);
        position = next;
    }
    assert_eq!(slice.len(), 2 * first.len(), "the late transaction is not of this slice");
    assert!(slice.iter().all(|row| first.contains(&row.aggregate)));
    assert_eq!(position.from, frozen);
    let (rest, _) = look(&mut reader, lane, &position, None, 1_000).await;
    assert_eq!(rest.len(), 2 * second.len(), "it is of the next one");
}

#[tokio::test]
async fn ticks_cut_a_backlog_into_slices_that_together_are_all_of_it() {
    let database = Database::new().await;
    let journal = Journal::new(&database.owner, 64).await;
    let (mut reader, mut writer) = (reader(&database).await, database.app.acquire().await.unwrap());
    for _ in 0..5 {
        journal::step(&mut writer, &journal.aggregates, 10).await.unwrap();
        sqlx::query("UPDATE outbox_ticks SET at = at - interval '1 second'").execute(&database.owner).await.unwrap();
        assert!(ticks::write(&mut writer).await.unwrap());
        assert!(!ticks::write(&mut writer).await.unwrap(), "nothing was appended since");
    }
    let ticks = ticks::after(&mut reader, &Snapshot::beginning(), 100).await.unwrap();
    assert_eq!(ticks.len(), 5);
    let mut position = Position::beginning();
    let (lane, rows) = (2, 2 * journal.of_lane(2).len());
    for tick in &ticks {
        let (page, next) = look(&mut reader, lane, &position, Some(&tick.snapshot), 1_000).await;
        assert_eq!((page.len(), &next.from), (rows, &tick.snapshot));
        position = next;
    }
    assert!(ticks::after(&mut reader, &position.from, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tick_of_another_history_is_not_followed() {
    let database = Database::new().await;
    let mut reader = reader(&database).await;
    sqlx::query("INSERT INTO outbox_ticks (snapshot, written) VALUES ('900000000000:900000000000:', 1)")
        .execute(&database.owner)
        .await
        .unwrap();
    assert!(ticks::after(&mut reader, &Snapshot::beginning(), 10).await.unwrap().is_empty());
}

/// The plan must not depend on what the planner knew when it was made: here, that every slot is empty.
#[tokio::test]
async fn a_look_takes_the_index_however_long_the_outbox_has_become() {
    let database = Database::new().await;
    let mut reader = reader(&database).await;
    let (_, before) = history::here(&mut reader).await.unwrap();
    let spans: Vec<_> =
        (0..16).map(|lane| Position { from: before.clone(), to: None, last_id: 0 }.span(lane, None, 100)).collect();
    delta::read(&mut reader, &spans).await.unwrap();
    sqlx::query(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         SELECT 0, n % 16, gen_random_uuid(), 1, 'payments.events', 't', '\\x00' FROM generate_series(1, 100000) AS n",
    )
    .execute(&database.owner)
    .await
    .unwrap();
    let (_, now) = history::here(&mut reader).await.unwrap();
    let at_the_head: Vec<_> =
        (0..16).map(|lane| Position { from: now.clone(), to: None, last_id: 0 }.span(lane, None, 100)).collect();
    let plan = explained(&mut reader, &at_the_head).await;
    let text = plan.to_string();
    assert!(!text.contains("Seq Scan") && !text.contains("Hash"), "{text}");
    let mut conditions = Vec::new();
    collect(&plan, "Index Cond", &mut conditions);
    assert_eq!(conditions.len(), 8, "four slots, for new transactions and for late ones");
    assert!(
        conditions.iter().all(|condition| condition.contains("xid") && condition.contains("lane")),
        "{conditions:?}"
    );
}

/// What the statement does for these spans.
async fn explained(reader: &mut PgConnection, spans: &[Span]) -> serde_json::Value {
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", include_str!("../../outbox/sql/read_delta.sql"));
    sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
        .bind(spans.iter().map(|span| span.lane).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.from.to_string()).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.to.as_ref().map(Snapshot::to_string)).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.skip).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.rows).collect::<Vec<_>>())
        .fetch_one(reader)
        .await
        .unwrap()
}

/// After a rebase there are no ticks, and the whole ring is one slice.
#[tokio::test]
async fn after_a_rebase_a_page_costs_a_page_however_long_the_ring_is() {
    let database = Database::new().await;
    let mut reader = reader(&database).await;
    for slot in [0, 1] {
        sqlx::query(
            "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
             SELECT $1::smallint, 3, gen_random_uuid(), 1, 'payments.events', 't', '' FROM generate_series(1, 10000)",
        )
        .bind(slot)
        .execute(&database.owner)
        .await
        .unwrap();
    }
    assert_eq!(rebase(&mut database.owner.acquire().await.unwrap()).await.unwrap().renumbered, 20_000);
    let stored = checkpoint::latest(&mut reader, &[3]).await.unwrap().remove(&3).flatten().unwrap();
    let (mut position, mut read) = (stored.position, 0);
    loop {
        let (page, next) = look(&mut reader, 3, &position, None, 1_000).await;
        read += page.len();
        if read == 10_000 {
            let mut scanned = Vec::new();
            collect_scans(&explained(&mut reader, &[next.span(3, None, 1_000)]).await, &mut scanned);
            assert!(!scanned.is_empty() && scanned.iter().sum::<f64>() <= 2_100.0, "{scanned:?}");
        }
        position = next;
        if position.to.is_none() {
            break;
        }
    }
    assert_eq!(read, 20_000);
}

/// What a reader keeps alive are old versions of rows, of which the outbox has none; of a writer the cursor keeps its number.
#[tokio::test]
async fn a_page_costs_what_is_new_however_much_was_sent_since_a_reader_and_a_writer_began_that_stay_open() {
    let database = Database::new().await;
    let journal = Journal::new(&database.owner, 400).await;
    let mut reader = reader(&database).await;
    let mut old_reader = database.owner.begin().await.unwrap();
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox")
        .execute(&mut *old_reader)
        .await
        .unwrap();
    let mut old_writer = database.app.begin().await.unwrap();
    journal::step(&mut old_writer, &journal.of_lane(3)[..1], 10).await.unwrap();
    sqlx::query(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         SELECT 0, 3, gen_random_uuid(), 1, 'payments.events', 't', '' FROM generate_series(1, 50000)",
    )
    .execute(&database.owner)
    .await
    .unwrap();
    let (_, sent) = history::here(&mut reader).await.unwrap();
    let position = Position { from: sent, to: None, last_id: 0 };
    let new = &journal.of_lane(3)[1..];
    journal::step(&mut database.app.acquire().await.unwrap(), new, 10).await.unwrap();
    let (page, _) = look(&mut reader, 3, &position, None, 1_000).await;
    assert_eq!(page.len(), 2 * new.len());
    let mut scanned = Vec::new();
    collect_scans(&explained(&mut reader, &[position.span(3, None, 1_000)]).await, &mut scanned);
    assert!(!scanned.is_empty() && scanned.iter().sum::<f64>() <= 4.0 * new.len() as f64, "{scanned:?}");
    old_writer.commit().await.unwrap();
    let (page, _) = look(&mut reader, 3, &position, None, 1_000).await;
    assert_eq!(page.len(), 2 * new.len() + 2, "what was written late is not found, or found with what was sent");
    old_reader.rollback().await.unwrap();
}

/// Rows that each scan has given.
fn collect_scans(value: &serde_json::Value, into: &mut Vec<f64>) {
    match value {
        serde_json::Value::Object(fields) => {
            if fields.get("Node Type").and_then(|kind| kind.as_str()).is_some_and(|kind| kind.starts_with("Index")) {
                into.push(fields["Actual Rows"].as_f64().unwrap() * fields["Actual Loops"].as_f64().unwrap());
            }
            fields.values().for_each(|inner| collect_scans(inner, into));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_scans(item, into)),
        _ => {}
    }
}

fn collect(value: &serde_json::Value, key: &str, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, inner)| match inner.as_str() {
            Some(text) if name == key => into.push(text.to_owned()),
            _ => collect(inner, key, into),
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, key, into)),
        _ => {}
    }
}
