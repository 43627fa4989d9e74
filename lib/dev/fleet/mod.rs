//! `payfleet dev`: the whole fleet in one process, on PostgreSQL, Redis and a broker of its own, the simulator beside it.
//!
//! The stages are the very ones that run as separate processes elsewhere; only the settings differ. PostgreSQL's data are kept from
//! run to run, everything else begins empty: the broker forgets what it held, and each open payment comes home by its due time.
//!
//! If it dies here: the servers and the simulator live on. The next run ends them by their records and starts its own.

mod books;
mod stand;
mod told;
mod variables;

use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::cli::processes::{self, Process, Shell};
use crate::service::config::EXIT_BAD_SETTINGS;
use stand::Stand;
use told::Progress;
use variables::Variables;

pub use books::Books;
pub use stand::Error;

pub const FLEET: Process = Process { name: "fleet", admin_port: 15002, needs: &[] };

/// Runs the fleet, with everything of it under `home`, until told to stop.
pub fn run(home: &Path) -> ExitCode {
    let mut variables = Variables::of_environment();
    // People read this, also through a pipe.
    variables.set("TELEMETRY__FORMAT", "human");
    variables.set("PROCESS__RUN_DIR", home.join("run").to_string_lossy());
    let settings = match variables.load() {
        Ok(settings) => settings,
        Err(faults) => {
            eprint!("payfleet dev: {faults}");
            return ExitCode::from(EXIT_BAD_SETTINGS);
        }
    };
    processes::run_with(FLEET, settings, async |shell| {
        bring_up(shell, home, variables).await.map_err(|error| match error {
            processes::Error::Stopped => error,
            error => {
                eprintln!("payfleet dev: {error}");
                processes::Error::Told
            }
        })
    })
}

async fn bring_up(shell: &mut Shell, home: &Path, variables: Variables) -> Result<(), processes::Error> {
    // Before anything is started: a port that is taken must be told at once.
    let listen = shell.settings.ingress.listen.clone();
    let api = shell.open("api", &listen, processes::LISTEN).await?;
    let mut progress = Progress::begin();
    let stand = Stand::up(shell, home, variables, &mut progress).await.map_err(processes::Error::part)?;
    serve(shell, api, &stand).await?;
    progress.done("ingress, relay, gateway-worker");
    let users = stand.demo_users().await.map_err(processes::Error::part)?;
    told::ready(&stand.places(shell), &users, progress.total());
    Ok(())
}

/// All stages, as the processes of their own would run them.
async fn serve(shell: &mut Shell, api: TcpListener, stand: &Stand) -> Result<(), processes::Error> {
    let pool = shell.settings.postgres.lazy_pool(FLEET.name)?;
    shell.serve_admin(Some(&pool)).await?;
    shell.announce();
    let (gateways, sealer) = processes::edges(&shell.settings)?;
    processes::start_relay(shell);
    processes::start_ingress(shell, api, pool.clone(), gateways.clone(), sealer.clone()).await?;
    processes::start_gateway_worker(shell, pool, gateways, sealer).await?;
    stand.start_simulator(shell).await.map_err(processes::Error::part)
}
