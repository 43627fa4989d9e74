//! The operator's command line, and how each process is put together from its parts.

mod arguments;
mod audited;
mod config;
mod dead;
pub mod demo;
mod health;
mod load;
pub mod migrate;
pub mod output;
mod parked;
pub mod processes;
mod resolve;
pub mod routes;
mod seed;
pub mod settings;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::dev;
use crate::service::config::{EXIT_BAD_SETTINGS, Loaded};
use arguments::{Arguments, Audit, Command, Dead, Dev, DevCommand, Outbox};
use settings::Settings;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
    #[error(transparent)]
    Seed(#[from] seed::Error),
    #[error(transparent)]
    Health(#[from] health::Error),
    #[error(transparent)]
    Parked(#[from] parked::Error),
    #[error(transparent)]
    Dead(#[from] dead::Error),
    #[error(transparent)]
    Audited(#[from] audited::Error),
    #[error(transparent)]
    Servers(#[from] dev::servers::Error),
    #[error(transparent)]
    Load(#[from] load::Error),
    #[error("the operating system gives no threads: {0}")]
    Runtime(#[from] std::io::Error),
}

/// The whole of the `payfleet` program.
pub fn main() -> ExitCode {
    // Before anything that may speak TLS; fails only if it was done before.
    rustls::crypto::ring::default_provider().install_default().ok();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { EXIT_BAD_SETTINGS } else { 0 });
        }
    };
    let done = match arguments.command {
        // What runs inside has settings of its own, which are not this one's to judge.
        Command::Dev(asked) => dev(&asked),
        command => match crate::service::config::load::<Settings>() {
            Ok(loaded) => execute(command, &loaded),
            Err(faults) => {
                eprint!("payfleet: {faults}");
                return ExitCode::from(EXIT_BAD_SETTINGS);
            }
        },
    };
    done.unwrap_or_else(|error| {
        eprintln!("payfleet: {error}");
        ExitCode::FAILURE
    })
}

fn execute(command: Command, loaded: &Loaded<Settings>) -> Result<ExitCode, Error> {
    let settings = &loaded.settings;
    let runtime = tokio::runtime::Runtime::new()?;
    match command {
        Command::Config(output) => config::show(loaded, output),
        Command::Migrate(output) => runtime.block_on(migrate::migrate(settings))?.show(output),
        Command::Topics(output) => runtime.block_on(migrate::topics(settings))?.show(output),
        Command::Load(asked) => return Ok(runtime.block_on(load::load(asked))?),
        Command::Resolve(asked) => return Ok(runtime.block_on(resolve::run(&settings.postgres, asked))),
        Command::Verify(asked) => return Ok(runtime.block_on(verify::verify(settings, asked))),
        Command::Seed(asked) => {
            runtime.block_on(migrate::gateways_and_routes(&settings.migrate))?;
            if asked.demo {
                runtime.block_on(seed::demo(settings))?;
            }
        }
        Command::Outbox(Outbox::Rebase(output)) => runtime.block_on(migrate::rebase(&settings.migrate))?.show(output),
        Command::Outbox(Outbox::Parked(output)) => runtime.block_on(parked::list(&settings.postgres))?.show(output),
        Command::Outbox(Outbox::ShowParked { row, output }) => {
            runtime.block_on(parked::show(&settings.postgres, row))?.show(output);
        }
        Command::Outbox(Outbox::RetryParked(asked)) => {
            runtime.block_on(parked::retry(&settings.postgres, &asked))?.show(asked.output);
        }
        Command::Dead(Dead::List(output)) => runtime.block_on(dead::list(&settings.postgres))?.show(output),
        Command::Dead(Dead::Show { id, output }) => runtime.block_on(dead::show(&settings.postgres, id))?.show(output),
        Command::Dead(Dead::Replay(asked)) => {
            let replays = runtime.block_on(dead::replay(settings, &asked))?;
            replays.show(asked.output);
            return Ok(replays.exit_code());
        }
        Command::Audit(Audit::List(output)) => runtime.block_on(audited::list(&settings.postgres))?.show(output),
        Command::Health(asked) => runtime.block_on(health::health(settings, asked.url))?,
        Command::Dev(_) => unreachable!("runs without these settings"),
    }
    Ok(ExitCode::SUCCESS)
}

fn dev(asked: &Dev) -> Result<ExitCode, Error> {
    let home = &asked.directory;
    match &asked.command {
        None => Ok(dev::fleet::run(home)),
        Some(DevCommand::Verify(asked)) => {
            Ok(tokio::runtime::Runtime::new()?.block_on(verify::of_development(home, asked)))
        }
        Some(DevCommand::Clean) => {
            tokio::runtime::Runtime::new()?.block_on(dev::servers::clean(home))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(DevCommand::Servers { command }) => {
            let status = tokio::runtime::Runtime::new()?.block_on(dev::servers::around(home, command))?;
            // A command ended by a signal has no code.
            Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
        }
    }
}
