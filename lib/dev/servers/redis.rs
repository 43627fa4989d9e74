//! A Redis server of our own. It keeps nothing: what is in it may be lost at any time, and so it is on every start.

use std::path::Path;

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
    pub port: u16,
}

impl Redis {
    /// Starts it in `directory`, after ending what an earlier run may have left there.
    pub async fn start(directory: &Directory) -> Result<Self, Error> {
        let missing = Error::Missing { program: "redis-server", remedy: "`make prepare` installs it" };
        let program = on_path("redis-server").ok_or(missing)?;
        supervised::stop_orphan(NAME, directory.path(), POLITE).await;
        let place = directory.inner(NAME, Content::Discarded)?;
        let mut tries = 1;
        loop {
            let port = free_port()?;
            match run(&program, directory.path(), &place, port).await {
                Ok(server) => return Ok(Self { server, port }),
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

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

async fn run(program: &Path, directory: &Path, place: &Path, port: u16) -> Result<Supervised, Error> {
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(place);
    let mut server = Supervised::start(NAME, directory, command, POLITE)?;
    match server.until(|| answers(port)).await {
        Ok(()) => Ok(server),
        Err(error) => {
            server.stop().await;
            Err(error)
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
