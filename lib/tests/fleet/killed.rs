//! Processes are killed where it costs most, and one is frozen until others have its work.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payfleet::load::{self, Mix, Pace, Until};
use payfleet::service::failpoint::Window;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::chosen;
use super::crew::{Fleet, Place, Role, with_fleet};
use super::process::Process;
use super::site::Site;
use super::windows::Windows;
use crate::chaos;
use crate::harness::eventually;

/// Who is killed in which windows, one after the other: (window, percent of its visits that last until the kill).
const VICTIMS: [(Place, &[(Window, u32)]); 3] = [
    (
        (Role::Ingress, 0),
        &[(Window::C1, 5), (Window::C2, 5), (Window::C3, 5), (Window::C4, 5), (Window::C13, 5), (Window::C14, 5)],
    ),
    ((Role::Worker, 0), &[(Window::C15, 100), (Window::C8, 10), (Window::C9, 10), (Window::C12, 10)]),
    ((Role::Worker, 1), &[(Window::C17, 100), (Window::C16, 100), (Window::C10, 10), (Window::C11, 10)]),
];
/// Only one of the relays keeps house, whichever that is: it is killed while it does, and then in these windows.
const RELAYS: [Place; 3] = [(Role::Relay, 0), (Role::Relay, 1), (Role::Relay, 2)];
const KEEPS_HOUSE: (Window, u32) = (Window::C18, 100);
const OF_RELAY: &[(Window, u32)] = &[(Window::C5, 10), (Window::C6, 10), (Window::C7, 10)];

/// A victim stands in its next window within this time, or the load does not reach it.
const INSIDE_WITHIN: Duration = Duration::from_secs(60);

/// Short ways for a short test: how long things last, not what is done about them.
pub const SETTINGS: [(&str, &str); 13] = [
    ("SETTLEMENT__SCHEDULE", "1s 3s 5s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s 10s"),
    ("SETTLEMENT__SETTLE_WINDOW_MS", "2000"),
    ("SETTLEMENT__MARGIN_MS", "500"),
    ("SETTLEMENT__RETRY_FIRST_MS", "1000"),
    ("SETTLEMENT__RETRY_LONGEST_MS", "10000"),
    ("RECONCILER__LEAVE_MS", "10000"),
    ("GATEWAYS__STRIPE__LIMITS__CALL_MS", "3000"),
    ("GATEWAYS__PAYPAL__LIMITS__CALL_MS", "3000"),
    ("GATEWAYS__BANK__LIMITS__CALL_MS", "3000"),
    // One machine, one clock.
    ("GATEWAYS__STRIPE__CLOCK_SKEW_S", "2"),
    ("SIM__CUSTOMER", "approve"),
    ("SIM__CUSTOMER_AFTER_MS", "500"),
    // Slots of the ring are left and truncated again and again within the run, now by one relay and now by another.
    ("RELAY__ROTATE_MS", "1000"),
];

/// Its callback comes before the answer: what C15 needs.
const CALLBACK_FIRST: u16 = 911;

/// Payments with something to them: declined, approved by the customer, answered late, wrongly or never.
fn mix() -> Mix {
    Mix {
        withdrawals: 0.3,
        endings: (901..=912).map(|ending| (ending, if ending == CALLBACK_FIRST { 0.16 } else { 0.04 })).collect(),
        gateways: ["stripe", "paypal", "bank"].map(str::to_owned).into(),
        ..Mix::default()
    }
}

#[tokio::test]
async fn processes_killed_in_every_window_and_a_frozen_relay_lose_double_and_forget_nothing() {
    let armed = |place, (window, percent)| (place, Windows::wide(window, percent));
    let victims = VICTIMS.iter().map(|(place, windows)| armed(*place, windows[0]));
    let armed: Vec<_> = victims.chain(RELAYS.map(|place| armed(place, KEEPS_HOUSE))).collect();
    with_fleet("killed", &SETTINGS, &armed, async |fleet: &mut Fleet| {
        let payments = chosen("PAYFLEET_TEST_PAYMENTS", 400);
        let mut plan = fleet.load();
        (plan.mix, plan.until) = (mix(), Until::Payments(payments));
        plan.pace = Pace::PerSecond((payments as f64 / 40.0).clamp(12.0, 40.0));
        plan.settle_within = Some(Duration::from_secs(300));
        let victims = VICTIMS.map(|(place, _)| fleet.take(place));
        let relays = RELAYS.map(|place| (place, fleet.take(place)));

        let everyone: &Fleet = fleet;
        let killing = VICTIMS.iter().zip(victims).map(|((place, windows), victim)| async move {
            (*place, kill_in_each(everyone, *place, victim, windows).await)
        });
        let stop = CancellationToken::new();
        let (outcome, replaced, relays) =
            tokio::join!(load::run(&plan, &|_| {}, &stop), join_all(killing), break_relays(everyone, relays));
        replaced.into_iter().chain(relays).for_each(|(place, process)| fleet.put(place, process));

        let outcome = outcome.unwrap();
        eprintln!("{}", outcome.table());
        assert!(outcome.is_complete(), "not every payment was decided and became final");
        let figures = &outcome.figures;
        assert_eq!((figures.accepted, figures.refused.len()), (payments, 0));
        assert!(figures.lost > 0 && figures.resends >= figures.lost, "no answer was lost: nobody had to repeat a key");
        let ends = outcome.ends.unwrap().by_status;
        assert_eq!(ends.keys().collect::<Vec<_>>(), ["failed", "succeeded"], "{ends:?}");
        only_declines_failed(fleet).await;
        fleet.verify().await;
    })
    .await;
}

