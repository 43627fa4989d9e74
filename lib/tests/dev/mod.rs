//! Guarantees of `payfleet dev`, which is what `make run` runs: the whole fleet in one process, on servers of its own.

mod killed;
mod production;
mod readme;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::harness::eventually;

/// Servers, schema and stages, on a machine that may also compile.
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A fleet as `make run` starts it, with everything of it under a directory of the test's.
struct Dev {
    home: PathBuf,
    /// Settings beside the usual ones.
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Dev {
    /// Starts it on nothing: what an earlier run of the test left is removed before.
    async fn begin(test: &str, settings: &[(&'static str, String)]) -> Self {
        let mut dev = Self::on_nothing(test, settings).await;
        dev.start().await;
        dev
    }

    /// Not started yet.
    async fn on_nothing(test: &str, settings: &[(&'static str, String)]) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev").join(test);
        let dev = Self { home, settings: settings.to_vec(), child: None };
        dev.clean().await;
        dev
    }

    fn log(&self) -> PathBuf {
        self.home.join("told")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
        command.args(["dev", "--directory"]).arg(&self.home);
        command
    }

    /// Starts it, again if it ran before, and waits until it says that it is ready.
    async fn start(&mut self) {
        std::fs::create_dir_all(&self.home).unwrap();
        let told = std::fs::File::create(self.log()).unwrap();
        let mut command = self.command();
        command.envs(self.settings.iter().map(|(name, value)| (format!("PAYFLEET_{name}"), value)));
        // The admin port is for nobody here; another fleet may have the usual one.
        command.env("PAYFLEET_PROCESS__ADMIN_LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stderr(told.try_clone().unwrap()).stdout(told).process_group(0);
        let mut child = command.spawn().unwrap();
        eventually("the fleet to say that it is ready", READY_WITHIN, async || {
            let told = std::fs::read_to_string(self.log()).unwrap();
            if let Ok(Some(status)) = child.try_wait() {
                panic!("it ended with {status}:\n{told}");
            }
            told.lines().any(|line| line == "ready").then_some(())
        })
        .await;
        self.child = Some(child);
    }

    /// kill -9. Servers and simulator live on; the next start finds and ends them.
    async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// As Ctrl-C does it.
    async fn stop(mut self) {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let ended = tokio::time::timeout(STOP_WITHIN, child.wait()).await.expect("it does not stop").unwrap();
        assert!(ended.success(), "{ended}: {}", std::fs::read_to_string(self.log()).unwrap());
        self.clean().await;
    }

    /// Ends what a killed run left behind, and removes its data.
    async fn clean(&self) {
        let done = self.command().arg("clean").output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::remove_dir_all(&self.home).ok();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A test that fails leaves its data to be looked at, but nothing that runs.
        if let Some(pid) = self.child.take().and_then(|child| Pid::from_raw(child.id()?.cast_signed())) {
            kill_process(pid, Signal::TERM).ok();
        }
    }
}
