//! Payfleet's own processes, as they are deployed: the binaries of this build, told everything by the environment.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use payfleet::dev::secrets::Secrets;
use tokio::process::{Child, Command};

use super::stand::{Database, PEPPER, Stand};

/// How long a process may take until it serves.
const READY: Duration = Duration::from_secs(30);

/// What the adapters must know besides secrets; no gateway is ever called.
const GATEWAYS: [(&str, &str); 6] = [
    ("PAYPAL__CLIENT_ID", "bench"),
    ("PAYPAL__WEBHOOK_ID", "WH-BENCH"),
    ("BANK__USERNAME", "bench"),
    ("BANK__ACCOUNT_IBAN", "DE89370400440532013000"),
    ("BANK__ACCOUNT_OWNER", "Bench"),
    ("BANK__ACCOUNT_BIC", "COBADEFFXXX"),
];

pub struct Ingress {
    child: Child,
    pub base: payfleet::load::Base,
    log: PathBuf,
}

impl Ingress {
    /// Starts it on a free port, with these settings besides; `credential` is asked for its balance until that is answered.
    pub async fn start(
        stand: &Stand,
        database: &Database,
        credential: &str,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let log = stand.path().join(format!("ingress-{port}.log"));
        let mut command = program(env!("CARGO_BIN_EXE_ingress"), stand, database).await?;
        command.env("PAYFLEET_INGRESS__LISTEN", &address).env("PAYFLEET_INGRESS__API_KEY_PEPPER", PEPPER);
        // Thousands of keys come from one address, each of them new to the process once.
        for part in ["PER_SECOND", "BURST"] {
            command.env(format!("PAYFLEET_INGRESS__STRANGER_QUOTA__{part}"), "1000000");
        }
        command.envs(settings.iter().map(|(name, value)| (format!("PAYFLEET_INGRESS__{name}"), value)));
        let output = std::fs::File::create(&log)?;
        let child = command.stdout(output.try_clone()?).stderr(output).kill_on_drop(true).spawn().context("ingress")?;
        let mut ingress = Self { child, base: format!("http://{address}").parse()?, log };
        let url = format!("http://{address}/v1/balance");
        let client = reqwest::Client::new();
        let begin = Instant::now();
        loop {
            let asked = client.get(&url).bearer_auth(credential).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(ingress);
            }
            let ended = ingress.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > READY {
                let said = std::fs::read_to_string(&ingress.log).unwrap_or_default();
                anyhow::bail!("the ingress does not serve ({ended:?}); it said:\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// `payfleet migrate`: schema, the application's role, topics and routes.
pub async fn migrate(stand: &Stand, database: &Database) -> anyhow::Result<()> {
    let mut command = program(env!("CARGO_BIN_EXE_payfleet"), stand, database).await?;
    let done = command.arg("migrate").output().await?;
    let said = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "payfleet migrate failed: {said}");
    Ok(())
}

async fn program(path: &str, stand: &Stand, database: &Database) -> anyhow::Result<Command> {
    let secrets = Secrets::prepare(&stand.path().join("secrets")).await?;
    let mut command = Command::new(Path::new(path));
    let run_dir = stand.path().join("run");
    command
        .stdin(Stdio::null())
        .envs(secrets.variables().filter(|(name, _)| !name.contains("APP_PASSWORD") && !name.contains("PEPPER")))
        .env("PAYFLEET_ENV", "dev")
        .envs(GATEWAYS.map(|(name, value)| (format!("PAYFLEET_GATEWAYS__{name}"), value)))
        .env("PAYFLEET_PROCESS__ADMIN_LISTEN", "127.0.0.1:0")
        .env("PAYFLEET_PROCESS__RUN_DIR", run_dir)
        .env("PAYFLEET_POSTGRES__URL", &database.app_url)
        .env("PAYFLEET_MIGRATE__OWNER_URL", &database.owner_url)
        .env("PAYFLEET_REDIS__URL", stand.redis_url())
        .env("PAYFLEET_KAFKA__BROKERS", stand.brokers());
    Ok(command)
}
