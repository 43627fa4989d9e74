//! What the fleet stands on: servers, schema, demo users, and the simulator that stands for the gateways.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::told::{Places, Progress};
use super::variables::Variables;
use crate::accounts::Pepper;
use crate::cli::demo::{self, DemoUser};
use crate::cli::migrate;
use crate::cli::processes::Shell;
use crate::cli::routes::GATEWAYS;
use crate::cli::settings::Settings;
use crate::dev::secrets::Secrets;
use crate::dev::servers::postgres::{Durability, Postgres};
use crate::dev::servers::redis::Redis;
use crate::dev::servers::{self, Directory, Supervised, free_port, stop_orphan};
use crate::kafka::embedded::{self, Embedded};
use crate::kafka::topics;
use crate::service::config::Faults;

/// Why the fleet has nothing to stand on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error(transparent)]
    Settings(#[from] Faults),
    #[error(transparent)]
    Broker(#[from] embedded::Error),
    #[error("{0}\nIf the data of earlier runs are of no use any more: `payfleet dev clean` removes them.")]
    Migrate(#[from] migrate::Error),
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the API key pepper is too short")]
    Pepper,
    #[error("the simulator is not beside this program: {0} is missing; `cargo build --bins` makes it")]
    NoSimulator(PathBuf),
}

pub(super) const SIMULATOR: &str = "gateway-sim";

pub struct Stand {
    place: PathBuf,
    variables: Variables,
    owner_url: String,
    simulator: SocketAddr,
    postgres_port: u16,
    redis_port: u16,
    brokers: String,
}

impl Stand {
    /// Starts everything but the stages, and gives the shell the settings that lead there.
    pub async fn up(
        shell: &mut Shell,
        home: &Path,
        mut variables: Variables,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        let directory = Arc::new(Directory::take(&place(home))?);
        let held = Arc::clone(&directory);
        shell.finally(async move { drop(held) });
        let place = directory.path().to_owned();
        let secrets = Secrets::prepare(Secrets::of(home).path()).await?;
        variables.extend(secrets.variables());
        progress.done("secrets");
        let (owner_url, postgres_port) = start_postgres(shell, &directory).await?;
        let (redis_url, redis_port) = start_redis(shell, &directory).await?;
        progress.done("PostgreSQL, Redis");
        let brokers = start_broker(shell)?;
        progress.done("broker");

        // One that a killed run left behind still has the usual port, and customers have pages there.
        stop_orphan(SIMULATOR, &place, Signal::TERM).await;
        let simulator = simulator_address(&shell.settings)?;
        variables.put("SIM__LISTEN", simulator.to_string());
        variables.set("SIM__DATA_DIR", place.join(SIMULATOR).to_string_lossy());
        variables.set("SIM__CALLBACK_BASE_URL", format!("http://127.0.0.1:{}", shell.port("api").unwrap_or_default()));
        for gateway in GATEWAYS {
            let setting = format!("GATEWAYS__{}__BASE_URL", gateway.to_uppercase());
            variables.set(&setting, format!("http://{simulator}/{gateway}"));
        }
        let password = secrets.read("app_password")?;
        variables.set("MIGRATE__OWNER_URL", &owner_url);
        variables.set("POSTGRES__URL", app_url(&password, postgres_port));
        variables.set("REDIS__URL", redis_url);
        variables.set("KAFKA__BROKERS", &brokers);
        shell.settings = variables.load()?;

        for (purpose, port) in [("postgres", postgres_port), ("redis", redis_port), ("simulator", simulator.port())] {
            shell.knows(purpose, port);
        }
        let stand = Self { place, variables, owner_url, simulator, postgres_port, redis_port, brokers };
        stand.fill(shell).await?;
        progress.done("schema, gateways, routes, demo users");
        Ok(stand)
    }

    async fn fill(&self, shell: &Shell) -> Result<(), Error> {
        migrate::schema(&shell.settings.migrate).await?;
        let pepper = Pepper::new(&shell.settings.ingress.api_key_pepper).ok_or(Error::Pepper)?;
        let mut owner = self.owner().await?;
        demo::seed(&mut owner, &pepper).await?;
        owner.close().await?;
        Ok(())
    }

    async fn owner(&self) -> Result<PgConnection, sqlx::Error> {
        self.owner_url.parse::<PgConnectOptions>()?.disable_statement_logging().connect().await
    }

    /// The demo users and what each has.
    pub async fn demo_users(&self) -> Result<Vec<(DemoUser, String)>, Error> {
        let mut owner = self.owner().await?;
        let users = demo::balances(&mut owner).await?;
        owner.close().await?;
        Ok(users)
    }

    pub fn places(&self, shell: &Shell) -> Places {
        Places {
            api: shell.port("api").unwrap_or(0),
            admin: shell.port("admin").unwrap_or(0),
            simulator: self.simulator,
            postgres: self.postgres_port,
            redis: self.redis_port,
            brokers: self.brokers.clone(),
        }
    }

    /// The gateways' other side is a process of its own, with books of its own that outlive this run.
    pub async fn start_simulator(&self, shell: &mut Shell) -> Result<(), Error> {
        let program = std::env::current_exe().map_err(servers::Error::io("this program"))?.with_file_name(SIMULATOR);
        if !program.is_file() {
            return Err(Error::NoSimulator(program));
        }
        let mut command = Command::new(program);
        command.envs(self.variables.all()).env("PAYFLEET_PROCESS__ADMIN_LISTEN", "127.0.0.1:0");
        let mut simulator = Supervised::start(SIMULATOR, &self.place, command, Signal::TERM)?;
        let answers = || async { tokio::net::TcpStream::connect(self.simulator).await.is_ok() };
        if let Err(error) = simulator.until(answers).await {
            simulator.stop().await;
            return Err(error.into());
        }
        keep(shell, SIMULATOR, simulator);
        Ok(())
    }
}

/// Where a fleet keeps the data of what it stands on.
pub(super) fn place(home: &Path) -> PathBuf {
    home.join("fleet")
}

/// As the application's role.
pub(super) fn app_url(password: &str, port: u16) -> String {
    format!("postgres://payfleet_app:{password}@127.0.0.1:{port}/payfleet")
}

/// As the owner, and its port.
async fn start_postgres(shell: &mut Shell, directory: &Directory) -> Result<(String, u16), Error> {
    let postgres = Postgres::start(directory, Durability::Kept).await?;
    let known = (format!("{}/payfleet", postgres.url()), postgres.port);
    keep(shell, "PostgreSQL", postgres.into_server());
    Ok(known)
}

async fn start_redis(shell: &mut Shell, directory: &Directory) -> Result<(String, u16), Error> {
    let redis = Redis::start(directory).await?;
    let known = (redis.url(), redis.port);
    keep(shell, "Redis", redis.into_server());
    Ok(known)
}

fn start_broker(shell: &mut Shell) -> Result<String, Error> {
    let topics = topics::declared(GATEWAYS);
    let broker = Embedded::start(topics.iter().map(|name| shell.settings.kafka.topic(name)).collect())?;
    let brokers = broker.brokers().to_owned();
    shell.finally(async move { drop(broker) });
    Ok(brokers)
}

/// The usual port if it is free, any other if not: nobody but this fleet and a browser needs to know it.
fn simulator_address(settings: &Settings) -> Result<SocketAddr, Error> {
    let mut address = settings.sim.listen;
    if std::net::TcpListener::bind(address).is_err() || address.port() == 0 {
        address.set_port(free_port()?);
    }
    Ok(address)
}

/// Ends a server when the shell is done; if it ends by itself, the fleet cannot go on.
fn keep(shell: &mut Shell, name: &'static str, mut server: Supervised) {
    let (life, quit) = (shell.life.clone(), CancellationToken::new());
    let quitting = quit.clone();
    let kept = tokio::spawn(async move {
        tokio::select! {
            reason = server.ended() => life.fail(name, &reason),
            () = quitting.cancelled() => {}
        }
        server.stop().await;
    });
    shell.finally(async move {
        quit.cancel();
        kept.await.ok();
    });
}
