//! One process of the fleet: a program of ours as it is shipped, started, watched and ended by its process id.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use payfleet::service::instance::Instance;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::eventually;

/// From its start until it is ready; the machine may be compiling.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than a process gives itself to finish what is under way.
const STOP_WITHIN: Duration = Duration::from_secs(30);

pub struct Process {
    pub name: String,
    pub pid: u32,
    pub started: Instant,
    child: Child,
    log: PathBuf,
    /// Where its own words begin: others of its name have written before.
    log_begins: u64,
    instance: PathBuf,
}

impl Process {
    /// Starts `program` as `name`, with nothing in its environment but `variables`. What it says is appended to `<directory>/<name>.log`.
    pub fn start(program: &str, name: &str, directory: &Path, variables: &BTreeMap<String, String>) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        let log_begins = output.metadata().unwrap().len();
        let mut command = Command::new(program);
        command.env_clear().envs(variables).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // A bug planted on purpose, to see these tests find it.
        command.envs(std::env::vars().filter(|(name, _)| name == "PAYFLEET_PLANTED_BUG"));
        command.env("PAYFLEET_PROCESS__INSTANCE", name).env("PAYFLEET_PROCESS__RUN_DIR", directory.join("run"));
        // A test that panics takes its processes with it. A group of its own: Ctrl-C reaches us first.
        command.kill_on_drop(true).process_group(0);
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let pid = child.id().unwrap();
        let (name, started) = (name.to_owned(), Instant::now());
        let instance = directory.join("run").join(format!("{name}.json"));
        Self { name, pid, started, child, log, log_begins, instance }
    }

    /// Waits until it says that it is ready.
    pub async fn ready(mut self) -> Self {
        let what = format!("{} to be ready (its log: {})", self.name, self.log.display());
        eventually(&what, READY_WITHIN, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status}:\n{}", self.name, self.last_words());
            }
            self.is_ready().await.then_some(())
        })
        .await;
        self
    }

    /// Whether it says now that it is ready.
    pub async fn is_ready(&self) -> bool {
        let instance = Instance::read(&self.instance).filter(|instance| instance.pid == self.pid);
        match instance.as_ref().and_then(|instance| instance.ports.get("admin")) {
            Some(port) => says_ready(*port).await,
            None => false,
        }
    }

    /// The end of what it has said.
    pub fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let said = usize::try_from(self.log_begins).ok().and_then(|begin| log.get(begin..)).unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// What it tells of a metric, over all its labels; None: it has not told anything yet.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let port = *Instance::read(&self.instance)?.ports.get("admin")?;
        let told = ask(port, "/metrics").await.ok()?;
        let value = |line: &str| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<f64>().ok();
        let values: Vec<f64> = told.lines().filter_map(value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    fn send(&self, signal: Signal) {
        // It is our child and not waited for yet: the id cannot be another's.
        kill_process(Pid::from_raw(self.pid.cast_signed()).unwrap(), signal).unwrap();
    }

    /// kill -9: it can neither finish nor say anything.
    pub async fn kill(mut self) {
        self.strike().await;
    }

    /// Likewise, of one that something else is to be asked of.
    pub async fn strike(&mut self) {
        self.send(Signal::KILL);
        self.ended().await;
    }

    /// SIGSTOP: it stands still and does not know it.
    pub fn freeze(&self) {
        self.send(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.send(Signal::CONT);
    }

    /// SIGTERM: it is asked to end.
    pub fn ask_to_end(&self) {
        self.send(Signal::TERM);
    }

    /// Resolves when it has ended, however that came about.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Asks it to end, and gives it the time it may take.
    pub async fn stop(mut self) -> ExitStatus {
        self.ask_to_end();
        let ended = tokio::time::timeout(STOP_WITHIN, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} did not stop:\n{}", self.name, self.last_words()));
        status.unwrap()
    }
}

async fn says_ready(port: u16) -> bool {
    ask(port, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

async fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
