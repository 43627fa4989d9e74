//! One at a time per key, in order; slow keys hold nobody else.

use std::collections::BTreeMap;

use super::gates::Gates;
use super::{LIMIT, Running, Topic};
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_a_key_are_handled_one_at_a_time_and_in_order() {
    const KEYS: usize = 12;
    let topic = Topic::new(2).await;
    let mut key_of = BTreeMap::new();
    for n in 0..KEYS * 15 {
        let (key, partition) = (n % KEYS, (n % 2) as i32);
        let offset = topic.put(partition, &key.to_string(), b"{}").await;
        key_of.insert((partition, offset), key);
    }
    let gates = Gates::default();
    let running = Running::start(topic.member(), gates.clone());
    eventually("all records", LIMIT, async || {
        let waiting = gates.waiting();
        let mut keys: Vec<usize> = waiting.iter().map(|at| key_of[at]).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "two records of a key at once: {keys:?}");
        gates.open_any();
        (gates.done().len() == key_of.len()).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let mut last = BTreeMap::new();
    for at in gates.began() {
        let before = last.insert(key_of[&at], at.1);
        assert!(before < Some(at.1), "key {} went from {before:?} to {}", key_of[&at], at.1);
    }
    assert_eq!(gates.most_at_once(), KEYS, "the keys ran side by side");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_key_does_not_hold_the_others_of_its_partition() {
    let topic = Topic::new(1).await;
    topic.fill(200).await;
    let gates = Gates::default();
    let running = Running::start(topic.member(), gates.clone());
    eventually("all but the slow one", LIMIT, async || {
        gates.waiting().into_iter().filter(|at| *at != (0, 0)).for_each(|at| gates.open(at, Ok(())));
        (gates.done().len() == 199).then_some(())
    })
    .await;
    assert_eq!(topic.committed().await.get(&0).copied().unwrap_or(0), 0, "the slow one is not done");
    gates.open((0, 0), Ok(()));
    eventually("everything committed", LIMIT, async || topic.is_committed_to(200).await.then_some(())).await;
    running.stop().await.unwrap();
}
