//! A consumer takes no more than it may, and goes on when there is room again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet::kafka::consumer::{Concurrency, HandleError, Handler, Record, Room, Settings};

use super::gates::Gates;
use super::{LIMIT, Running, Topic};
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_stays_within_its_bounds_and_everything_is_handled_once() {
    const COUNT: i64 = 700;
    let topic = Topic::new(2).await;
    topic.fill(COUNT).await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.settings = Settings { records: 100, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    eventually("all records, in full rounds", LIMIT, async || {
        let waiting = gates.waiting();
        let left = 2 * COUNT as usize - gates.done().len();
        if waiting.len() >= left.min(90) {
            waiting.into_iter().for_each(|at| gates.open(at, Ok(())));
        }
        (left == 0).then_some(())
    })
    .await;
    assert!(gates.most_at_once() <= 100, "{} in flight", gates.most_at_once());
    assert_eq!(gates.began().len(), 2 * COUNT as usize, "a pause repeats nothing");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_partition_leaves_room_for_the_others() {
    let topic = Topic::new(2).await;
    topic.fill(300).await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.settings = Settings { records: 100, partition_records: 20, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    eventually("the other partition's records", LIMIT, async || {
        gates.waiting().into_iter().filter(|at| at.0 == 1).for_each(|at| gates.open(at, Ok(())));
        (gates.done().len() == 300).then_some(())
    })
    .await;
    assert!(gates.waiting().len() < 100);
    eventually("the stuck one's records, once it moves", LIMIT, async || {
        gates.open_all();
        (gates.done().len() == 600).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_runs_ahead_of_its_slowest_record_only_so_far() {
    let topic = Topic::new(1).await;
    topic.fill(400).await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.settings = Settings { partition_span: 100, ..Settings::default() };
    let running = Running::start(member, gates.clone());
    let open_others = || gates.waiting().into_iter().filter(|at| at.1 != 0).for_each(|at| gates.open(at, Ok(())));
    eventually("a full span", LIMIT, async || {
        open_others();
        (gates.done().len() >= 99).then_some(())
    })
    .await;
    let ahead = gates.began().len();
    assert!(ahead <= 100 + 64, "{ahead} records taken beside one that is not done");
    eventually("the rest, once the slowest is done", LIMIT, async || {
        gates.open_all();
        (gates.done().len() == 400).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

/// Tells what the test wants it to of each call, when the test has ended it.
#[derive(Clone)]
struct Telling {
    gates: Gates,
    strained: Arc<AtomicBool>,
    limits: Arc<Mutex<Vec<usize>>>,
}

impl Handler for Telling {
    async fn handle(&self, record: &Record, room: &mut Room<'_>) -> Result<(), HandleError> {
        let verdict = self.gates.handle(record, room).await;
        if let Some(limit) = room.took(Duration::ZERO, self.strained.load(Ordering::SeqCst)) {
            self.limits.lock().unwrap().push(limit);
        }
        verdict
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_moves_under_way_is_kept_to_and_loses_neither_record_nor_offset() {
    const COUNT: i64 = 8_000;
    let topic = Topic::new(2).await;
    topic.fill(COUNT).await;
    let telling = Telling { gates: Gates::default(), strained: Arc::default(), limits: Arc::default() };
    let mut member = topic.member();
    member.concurrency = Concurrency { least: 3, most: 32, calm: Duration::from_secs(1) };
    let running = Running::start(member, telling.clone());
    let gates = &telling.gates;
    // All at once, so that as many are under way as may be when the next are counted.
    let until = async |limit: usize| {
        eventually(&format!("a limit of {limit}"), LIMIT, async || {
            let reached = telling.limits.lock().unwrap().last() == Some(&limit);
            if !reached {
                gates.open_all();
            }
            reached.then_some(())
        })
        .await;
    };
    until(32).await;
    eventually("as many under way", LIMIT, async || (gates.waiting().len() == 32).then_some(())).await;
    telling.strained.store(true, Ordering::SeqCst);
    until(3).await;
    eventually("those that are too many to be over", LIMIT, async || {
        let waiting = gates.waiting();
        waiting.iter().skip(3).for_each(|at| gates.open(*at, Ok(())));
        (waiting.len() <= 3).then_some(())
    })
    .await;
    for _ in 0..20 {
        gates.open_any();
        eventually("the next", LIMIT, async || (gates.waiting().len() >= 3).then_some(())).await;
        assert_eq!(gates.waiting().len(), 3);
    }
    telling.strained.store(false, Ordering::SeqCst);
    until(32).await;
    eventually("all records", LIMIT, async || {
        gates.open_all();
        (gates.done().len() == 2 * COUNT as usize).then_some(())
    })
    .await;
    assert!(gates.most_at_once() <= 32, "{} at once", gates.most_at_once());
    eventually("all offsets", LIMIT, async || topic.is_committed_to(COUNT).await.then_some(())).await;
    assert_eq!(gates.began().len(), 2 * COUNT as usize, "nothing is repeated");
    running.stop().await.unwrap();
}
