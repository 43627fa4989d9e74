//! How each process of the fleet is wired from its parts.
//!
//! All begin alike: settings, telemetry, signals, the admin port; then they open their own ports, wait for their stores, say aloud
//! what they wait for, and run their stages until told to stop. They may be started in any order.
//!
//! If it dies here: no stage runs yet, or each stage answers for itself.

mod gateway_worker;
mod shell;

use std::process::ExitCode;

use crate::cli::settings::Settings;
use crate::kafka;
use crate::postgres::schema::SchemaError;
use crate::service::config::{self, EXIT_BAD_SETTINGS};
use crate::service::http;
use crate::service::shutdown::{End, Lifetime};
use crate::service::telemetry::Telemetry;
pub use gateway_worker::{GATEWAY_WORKER, gateway_worker};
pub use shell::Shell;

/// Why a process could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Told to stop before it was up: no failure.
    #[error("stopped while starting")]
    Stopped,
    #[error(transparent)]
    Port(#[from] http::BindError),
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("Kafka cannot be used: {0}")]
    Kafka(#[from] kafka::topics::Error),
    #[error("{0}")]
    Settings(String),
}

/// What distinguishes a process from the others before it is wired.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub name: &'static str,
    /// Its admin port if nobody chooses another.
    pub admin_port: u16,
}

/// Runs one process from its settings to its exit code.
pub fn run(process: Process, wire: impl AsyncFnOnce(&mut Shell) -> Result<(), Error>) -> ExitCode {
    // Before anything that may speak TLS; fails only if it was done before.
    rustls::crypto::ring::default_provider().install_default().ok();
    let settings: Settings = match config::load() {
        Ok(loaded) => loaded.settings,
        Err(faults) => {
            eprint!("payfleet {}: {faults}", process.name);
            return ExitCode::from(EXIT_BAD_SETTINGS);
        }
    };
    run_with(process, settings, wire)
}

/// The same with settings at hand.
pub fn run_with(
    process: Process,
    settings: Settings,
    wire: impl AsyncFnOnce(&mut Shell) -> Result<(), Error>,
) -> ExitCode {
    let telemetry = match Telemetry::start(&settings.telemetry, process.name) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(process, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(process, &error),
    };
    let end = runtime.block_on(live(process, settings, &telemetry, wire));
    // What is left is waiting or overdue: neither may keep the process.
    runtime.shutdown_background();
    telemetry.flush();
    match end {
        End::Clean => ExitCode::SUCCESS,
        End::Failed(reason) => {
            tracing::error!(reason, "ended by a failure");
            ExitCode::FAILURE
        }
        End::Overdue(tasks) => {
            tracing::error!(tasks, "the deadline for stopping is over; what was under way will be repeated");
            ExitCode::FAILURE
        }
    }
}

fn refuse(process: Process, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("payfleet {}: {error}", process.name);
    ExitCode::FAILURE
}

async fn live(
    process: Process,
    settings: Settings,
    telemetry: &Telemetry,
    wire: impl AsyncFnOnce(&mut Shell) -> Result<(), Error>,
) -> End {
    let life = Lifetime::default();
    if let Err(error) = life.heed_signals() {
        return End::Failed(format!("signals cannot be heeded: {error}"));
    }
    let drain = settings.process.drain();
    life.spawn("metrics", telemetry.metrics.clone().keep_up(life.stop.clone()));
    let mut shell = Shell::new(process, settings, life.clone(), telemetry.metrics.clone());
    tracing::info!(process = process.name, version = env!("CARGO_PKG_VERSION"), "starting");
    match wire(&mut shell).await {
        Ok(()) | Err(Error::Stopped) => {}
        Err(error) => life.fail(process.name, &error.to_string()),
    }
    let end = life.end(drain).await;
    // Only now: whoever looks for the process finds it as long as it works.
    shell.finish().await;
    end
}
