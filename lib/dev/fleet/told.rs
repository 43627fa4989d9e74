//! What a developer is told: progress while the fleet comes up, and how to use it when it is up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::cli::demo::DemoUser;
use crate::cli::output::{Table, bold};

/// Tells each step when it is done.
pub struct Progress {
    begin: Instant,
    step: Instant,
}

impl Progress {
    pub fn begin() -> Self {
        println!("{}", bold("payfleet is coming up"));
        Self { begin: Instant::now(), step: Instant::now() }
    }

    pub fn done(&mut self, what: &str) {
        println!("  {what:44} {:>5.1} s", self.step.elapsed().as_secs_f32());
        self.step = Instant::now();
    }

    pub fn total(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// Where everything is.
pub struct Places {
    pub api: u16,
    pub admin: u16,
    pub simulator: SocketAddr,
    pub postgres: u16,
    pub redis: u16,
    pub brokers: String,
}

pub fn ready(places: &Places, users: &[(DemoUser, String)], total: Duration) {
    let api = format!("http://127.0.0.1:{}", places.api);
    println!("\n{}", bold("where"));
    println!("  API         {api}");
    println!("  admin       http://127.0.0.1:{}  (livez, readyz, metrics)", places.admin);
    println!("  simulator   http://{}  (stands for Stripe, PayPal and a bank)", places.simulator);
    println!(
        "  servers     PostgreSQL 127.0.0.1:{}, Redis 127.0.0.1:{}, broker {}",
        places.postgres, places.redis, places.brokers
    );
    println!();
    let mut table = Table::new(&["user", "key", "country", "balance"]);
    for (user, balance) in users {
        table.row([user.handle.to_owned(), user.key.to_owned(), user.country.to_owned(), balance.clone()]);
    }
    table.print();
    println!("\n{}", bold("try"));
    println!(
        "  curl -s {api}/v1/deposits -H 'Authorization: Bearer pf_test_demo_de' -H \"Idempotency-Key: $RANDOM$RANDOM\" -d '{{\"amount\": 1250, \"currency\": \"EUR\"}}' -H 'Content-Type: application/json'"
    );
    println!("  curl -s {api}/v1/balance -H 'Authorization: Bearer pf_test_demo_de'");
    println!("\nUp after {:.1} s. Ctrl-C stops everything.", total.as_secs_f32());
    println!("ready");
}
