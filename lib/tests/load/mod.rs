//! Guarantees of the load generator.

mod server;

use std::collections::HashSet;
use std::time::Duration;

use payfleet::load::{Funding, Mix, Outcome, Pace, Payers, Plan, Until, run};
use payfleet::ops::load_log::{Event, read};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use server::{Says, Server};

fn plan(servers: &[&Server], payments: u64) -> Plan {
    Plan {
        bases: servers.iter().map(|server| server.base()).collect(),
        payers: Payers::WithKeys(vec!["pf_test_load".into()]),
        mix: Mix { withdrawals: 0.0, ..Mix::default() },
        pace: Pace::Saturating,
        until: Until::Payments(payments),
        connections: 1,
        funding: Funding::None,
        settle_within: None,
        ..Plan::default()
    }
}

async fn load(plan: &Plan) -> Outcome {
    run(plan, &|_| (), &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_payment_whose_answer_is_lost_is_sent_again_under_the_same_key() {
    let server = Server::start([Says::LoseAnswer, Says::LoseAnswer, Says::Accept]).await;
    let outcome = load(&plan(&[&server], 1)).await;
    let posts = server.posts();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|post| post.key == posts[0].key && post.body == posts[0].body), "{posts:?}");
    let figures = &outcome.figures;
    assert_eq!((figures.accepted, figures.lost, figures.not_connected, figures.resends), (1, 2, 0, 2));
    assert!(outcome.is_complete());
}

