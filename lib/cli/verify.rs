//! `payfleet verify`: the books' judge, from the command line.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::settings::Settings;
use crate::dev::fleet::Books;
use crate::ops::verify::report::EXIT_NOT_CHECKABLE;
use crate::ops::verify::{self, Cap, Hunt, Inputs, Invariant, Report, Rest, Samples, Sessions, Sightings, Verdict};

const ABOUT: &str = "\
Reads the database in one snapshot, all records of the topics, and the logs that are given; changes nothing, and may run while the
fleet is at work. What cannot be judged (a source that is missing, a table that is empty) is said and never counts as held.

I6, I7, I20, I21 and I24 need more than a fleet leaves behind: they are judged when it is given (--load-log, --settled or --final-within,
--watch-sessions, --canaries, --samples) or when they are named by --only. I14, I22 and I23 are judged by tests alone.

Unless --cap says otherwise, I24 allows as many records, bytes and requests as the settings do, as many descriptors as a process says it
may have, 1 GiB of memory and 50,000 tasks.

Examples:
    payfleet verify --charge-log charges.jsonl --load-log load.jsonl --settled
    payfleet verify --watch-sessions 10 --most-sessions 80 --final-within 60        beside a fleet at work
    payfleet verify --only I21 --canaries canaries.txt --logs .dev/logs
    payfleet verify --only I24 --samples scraped/ --cap process_resident_memory_bytes=268435456

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
    /// A payment of a fleet at work must be final after so many seconds (I7); younger ones are under way.
    #[arg(long, value_name = "SECONDS", conflicts_with = "settled")]
    final_within: Option<u64>,
    /// Watch the sessions at the database for so many seconds (I20).
    #[arg(long, value_name = "SECONDS")]
    watch_sessions: Option<u64>,
    /// How many sessions all pools and single connections of the fleet have together, for I20.
    #[arg(long, value_name = "COUNT", requires = "watch_sessions")]
    most_sessions: Option<u64>,
    /// Account numbers and secrets that went in, one a line: looked for in topics, tables, Redis and logs (I21).
    #[arg(long, value_name = "FILE")]
    canaries: Option<PathBuf>,
    /// A directory of logs, or of bodies of errors, for I21; give several.
    #[arg(long, value_name = "DIRECTORY", requires = "canaries")]
    logs: Vec<PathBuf>,
    /// Answers of /metrics: a file, or a directory of files, with as many in each as there were (I24).
    #[arg(long, value_name = "PATH")]
    samples: Option<PathBuf>,
    /// How much of a metric may be told at once, for I24; give several.
    #[arg(long = "cap", value_name = "METRIC=MOST", value_parser = cap, requires = "samples")]
    caps: Vec<Cap>,
    /// Judge only these, as in `I1,I2,I26`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Invariant>,
    /// Leave the topics unread; what they would show (I9–I11, I13) is then not checkable.
    #[arg(long)]
    no_topics: bool,
    /// JSON for scripts instead of a table for people.
    #[arg(long)]
    json: bool,
}

const ABOUT_DEVELOPMENT: &str = "\
Reads the fleet's database and the simulator's charge log, and changes nothing. The topics are left out: the embedded broker begins
empty with each run, so what they would show (I9–I11, I13) is not checkable, and the exit code is 2 where everything else held.";

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

fn cap(text: &str) -> Result<Cap, String> {
    let (metric, most) = text.split_once('=').ok_or("it has no `=`")?;
    let most = most.parse().map_err(|error| format!("`{most}`: {error}"))?;
    Ok(Cap { metric: metric.to_owned(), most })
}

/// Those of the command line first: the first of a metric's counts.
fn caps(settings: &Settings, asked: Vec<Cap>) -> Vec<Cap> {
    asked.into_iter().chain(Cap::usual(settings.ingress.waiting, &settings.kafka)).collect()
}

fn sightings(settings: &Settings, asked: &Verify) -> Sightings {
    let sessions =
        asked.watch_sessions.map(|seconds| Sessions { over: Duration::from_secs(seconds), most: asked.most_sessions });
    let hunt = asked.canaries.clone().map(|canaries| Hunt {
        canaries,
        redis: Some(settings.redis.clone()),
        logs: asked.logs.clone(),
    });
    let samples = asked.samples.clone().map(|path| Samples { path, caps: caps(settings, asked.caps.clone()) });
    let final_within = asked.final_within.map(Duration::from_secs);
    Sightings { final_within, sessions, hunt, samples }
}

pub async fn verify(settings: &Settings, asked: Verify) -> ExitCode {
    let sightings = sightings(settings, &asked);
    let inputs = Inputs {
        postgres: settings.postgres.clone(),
        kafka: (!asked.no_topics).then(|| settings.kafka.clone()),
        charge_log: asked.charge_log,
        load_log: asked.load_log,
        rest: rest(asked.settled),
        only: asked.only.into_iter().collect::<BTreeSet<_>>(),
    };
    tell(verify::verify_with(&inputs, &sightings, &progress).await, asked.json)
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
        let of_topics = [Invariant::I9, Invariant::I10, Invariant::I11, Invariant::I13];
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
