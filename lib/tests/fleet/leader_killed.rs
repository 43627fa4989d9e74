//! Three brokers with a copy of everything each, of which one after the other is killed in the middle of a load: others lead instead.

use std::time::{Duration, Instant};

use payfleet::domain::event::DEAD;
use payfleet::kafka::{Settings, topics};
use payfleet::load::{self, Pace, Until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio_util::sync::CancellationToken;

use super::crew::{Fleet, on_site};
use super::site::Site;
use crate::harness::eventually;
use crate::harness::topics::alter;

const BROKERS: usize = 3;
const RATE: f64 = 15.0;
/// A killed broker is missed after 2 s, and those that had to do with it look for another within about as much.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);
const METADATA: Duration = Duration::from_secs(5);
/// Payments that succeed without the broker that was killed.
const WITHOUT: i64 = 30;

#[tokio::test]
async fn of_three_brokers_each_may_be_killed_and_others_lead_without_a_gap_or_a_payment_refused() {
    let site = Site::prepare_copied("leader_killed", BROKERS).await;
    let settings = [("SETTLEMENT__SETTLE_WINDOW_MS", "5000")];
    on_site(site, &settings, &[], async |fleet: &mut Fleet| {
        what_one_broker_can_lose_is_an_error(&fleet.site.kafka_settings()).await;
        let mut plan = fleet.load();
        (plan.pace, plan.until) = (Pace::PerSecond(RATE), Until::Payments(100_000));
        plan.settle_within = Some(Duration::from_secs(120));
        let stop = CancellationToken::new();
        let killing = async {
            kill_each(fleet).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(load::run(&plan, &|_| {}, &stop), killing);
        let outcome = outcome.unwrap();
        eprintln!("{}", outcome.table());
        let figures = &outcome.figures;
        assert_eq!((figures.accepted, figures.lost, figures.undecided), (figures.meant, 0, 0), "a request failed");
        fleet.verify().await;
    })
    .await;
}

async fn what_one_broker_can_lose_is_an_error(settings: &Settings) {
    let names = topics::declared([]);
    topics::ensure(settings, &names).await.unwrap();
    alter(settings, DEAD, "min.insync.replicas", "1").await;
    eventually("too few copies in sync to be an error", Duration::from_secs(10), async || {
        let judged = topics::ensure(settings, &names).await;
        matches!(judged, Err(topics::Error::InSync { found: 1, expected: 2, .. })).then_some(())
    })
    .await;
    alter(settings, DEAD, "min.insync.replicas", "2").await;
}

async fn kill_each(fleet: &mut Fleet) {
    for broker in 0..BROKERS {
        // What most brokers must have cannot be sent while two are behind.
        eventually("every copy to be in sync", Duration::from_secs(60), async || is_in_sync(fleet).await.then_some(()))
            .await;
        let before = succeeded(fleet).await;
        let killed = Instant::now();
        fleet.site.kafka.kill_node(broker).await;
        let what = format!("payments to succeed without broker {}", broker + 1);
        eventually(&what, ELECTED_WITHIN, async || (succeeded(fleet).await >= before + WITHOUT).then_some(())).await;
        eprintln!("{WITHOUT} payments succeeded without broker {} within {:?}", broker + 1, killed.elapsed());
        fleet.site.kafka.start_node_again(broker).await.unwrap();
        eprintln!("it was back after {:?}", killed.elapsed());
    }
}

async fn succeeded(fleet: &Fleet) -> i64 {
    let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM transactions WHERE status = 'succeeded'")
        .fetch_one(&mut books)
        .await
        .unwrap()
}

async fn is_in_sync(fleet: &Fleet) -> bool {
    let client = fleet.site.kafka_settings().client();
    let asking = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create().ok()?;
        let metadata = consumer.fetch_metadata(None, METADATA).ok()?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        Some(partitions.all(|partition| partition.isr().len() == BROKERS && partition.replicas().len() == BROKERS))
    });
    asking.await.unwrap().unwrap_or(false)
}
