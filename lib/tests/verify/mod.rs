//! Guarantees of verify: a lawful world is accepted, and each kind of corruption is rejected under its own name.

mod books;
mod callbacks;
mod charges;
mod command;
mod commands;
mod ended;
mod events;
mod keys;
mod money;
mod payments;
mod rights;
mod seen;
mod steps;
mod topics;

use payfleet::domain::ids::Kind;
use payfleet::ops::verify::{Invariant, Rest, Verdict, verify};

use books::World;

#[tokio::test]
async fn a_lawful_history_is_accepted() {
    let mut world = World::lawful().await;
    world.publish().await;
    for rest in [Rest::Live, Rest::AtRest] {
        let report = world.judge(rest).await;
        assert_eq!(report.exit_code(), 0, "{}", report.table());
        assert_eq!(report.findings.len(), if rest == Rest::AtRest { 20 } else { 19 });
        assert!(report.findings.iter().all(|finding| finding.checked > 0), "{}", report.table());
    }
}

#[tokio::test]
async fn what_is_under_way_is_wrong_only_at_rest() {
    let mut world = World::lawful().await;
    let mut charged = world.accepted(Kind::Deposit, 4_000).await;
    world.submitted(&mut charged).await;
    world.charge(&charged, "succeeded", 4_000);
    let mut waiting = world.records.split_off(world.records.len() - 3);
    world.publish().await;
    for record in &waiting {
        world.in_outbox(record).await;
    }
    let live = world.judge(Rest::Live).await;
    assert_eq!(live.exit_code(), 0, "{}", live.table());
    assert_eq!(live.finding(Invariant::I9).unwrap().under_way, 3);
    assert_eq!(live.finding(Invariant::I5).unwrap().under_way, 1);
    let rest = world.judge(Rest::AtRest).await;
    for invariant in [Invariant::I5, Invariant::I7, Invariant::I9] {
        assert_eq!(rest.finding(invariant).unwrap().verdict(), Verdict::Violated, "{}", rest.table());
    }
    world.records.append(&mut waiting);
    world.publish().await;
    assert_eq!(world.judge(Rest::Live).await.finding(Invariant::I9).unwrap().under_way, 0);
}

#[tokio::test]
async fn empty_books_and_missing_sources_are_not_checkable() {
    let world = World::empty().await;
    let mut inputs = world.inputs(Rest::Live);
    (inputs.charge_log, inputs.load_log) = (None, None);
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!(report.exit_code(), 2, "{}", report.table());
    // What the application may do can be asked of a database in which nothing was done yet.
    let judged: Vec<Invariant> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict() == Verdict::Held)
        .map(|finding| finding.invariant)
        .collect();
    assert_eq!(judged, [Invariant::I18]);
    let others = report.findings.iter().filter(|finding| finding.invariant != Invariant::I18);
    let verdicts: Vec<Verdict> = others.map(|finding| finding.verdict()).collect();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::NotCheckable), "{}", report.table());
    for said in ["there are no ledger entries to judge by", "no brokers were given", "no charge log was given"] {
        assert!(report.table().contains(said), "{said}: {}", report.table());
    }
}

#[tokio::test]
async fn judging_changes_nothing() {
    let world = World::lawful().await;
    let before: String = fingerprint(&world).await;
    world.judge(Rest::AtRest).await;
    assert_eq!(fingerprint(&world).await, before);
}

/// Of the tables that a writer would touch.
async fn fingerprint(world: &World) -> String {
    let sums = "SELECT concat((SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM transactions t),
                              (SELECT md5(string_agg(e::text, '' ORDER BY id)) FROM ledger_entries e),
                              (SELECT md5(string_agg(x::text, '' ORDER BY transaction_id, version)) FROM transitions x))";
    sqlx::query_scalar(sums).fetch_one(world.owner()).await.unwrap()
}
