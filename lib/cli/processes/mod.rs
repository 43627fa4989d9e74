//! How each process of the fleet is wired from its parts.
//!
//! All begin alike: settings, telemetry, signals, the admin port; then they open their own ports, wait for their stores, say aloud
//! what they wait for, and run their stages until told to stop. They may be started in any order.
//!
//! If it dies here: no stage runs yet, or each stage answers for itself.

mod gateway_sim;
mod gateway_worker;
mod ingress;
mod needs;
mod relay;
mod shell;

use std::process::ExitCode;

use crate::cli::settings::Settings;
use crate::gateway::{self, Gateways};
use crate::postgres::schema::SchemaError;
use crate::sealing::{self, Sealer};
use crate::service::config::{self, EXIT_BAD_SETTINGS, Faults};
use crate::service::http;
use crate::service::process::raise_descriptors;
use crate::service::shutdown::{End, Lifetime};
use crate::service::telemetry::Telemetry;
use crate::settlement;
pub use gateway_sim::{GATEWAY_SIM, gateway_sim};
pub use gateway_worker::{GATEWAY_WORKER, gateway_worker, start_gateway_worker};
pub use ingress::{INGRESS, LISTEN, ingress, start_ingress};
pub use needs::Need;
pub use relay::{RELAY, relay, start_relay};
pub use shell::Shell;

/// Why a process could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Told to stop before it was up: no failure.
    #[error("stopped while starting")]
    Stopped,
    /// A person at a terminal has been told already.
    #[error("told before")]
    Told,
    #[error(transparent)]
    Port(#[from] http::BindError),
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("settings of the gateways: {0}")]
    Gateways(#[from] gateway::SettingsError),
    #[error(transparent)]
    Sealing(#[from] sealing::SettingsError),
    #[error(transparent)]
    Settlement(#[from] settlement::SettingsError),
    #[error(transparent)]
    Redis(#[from] crate::redis::BadUrl),
    /// A part that only some processes have.
    #[error(transparent)]
    Part(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Simulator(#[from] crate::gateway_sim::Error),
}

impl Error {
    pub fn part(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Part(Box::new(error))
    }

    /// Whether other settings are what it takes, so that starting again as it is will not help.
    fn is_of_settings(&self) -> bool {
        use crate::gateway_sim::Error as Simulator;
        matches!(
            self,
            Self::Gateways(_)
                | Self::Sealing(_)
                | Self::Settlement(_)
                | Self::Redis(_)
                | Self::Simulator(Simulator::Settings(_))
        )
    }
}

/// What ingress and worker both stand on: the gateways' adapters, and the keys under which account data are sealed.
pub fn edges(settings: &Settings) -> Result<(Gateways, Sealer), Error> {
    Ok((gateway::registry(&settings.gateways)?, Sealer::new(&settings.sealing)?))
}

/// What distinguishes a process from the others before it is wired.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub name: &'static str,
    /// Its admin port if nobody chooses another.
    pub admin_port: u16,
    pub needs: &'static [Need],
}

/// Runs one process from its settings to its exit code.
pub fn run(process: Process, wire: impl AsyncFnOnce(&mut Shell) -> Result<(), Error>) -> ExitCode {
    // Before anything that may speak TLS; fails only if it was done before.
    rustls::crypto::ring::default_provider().install_default().ok();
    let settings: Settings = match config::load() {
        Ok(loaded) => loaded.settings,
        Err(faults) => return refuse_settings(process, &faults),
    };
    let faults = needs::faults(process.needs, &settings);
    if !faults.is_empty() {
        return refuse_settings(process, &Faults(faults));
    }
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
    raise_descriptors();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(process, &error),
    };
    let (end, exit) = runtime.block_on(live(process, settings, &telemetry, wire));
    // What is left is waiting or overdue: neither may keep the process.
    runtime.shutdown_background();
    telemetry.flush();
    match end {
        // The failure was told when it happened.
        End::Clean | End::Failed(_) => {}
        End::Overdue(tasks) => {
            tracing::error!(tasks, "the deadline for stopping is over; what was under way will be repeated");
        }
    }
    exit
}

fn refuse_settings(process: Process, faults: &Faults) -> ExitCode {
    eprint!("payfleet {}: {faults}", process.name);
    ExitCode::from(EXIT_BAD_SETTINGS)
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
) -> (End, ExitCode) {
    let life = Lifetime::default();
    if let Err(error) = life.heed_signals() {
        return (End::Failed(format!("signals cannot be heeded: {error}")), ExitCode::FAILURE);
    }
    let drain = settings.process.drain();
    life.spawn_witness("metrics", telemetry.metrics.clone().keep_up(life.over.clone()));
    let mut shell = Shell::new(process, settings, life.clone(), telemetry.metrics.clone());
    tracing::info!(process = process.name, version = env!("CARGO_PKG_VERSION"), "starting");
    let mut exit = 0;
    match wire(&mut shell).await {
        Ok(()) | Err(Error::Stopped) => {}
        Err(error) => {
            exit = if error.is_of_settings() { EXIT_BAD_SETTINGS } else { 1 };
            match error {
                Error::Told => life.stop.cancel(),
                error => life.fail(process.name, &error.to_string()),
            }
        }
    }
    let end = life.end(drain).await;
    // Only now: whoever looks for the process finds it as long as it works.
    shell.finish().await;
    if exit == 0 && end != End::Clean {
        exit = 1;
    }
    (end, ExitCode::from(exit))
}
