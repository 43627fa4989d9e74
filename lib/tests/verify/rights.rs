//! I18: an application that could rewrite history.

use payfleet::ops::verify::{Inputs, Invariant, Rest, Verdict, verify};
use uuid::Uuid;

use super::books::World;

async fn rejects(corruption: &str, saying: &str) {
    let world = World::lawful().await;
    assert_eq!(world.judge_only(Invariant::I18, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(corruption).await;
    let finding = world.judge_only(Invariant::I18, Rest::Live).await;
    assert_eq!(finding.examples, [saying], "after {corruption}");
}

#[tokio::test]
async fn a_right_to_change_what_was_written_is_found() {
    for (granted, saying) in [
        ("UPDATE ON ledger_entries TO payfleet_app", "payfleet_app may UPDATE ledger_entries"),
        ("UPDATE (amount) ON ledger_entries TO payfleet_app", "payfleet_app may UPDATE ledger_entries"),
        ("DELETE ON transitions TO payfleet_app", "payfleet_app may DELETE transitions"),
        ("TRUNCATE ON transitions TO PUBLIC", "payfleet_app may TRUNCATE transitions"),
        ("TRIGGER ON ledger_entries TO payfleet_app", "payfleet_app may TRIGGER ledger_entries"),
        ("UPDATE (actor) ON audit TO payfleet_app", "payfleet_app may UPDATE audit"),
        ("DELETE ON audit TO payfleet_app", "payfleet_app may DELETE audit"),
    ] {
        rejects(&format!("GRANT {granted}"), saying).await;
    }
}

#[tokio::test]
async fn an_application_that_may_act_as_the_owner_is_found() {
    // Roles are the server's, which other tests use too: one of this test's own.
    let owner = format!("owner_{}", Uuid::now_v7().simple());
    let world = World::lawful().await;
    world.sql(&format!("CREATE ROLE {owner}; ALTER TABLE transitions OWNER TO {owner}")).await;
    assert_eq!(world.judge_only(Invariant::I18, Rest::Live).await.verdict(), Verdict::Held);
    world.sql(&format!("GRANT {owner} TO payfleet_app")).await;
    let finding = world.judge_only(Invariant::I18, Rest::Live).await;
    assert!(finding.examples.contains(&"payfleet_app may act as the owner of transitions".to_owned()), "{finding:?}");
    world.sql(&format!("REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP ROLE {owner}")).await;
}

#[tokio::test]
async fn a_fleet_that_connects_as_the_owner_is_found() {
    let world = World::lawful().await;
    let mut inputs = Inputs { only: [Invariant::I18].into(), ..world.inputs(Rest::Live) };
    let (application, server) = inputs.postgres.url.split_once('@').unwrap();
    assert!(application.contains("payfleet_app"));
    let owner = crate::harness::postgres_url();
    let (owner, _) = owner.split_once('@').unwrap();
    inputs.postgres.url = format!("{owner}@{server}");
    let report = verify(&inputs, &|_| ()).await.unwrap();
    assert_eq!(report.exit_code(), 1, "{}", report.table());
}

#[tokio::test]
async fn a_trigger_that_is_switched_off_is_found() {
    let world = World::lawful().await;
    world.sql("ALTER TABLE ledger_entries DISABLE TRIGGER ALL").await;
    let finding = world.judge_only(Invariant::I18, Rest::Live).await;
    assert_eq!(finding.verdict(), Verdict::Violated);
    assert!(
        finding.examples.iter().all(|example| example.ends_with("of ledger_entries is switched off")),
        "{finding:?}"
    );
}
