//! The checker beside a fleet at work: it may not know yet how something will end, and must never call it wrong.

use std::time::Duration;

use payfleet::load::{self, Mix, Pace, Until};
use payfleet::ops::verify::{Rest, Sessions, Sightings, Verdict, verify_with};
use tokio_util::sync::CancellationToken;

use super::crew::{Fleet, with_fleet};

const SETTINGS: [(&str, &str); 2] = [("SIM__CUSTOMER", "approve"), ("SIM__CUSTOMER_AFTER_MS", "500")];

/// Declined, approved by the customer, answered late or only when asked; the rest succeed at once.
const ENDINGS: [u16; 4] = [901, 902, 907, 903];

#[tokio::test]
async fn judged_again_and_again_a_fleet_at_work_is_never_called_wrong() {
    with_fleet("judged", &SETTINGS, &[], async |fleet: &mut Fleet| {
        let mut plan = fleet.load();
        plan.mix = Mix { endings: ENDINGS.map(|ending| (ending, 0.05)).into(), ..Mix::default() };
        (plan.pace, plan.until) = (Pace::PerSecond(20.0), Until::Payments(300));
        plan.settle_within = Some(Duration::from_secs(180));
        let sightings = Sightings {
            final_within: Some(Duration::from_secs(300)),
            sessions: Some(Sessions { over: Duration::from_millis(500), most: Some(200) }),
            ..Sightings::default()
        };
        let (inputs, settled) = (fleet.inputs(Rest::Live), CancellationToken::new());
        let judging = async {
            let mut under_way = Vec::new();
            while !settled.is_cancelled() {
                let report = verify_with(&inputs, &sightings, &|_| {}).await.unwrap();
                assert_ne!(report.verdict(), Verdict::Violated, "\n{}", report.table());
                under_way.push(report.findings.iter().map(|finding| finding.under_way).sum::<u64>());
            }
            under_way
        };
        let loading = async {
            let outcome = load::run(&plan, &|_| {}, &CancellationToken::new()).await;
            settled.cancel();
            outcome.unwrap()
        };
        let (outcome, under_way) = tokio::join!(loading, judging);
        eprintln!("{}\nunder way, as judged each time: {under_way:?}", outcome.table());
        assert!(outcome.is_complete(), "{}", outcome.table());
        let in_the_middle = under_way.iter().filter(|payments| **payments > 0).count();
        assert!(in_the_middle >= 3, "the checker never saw the fleet at work: {under_way:?}");
        fleet.verify().await;
    })
    .await;
}