#[tokio::test]
async fn a_payment_that_is_put_off_is_sent_again_and_not_sooner_than_told() {
    let server = Server::start([Says::ComeBackIn(1), Says::Status(503), Says::Status(409), Says::Accept]).await;
    let begin = std::time::Instant::now();
    let outcome = load(&plan(&[&server], 1)).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(outcome.figures.put_off.keys().copied().collect::<Vec<_>>(), [409, 429, 503]);
    assert_eq!(outcome.figures.put_off_vaguely, 2, "only the 429 said when to come again");
    assert_eq!(server.posts().iter().map(|post| &post.key).collect::<HashSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_load_that_needs_one_connection_at_a_time_is_spread_over_all_bases() {
    let servers = [Server::start([]).await, Server::start([]).await];
    let slow = Plan { connections: 4, pace: Pace::PerSecond(200.0), ..plan(&[&servers[0], &servers[1]], 40) };
    load(&slow).await;
    assert!(
        servers.iter().all(|server| server.posts().len() >= 10),
        "{:?}",
        servers.map(|server| server.posts().len())
    );
}

#[tokio::test]
async fn a_refused_payment_is_not_sent_again() {
    let server = Server::start([Says::Status(402), Says::Status(422)]).await;
    let outcome = load(&plan(&[&server], 3)).await;
    assert_eq!(server.posts().len(), 3);
    assert_eq!(outcome.figures.refused.into_iter().collect::<Vec<_>>(), [(402, 1), (422, 1)]);
}

#[tokio::test]
async fn a_payment_is_given_up_only_when_the_patience_is_over() {
    let server = Server::start([Says::Status(500); 50]).await;
    let plan = Plan { patience: Duration::from_millis(300), ..plan(&[&server], 1) };
    let outcome = load(&plan).await;
    assert_eq!((outcome.figures.undecided, outcome.figures.accepted), (1, 0));
    assert!(!outcome.is_complete());
    assert!(server.posts().len() > 1);
}

#[tokio::test]
async fn when_an_ingress_is_gone_the_others_take_its_payments() {
    let (gone, stays) = (Server::start([]).await, Server::start([]).await);
    let both = Plan { connections: 4, ..plan(&[&gone, &stays], 100) };
    assert_eq!(load(&both).await.figures.accepted, 100);
    assert!(!gone.posts().is_empty() && !stays.posts().is_empty());
    // The balance is asked of the first base before the run; here the one that stays.
    gone.kill();
    let outcome = load(&Plan { bases: vec![stays.base(), gone.base()], ..both }).await;
    assert_eq!(outcome.figures.accepted, 100);
    assert!(outcome.figures.not_connected > 0, "{:?}", outcome.figures);
}

#[tokio::test]
async fn a_connection_that_its_server_closes_after_each_answer_loses_none() {
    let server = Server::start([Says::AcceptAndClose; 20]).await;
    let outcome = load(&plan(&[&server], 20)).await;
    assert_eq!((outcome.figures.accepted, outcome.figures.lost), (20, 0));
}

#[tokio::test]
async fn waiting_for_a_slow_answer_counts_for_all_who_waited() {
    let slow = Duration::from_millis(400);
    let server = Server::start([Says::AcceptAfter(slow)]).await;
    let plan = Plan { pace: Pace::PerSecond(100.0), ..plan(&[&server], 20) };
    let outcome = load(&plan).await;
    let waited = outcome.figures.decided_after.quantiles();
    // One connection: the first holds it for 400 ms, in which the other 19 were meant to be sent, 10 ms apart.
    assert!(waited.p50_ms > 250.0, "half of them were meant at least 250 ms before they could be sent: {waited:?}");
    assert_eq!(server.posts().len(), 20);
}

#[tokio::test]
async fn payments_are_sent_at_their_rate() {
    let server = Server::start([]).await;
    let outcome = load(&Plan { pace: Pace::PerSecond(200.0), connections: 8, ..plan(&[&server], 100) }).await;
    assert!(outcome.sent_for >= Duration::from_millis(490), "{:?}", outcome.sent_for);
}

#[tokio::test]
async fn the_run_waits_until_all_are_final() {
    let server = Server::start([]).await;
    server.keep_open_for(7);
    let outcome = load(&Plan { settle_within: Some(Duration::from_secs(30)), ..plan(&[&server], 5) }).await;
    let ends = outcome.ends.as_ref().unwrap();
    assert_eq!((ends.open, ends.by_status.get("succeeded")), (0, Some(&5)));
    assert_eq!(server.gets(), 12);
    assert_eq!(outcome.settled_after.quantiles().p50_ms, 250.0);
}

#[tokio::test]
async fn payments_that_are_not_final_within_the_bound_are_told() {
    let server = Server::start([]).await;
    server.keep_open_for(usize::MAX);
    let outcome = load(&Plan { settle_within: Some(Duration::from_secs(1)), ..plan(&[&server], 2) }).await;
    let ends = outcome.ends.as_ref().unwrap();
    assert_eq!((ends.open, ends.by_status.get("processing")), (2, Some(&2)));
    assert!(!outcome.is_complete() && outcome.table().contains("2 NOT FINAL"), "{}", outcome.table());
}

#[tokio::test]
async fn payments_that_nobody_looked_at_within_the_bound_are_open() {
    let server = Server::start([]).await;
    // Looks are milliseconds apart: one at each of them takes far longer than the bound.
    let outcome = load(&Plan { settle_within: Some(Duration::from_millis(100)), ..plan(&[&server], 300) }).await;
    let ends = outcome.ends.as_ref().unwrap();
    let settled = ends.by_status.get("succeeded").copied().unwrap_or_default();
    assert_eq!(settled + ends.open, 300, "{ends:?}");
    assert_eq!(ends.by_status.get("not looked at"), Some(&ends.open));
    assert!(ends.open >= 200 && !outcome.is_complete(), "{ends:?}");
}

#[tokio::test]
async fn the_log_tells_what_was_meant_before_what_was_answered() {
    let server = Server::start([Says::LoseAnswer, Says::Status(503), Says::Accept, Says::Status(402)]).await;
    let path = std::env::temp_dir().join(format!("payfleet-load-{}.jsonl", Uuid::now_v7()));
    load(&Plan { log: Some(path.clone()), ..plan(&[&server], 2) }).await;
    let lines = read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let said: Vec<&str> = lines
        .iter()
        .map(|line| match &line.event {
            Event::Intent { .. } => "meant",
            Event::Lost { .. } => "lost",
            Event::Answer { status: 202, transaction: Some(_), .. } => "accepted",
            Event::Answer { status: 503, .. } => "put off",
            Event::Answer { .. } => "refused",
        })
        .collect();
    // The second may be sent while the first waits to be sent again.
    let of = |key: &str| {
        lines.iter().zip(&said).filter(|(line, _)| line.key == key).map(|(_, said)| *said).collect::<Vec<_>>()
    };
    let mut stories = [of(&lines[0].key), of(&lines.iter().find(|line| line.key != lines[0].key).unwrap().key)];
    stories.iter_mut().for_each(|story| assert_eq!(story.remove(0), "meant"));
    let mut rest: Vec<&str> = stories.concat();
    rest.sort_unstable();
    assert_eq!(rest, ["accepted", "lost", "put off", "refused"]);
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_sends_nothing_more() {
    let server = Server::start([]).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = run(&plan(&[&server], 1_000), &|_| (), &stop).await.unwrap();
    assert_eq!((outcome.figures.meant, server.posts().len()), (0, 0));
}
