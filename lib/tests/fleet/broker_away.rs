//! Kafka is killed in the middle of a load, and comes back.

use std::time::{Duration, Instant};

use payfleet::load::{self, Pace, Until};
use tokio_util::sync::CancellationToken;

use super::chosen;
use super::crew::{Fleet, with_fleet};
use crate::harness::eventually;

/// Payments per second.
const RATE: f64 = 30.0;

#[tokio::test]
async fn while_the_broker_is_gone_every_payment_is_accepted_and_afterwards_every_event_arrives_in_order() {
    // How long "no such payment" has to be true until a call that was lost in the rush is made again; a minute usually.
    let settings = [("SETTLEMENT__SETTLE_WINDOW_MS", "5000")];
    with_fleet("broker_away", &settings, &[], async |fleet: &mut Fleet| {
        let away = Duration::from_secs(chosen("PAYFLEET_TEST_OUTAGE_S", 30));
        let mut plan = fleet.load();
        plan.pace = Pace::PerSecond(RATE);
        plan.until = Until::Elapsed(away + Duration::from_secs(8));
        plan.settle_within = Some(Duration::from_secs(180));
        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        let kafka = &mut fleet.site.kafka;
        let outage = async {
            let succeeded = "SELECT count(*) FROM transactions WHERE status = 'succeeded'";
            eventually("the load to be in full flow", Duration::from_secs(60), async || {
                let payments: i64 = sqlx::query_scalar(succeeded).fetch_one(&mut books).await.unwrap();
                (payments as f64 > RATE).then_some(())
            })
            .await;
            kafka.kill().await;
            let killed = Instant::now();
            let over = async || (killed.elapsed() >= away).then_some(());
            eventually("the outage to be over", away + Duration::from_secs(10), over).await;
            kafka.start_again().await.unwrap();
            killed.elapsed()
        };
        let stop = CancellationToken::new();
        let (outcome, outage) = tokio::join!(load::run(&plan, &|_| {}, &stop), outage);
        let outcome = outcome.unwrap();
        eprintln!("broker away for {outage:?}\n{}", outcome.table());
        let figures = &outcome.figures;
        assert_eq!(figures.accepted, figures.meant, "a request failed while the broker was away");
        assert_eq!((figures.lost, figures.put_off.len(), figures.undecided), (0, 0, 0));
        let ends = outcome.ends.unwrap();
        assert_eq!(ends.by_status.keys().collect::<Vec<_>>(), ["succeeded"], "{ends:?}");
        fleet.verify().await;
    })
    .await;
}