/// What failed was declined by a gateway. Only what gateways refuse to put on their books at all (910) is rejected or, where the answer to
/// its first call was lost, not executed.
async fn only_declines_failed(fleet: &Fleet) {
    let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
    let others =
        "SELECT substatus, gateway, amount FROM transactions WHERE status = 'failed' AND substatus <> 'declined'
        AND NOT (amount % 1000 = 910 AND substatus IN ('rejected', 'not_executed'))";
    let others: Vec<(String, String, i64)> = sqlx::query_as(others).fetch_all(&mut books).await.unwrap();
    assert!(others.is_empty(), "{others:?}");
}

/// Kills whoever holds the place once in each window, while it stands inside, and replaces it at once.
async fn kill_in_each(fleet: &Fleet, place: Place, victim: Process, windows: &[(Window, u32)]) -> Process {
    let log = Windows { log: fleet.site.windows() };
    let mut process = victim;
    for (n, (window, _)) in windows.iter().enumerate() {
        let stay = tokio::select! {
            stay = log.until_inside(*window, &process, INSIDE_WITHIN) => stay,
            () = poison(&fleet.site), if *window == Window::C17 => unreachable!("it ends with the kill"),
        };
        let name = process.name.clone();
        process.kill().await;
        assert!(!log.has_left(*window, stay), "{name} was killed outside of {}", window.name());
        eprintln!("{name} was killed in {}", window.name());
        let next = windows.get(n + 1).map(|(next, percent)| Windows::wide(*next, *percent));
        process = fleet.start(place, &next.unwrap_or_default()).ready().await;
    }
    process
}

/// Kills the relay that keeps house while it does, and then in each of its other windows; freezes another meanwhile.
async fn break_relays(fleet: &Fleet, relays: [(Place, Process); 3]) -> [(Place, Process); 3] {
    let log = Windows { log: fleet.site.windows() };
    let (window, _) = KEEPS_HOUSE;
    let keeps_house = async || {
        let inside = |(n, (_, relay)): (usize, &(Place, Process))| Some((n, log.stay_of(window, relay)?));
        relays.iter().enumerate().find_map(inside)
    };
    let (n, stay) = eventually("a relay to stand in c18", INSIDE_WITHIN, keeps_house).await;
    let mut relays = relays;
    relays.rotate_left(n);
    let [(place, keeper), second, third] = relays;
    let name = keeper.name.clone();
    keeper.kill().await;
    assert!(!log.has_left(window, stay), "{name} was killed outside of {}", window.name());
    eprintln!("{name} was killed in {}", window.name());
    let (next, percent) = OF_RELAY[0];
    let keeper = fleet.start(place, &Windows::wide(next, percent)).ready().await;
    // Else whoever keeps house next would stand there, too.
    let second = replace(fleet, second).await;
    let third = replace(fleet, third).await;
    let (keeper, frozen) =
        tokio::join!(kill_in_each(fleet, place, keeper, OF_RELAY), freeze_past_lease(fleet, second.1));
    [(place, keeper), (second.0, frozen), third]
}

/// Ends whoever holds the place, and puts one there that stands nowhere.
async fn replace(fleet: &Fleet, (place, process): (Place, Process)) -> (Place, Process) {
    let status = process.stop().await;
    assert!(status.success(), "{place:?}: {status}");
    (place, fleet.start(place, "").ready().await)
}

/// Puts records on a topic that nobody can read, again and again: the victim has but some of its partitions, and not all hold records yet.
async fn poison(site: &Site) {
    let mut turns = tokio::time::interval(Duration::from_secs(1));
    loop {
        turns.tick().await;
        chaos::poison::spread(&site.kafka.brokers()).await.ok();
    }
}

/// Stops a relay that holds lanes until others have taken all of them, lets it go on, and waits until it is a useful member again.
async fn freeze_past_lease(fleet: &Fleet, relay: Process) -> Process {
    let mut books = fleet.site.postgres_settings().connect("fleet-test").await.unwrap();
    let limit = Duration::from_secs(30);
    eventually("the relay to hold lanes", limit, async || {
        (!holds(&mut books, &relay.name).await.is_empty()).then_some(())
    })
    .await;
    relay.freeze();
    let begun = Instant::now();
    let lanes = holds(&mut books, &relay.name).await;
    assert!(!lanes.is_empty(), "{} let its lanes go before it was frozen", relay.name);
    eventually("others to take its lanes", limit, async || {
        holds(&mut books, &relay.name).await.is_empty().then_some(())
    })
    .await;
    eprintln!("{} was frozen for {:?}", relay.name, begun.elapsed());
    // From here on every lane that it holds, it has taken anew.
    relay.thaw();
    eventually("the thawed relay to hold lanes anew", limit, async || {
        (!holds(&mut books, &relay.name).await.is_empty()).then_some(())
    })
    .await;
    relay
}

/// The lanes that relays of this name hold.
async fn holds(books: &mut PgConnection, name: &str) -> Vec<i16> {
    let lanes = "SELECT lanes.lane FROM relays JOIN lanes ON lanes.relay = relays.id WHERE relays.name = $1";
    sqlx::query_scalar(lanes).bind(name).fetch_all(books).await.unwrap()
}
