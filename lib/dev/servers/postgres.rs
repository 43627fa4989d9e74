//! A PostgreSQL server of our own.
//!
//! PostgreSQL refuses to run as root. There it runs in a user namespace that maps root to an ordinary user, which works in a
//! directory only root may enter; where namespaces are not allowed, as the `postgres` user with a data directory it can reach.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::process::Command;

use super::directory::{Content, Directory};
use super::supervised::{self, Supervised};
use super::{Error, START_LIMIT, finish, free_port, on_path};

const NAME: &str = "postgres";
/// Fast shutdown: sessions are ended, data are flushed.
const POLITE: Signal = Signal::INT;
const OLDEST: u32 = 15;
const TRIES: usize = 3;
/// Between two tries to start a server after a crash.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether data must survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Kept,
    /// No fsync: for tests.
    Waived,
}

#[derive(Debug)]
pub struct Postgres {
    server: Supervised,
    launch: Launch,
    pub port: u16,
}

impl Postgres {
    /// Starts it in `directory`, after ending what an earlier run may have left there.
    pub async fn start(directory: &Directory, durability: Durability) -> Result<Self, Error> {
        Self::start_with(directory, durability, &[]).await
    }

    /// Likewise, with more settings of the server's, each as `name=value`.
    pub async fn start_with(directory: &Directory, durability: Durability, settings: &[&str]) -> Result<Self, Error> {
        let install = Install::find()?;
        let account = Account::choose(directory).await?;
        supervised::stop_orphan(NAME, directory.path(), POLITE).await;
        let data = account.place.join("data");
        clear_lock(&data).await;
        if durability == Durability::Waived {
            std::fs::remove_dir_all(&data).or_else(absent_is_fine).map_err(Error::io(&data))?;
        }
        let password = initialise(&install, &account, &data).await?;
        check_version(&install, &data)?;
        let launch = Launch {
            program: install.bin.join("postgres"),
            account,
            directory: directory.path().into(),
            data,
            durability,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            password,
        };
        let mut tries = 1;
        loop {
            let port = free_port()?;
            match launch.run(port).await {
                Ok(server) => return Ok(Self { server, launch, port }),
                Err(Error::NotStarted { tail, .. }) if tries < TRIES && tail.contains("in use") => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// As the owner: `postgres://postgres:…@127.0.0.1:port`, without a database.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}", self.launch.password, self.port)
    }

    pub fn into_server(self) -> Supervised {
        self.server
    }

    /// Ends the server as a crash would. Its sessions' processes see that it is gone and end by themselves, a moment later.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Starts it once more after it has ended, with the data it had, where clients look for it. What sessions were doing when it was
    /// killed they may finish first: until the last of them has gone, its shared memory keeps a new server out. The server says so in
    /// the log that these sessions write to as well, so that its reason is not told from others.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            match self.launch.run(self.port).await {
                Ok(server) => {
                    self.server = server;
                    return Ok(());
                }
                Err(Error::NotStarted { .. }) if begin.elapsed() < START_LIMIT => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Where PostgreSQL's programs are.
struct Install {
    bin: PathBuf,
    version: u32,
}

impl Install {
    /// The newest one in the usual places, else the one on the search path.
    fn find() -> Result<Self, Error> {
        let mut found: Vec<Self> = Vec::new();
        for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt", "/usr"] {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                let bin = entry.path().join("bin");
                let name = entry.file_name().to_string_lossy().into_owned();
                let digits = name.trim_start_matches("postgresql@").trim_start_matches("pgsql-");
                if let Ok(version) = digits.parse()
                    && bin.join("initdb").is_file()
                {
                    found.push(Self { bin, version });
                }
            }
        }
        found.sort_by_key(|install| install.version);
        found
            .pop()
            .or_else(Self::on_path)
            .filter(|install| install.version >= OLDEST)
            .ok_or(Error::Missing { program: "PostgreSQL 15 or newer", remedy: "`make prepare` installs it" })
    }

    fn on_path() -> Option<Self> {
        let initdb = on_path("initdb")?.canonicalize().ok()?;
        let said = std::process::Command::new(&initdb).arg("--version").output().ok()?.stdout;
        // initdb (PostgreSQL) 17.2
        let version = String::from_utf8_lossy(&said).split_whitespace().nth(2)?.split('.').next()?.parse().ok()?;
        Some(Self { bin: initdb.parent()?.to_owned(), version })
    }
}

/// As whom the programs run, and where that user may write.
#[derive(Debug)]
struct Account {
    prefix: Vec<String>,
    place: PathBuf,
}

impl Account {
    async fn choose(directory: &Directory) -> Result<Self, Error> {
        let place = directory.inner(NAME, Content::Kept)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { prefix: Vec::new(), place });
        }
        let namespace = ["unshare", "-U", "--map-user=1000", "--map-group=1000"].map(str::to_owned).to_vec();
        if runs(&namespace, &["test", "-w", &place.to_string_lossy()]).await {
            return Ok(Self { prefix: namespace, place });
        }
        Self::of_postgres(directory.path()).await
    }

    /// The `postgres` user often cannot enter the tree: a directory of its own then, one per tree.
    async fn of_postgres(tree: &Path) -> Result<Self, Error> {
        const AS_POSTGRES: [&str; 4] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"];
        let prefix = AS_POSTGRES.map(str::to_owned).to_vec();
        let place = elsewhere(tree);
        if !runs(&prefix, &["true"]).await {
            let remedy = "run as an ordinary user, or make a `postgres` user: PostgreSQL refuses to run as root";
            return Err(Error::Missing { program: "a way to run PostgreSQL as another user", remedy });
        }
        let quoted = place.to_string_lossy().into_owned();
        finish(
            "install",
            Command::new("install").args(["-d", "-m", "700", "-o", "postgres", "-g", "postgres", &quoted]),
        )
        .await?;
        Ok(Self { prefix, place })
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut words: Vec<std::ffi::OsString> = self.prefix.iter().map(Into::into).collect();
        words.push(program.into_os_string());
        let mut command = Command::new(&words[0]);
        // A directory that this user can be in: the caller's may be closed to it.
        command.args(&words[1..]).current_dir(&self.place);
        command
    }
}

