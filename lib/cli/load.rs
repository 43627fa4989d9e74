//! `payfleet load`: the open-loop load generator, from the command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::gateway_sim::behaviour;
use crate::load::{self, Base, Funding, Mix, Outcome, Pace, Payers, Plan, Until};

const ABOUT: &str = "\
Payments are sent at their times, whether or not the ones before were answered, and every wait counts from when the payment was meant
to be sent. One whose answer is lost, or that is put off (409, 429, 5xx), is sent again under the same Idempotency-Key.

Examples:
    payfleet load                                      1,000 payments at 50/s by the demo users, then waits until all are final
    payfleet load --rate 200 --count 5000 --log load.jsonl --ending declined=0.05 --ending customer=0.05
    payfleet load --base http://a:15001 --base http://b:15001 --key KEY --saturate --seconds 30 --no-settle
    payfleet verify --load-log load.jsonl --settled    judges what the load saw against the books

Keys that are not exempt are limited to 200 requests/s; beyond it the load measures the limit.

Exit codes: 0 every payment was decided and is final, 1 not.";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct Load {
    /// An ingress; give several to spread the load and to fail over.
    #[arg(long = "base", value_name = "URL", default_value = "http://127.0.0.1:15001")]
    bases: Vec<Base>,
    /// An API key to pay with; give several. Without any, the demo users'.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// API keys, one a line; not seen by others on this machine as --key is.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Payments a second.
    #[arg(long, default_value_t = 50.0, conflicts_with = "saturate")]
    rate: f64,
    /// As many as the connections take, instead of a rate.
    #[arg(long)]
    saturate: bool,
    /// Payments to send.
    #[arg(long, default_value_t = 1_000, conflicts_with = "seconds")]
    count: u64,
    /// How long to send, instead of a count.
    #[arg(long)]
    seconds: Option<u64>,
    /// Connections, over all bases.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The share of withdrawals, from 0 to 1.
    #[arg(long, default_value_t = 0.3)]
    withdrawals: f64,
    /// Smallest and largest amount in minor units.
    #[arg(long, value_name = "FROM-TO", default_value = "100-20000", value_parser = amounts)]
    amounts: RangeInclusive<i64>,
    /// A share of payments whose amount ends so that the simulator does something about it: `declined=0.05`, or `901=0.05`.
    #[arg(long = "ending", value_name = "NAME=SHARE", value_parser = ending)]
    endings: Vec<(u16, f64)>,
    /// Pin deposits to this gateway; give several to take turns. Without any, the routes decide.
    #[arg(long = "gateway", value_name = "NAME")]
    gateways: Vec<String>,
    /// Draws the payments; the same seed means the same ones, under new keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do not fill the accounts first.
    #[arg(long)]
    no_funding: bool,
    /// Seconds until all must be final after the last was sent.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    settle_within: u64,
    /// Do not wait until all are final.
    #[arg(long, conflicts_with = "settle_within")]
    no_settle: bool,
    /// Append what was meant and answered to this file, for `payfleet verify --load-log`.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// JSON for scripts instead of a table for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key file cannot be read: {0}")]
    KeyFile(std::io::Error),
    #[error(transparent)]
    Load(#[from] load::Error),
}

fn amounts(text: &str) -> Result<RangeInclusive<i64>, String> {
    let parsed = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parsed {
        Some((from, to)) if (100..=to).contains(&from) => Ok(from..=to),
        _ => Err("expected FROM-TO, two amounts in minor units, the smaller at least 100".to_owned()),
    }
}

fn ending(text: &str) -> Result<(u16, f64), String> {
    let known = |name: &str| {
        let mut rows = behaviour::TABLE.iter();
        rows.find(|row| row.name == name || row.ending.to_string() == name).map(|row| row.ending)
    };
    let parsed = text.split_once('=').and_then(|(name, share)| Some((known(name)?, share.parse().ok()?)));
    match parsed {
        Some((ending, share)) if (0.0..=1.0).contains(&share) => Ok((ending, share)),
        _ => {
            let names: Vec<&str> = behaviour::TABLE.iter().map(|row| row.name).collect();
            Err(format!("expected NAME=SHARE, a share from 0 to 1 and one of {}", names.join(", ")))
        }
    }
}

const DEMO_USERS: [&str; 4] = ["de", "us", "ng", "jp"];

impl Load {
    fn keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = self.keys.clone();
        if let Some(path) = &self.key_file {
            let text = std::fs::read_to_string(path).map_err(Error::KeyFile)?;
            keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        if keys.is_empty() {
            keys.extend(DEMO_USERS.map(|user| format!("{}{user}", crate::accounts::DEMO_PREFIX)));
        }
        Ok(keys)
    }

    fn plan(&self) -> Result<Plan, Error> {
        let mix = Mix {
            seed: self.seed,
            withdrawals: self.withdrawals.clamp(0.0, 1.0),
            amounts: self.amounts.clone(),
            endings: self.endings.clone(),
            gateways: self.gateways.clone(),
        };
        let until = self.seconds.map_or(Until::Payments(self.count), |s| Until::Elapsed(Duration::from_secs(s)));
        Ok(Plan {
            bases: self.bases.clone(),
            payers: Payers::WithKeys(self.keys()?),
            mix,
            pace: if self.saturate { Pace::Saturating } else { Pace::PerSecond(self.rate) },
            until,
            connections: self.connections,
            funding: if self.no_funding { Funding::None } else { Funding::First },
            settle_within: (!self.no_settle).then(|| Duration::from_secs(self.settle_within)),
            log: self.log.clone(),
            ..Plan::default()
        })
    }
}

pub async fn load(asked: Load) -> Result<ExitCode, Error> {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let progress = |doing: &str| eprintln!("payfleet load: {doing}");
    let outcome: Outcome = load::run(&asked.plan()?, &progress, &stop).await?;
    if asked.json {
        println!("{}", outcome.json());
    } else {
        print!("{}", outcome.table());
    }
    Ok(if outcome.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
