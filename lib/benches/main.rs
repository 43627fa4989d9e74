//! What payfleet reaches, as ratios: ours against a limit, measured in turn in one run. PERFORMANCE figures mean nothing by themselves
//! on a shared machine.
//!
//!     cargo bench --bench ratios                      all rows
//!     cargo bench --bench ratios -- --only P3,P4      some
//!     cargo bench --bench ratios -- --rounds 1 --small    a quick try, for whoever changes the bench
//!
//! PostgreSQL (with fsync), Redis and Kafka are its own, under `.dev/bench-1`. Nothing else should run on the machine meanwhile.

mod accept;
mod backlog;
mod drain;
mod held;
mod machine;
mod pgbench;
mod processes;
mod rounds;
mod stand;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use stand::Stand;
use table::Table;

/// Payfleet's benchmarks: one table of ratios.
#[derive(Debug, Parser)]
#[command(name = "ratios")]
struct Arguments {
    /// Alternating rounds; with fewer than 5 nothing is judged.
    #[arg(long, default_value_t = ROUNDS_TO_JUDGE)]
    rounds: usize,
    /// Small amounts and short rounds: for trying the bench itself.
    #[arg(long)]
    small: bool,
    /// Only these rows: P1, P3, P4, P7.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the servers' files are kept.
    #[arg(long, default_value = ".dev")]
    directory: PathBuf,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub rounds: usize,
    /// Rows of the backlog that is drained.
    pub backlog: usize,
    /// How long a rate is measured at a time, in seconds.
    pub seconds: u64,
    pub users: usize,
}

/// Fewer alternating rounds prove nothing.
const ROUNDS_TO_JUDGE: usize = 5;

impl Scale {
    /// Told of a bound that was held or not.
    pub fn judgement(self, held: bool) -> &'static str {
        match (self.rounds >= ROUNDS_TO_JUDGE, held) {
            (false, _) => "not judged",
            (true, true) => "reached",
            (true, false) => "MISSED",
        }
    }

    fn of(arguments: &Arguments) -> Self {
        let rounds = arguments.rounds.max(1);
        if arguments.small {
            Self { rounds, backlog: 50_000, seconds: 2, users: 100 }
        } else {
            Self { rounds, backlog: 1_000_000, seconds: 8, users: 2_500 }
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    rustls::crypto::ring::default_provider().install_default().ok();
    let done =
        tokio::runtime::Runtime::new().context("no runtime").and_then(|runtime| runtime.block_on(run(&arguments)));
    match done {
        Ok(table) if arguments.json => println!("{}", table.json()),
        Ok(table) => print!("{table}"),
        Err(error) => {
            eprintln!("ratios: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn run(arguments: &Arguments) -> anyhow::Result<Table> {
    let scale = Scale::of(arguments);
    let wanted =
        |row: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only.eq_ignore_ascii_case(row));
    let mut table = Table::new(machine::describe(), scale);
    let stand = Stand::start(&arguments.directory).await?;
    let measured = measure(&stand, scale, wanted, &mut table).await;
    stand.stop().await;
    measured.map(|()| table)
}

async fn measure(stand: &Stand, scale: Scale, wanted: impl Fn(&str) -> bool, table: &mut Table) -> anyhow::Result<()> {
    if wanted("P1") {
        table.extend(accept::measure(stand, scale).await.context("P1")?);
    }
    if wanted("P3") || wanted("P4") {
        table.extend(drain::measure(stand, scale).await.context("P3, P4")?);
    }
    if wanted("P7") {
        table.extend(held::measure(stand, scale).await.context("P7")?);
    }
    table.retain(wanted);
    Ok(())
}

/// For whoever waits.
pub fn say(what: &str) {
    eprintln!("ratios: {what}");
}
