//! `payfleet verify`: the books' judge, from the command line.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::settings::Settings;
use crate::ops::verify::{self, Inputs, Invariant, Rest};

const ABOUT: &str = "\
Reads the database in one snapshot, all records of the topics, and the logs that are given; changes nothing, and may run while the
fleet is at work. What cannot be judged (a source that is missing, a table that is empty) is said and never counts as held.

Exit codes: 0 everything held, 1 a violation, 2 something could not be checked.";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct Verify {
    /// The simulator's charge log (charges.jsonl in its data directory), for I5 and I25.
    #[arg(long, value_name = "FILE")]
    charge_log: Option<PathBuf>,
    /// The log of a `payfleet load`, for I6 and the replays of I17.
    #[arg(long, value_name = "FILE")]
    load_log: Option<PathBuf>,
    /// The fleet had time to finish: whatever is still under way is a violation, and every payment must be final (I7).
    #[arg(long)]
    settled: bool,
    /// Judge only these, as in `I1,I2,I26`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Invariant>,
    /// Leave the topics unread; what they would show (I9–I11) is then not checkable.
    #[arg(long)]
    no_topics: bool,
    /// JSON for scripts instead of a table for people.
    #[arg(long)]
    json: bool,
}

pub async fn verify(settings: &Settings, asked: Verify) -> Result<ExitCode, verify::Error> {
    let inputs = Inputs {
        postgres: settings.postgres.clone(),
        kafka: (!asked.no_topics).then(|| settings.kafka.clone()),
        charge_log: asked.charge_log,
        load_log: asked.load_log,
        rest: if asked.settled { Rest::AtRest } else { Rest::Live },
        only: asked.only.into_iter().collect::<BTreeSet<_>>(),
    };
    let watched = std::io::stderr().is_terminal();
    let progress = |doing: &str| {
        if watched {
            eprintln!("payfleet verify: {doing}");
        }
    };
    let report = verify::verify(&inputs, &progress).await?;
    if asked.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(ExitCode::from(report.exit_code()))
}
