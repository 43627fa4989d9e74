//! I8–I11: corrupted evidence, outboxes and topics.

use payfleet::domain::ids::Kind;
use payfleet::ops::verify::{Finding, Inputs, Invariant, Rest, Verdict, verify};
use payfleet::outbox::rebase::rebase;
use uuid::Uuid;

use super::books::World;
use super::topics::{EVENTS, Record, Topics, places};

fn said(finding: &Finding, saying: &str) {
    assert_eq!(finding.verdict(), Verdict::Violated, "{saying}: {finding:?}");
    assert!(finding.examples.iter().any(|example| example.contains(saying)), "{saying}: {finding:?}");
}

async fn outbox_rejected(corruption: &str, saying: &str) {
    let mut world = World::lawful().await;
    world.accepted(Kind::Deposit, 10).await;
    for record in &world.records[world.records.len() - 2..] {
        world.in_outbox(record).await;
    }
    assert_eq!(world.judge_only(Invariant::I8, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(corruption).await;
    said(&world.judge_only(Invariant::I8, Rest::Live).await, saying);
}

#[tokio::test]
async fn a_step_that_emitted_nothing_is_found() {
    outbox_rejected("UPDATE transactions SET last_seq = last_seq + 1", "its counter says 1…").await;
    outbox_rejected("UPDATE transitions SET event_seq = event_seq + 1 WHERE version = 3", "its steps emitted").await;
    outbox_rejected("DELETE FROM transitions WHERE version = 2", "its steps emitted").await;
}

#[tokio::test]
async fn an_outbox_row_that_no_step_emitted_is_found() {
    outbox_rejected(
        "INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, payload)
         VALUES (0, 0, gen_random_uuid(), 1, 'payments.events', 'test', 'x')",
        "no step emitted",
    )
    .await;
}

#[tokio::test]
async fn an_outbox_row_that_differs_from_its_evidence_is_found() {
    for corruption in ["payload = 'other'", "topic = 'payments.callbacks'", "seq = seq + 10"] {
        outbox_rejected(&format!("UPDATE outbox SET {corruption}"), "as it stands there").await;
    }
    outbox_rejected("UPDATE outbox SET lane = (lane + 1) % 16", "not its own").await;
}

#[tokio::test]
async fn a_step_whose_events_left_the_outbox_before_they_were_delivered_is_found() {
    for topic in ["payments.events", "payments.commands.stripe"] {
        outbox_rejected(
            &format!("DELETE FROM outbox WHERE topic = '{topic}'"),
            "was not delivered, and is neither in the outbox nor parked",
        )
        .await;
    }
    // A lane that nobody has read yet has delivered nothing.
    outbox_rejected("DELETE FROM checkpoints", "was not delivered").await;
}

#[tokio::test]
async fn a_parked_event_may_leave_the_outbox() {
    let mut world = World::lawful().await;
    world.accepted(Kind::Deposit, 10).await;
    for record in &world.records[world.records.len() - 2..] {
        world.in_outbox(record).await;
    }
    world.sql(PARK_ALL).await;
    let finding = world.judge_only(Invariant::I8, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
}

#[tokio::test]
async fn what_was_delivered_before_a_rebase_is_not_checkable() {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I8, Rest::Live).await.verdict(), Verdict::Held);
    rebase(&mut world.owner().acquire().await.unwrap()).await.unwrap();
    let finding = world.judge_only(Invariant::I8, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert!(finding.gaps[0].contains("before a rebase is not known"), "{finding:?}");
}

#[tokio::test]
async fn steps_with_numbers_that_this_server_has_not_reached_follow_the_ring_in_a_rebase() {
    let mut world = World::lawful().await;
    world.accepted(Kind::Deposit, 10).await;
    for record in &world.records[world.records.len() - 2..] {
        world.in_outbox(record).await;
    }
    // As a dump read into a younger server leaves them.
    for table in ["transitions", "outbox"] {
        world.sql(&format!("UPDATE {table} SET xid = (xid::text::bigint + 5000000)::text::xid8")).await;
    }
    rebase(&mut world.owner().acquire().await.unwrap()).await.unwrap();
    let finding = world.judge_only(Invariant::I8, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
    assert!(finding.gaps[0].contains("before a rebase is not known"), "{finding:?}");
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM transitions WHERE xid IN (SELECT xid FROM outbox)")
        .fetch_one(world.owner())
        .await
        .unwrap();
    assert_eq!(waiting, 1, "the one whose rows are in the ring");
}

/// Corrupts the records before they are produced, and expects this invariant, and none of `innocent`, to be violated.
async fn topics_rejected(
    corrupt: impl FnOnce(&mut Vec<Record>),
    guilty: Invariant,
    innocent: &[Invariant],
    saying: &str,
) {
    let mut world = World::lawful().await;
    world.settled(Kind::Withdrawal, 30).await;
    corrupt(&mut world.records);
    world.publish().await;
    let report = world.judge(Rest::Live).await;
    said(report.finding(guilty).unwrap(), saying);
    for invariant in innocent {
        assert_eq!(report.finding(*invariant).unwrap().verdict(), Verdict::Held, "{}", report.table());
    }
}

#[tokio::test]
async fn an_event_that_never_arrived_is_found() {
    let lose_the_last = |records: &mut Vec<Record>| drop(records.pop());
    topics_rejected(lose_the_last, Invariant::I9, &[Invariant::I10, Invariant::I11], "is not on payments.events").await;
}

#[tokio::test]
async fn a_follower_that_arrived_without_its_predecessor_is_found() {
    let lose_an_earlier = |records: &mut Vec<Record>| {
        let last = records.last().unwrap().aggregate;
        let first = records.iter().position(|record| record.aggregate == last && record.topic == EVENTS).unwrap();
        records.remove(first);
    };
    topics_rejected(lose_an_earlier, Invariant::I10, &[Invariant::I11], "before it is not").await;
}

#[tokio::test]
async fn events_out_of_order_are_found() {
    let swap = |records: &mut Vec<Record>| {
        let of_last = places(records, EVENTS);
        let [.., a, b] = of_last[..] else { panic!("two events") };
        assert_eq!(records[a].aggregate, records[b].aggregate);
        records.swap(a, b);
    };
    topics_rejected(swap, Invariant::I10, &[Invariant::I9, Invariant::I11], "came after").await;
}

#[tokio::test]
async fn repeated_events_are_no_disorder() {
    let mut world = World::lawful().await;
    let again = world.records.clone();
    world.publish().await;
    world.records = again;
    world.publish().await;
    let report = world.judge(Rest::AtRest).await;
    assert_eq!(report.exit_code(), 0, "{}", report.table());
}

#[tokio::test]
async fn an_event_on_another_partition_than_its_lane_is_found() {
    let move_it = |records: &mut Vec<Record>| {
        let last = records.last_mut().unwrap();
        last.partition = (last.partition + 1) % 16;
    };
    topics_rejected(move_it, Invariant::I10, &[Invariant::I9, Invariant::I11], "its lane is").await;
}

#[tokio::test]
async fn an_event_on_another_topic_than_its_own_is_found() {
    let move_it = |records: &mut Vec<Record>| records.last_mut().unwrap().topic = "payments.dead".into();
    topics_rejected(move_it, Invariant::I11, &[Invariant::I10], "on another topic").await;
}

#[tokio::test]
async fn a_record_that_no_step_emitted_is_found() {
    let add = |records: &mut Vec<Record>| records.push(Record::of(EVENTS, Uuid::now_v7(), 1, b"{}"));
    topics_rejected(add, Invariant::I11, &[Invariant::I9, Invariant::I10], "no step emitted it").await;
}

#[tokio::test]
async fn a_record_with_another_payload_than_its_step_emitted_is_found() {
    let alter = |records: &mut Vec<Record>| records.last_mut().unwrap().payload.push(b' ');
    topics_rejected(alter, Invariant::I11, &[Invariant::I10], "another payload").await;
}

#[tokio::test]
async fn a_record_whose_headers_contradict_each_other_is_found() {
    let alter = |records: &mut Vec<Record>| records.last_mut().unwrap().ce_id = "x".into();
    topics_rejected(alter, Invariant::I11, &[Invariant::I10], "its ce_id is not its key and number").await;
}

#[tokio::test]
async fn a_record_of_an_incarnation_that_never_was_is_found() {
    let older_than_all = |records: &mut Vec<Record>| {
        let invented = Record { incarnation: 0, ..Record::of(EVENTS, Uuid::now_v7(), 1, b"{}") };
        records.push(invented);
    };
    topics_rejected(older_than_all, Invariant::I11, &[Invariant::I9, Invariant::I10], "is below 1").await;
}

#[tokio::test]
async fn records_of_an_undone_incarnation_are_not_checkable() {
    let mut world = World::lawful().await;
    world.records.push(Record::of(EVENTS, Uuid::now_v7(), 1, b"undone by a restore"));
    world.sql("UPDATE outbox_ring SET incarnation = 2").await;
    world.publish().await;
    let report = world.judge(Rest::AtRest).await;
    assert_eq!(report.exit_code(), 2, "{}", report.table());
    assert!(report.finding(Invariant::I11).unwrap().gaps[0].contains("a restore has undone their cause"));
}

#[tokio::test]
async fn events_that_retention_took_away_are_not_checkable() {
    let world = World::lawful().await;
    let topics = Topics::make().await;
    topics.produce(&world.records).await;
    let gone = world.records[places(&world.records, EVENTS)[0]].partition;
    topics.forget(EVENTS, gone, 1).await;
    not_checkable(&world, topics.settings.clone(), &OF_TOPICS, "the oldest records of").await;
}

#[tokio::test]
async fn where_first_sightings_are_gone_repetitions_are_no_disorder() {
    let world = World::lawful().await;
    let topics = Topics::make().await;
    // Sent again from its beginning, as a new owner does: what is left begins with a later event.
    let again: Vec<Record> = world.records.iter().chain(&world.records).cloned().collect();
    topics.produce(&again).await;
    let gone = world.records[places(&world.records, EVENTS)[0]].partition;
    topics.forget(EVENTS, gone, 1).await;
    not_checkable(&world, topics.settings.clone(), &[Invariant::I10, Invariant::I11], "the oldest records of").await;
}

#[tokio::test]
async fn events_of_a_topic_that_does_not_exist_are_not_checkable() {
    let world = World::lawful().await;
    let topics = Topics::make_some(|topic| topic != EVENTS).await;
    let others: Vec<Record> = world.records.iter().filter(|record| record.topic != EVENTS).cloned().collect();
    topics.produce(&others).await;
    not_checkable(&world, topics.settings.clone(), &OF_TOPICS, "payments.events does not exist").await;
}

#[tokio::test]
async fn events_on_brokers_that_do_not_answer_are_not_checkable() {
    let world = World::lawful().await;
    let away = payfleet::kafka::Settings { brokers: "127.0.0.1:1".into(), ..Default::default() };
    not_checkable(&world, away, &[&OF_TOPICS[..], &[Invariant::I13]].concat(), "the brokers do not answer").await;
}

const OF_TOPICS: [Invariant; 3] = [Invariant::I9, Invariant::I10, Invariant::I11];

/// Everything holds but for these, of which only the topics could tell.
async fn not_checkable(world: &World, kafka: payfleet::kafka::Settings, untold: &[Invariant], saying: &str) {
    let report = verify(&Inputs { kafka: Some(kafka), ..world.inputs(Rest::AtRest) }, &|_| ()).await.unwrap();
    assert_eq!(report.exit_code(), 2, "{}", report.table());
    for finding in &report.findings {
        let expected = if untold.contains(&finding.invariant) { Verdict::NotCheckable } else { Verdict::Held };
        assert_eq!(finding.verdict(), expected, "{}", report.table());
        let told = finding.gaps.iter().any(|gap| gap.contains(saying));
        assert_eq!(told, expected == Verdict::NotCheckable, "{saying}: {finding:?}");
    }
}

const PARK_ALL: &str = "
    INSERT INTO parked (id, lane, aggregate, seq, topic, type, payload, at, reason)
    SELECT id, lane, aggregate, seq, topic, type, payload, at, 'too large' FROM outbox; DELETE FROM outbox";

#[tokio::test]
async fn parked_events_are_told_and_not_called_lost() {
    let mut world = World::lawful().await;
    let parked = world.records.pop().unwrap();
    world.publish().await;
    world.in_outbox(&parked).await;
    world.sql(PARK_ALL).await;
    let live = world.judge_only(Invariant::I9, Rest::Live).await;
    assert_eq!((live.verdict(), live.under_way), (Verdict::Held, 1), "{live:?}");
    assert_eq!(world.judge_only(Invariant::I9, Rest::AtRest).await.verdict(), Verdict::NotCheckable);
}

#[tokio::test]
async fn an_event_that_the_cursor_has_passed_is_not_under_way() {
    let mut world = World::lawful().await;
    let lost = world.records.pop().unwrap();
    world.publish().await;
    world.in_outbox(&lost).await;
    assert_eq!(world.judge_only(Invariant::I9, Rest::Live).await.under_way, 1);
    world.sql("UPDATE lanes SET epoch = 9").await;
    world.checkpoint(payfleet::domain::lane::lane_of(lost.aggregate), 9).await;
    said(&world.judge_only(Invariant::I9, Rest::Live).await, "is not on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_at_work_while_the_checker_reads_is_not_called_wrong() {
    let mut world = World::lawful().await;
    world.publish().await;
    let inputs = world.inputs(Rest::Live);
    let world = tokio::sync::Mutex::new(world);
    // What happens between the reading of the books and that of the topics: another payment, from acceptance to success.
    let meanwhile = |said: &str| {
        if said == "asking the brokers" {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let mut world = world.lock().await;
                    world.settled(Kind::Deposit, 600).await;
                    world.publish().await;
                    world.inputs(Rest::Live);
                });
            });
        }
    };
    let report = verify(&inputs, &meanwhile).await.unwrap();
    assert_eq!(report.exit_code(), 0, "{}", report.table());
    assert!(report.finding(Invariant::I5).unwrap().under_way > 0, "{}", report.table());
}
