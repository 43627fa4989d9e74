//! The outbox at length: very many events, written by transactions that are prompt, late, rolled back or poisoned, read by relays that
//! are killed, frozen past their lease, and set back by a crash of PostgreSQL that gives transaction numbers out again.
//!
//! This is the catcher of those bugs that `make planted-bugs` plants in the relay: each must make the topics disagree with what was
//! committed, or let a checkpoint of an old epoch be stored after a newer one.

mod crashes;
mod stand;
mod traffic;

use std::time::Duration;

use payfleet::outbox::parked;

use super::chosen;
use crate::harness::eventually;
use crate::harness::journal::{self, TOPICS};
use crate::harness::judge::judge;
use crate::harness::topics::alter_limit;
use stand::{Stand, with_stand};

/// Batches of this size the topics take while the writers write; what they are made for they take before and after.
const LOWERED: usize = 400_000;
const MADE_FOR: usize = 1_001_024;

/// Parts of the load, each ended by its crash.
const PARTS: u64 = 6;

/// Transactions that truncation must have waited for.
const KNOCKS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn of_a_million_events_every_committed_one_arrives_in_order_and_no_other_whoever_crashes() {
    let events = chosen("PAYFLEET_TEST_EVENTS", 60_000);
    with_stand(events, async |stand: &mut Stand| {
        alter_limit(&stand.site.kafka_settings(), LOWERED).await;
        let writers = stand.traffic.start();

        stand.next_part("transactions that commit while truncation waits for them").await;
        stand.knocked(KNOCKS).await;
        stand.next_part("a relay killed under load").await;
        stand.kill_under_load(0).await;
        stand.next_part("a relay killed while the brokers stand still").await;
        stand.kill_with_full_flights().await;
        stand.next_part("a relay frozen past its lease, between its progress and the statement that stores it").await;
        stand.freeze_past_lease(2).await;
        stand.next_part("PostgreSQL killed, transaction numbers given out again").await;
        stand.set_back_in_time().await;
        stand.next_part("a relay killed under load").await;
        stand.kill_under_load(2).await;
        stand.written().await;
        stand.traffic.end();
        for writer in writers {
            writer.await.unwrap();
        }

        stand.say("everything is written; what was parked is sent again");
        stand.passed().await;
        alter_limit(&stand.site.kafka_settings(), MADE_FOR).await;
        let mut parked = 0;
        let (pool, limit) = (&stand.owner, stand.limit());
        eventually("the outbox to be drained", limit, async || {
            // That a record was refused may be heard only now.
            parked += parked::retry_all(pool).await.unwrap();
            journal::is_drained(pool).await.then_some(())
        })
        .await;
        stand.dismiss().await;
        stand.say("drained");

        let verdict = judge(&stand.owner, &stand.site.kafka_settings(), &TOPICS).await;
        let overtaken = journal::overtaken(&stand.owner).await;
        stand.say(&format!("{verdict:?}, of which {parked} were parked; {}", stand.traffic.told()));
        verdict.assert_clean();
        assert_eq!(overtaken, 0, "a checkpoint of an old epoch was written after one of a newer");
        assert!(verdict.repeated > 0, "no crash has cost anything: none of them hit");
        assert!(parked > 0, "nothing was poisoned");
        assert!(journal::committed(&stand.owner).await >= events as i64);
    })
    .await;
}

/// How long a step may take; a machine that also compiles is slow.
const STEP: Duration = Duration::from_secs(60);
