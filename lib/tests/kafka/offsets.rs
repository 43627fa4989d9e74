//! The offset rule, on a real broker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use payfleet::kafka::consumer::{Error, HandleError, Handler, Record, Room, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::gates::Gates;
use super::{LIMIT, Running, Topic, Where};
use crate::harness::eventually;

fn all_of(topic: &Topic, count: i64) -> BTreeSet<Where> {
    (0..topic.partitions).flat_map(|partition| (0..count).map(move |offset| (partition, offset))).collect()
}

/// No committed offset lies beyond a record that is not done.
async fn assert_offset_rule(topic: &Topic, done: &BTreeSet<Where>) {
    for (partition, committed) in topic.committed().await {
        let skipped = (0..committed).find(|offset| !done.contains(&(partition, *offset)));
        assert_eq!(skipped, None, "partition {partition} is committed to {committed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_again_and_again_skips_no_record() {
    const COUNT: i64 = 150;
    let topic = Topic::new(4).await;
    topic.fill(COUNT).await;
    let (gates, all) = (Gates::default(), all_of(&topic, COUNT));
    let mut random = StdRng::seed_from_u64(7);
    let mut member = topic.member();
    member.concurrency = 40.into();
    member.settings.commit_ms = 5;
    for life in 0..6 {
        let running = Running::start(member.clone(), gates.clone());
        let last = life == 5;
        let until = gates.done().len() + random.random_range(80..140);
        eventually("the work of this life", LIMIT, async || {
            (0..8).for_each(|_| gates.open_any());
            let done = gates.done().len();
            (if last { done == all.len() && topic.is_committed_to(COUNT).await } else { done >= until }).then_some(())
        })
        .await;
        running.kill().await;
        gates.forget();
        assert_offset_rule(&topic, &gates.done()).await;
    }
    assert_eq!(gates.done(), all);
    assert!(gates.began().len() > all.len(), "killed consumers must have left something to repeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_finishes_what_it_has_in_hand_and_commits_it() {
    let topic = Topic::new(2).await;
    topic.fill(10).await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.concurrency = 4.into();
    member.settings.commit_ms = 60_000;
    let running = Running::start(member, gates.clone());
    eventually("four records in hand", LIMIT, async || (gates.waiting().len() == 4).then_some(())).await;
    running.stop.cancel();
    let in_hand = gates.waiting();
    gates.open_all();
    running.ended().await.unwrap();
    assert_eq!(gates.began().len(), 4, "nothing was begun after the stop");
    let committed: i64 = topic.committed().await.values().sum();
    let expected =
        in_hand.iter().filter(|(partition, offset)| (0..*offset).all(|o| in_hand.contains(&(*partition, o))));
    assert_eq!(committed, expected.count() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_let_go_begins_nothing_more() {
    let topic = Topic::new(1).await;
    topic.fill(20).await;
    let gates = Gates::default();
    let mut member = topic.member();
    member.concurrency = 1.into();
    let running = Running::start(member, gates.clone());
    eventually("one in hand", LIMIT, async || (gates.waiting().len() == 1).then_some(())).await;
    running.kill().await;
    // The thread notices within a poll; a record that was let in just before may still be handled.
    eventually("its work to end", LIMIT, async || {
        gates.open_all();
        gates.is_left_alone().then_some(())
    })
    .await;
    assert!(gates.began().len() < 20, "it handled everything as if nothing had happened");
    assert_eq!(topic.committed().await.get(&0), None);
}

/// Fails a record of one key as if the database were away, until it is told otherwise.
struct Away {
    handled: Gates,
    refused: Arc<AtomicUsize>,
    back_after: usize,
}

impl Handler for Away {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        if record.key.as_deref() == Some(b"0-3") && self.refused.fetch_add(1, Ordering::SeqCst) < self.back_after {
            return Err(HandleError::retry("the database is away"));
        }
        self.handled.note(record);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infrastructure_error_never_advances_the_offset_and_holds_no_other_key() {
    let topic = Topic::new(1).await;
    topic.fill(50).await;
    let (gates, refused) = (Gates::default(), Arc::new(AtomicUsize::new(0)));
    let away = Away { handled: gates.clone(), refused: refused.clone(), back_after: usize::MAX };
    let running = Running::start(topic.member(), away);
    eventually("all other keys", LIMIT, async || (gates.done().len() == 49).then_some(())).await;
    eventually("a commit up to the record", LIMIT, async || {
        (topic.committed().await.get(&0) == Some(&3)).then_some(())
    })
    .await;
    let before = refused.load(Ordering::SeqCst);
    eventually("more tries", LIMIT, async || (refused.load(Ordering::SeqCst) > before + 1).then_some(())).await;
    assert_eq!(topic.committed().await.get(&0), Some(&3));
    running.stop().await.unwrap();
    assert_eq!(topic.committed().await.get(&0), Some(&3), "leaving does not skip it either");

    let away = Away { handled: gates.clone(), refused: Arc::default(), back_after: 2 };
    let running = Running::start(topic.member(), away);
    eventually("everything committed", LIMIT, async || topic.is_committed_to(50).await.then_some(())).await;
    running.stop().await.unwrap();
}

struct Panics;

impl Handler for Panics {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        assert!(record.offset != 1, "a bug");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_ends_the_consumer_and_its_record_is_not_committed() {
    let topic = Topic::new(1).await;
    topic.fill(5).await;
    let running = Running::start(topic.member(), Panics);
    assert!(matches!(running.ended().await, Err(Error::Panicked { .. })));
    assert!(topic.committed().await.get(&0).is_none_or(|committed| *committed <= 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_after_the_consumer_is_found() {
    let name = Topic::named();
    let mut member = Topic::make(Topic::named(), 1).await.member();
    member.topics = vec![name.clone()];
    member.settings = Settings { session_timeout_ms: 6_000, ..Settings::default() };
    let gates = Gates::default();
    let running = Running::start(member, gates.clone());
    let topic = Topic::make(name, 1).await;
    topic.fill(1).await;
    eventually("the record", Duration::from_secs(15), async || (gates.waiting().len() == 1).then_some(())).await;
    gates.open_all();
    running.stop().await.unwrap();
}
