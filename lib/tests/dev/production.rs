//! Where the fleet of a developer's machine has no business.

use payfleet::service::config::EXIT_BAD_SETTINGS;

use super::{Dev, READY_WITHIN};

#[tokio::test]
async fn told_that_this_is_production_it_refuses_before_it_makes_anything() {
    let dev = Dev::on_nothing("production", &[]).await;
    let mut command = dev.command();
    command.env("PAYFLEET_ENV", "production").kill_on_drop(true);
    let refused = tokio::time::timeout(READY_WITHIN, command.output()).await.expect("it runs").unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(i32::from(EXIT_BAD_SETTINGS)), "{told}");
    assert!(told.contains("1 setting cannot") && told.contains("PAYFLEET_ENV"), "{told}");
    assert!(refused.stdout.is_empty() && !dev.home.exists(), "something was made or begun");
}
