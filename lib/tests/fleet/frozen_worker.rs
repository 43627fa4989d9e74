//! A worker stands still between the commit of an attempt and its call for longer than its group waits for it, and goes on when others
//! have decided all its payments.

use std::time::Duration;

use payfleet::load::{self, Pace, Until};
use payfleet::service::failpoint::Window;
use serde_json::Value;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::crew::{Fleet, Place, Role, with_fleet};
use super::killed::SETTINGS;
use super::windows::Windows;
use crate::harness::eventually;

const PAYMENTS: u64 = 80;
const FROZEN: Place = (Role::Worker, 0);
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_worker_frozen_before_its_call_sends_nothing_and_changes_nothing_when_it_thaws_after_others_have_decided() {
    let armed = [(FROZEN, Windows::for_a_while(Window::C9, 50))];
    with_fleet("frozen_worker", &SETTINGS, &armed, async |fleet: &mut Fleet| {
        let mut plan = fleet.load();
        (plan.pace, plan.until) = (Pace::PerSecond(16.0), Until::Payments(PAYMENTS));
        plan.settle_within = Some(Duration::from_secs(120));
        let worker = fleet.take(FROZEN);
        let log = Windows { log: fleet.site.windows() };
        let freezing = async {
            loop {
                let stay = log.until_inside(Window::C9, &worker, LIMIT).await;
                worker.freeze();
                if !log.has_left(Window::C9, stay) {
                    return stay;
                }
                // Too late.
                worker.thaw();
            }
        };
        let stop = CancellationToken::new();
        let (outcome, stay) = tokio::join!(load::run(&plan, &|_| {}, &stop), freezing);
        let outcome = outcome.unwrap();
        eprintln!("{}", outcome.table());
        assert!(outcome.is_complete(), "payments wait for a worker that stands still");
        let ends = outcome.ends.unwrap();
        assert_eq!(ends.by_status.keys().collect::<Vec<_>>(), ["succeeded"], "{ends:?}");

        let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
        let before = (calls(fleet), entries(&mut books).await);
        worker.thaw();
        eventually("the thawed worker to go on to its call", LIMIT, async || {
            log.has_left(Window::C9, stay).then_some(())
        })
        .await;
        // It ends only when it has done with all that it has in hand.
        let ended = worker.stop().await;
        assert!(ended.success(), "{ended}");
        assert_eq!((calls(fleet), entries(&mut books).await), before, "the thawed worker called a gateway or booked");
        let another = fleet.start(FROZEN, "").ready().await;
        fleet.put(FROZEN, another);
        fleet.verify().await;
    })
    .await;
}

/// Requests that could move money, by the gateways' own log.
fn calls(fleet: &Fleet) -> usize {
    let log = std::fs::read_to_string(fleet.site.charge_log()).unwrap();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let calls = entries.filter(|entry| entry["entry"] == "request" && entry["money_moving"] == true).count();
    assert!(calls as u64 >= PAYMENTS, "the log is read wrongly: {calls} calls for {PAYMENTS} payments");
    calls
}

async fn entries(books: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM ledger_entries").fetch_one(books).await.unwrap()
}
