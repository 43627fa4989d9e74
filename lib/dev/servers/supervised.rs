//! A server process that we started, and the record by which a later run finds it if we are killed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{Error, START_LIMIT};

/// How long a server may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Who is meant by a record: a process id alone may have been given to somebody else since.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    pid: i32,
    /// Clock ticks between the machine's start and the process's.
    started: u64,
}

impl Record {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the name in parentheses, may hold anything; state is the first after it, start time the 20th.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            return None;
        }
        Some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            kill_process(pid, signal).ok();
        }
    }
}

/// A child process with its record, its log and the signal that ends it politely.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    child: Child,
    record_path: PathBuf,
    log: PathBuf,
    polite: Signal,
}

impl Supervised {
    /// Starts `command` as `name`, and appends what it says to `<directory>/<name>.log`.
    pub fn start(name: &str, directory: &Path, mut command: Command, polite: Signal) -> Result<Self, Error> {
        let (log, record_path) = (directory.join(format!("{name}.log")), directory.join(format!("{name}.pid")));
        let output = OpenOptions::new().append(true).create(true).open(&log).map_err(Error::io(&log))?;
        let errors = output.try_clone().map_err(Error::io(&log))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().map_err(Error::io(command.as_std().get_program()))?;
        let started = Self { name: name.to_owned(), child, record_path, log, polite };
        if let Some(record) = started.child.id().and_then(|pid| Record::of(pid.cast_signed())) {
            let content = serde_json::to_vec(&record).unwrap_or_default();
            std::fs::write(&started.record_path, content).map_err(Error::io(&started.record_path))?;
        }
        Ok(started)
    }

    /// Waits until `answers`, or tells why the server did not come up.
    pub async fn until<F: Future<Output = bool>>(&mut self, answers: impl Fn() -> F) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_started(format!("it ended with {status}")));
            }
            if answers().await {
                return Ok(());
            }
            if begin.elapsed() > START_LIMIT {
                return Err(self.not_started(format!("it did not answer within {} s", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn not_started(&self, reason: String) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        Error::NotStarted { program: self.name.clone(), reason, log: self.log.clone(), tail }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resolves when the server ends by itself.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => self.not_started(format!("it ended with {status}")).to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// SIGSTOP: it stands still and does not know it.
    pub fn freeze(&self) {
        self.send(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        if let Some(record) = self.child.id().and_then(|pid| Record::of(pid.cast_signed())) {
            record.send(signal);
        }
    }

    /// Ends it as a crash would: it can neither finish nor say anything.
    pub async fn kill(&mut self) {
        self.child.kill().await.ok();
    }

    /// Ends it: politely, then for good.
    pub async fn stop(mut self) {
        self.end().await;
        std::fs::remove_file(&self.record_path).ok();
    }

    /// Likewise, of one that is to be started again.
    pub async fn end(&mut self) {
        if let Some(record) = self.child.id().and_then(|pid| Record::of(pid.cast_signed())) {
            record.send(self.polite);
            // One that was frozen hears it only now.
            record.send(Signal::CONT);
            if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
                self.child.kill().await.ok();
            }
        }
        self.child.wait().await.ok();
    }
}

/// Ends what an earlier run started as `name` and could not end itself. It is not our child, so it cannot be waited for.
pub async fn stop_orphan(name: &str, directory: &Path, polite: Signal) {
    let path = directory.join(format!("{name}.pid"));
    let recorded = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    if let Some(record) = recorded {
        end_stranger(&record, polite).await;
    }
    std::fs::remove_file(&path).ok();
}

async fn end_stranger(record: &Record, polite: Signal) {
    record.send(polite);
    let begin = Instant::now();
    let mut killed = false;
    while record.is_alive() {
        if begin.elapsed() > STOP_LIMIT && !killed {
            record.send(Signal::KILL);
            killed = true;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends a process that is known by its id and by a word of its command line only.
pub async fn stop_by_command_line(pid: i32, word: &str, polite: Signal) {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&command_line).contains(word)
        && let Some(record) = Record::of(pid)
    {
        end_stranger(&record, polite).await;
    }
}

/// Ends a process that is known by its id and by a variable of its environment, as `NAME=value`.
pub async fn stop_by_environment(pid: i32, variable: &str, polite: Signal) {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if environment.split(|byte| *byte == 0).any(|given| given == variable.as_bytes())
        && let Some(record) = Record::of(pid)
    {
        end_stranger(&record, polite).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("payfleet-supervised-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn endless() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[tokio::test]
    async fn an_orphan_is_ended_and_a_stranger_with_its_id_is_not() {
        let place = directory("orphan");
        let orphan = Supervised::start("redis", &place, endless(), Signal::TERM).unwrap();
        let pid = orphan.pid().unwrap().cast_signed();
        let record = place.join("redis.pid");
        let recorded: Record = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
        let other = Record { pid, started: recorded.started + 1 };
        std::fs::write(&record, serde_json::to_vec(&other).unwrap()).unwrap();
        stop_orphan("redis", &place, Signal::TERM).await;
        assert!(recorded.is_alive(), "it was ended although another one was recorded");
        std::fs::write(&record, serde_json::to_vec(&recorded).unwrap()).unwrap();
        stop_orphan("redis", &place, Signal::TERM).await;
        assert!(!recorded.is_alive() && !record.exists());
        orphan.stop().await;
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[tokio::test]
    async fn a_process_is_ended_by_its_environment_and_one_with_another_is_not() {
        let place = directory("environment");
        let mut command = endless();
        command.env("PAYFLEET_PROCESS__RUN_DIR", "/somewhere");
        let process = Supervised::start("relay", &place, command, Signal::TERM).unwrap();
        let pid = process.pid().unwrap().cast_signed();
        let started = Record::of(pid).unwrap();
        // It is started before it has its environment.
        let environment = format!("/proc/{pid}/environ");
        let has_it = |given: Vec<u8>| given.split(|byte| *byte == 0).any(|one| one.ends_with(b"=/somewhere"));
        while !std::fs::read(&environment).is_ok_and(has_it) {
            tokio::task::yield_now().await;
        }
        stop_by_environment(pid, "PAYFLEET_PROCESS__RUN_DIR=/some", Signal::TERM).await;
        assert!(started.is_alive(), "it was ended although another one was meant");
        stop_by_environment(pid, "PAYFLEET_PROCESS__RUN_DIR=/somewhere", Signal::TERM).await;
        assert!(!started.is_alive());
        process.stop().await;
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[tokio::test]
    async fn a_server_that_does_not_come_up_says_why() {
        let place = directory("why");
        let mut command = Command::new("sh");
        command.args(["-c", "echo port in use; exit 3"]);
        let mut server = Supervised::start("kafka", &place, command, Signal::TERM).unwrap();
        let error = server.until(|| std::future::ready(false)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("port in use"), "{error}");
        server.stop().await;
        std::fs::remove_dir_all(&place).unwrap();
    }
}
