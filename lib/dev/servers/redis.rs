//! A Redis server of our own. It keeps nothing: what is in it may be lost at any time, and so it is on every start.

use std::path::PathBuf;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::directory::{Content, Directory};
use super::supervised::{self, Supervised};
use super::{Error, free_port, on_path};

const NAME: &str = "redis";
const POLITE: Signal = Signal::TERM;
const TRIES: usize = 3;

#[derive(Debug)]
pub struct Redis {
    server: Supervised,
    launch: Launch,
    pub port: u16,
}

impl Redis {
    /// Starts it in `directory`, after ending what an earlier run may have left there.
    pub async fn start(directory: &Directory) -> Result<Self, Error> {
        let missing = Error::Missing { program: "redis-server", remedy: "`make prepare` installs it" };
        let program = on_path("redis-server").ok_or(missing)?;
        supervised::stop_orphan(NAME, directory.path(), POLITE).await;
        let place = directory.inner(NAME, Content::Discarded)?;
        let launch = Launch { program, directory: directory.path().into(), place };
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

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn into_server(self) -> Supervised {
        self.server
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Stops it where it stands: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    pub fn thaw(&self) {
        self.server.thaw();
    }

    /// What it was told to save, and would begin with when it is started again.
    pub fn saved(&self) -> PathBuf {
        self.launch.place.join("dump.rdb")
    }

    /// Starts it once more after it has ended, where clients look for it.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        self.server = self.launch.run(self.port).await?;
        Ok(())
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// What a server is started from.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    directory: PathBuf,
    place: PathBuf,
}

impl Launch {
    async fn run(&self, port: u16) -> Result<Supervised, Error> {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(&self.place);
        let mut server = Supervised::start(NAME, &self.directory, command, POLITE)?;
        match server.until(|| answers(port)).await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop().await;
                Err(error)
            }
        }
    }
}

async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        Ok::<bool, std::io::Error>(&answer == b"+PONG\r\n")
    };
    ask.await.unwrap_or(false)
}
