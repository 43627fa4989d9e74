//! The operator's command line, and how each process is put together from its parts.

mod arguments;
mod config;
pub mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::dev;
use crate::service::config::EXIT_BAD_SETTINGS;
use arguments::{Arguments, Command, Dev, DevCommand};

/// The whole of the `payfleet` program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { EXIT_BAD_SETTINGS } else { 0 });
        }
    };
    match arguments.command {
        Command::Config(output) => config::run(&output),
        Command::Dev(Dev { directory, command: DevCommand::Servers { command } }) => {
            let done = runtime().block_on(dev::servers::around(&directory, &command));
            match done {
                Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
                Err(error) => failed(&error),
            }
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("payfleet: {error}");
    ExitCode::FAILURE
}

#[expect(clippy::expect_used, reason = "without a runtime there is nothing this program could do")]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("the operating system gives a runtime its threads")
}
