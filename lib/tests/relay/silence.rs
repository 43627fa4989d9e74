//! Guarantees about a server that vanishes without a word.

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
    fleet.step_all(10).await;
    fleet.drained().await;
    fleet.verdict().await.assert_clean();
    relay.stop().await;
}
