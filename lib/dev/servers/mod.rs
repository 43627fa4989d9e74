//! Servers of our own on this machine: PostgreSQL, Redis and Kafka under one directory, on free ports of the loopback address.
//!
//! Each is a child of this process, in a process group of its own (Ctrl-C reaches only us, and we end them in order), and is
//! recorded as (process id, start time), so that a later run can tell an orphan of a killed one from a stranger. Nothing is
//! ever ended by name.
//!
//! If it dies here: the servers live on. The next run on the same directory finds the record, ends them and starts its own.

pub mod kafka;
pub mod postgres;
pub mod redis;

mod around;
mod clean;
mod directory;
mod supervised;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

pub use around::around;
pub use clean::clean;
pub use directory::Directory;
pub use supervised::{Supervised, stop_orphan};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("another run of this tree uses {path}{}; stop it first, or choose another directory with --directory", .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error("{program} was not found; {remedy}")]
    Missing { program: &'static str, remedy: &'static str },
    #[error("{program} did not start: {reason}\nthe end of its log, {log}:\n{tail}")]
    NotStarted { program: String, reason: String, log: PathBuf, tail: String },
    #[error("{program} failed:\n{output}")]
    Failed { program: String, output: String },
    #[error(
        "the data in {path} were written by PostgreSQL {found}, but version {installed} is installed: `make clean` starts afresh"
    )]
    OtherVersion { path: PathBuf, found: String, installed: u32 },
}

impl Error {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { path, cause }
    }
}

/// How long a server may take to answer. Generous: a machine that also compiles is slow.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What [`free_port`] has given out.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port of the loopback address that nobody listens on now, another one each time. Whoever uses it must expect to lose the race and ask again.
///
/// Below the range that outgoing connections take theirs from: one of those could else have it while a killed server is away.
pub fn free_port() -> Result<u16, Error> {
    let mut tries = 0;
    loop {
        let port = rand::random_range(20_000..32_000);
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            // Whoever got it before may not have taken it yet.
            Ok(_) if !GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) => {}
            Ok(_) => return Ok(port),
            Err(_) if tries < 100 => tries += 1,
            Err(error) => return Err(Error::io("127.0.0.1")(error)),
        }
    }
}

/// The program of that name on the search path.
fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Runs a program to its end; what it said is the error if it fails.
async fn finish(program: &str, command: &mut tokio::process::Command) -> Result<(), Error> {
    let done = command.stdin(std::process::Stdio::null()).output().await.map_err(Error::io(program))?;
    if done.status.success() {
        return Ok(());
    }
    let output = [done.stdout, done.stderr].concat();
    Err(Error::Failed { program: program.to_owned(), output: String::from_utf8_lossy(&output).trim().to_owned() })
}
