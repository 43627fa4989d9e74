//! Guarantees about a server that vanishes without a word.

use std::time::{Duration, Instant};

use payfleet::postgres::Settings;
use payfleet::relay;

use super::fleet::Fleet;
use crate::harness::road::Road;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_no_longer_than_its_lease_for_a_server_that_has_vanished_without_a_word() {
    let fleet = Fleet::new(100).await;
    let road = Road::new().await;
    let short = relay::Settings { name: "a".into(), lease_ms: 2_000, heartbeat_ms: 500, ..Default::default() };
    let relay = fleet.relay_over(short, road.settings(&fleet.database));
    fleet.step_all(10).await;
    fleet.drained().await;
    road.fall_silent();
    let begin = Instant::now();
    fleet.step_all(10).await;
    fleet.drained().await;
    // A statement of this relay would be waited for for 12 s.
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_heart_beats_gives_up_a_connection_that_alone_says_nothing_after_the_time_of_a_statement() {
    let fleet = Fleet::new(100).await;
    let road = Road::new().await;
    let postgres = Settings { statement_ms: 1_000, ..road.settings(&fleet.database) };
    let in_time = postgres.statement_limit() + Duration::from_secs(15);
    let relay = fleet.relay_over(relay::Settings { name: "a".into(), ..Default::default() }, postgres);
    for application in ["relay reading", "relay writing"] {
        fleet.step_all(10).await;
        fleet.drained().await;
        road.fall_silent_for(&fleet.database, application).await;
        let begin = Instant::now();
        fleet.step_all(10).await;
        fleet.drained().await;
        assert!(begin.elapsed() < in_time, "{application}: {:?}", begin.elapsed());
    }
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}
