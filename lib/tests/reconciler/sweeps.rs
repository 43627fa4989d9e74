//! Each due row once, by somebody; none missed; nobody holds up another.

use std::time::Duration;

use payfleet::reconciler::Settings;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{LIMIT, Looking, payments, replica};
use crate::harness::{Database, eventually};

fn quick() -> Settings {
    Settings { every_ms: 20, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_take_each_due_row_once_and_miss_none() {
    let database = Database::new().await;
    let mut random = StdRng::seed_from_u64(5);
    let due: Vec<i64> = (0..2_000).map(|_| random.random_range(-600_000..1_500)).collect();
    let (first, second) = due.split_at(1_000);
    let mut all = payments(&database.owner, "stripe", first).await;
    all.extend(payments(&database.owner, "bank", second).await);
    let later = payments(&database.owner, "bank", &[3_600_000]).await;
    let looking = Looking::at(&database.app);
    let replicas: Vec<_> = (0..4).map(|_| replica(quick(), &looking)).collect();
    eventually("all due payments", LIMIT, async || looking.has_seen(&all).then_some(())).await;
    for replica in replicas {
        replica.stop().await;
    }
    let twice: Vec<_> = looking.seen().into_iter().filter(|(_, times)| *times != 1).collect();
    assert!(twice.is_empty(), "taken more than once: {twice:?}");
    assert!(!looking.has_seen(&later), "not due yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_handling_never_ends_holds_up_nobody_of_another_gateway() {
    let database = Database::new().await;
    let stuck = payments(&database.owner, "bank", &[-60_000; 50]).await;
    let looking = Looking::at(&database.app);
    looking.held.send_replace(stuck.clone());
    let settings = Settings { page: 5, concurrency: 10, ..quick() };
    let running = replica(settings, &looking);
    eventually("bank's room to be full", LIMIT, async || (looking.seen().len() >= 10).then_some(())).await;
    let others = payments(&database.owner, "stripe", &[-1_000; 40]).await;
    eventually("stripe's payments", LIMIT, async || looking.has_seen(&others).then_some(())).await;
    let at_bank = stuck.iter().filter(|id| looking.seen().contains_key(id)).count();
    assert!((10..15).contains(&at_bank), "{at_bank} at once");
    looking.held.send_replace(Vec::new());
    eventually("bank's payments, once it answers", LIMIT, async || looking.has_seen(&stuck).then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_turns_up_behind_the_mark_is_found_by_the_next_whole_sweep() {
    let database = Database::new().await;
    let looking = Looking::at(&database.app);
    let running = replica(Settings { whole_ms: 300, ..quick() }, &looking);
    eventually("a sweep from the mark", LIMIT, async || {
        looking.searches().iter().any(|s| s.from.is_some()).then_some(())
    })
    .await;
    let late = payments(&database.owner, "bank", &[-3_600_000]).await;
    eventually("the late one", LIMIT, async || looking.has_seen(&late).then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_stop_finishes_what_it_has_in_hand() {
    let database = Database::new().await;
    let one = payments(&database.owner, "bank", &[-1_000]).await;
    let looking = Looking::at(&database.app);
    looking.held.send_replace(one.clone());
    let mut running = replica(quick(), &looking);
    eventually("it to be in hand", LIMIT, async || looking.has_seen(&one).then_some(())).await;
    running.stop.cancel();
    let waiting = tokio::time::timeout(Duration::from_millis(200), &mut running.task).await;
    assert!(waiting.is_err(), "it left while a payment was in hand");
    looking.held.send_replace(Vec::new());
    running.task.await.unwrap();
}
