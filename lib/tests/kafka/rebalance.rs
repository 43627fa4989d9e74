//! Members come and go while records flow.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet::kafka::consumer::{HandleError, Handler, Record, Room, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::gates::Gates;
use super::{LIMIT, Running, Topic, Where, place};
use crate::harness::eventually;

/// Notes what it has handled, after having let others run.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<Where>>>);

impl Noting {
    fn distinct(&self) -> BTreeSet<Where> {
        self.0.lock().unwrap().iter().copied().collect()
    }
}

impl Handler for Noting {
    async fn handle(&self, record: &Record, _: &mut Room<'_>) -> Result<(), HandleError> {
        for _ in 0..record.offset % 7 {
            tokio::task::yield_now().await;
        }
        self.0.lock().unwrap().push(place(record));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_and_leave_while_records_flow_lose_nothing() {
    const COUNT: i64 = 1_500;
    let topic = Arc::new(Topic::new(6).await);
    let (noting, mut random) = (Noting::default(), StdRng::seed_from_u64(3));
    let flow = tokio::spawn({
        let topic = topic.clone();
        async move {
            for n in 0..COUNT {
                let puts = (0..6).map(|partition| topic.clone().put_owned(partition, (n % 40).to_string()));
                futures_util::future::join_all(puts).await;
            }
        }
    });
    let mut members = vec![Running::start(topic.member(), noting.clone())];
    for _ in 0..14 {
        let seen = noting.distinct().len();
        match random.random_range(0..3) {
            0 if members.len() > 1 => members.swap_remove(random.random_range(0..members.len())).stop().await.unwrap(),
            1 if members.len() > 1 => members.swap_remove(random.random_range(0..members.len())).kill().await,
            _ => members.push(Running::start(topic.member(), noting.clone())),
        }
        let total = 6 * COUNT as usize;
        let enough = (seen + 200).min(total);
        eventually("the group to go on", LIMIT, async || (noting.distinct().len() >= enough).then_some(())).await;
    }
    flow.await.unwrap();
    eventually("all records committed", LIMIT, async || topic.is_committed_to(COUNT).await.then_some(())).await;
    assert_eq!(noting.distinct().len(), 6 * COUNT as usize);
    for member in members {
        member.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_hand_is_finished_before_its_partition_is_handed_over() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let mut member = topic.member();
    member.settings = Settings { revoke_ms: 20_000, commit_ms: 60_000, ..Settings::default() };
    let first = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    let second = Running::start(topic.member(), noting.clone());
    eventually("the handover, as the first commits", LIMIT, async || {
        gates.open_all();
        (topic.committed().await.len() == 1).then_some(())
    })
    .await;
    first.stop().await.unwrap();
    assert_eq!(topic.committed().await, [(0, 5), (1, 5)].into());
    second.stop().await.unwrap();
    assert!(noting.distinct().is_empty(), "the second repeated {:?}", noting.distinct());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_was_lost_flows_again_when_it_comes_back() {
    let topic = Topic::new(2).await;
    topic.fill(60).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let mut member = topic.member();
    member.settings = Settings { records: 20, revoke_ms: 10, ..Settings::default() };
    let first = Running::start(member, gates.clone());
    eventually("the first to be full", LIMIT, async || (gates.waiting().len() >= 20).then_some(())).await;
    let second = Running::start(topic.member(), noting.clone());
    eventually("the second to take over a partition", LIMIT, async || (noting.distinct().len() >= 60).then_some(()))
        .await;
    second.stop().await.unwrap();
    for partition in 0..2 {
        topic.put(partition, "late", b"{}").await;
    }
    eventually("all records", LIMIT, async || {
        gates.open_all();
        topic.is_committed_to(61).await.then_some(())
    })
    .await;
    first.stop().await.unwrap();
}

/// The gateway of one record is slow; those of the others are not to wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_hands_its_partitions_over_at_once_and_still_finishes_what_it_has_in_hand() {
    let topic = Topic::new(1).await;
    topic.fill(3).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let mut member = topic.member();
    member.settings = Settings { hand_over_ms: 3_000, ..Settings::default() };
    let leaving = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 3).then_some(())).await;
    gates.open((0, 0), Ok(()));
    // The partition has one owner: a second member gets nothing until the first has left.
    let staying = Running::start(topic.member(), noting.clone());
    leaving.stop.cancel();
    let stays = Settings::default().drain_ms;
    eventually("the others to be handled elsewhere", Duration::from_millis(stays / 2), async || {
        (noting.distinct() == [(0, 1), (0, 2)].into()).then_some(())
    })
    .await;
    assert_eq!(gates.waiting(), [(0, 1), (0, 2)], "what was begun is not given up");
    gates.open_all();
    leaving.ended().await.unwrap();
    eventually("all records committed", LIMIT, async || topic.is_committed_to(3).await.then_some(())).await;
    staying.stop().await.unwrap();
}

/// Others wait for one that has ended without a farewell until its session is over.
fn at_once() -> Duration {
    Duration::from_millis(Settings::default().session_timeout_ms * 2 / 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_knows_at_once_of_a_member_that_has_left_whose_last_commit_was_under_way_when_it_was_told() {
    let topic = Topic::new(48).await;
    topic.fill(1).await;
    let mut member = topic.member();
    member.settings = Settings { hand_over_ms: 10_000, ..Settings::default() };
    for round in 1..=5 {
        let gates = Gates::default();
        let leaving = Running::start(member.clone(), gates.clone());
        eventually("a record of each in hand", LIMIT, async || (gates.waiting().len() == 48).then_some(())).await;
        leaving.stop.cancel();
        gates.open_all();
        leaving.ended().await.unwrap();
        eventually("it to be counted no more", at_once(), async || (topic.members().await.0 == 0).then_some(())).await;
        assert!(topic.is_committed_to(round).await, "round {round}");
        topic.fill(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_knows_at_once_of_a_member_that_has_left_with_work_in_hand_or_without_partitions() {
    let topic = Topic::new(1).await;
    topic.fill(1).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let working = Running::start(topic.member(), gates.clone());
    eventually("a record in hand", LIMIT, async || (!gates.waiting().is_empty()).then_some(())).await;
    let waiting = Running::start(topic.member(), noting.clone());
    let both = (2, "Stable".to_owned());
    eventually("both to be members", LIMIT, async || (topic.members().await == both).then_some(())).await;
    waiting.stop().await.unwrap();
    assert_eq!(topic.members().await.0, 1, "the one without partitions is still counted");
    working.stop.cancel();
    eventually("the other to have left", at_once(), async || (topic.members().await.0 == 0).then_some(())).await;
    assert_eq!(gates.waiting(), [(0, 0)], "what was begun is not given up");
    gates.open_all();
    working.ended().await.unwrap();
}

/// On a rebalance the poll thread stands for as long as records are in hand, here for longer than a poll loop may: the session lives on
/// meanwhile, its heart beats elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_poll_loop_stands_for_too_long_loses_its_partitions_commits_nothing_and_comes_back() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let mut member = topic.member();
    member.settings = Settings { max_poll_ms: 6_000, revoke_ms: 600_000, stall_ms: 600_000, ..Settings::default() };
    let stalled = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    let other = Running::start(topic.member(), noting.clone());
    eventually("the other to have done everything", LIMIT, async || topic.is_committed_to(5).await.then_some(())).await;
    assert_eq!(gates.waiting().len(), 10, "the first still stands where it stood");
    assert_eq!(noting.distinct().len(), 10, "nothing was skipped");

    // It has done the first of each partition, and would commit that.
    for (partition, offset) in gates.waiting() {
        let verdict = if offset == 0 { Ok(()) } else { Err(HandleError::retry("the rest is another's")) };
        gates.open((partition, offset), verdict);
    }
    eventually("it to be back", LIMIT, async || {
        for partition in 0..2 {
            topic.put(partition, "late", b"{}").await;
        }
        assert!(topic.committed().await.values().all(|committed| *committed >= 5), "it has committed what it had lost");
        gates.waiting().iter().any(|(_, offset)| *offset >= 5).then_some(())
    })
    .await;
    let total = topic.put(0, "last", b"{}").await + 1;
    eventually("all records committed", LIMIT, async || {
        gates.open_all();
        let committed = topic.committed().await;
        (committed.get(&0) == Some(&total) && committed.get(&1) == Some(&(total - 1))).then_some(())
    })
    .await;
    let handled: BTreeSet<Where> = noting.distinct().union(&gates.done()).copied().collect();
    assert_eq!(handled.len() as i64, 2 * total - 1, "nothing was skipped");
    stalled.stop().await.unwrap();
    other.stop().await.unwrap();
}

/// As when the time of day is set back by minutes: the client's threads wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_poll_thread_stands_still_is_left_behind_and_another_consumes_in_its_place() {
    let topic = Topic::new(2).await;
    topic.fill(5).await;
    let (gates, noting) = (Gates::default(), Noting::default());
    let mut member = topic.member();
    member.settings = Settings { max_poll_ms: 6_000, revoke_ms: 600_000, stall_ms: 3_000, ..Settings::default() };
    let stalled = Running::start(member, gates.clone());
    eventually("all in hand", LIMIT, async || (gates.waiting().len() == 10).then_some(())).await;
    // It is to give up partitions, and waits for what is in hand, which nobody finishes.
    let other = Running::start(topic.member(), noting.clone());
    eventually("the other to have its partitions", LIMIT, async || (!noting.distinct().is_empty()).then_some(())).await;
    other.stop().await.unwrap();
    for partition in 0..2 {
        topic.put(partition, "late", b"{}").await;
    }
    eventually("the late ones handled by whoever came in its place", LIMIT, async || {
        let late = |place: &Where| place.1 == 5 && gates.waiting().contains(place);
        [(0, 5), (1, 5)].iter().all(late).then_some(())
    })
    .await;
    eventually("all records committed", LIMIT, async || {
        gates.open_all();
        topic.is_committed_to(6).await.then_some(())
    })
    .await;
    stalled.stop().await.unwrap();
}
