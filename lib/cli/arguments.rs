//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

use super::load::Load;
use super::resolve::Resolve;
use super::verify::{DevVerify, Verify};

/// Payfleet: a transactional-outbox worker fleet for payments.
#[derive(Debug, Parser)]
#[command(name = "payfleet", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Settings come from the environment (PAYFLEET_<PART>__<KEY>) and the file named by PAYFLEET_CONFIG; `payfleet config` lists them.

Exit codes:
    0  done
    1  failed; the reason is on standard error
    2  `verify`: something could not be checked, the reason is in its table
    3  `resolve`: the payment cannot be resolved so; nothing was done
   64  the command line or the settings cannot be used
  130  told twice to stop";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole fleet on this machine, with servers of its own.
    Dev(Dev),
    /// Bring database and topics to what this version expects: migrations, topics, gateways and routes. May be repeated.
    Migrate(Output),
    /// Make the topics that are missing and check those that exist.
    Topics(Output),
    /// Put gateways and routes into the database, unless they are there; with --demo also users to try payfleet with.
    Seed(Seed),
    /// Look into the outbox, and act on it.
    #[command(subcommand)]
    Outbox(Outbox),
    /// Look into the dead letters (consumed records that nobody could handle), and put them back where they came from.
    #[command(subcommand)]
    Dead(Dead),
    /// Look into what people have had the fleet do.
    #[command(subcommand)]
    Audit(Audit),
    /// Send payments at a rate, resend what is lost under the same key, and tell what came of it.
    Load(Load),
    /// Say how a payment ends that waits in review for a human.
    Resolve(Resolve),
    /// Judge the books: what must hold of money, steps, events and charges, read from both sides.
    Verify(Verify),
    /// Ask a process on this machine whether it is ready: for health checks of containers.
    Health(Health),
    /// Show the settings in effect and where each comes from, secrets redacted.
    Config(Output),
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// JSON for scripts instead of a table for people.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Seed {
    /// Users with fixed keys. Refused where PAYFLEET_ENV is production.
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Subcommand)]
pub enum Outbox {
    /// Start all lanes anew after the database has become another one (failover, restore): what is still in the outbox is sent again.
    Rebase(Output),
    /// List the events that Kafka refused and those held back behind them, with their reasons.
    Parked(Output),
    /// Show one of them: its reason, and the record as a relay would send it now, with key, headers and payload.
    ShowParked {
        /// As `parked` names it.
        row: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Have what is parked sent again, in order, once what the reasons name is put right. What is to be sent again already is left alone.
    RetryParked(RetryParked),
}

/// On whose word something is done. It is kept in the audit.
#[derive(Clone, Debug, Args)]
pub struct Word {
    /// Why.
    #[arg(long, value_parser = said)]
    pub reason: String,
    /// Who; if not given, this operating system's user.
    #[arg(long, value_parser = said)]
    pub actor: Option<String>,
}

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("it says nothing".to_owned()) } else { Ok(text.to_owned()) }
}

#[derive(Debug, Args)]
pub struct RetryParked {
    /// Only events of this aggregate: a payment, a callback or a dead letter, as `parked` lists it.
    #[arg(long)]
    pub aggregate: Option<Uuid>,
    /// Only events for this topic.
    #[arg(long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub word: Word,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List the dead letters: where each comes from, who could not handle it, how often it was tried, why, and what became of it.
    List(Output),
    /// Show one with its record: key, headers and payload.
    Show {
        id: Uuid,
        #[command(flatten)]
        output: Output,
    },
    /// Put records back on their old topic and partition, each once: one that was replayed before is left alone.
    Replay(Replay),
}

#[derive(Debug, Args)]
pub struct Replay {
    /// Dead letters, as `list` names them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<Uuid>,
    /// Every one that was not replayed yet.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub word: Word,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List the acts: when, who, what, upon what, and why.
    List(Output),
}

#[derive(Debug, Args)]
pub struct Health {
    /// Where to ask, as in http://127.0.0.1:15003/readyz for a relay. If not given, the port of PAYFLEET_PROCESS__ADMIN_LISTEN is asked,
    /// and without it 15002: the ingress's, and that of the whole fleet in one process.
    #[arg(long)]
    pub url: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Dev {
    /// Where everything of it is kept.
    #[arg(long, default_value = ".dev", global = true)]
    pub directory: PathBuf,
    /// Without a command: run the fleet until Ctrl-C.
    #[command(subcommand)]
    pub command: Option<DevCommand>,
}

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Run a command with PostgreSQL, Redis and Kafka of its own, as tests need them.
    Servers {
        /// The command, after `--`.
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Judge the books of the fleet that `payfleet dev` runs, while it runs.
    Verify(DevVerify),
    /// End what a killed run left behind, and remove its data.
    Clean,
}
