//! The fleet of one process is killed and started again.

use std::time::Duration;

use payfleet::dev::servers::free_port;
use payfleet::load::{self, Mix, Pace, Payers, Plan, Until};
use tokio_util::sync::CancellationToken;

use super::Dev;
use crate::harness::eventually;

const PAYMENTS: u64 = 200;

/// The embedded broker forgets everything when it dies: what brings the payments home is that each says when it is due.
#[tokio::test]
async fn killed_in_the_middle_of_200_payments_and_started_again_it_finishes_all_of_them_by_itself() {
    let port = free_port().unwrap();
    let listen = ("INGRESS__LISTEN", format!("127.0.0.1:{port}"));
    let simulator = ("SIM__LISTEN", format!("127.0.0.1:{}", free_port().unwrap()));
    let mut dev = Dev::begin("killed", &[listen, simulator]).await;
    let plan = Plan {
        bases: vec![format!("http://127.0.0.1:{port}").parse().unwrap()],
        payers: Payers::WithKeys(["pf_test_demo_de", "pf_test_demo_us"].map(str::to_owned).into()),
        mix: Mix {
            withdrawals: 0.3,
            // Declined, waiting for the customer, lost after and before charging, late, silent.
            endings: [901, 902, 903, 904, 907, 908].map(|ending| (ending, 0.05)).into(),
            gateways: ["stripe", "paypal", "bank"].map(str::to_owned).into(),
            ..Mix::default()
        },
        pace: Pace::PerSecond(50.0),
        until: Until::Payments(PAYMENTS),
        settle_within: None,
        ..Plan::default()
    };
    let stop = CancellationToken::new();
    let loading = tokio::spawn(async move { load::run(&plan, &|_| {}, &stop).await.unwrap() });
    let books = Books { home: dev.home.clone() };
    eventually("half of the payments to be accepted", Duration::from_secs(60), async || {
        (books.count("true").await? >= PAYMENTS / 2).then_some(())
    })
    .await;
    dev.kill().await;
    dev.start().await;
    let outcome = loading.await.unwrap();
    assert_eq!((outcome.figures.accepted, outcome.figures.undecided), (PAYMENTS, 0), "{}", outcome.table());

    // The longest way: never answered, asked on the usual schedule, sent again when the gateway has said twice that it knows nothing.
    eventually("every payment to be final, or with its customer", Duration::from_secs(300), async || {
        let open = "status NOT IN ('succeeded', 'failed', 'requires_action')";
        (books.count(open).await? == 0).then_some(())
    })
    .await;
    assert!(books.count("status = 'requires_action'").await.unwrap() > 0, "no customer was asked");
    assert!(books.count("status = 'succeeded'").await.unwrap() > PAYMENTS / 2);
    dev.stop().await;
}

/// What stands in the fleet's own database, whoever runs it now.
struct Books {
    home: std::path::PathBuf,
}

impl Books {
    /// How many payments there are of which this is true. None while there is no database to ask.
    async fn count(&self, condition: &'static str) -> Option<u64> {
        let instance = payfleet::service::instance::Instance::read(&self.home.join("run/fleet.json"))?;
        let port = instance.ports.get("postgres")?;
        let password = std::fs::read_to_string(self.home.join("secrets/app_password")).ok()?;
        let url = format!("postgres://payfleet_app:{}@127.0.0.1:{port}/payfleet", password.trim());
        let mut connection = payfleet::postgres::Settings { url, ..Default::default() }.connect("test").await.ok()?;
        let count = format!("SELECT count(*) FROM transactions WHERE {condition}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.ok()?;
        u64::try_from(count).ok()
    }
}