/// Where data are kept that the `postgres` user must reach.
fn elsewhere(directory: &Path) -> PathBuf {
    let hash = crc32fast::hash(directory.as_os_str().as_encoded_bytes());
    PathBuf::from(format!("/var/tmp/payfleet-{hash:08x}"))
}

/// Removes data that are kept outside of the directory.
pub(super) fn forget(directory: &Path) {
    std::fs::remove_dir_all(elsewhere(directory)).ok();
}

async fn runs(prefix: &[String], command: &[&str]) -> bool {
    let mut whole = Command::new(&prefix[0]);
    whole.args(&prefix[1..]).args(command);
    finish(&prefix[0], &mut whole).await.is_ok()
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Removes the lock of a server that is gone. We hold the directory, so whoever it names is an orphan of ours or a stranger.
async fn clear_lock(data: &Path) {
    let lock = data.join("postmaster.pid");
    let Some(pid) = std::fs::read_to_string(&lock).ok().and_then(|text| text.lines().next()?.trim().parse().ok())
    else {
        return;
    };
    supervised::stop_by_command_line(pid, &data.to_string_lossy(), POLITE).await;
    std::fs::remove_file(&lock).ok();
}

/// Makes the data directory if there is none yet; half of one, left by a killed run, is thrown away. Gives the owner's password.
async fn initialise(install: &Install, account: &Account, data: &Path) -> Result<String, Error> {
    let password_file = account.place.join("password");
    if data.join("PG_VERSION").exists() {
        return std::fs::read_to_string(&password_file)
            .map(|password| password.trim().to_owned())
            .map_err(Error::io(&password_file));
    }
    let fresh = account.place.join("data.new");
    std::fs::remove_dir_all(&fresh).or_else(absent_is_fine).map_err(Error::io(&fresh))?;
    let password = super::super::secrets::random_text();
    super::super::secrets::write_private(&password_file, &password).map_err(Error::io(&password_file))?;
    if account.prefix.first().is_some_and(|program| program == "setpriv") {
        finish("chown", Command::new("chown").arg("postgres:postgres").arg(&password_file)).await?;
    }
    let mut command = account.command(install.bin.join("initdb"));
    command
        .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("-D")
        .arg(&fresh);
    finish("initdb", &mut command).await?;
    std::fs::rename(&fresh, data).map_err(Error::io(data))?;
    Ok(password)
}

fn check_version(install: &Install, data: &Path) -> Result<(), Error> {
    let path = data.join("PG_VERSION");
    let found = std::fs::read_to_string(&path).map_err(Error::io(&path))?.trim().to_owned();
    if found == install.version.to_string() {
        return Ok(());
    }
    Err(Error::OtherVersion { path: data.to_owned(), found, installed: install.version })
}

/// What a server is started from.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    account: Account,
    directory: PathBuf,
    data: PathBuf,
    durability: Durability,
    settings: Vec<String>,
    password: String,
}

impl Launch {
    async fn run(&self, port: u16) -> Result<Supervised, Error> {
        let mut command = self.account.command(self.program.clone());
        command.arg("-D").arg(&self.data).arg("-p").arg(port.to_string());
        // No Unix socket: its path has a length limit that a deep clone exceeds.
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "shared_buffers=128MB"]
        {
            command.args(["-c", setting]);
        }
        // The checker asks when a step was committed.
        command.args(["-c", "track_commit_timestamp=on"]);
        if self.durability == Durability::Waived {
            command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut server = Supervised::start(NAME, &self.directory, command, POLITE)?;
        let options = PgConnectOptions::new_without_pgpass()
            .host(&Ipv4Addr::LOCALHOST.to_string())
            .port(port)
            .username("postgres")
            .password(&self.password)
            .database("postgres");
        let answers = || async {
            match PgConnection::connect_with(&options).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        };
        match server.until(answers).await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop().await;
                Err(error)
            }
        }
    }
}
