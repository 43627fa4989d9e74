//! `payfleet verify` as a program: what scripts learn from its exit code.

use std::process::Output;

use payfleet::ops::verify::Rest;
use serde_json::Value;
use tokio::process::Command;

use super::books::World;

/// Of everything that there is of this world, where nothing else is said.
async fn judge(world: &World, postgres: &str, more: &[&str]) -> Output {
    let inputs = world.inputs(Rest::Live);
    let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
    command.env_clear().env("PAYFLEET_POSTGRES__URL", postgres);
    if let Some(kafka) = inputs.kafka {
        command.env("PAYFLEET_KAFKA__BROKERS", kafka.brokers).env("PAYFLEET_KAFKA__TOPIC_PREFIX", kafka.topic_prefix);
    }
    command.arg("verify").arg("--charge-log").arg(inputs.charge_log.unwrap());
    command.arg("--load-log").arg(inputs.load_log.unwrap()).args(more);
    command.output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn its_exit_code_tells_held_from_violated_from_not_checkable() {
    let mut world = World::lawful().await;
    world.publish().await;
    let url = world.database.url.clone();
    let held = judge(&world, &url, &[]).await;
    assert_eq!(held.status.code(), Some(0), "{}", text(&held));

    let unread = judge(&world, &url, &["--no-topics"]).await;
    assert_eq!(unread.status.code(), Some(2), "{}", text(&unread));
    assert!(text(&unread).contains("not checkable: no brokers were given"), "{}", text(&unread));

    world.sql("UPDATE accounts SET available = available + 1").await;
    let violated = judge(&world, &url, &[]).await;
    assert_eq!(violated.status.code(), Some(1), "{}", text(&violated));
    // What could not be judged does not hide what was.
    let both = judge(&world, &url, &["--no-topics", "--json"]).await;
    assert_eq!(both.status.code(), Some(1), "{}", text(&both));
    assert_eq!(serde_json::from_slice::<Value>(&both.stdout).unwrap()["verdict"], "violated");
}

#[tokio::test]
async fn books_that_are_away_are_not_checkable_and_not_a_violation() {
    let world = World::empty().await;
    let nowhere = "postgres://payfleet_app@127.0.0.1:1/payfleet";
    let away = judge(&world, nowhere, &["--no-topics"]).await;
    assert_eq!(away.status.code(), Some(2), "{}", text(&away));
    assert!(text(&away).starts_with("not checkable: the books cannot be read"), "{}", text(&away));
    let json = judge(&world, nowhere, &["--no-topics", "--json"]).await;
    let said: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &said["verdict"]), (Some(2), &"not_checkable".into()), "{said}");
}
