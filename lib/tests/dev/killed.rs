//! The fleet of one process is killed and started again.

use std::time::Duration;

use payfleet::dev::servers::free_port;
use payfleet::load::{self, Mix, Pace, Payers, Plan, Until};
use payfleet::service::instance::Instance;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::Dev;
use crate::harness::eventually;
use crate::ingress::client::Client;

const PAYMENTS: u64 = 200;

/// The embedded broker forgets everything when it dies: what brings the payments home is that each says when it is due.
#[tokio::test]
async fn killed_in_the_middle_of_200_payments_and_started_again_it_finishes_all_of_them_by_itself() {
    let port = free_port().unwrap();
    let listen = ("INGRESS__LISTEN", format!("127.0.0.1:{port}"));
    let simulator = ("SIM__LISTEN", format!("127.0.0.1:{}", free_port().unwrap()));
    // How long "no such payment" has to be true; a minute usually.
    let window = ("SETTLEMENT__SETTLE_WINDOW_MS", "5000".to_owned());
    let mut dev = Dev::begin("killed", &[listen, simulator, window]).await;
    let plan = Plan {
        bases: vec![format!("http://127.0.0.1:{port}").parse().unwrap()],
        payers: Payers::WithKeys(["pf_test_demo_de", "pf_test_demo_us"].map(str::to_owned).into()),
        mix: Mix {
            withdrawals: 0.3,
            // Declined, lost after and before charging, late, silent. Customers of PayPal are waited for.
            endings: [901, 903, 904, 907, 908].map(|ending| (ending, 0.05)).into(),
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
    assert!(books.count("status = 'succeeded'").await.unwrap() > PAYMENTS / 2);
    // A customer who was sent to a page before the crash finds it still there.
    let page = books.oldest_page().await.expect("no customer was asked");
    let (address, path) = page.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut customer = Client::connect(address.parse().unwrap()).await;
    assert_eq!(customer.request("POST", &format!("/{path}/approve"), &[], b"").await.status, 303);
    eventually("the payment of that page to succeed", Duration::from_secs(30), async || {
        (books.oldest_page().await.as_ref() != Some(&page)).then_some(())
    })
    .await;
    dev.stop().await;
}

/// What stands in the fleet's own database, whoever runs it now.
struct Books {
    home: std::path::PathBuf,
}

impl Books {
    async fn open(&self) -> Option<PgConnection> {
        let instance = Instance::read(&self.home.join("run/fleet.json"))?;
        let port = instance.ports.get("postgres")?;
        let password = std::fs::read_to_string(self.home.join("secrets/app_password")).ok()?;
        let url = format!("postgres://payfleet_app:{}@127.0.0.1:{port}/payfleet", password.trim());
        payfleet::postgres::Settings { url, ..Default::default() }.connect("test").await.ok()
    }

    /// How many payments there are of which this is true. None while there is no database to ask.
    async fn count(&self, condition: &'static str) -> Option<u64> {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM transactions WHERE {condition}"));
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut self.open().await?).await.ok()?;
        u64::try_from(count).ok()
    }

    /// Where the customer who has waited longest was sent.
    async fn oldest_page(&self) -> Option<String> {
        let oldest = "SELECT next_action_url FROM transactions WHERE status = 'requires_action' ORDER BY id LIMIT 1";
        sqlx::query_scalar(oldest).fetch_optional(&mut self.open().await?).await.ok()?
    }
}
