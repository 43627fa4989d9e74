//! `payfleet verify`: the books' judge, from the command line.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::settings::Settings;
use crate::dev::fleet::Books;
use crate::ops::verify::{self, Inputs, Invariant, Report, Rest, Verdict, report::EXIT_NOT_CHECKABLE};

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

const ABOUT_DEVELOPMENT: &str = "\
Reads the fleet's database and the simulator's charge log, and changes nothing. The topics are left out: the embedded broker begins
empty with each run, so what they would show (I9–I11) is not checkable, and the exit code is 2 where everything else held.";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT_DEVELOPMENT)]
pub struct DevVerify {
    /// The fleet had time to finish: whatever is still under way is a violation, and every payment must be final (I7).
    #[arg(long)]
    settled: bool,
    /// JSON for scripts instead of a table for people.
    #[arg(long)]
    json: bool,
}

pub async fn verify(settings: &Settings, asked: Verify) -> ExitCode {
    let inputs = Inputs {
        postgres: settings.postgres.clone(),
        kafka: (!asked.no_topics).then(|| settings.kafka.clone()),
        charge_log: asked.charge_log,
        load_log: asked.load_log,
        rest: rest(asked.settled),
        only: asked.only.into_iter().collect::<BTreeSet<_>>(),
    };
    tell(verify::verify(&inputs, &progress).await, asked.json)
}

/// Of the fleet under `home`.
pub async fn of_development(home: &Path, asked: &DevVerify) -> ExitCode {
    let books = match Books::find(home) {
        Ok(books) => books,
        Err(reason) => return not_checkable(&reason.to_string(), asked.json),
    };
    let inputs = Inputs {
        postgres: books.postgres,
        kafka: None,
        charge_log: Some(books.charge_log),
        load_log: None,
        rest: rest(asked.settled),
        only: BTreeSet::new(),
    };
    let report = verify::verify(&inputs, &progress).await.map(|report| {
        let of_topics = [Invariant::I9, Invariant::I10, Invariant::I11];
        report.unjudged_because(&of_topics, "the embedded broker forgets: topics begin empty with each run")
    });
    tell(report, asked.json)
}

fn rest(settled: bool) -> Rest {
    if settled { Rest::AtRest } else { Rest::Live }
}

fn progress(doing: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("payfleet verify: {doing}");
    }
}

fn tell(report: Result<Report, verify::Error>, json: bool) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(error) => return not_checkable(&error.to_string(), json),
    };
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    ExitCode::from(report.exit_code())
}

/// Nothing could be judged, which is not a violation: scripts must be able to tell the two apart.
fn not_checkable(reason: &str, json: bool) -> ExitCode {
    if json {
        println!(
            "{}",
            serde_json::json!({ "verdict": Verdict::NotCheckable, "not_checkable": [reason], "invariants": [] })
        );
    } else {
        println!("not checkable: {reason}");
    }
    ExitCode::from(EXIT_NOT_CHECKABLE)
}
