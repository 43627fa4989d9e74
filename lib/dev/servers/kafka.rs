//! A real Apache Kafka of our own: KRaft, from the jars of Maven Central; one node, or several that hold copies of everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;
use tokio::process::Command;

use super::directory::{Content, Directory};
use super::supervised::{self, Supervised};
use super::{Error, finish, free_port, on_path};

const NAME: &str = "kafka";
const POLITE: Signal = Signal::TERM;
/// The plugin's goal, pinned in the pom; the pom is the one beside this file.
const POM: &str = include_str!("../kafka/pom.xml");
const PROPERTIES: &str = include_str!("../kafka/server.properties");
const TRIES: usize = 3;

/// One more port of the broker, for clients that reach it by way of something else: whoever comes in here is told to come again where
/// that listens.
#[derive(Clone, Debug)]
pub struct Door {
    /// In capitals.
    pub name: &'static str,
    pub port: u16,
    /// Where clients find it.
    pub told: u16,
}

#[derive(Debug)]
pub struct Kafka(Vec<Node>);

#[derive(Debug)]
struct Node {
    server: Supervised,
    launch: Launch,
    port: u16,
}

impl Kafka {
    /// Starts an empty broker in `directory`, with jars kept in `jars` (fetched once).
    pub async fn start(directory: &Directory, jars: &Path) -> Result<Self, Error> {
        Self::start_with(directory, jars, 1, &[]).await
    }

    /// Likewise of so many nodes, with more doors. Doors lead to one node only.
    pub async fn start_with(directory: &Directory, jars: &Path, nodes: usize, doors: &[Door]) -> Result<Self, Error> {
        let missing = Error::Missing { program: "java", remedy: "`make prepare` installs a JDK" };
        let java = std::env::var_os("JAVA_HOME")
            .map(|home| PathBuf::from(home).join("bin/java"))
            .filter(|java| java.is_file())
            .or_else(|| on_path("java"))
            .ok_or(missing)?;
        let libraries = fetch(jars).await?;
        let mut tries = 1;
        loop {
            let ports = (0..nodes).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<Vec<_>, Error>>()?;
            let mut launches = Vec::new();
            for (n, (port, _)) in ports.iter().enumerate() {
                let name = if nodes == 1 { NAME.to_owned() } else { format!("{NAME}-{}", n + 1) };
                supervised::stop_orphan(&name, directory.path(), POLITE).await;
                let place = directory.inner(&name, Content::Discarded)?;
                let (java, libraries, directory) = (java.clone(), libraries.clone(), directory.path().into());
                let launch = Launch { name, java, libraries, directory, place };
                launch.format(n, &ports, doors).await?;
                launches.push((launch, *port));
            }
            // Nobody answers before most of them do.
            match try_join_all(launches.into_iter().map(|(launch, port)| Node::start(launch, port))).await {
                Ok(nodes) => return Ok(Self(nodes)),
                Err(Error::NotStarted { tail, .. }) if tries < TRIES && tail.contains("in use") => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn brokers(&self) -> String {
        self.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// Ends all of it as a crash would.
    pub async fn kill(&mut self) {
        join_all(self.0.iter_mut().map(|node| node.server.kill())).await;
    }

    /// Ends one node so.
    pub async fn kill_node(&mut self, node: usize) {
        self.0[node].server.kill().await;
    }

    /// Ends it in good order.
    pub async fn end(&mut self) {
        join_all(self.0.iter_mut().map(|node| node.server.end())).await;
    }

    /// Stops it where it stands: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.0.iter().for_each(|node| node.server.freeze());
    }

    pub fn thaw(&self) {
        self.0.iter().for_each(|node| node.server.thaw());
    }

    /// Starts it once more after it has ended, with the records it had, where clients look for it.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        try_join_all(self.0.iter_mut().map(Node::start_again)).await?;
        Ok(())
    }

    pub async fn start_node_again(&mut self, node: usize) -> Result<(), Error> {
        self.0[node].start_again().await
    }

    /// All at once: the last alone would wait for the others.
    pub async fn stop(self) {
        join_all(self.0.into_iter().map(|node| node.server.stop())).await;
    }
}

impl Node {
    async fn start(launch: Launch, port: u16) -> Result<Self, Error> {
        Ok(Self { server: launch.run(port).await?, launch, port })
    }

    async fn start_again(&mut self) -> Result<(), Error> {
        self.server = self.launch.run(self.port).await?;
        Ok(())
    }
}

/// The broker's jars, from Maven the first time. Two runs may fetch at once: each into its own directory, the last one stays.
async fn fetch(jars: &Path) -> Result<PathBuf, Error> {
    let libraries = jars.join(format!("libs-{:08x}", crc32fast::hash(POM.as_bytes())));
    if libraries.is_dir() {
        return Ok(libraries);
    }
    let missing = Error::Missing { program: "mvn", remedy: "`make prepare` installs Maven" };
    let maven = on_path("mvn").ok_or(missing)?;
    let fresh = jars.join(format!("fetching-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
    std::fs::write(fresh.join("pom.xml"), POM).map_err(Error::io(&fresh))?;
    let mut command = Command::new(maven);
    command.args(["-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=libs"]).current_dir(&fresh);
    finish("mvn dependency:copy-dependencies", &mut command).await?;
    if !libraries.is_dir() {
        std::fs::rename(fresh.join("libs"), &libraries).map_err(Error::io(&libraries))?;
    }
    std::fs::remove_dir_all(&fresh).ok();
    Ok(libraries)
}

/// What a broker is started from.
#[derive(Debug)]
struct Launch {
    name: String,
    java: PathBuf,
    libraries: PathBuf,
    directory: PathBuf,
    place: PathBuf,
}

impl Launch {
    fn properties(&self) -> PathBuf {
        self.place.join("server.properties")
    }

    fn machine(&self, heap: &str) -> Command {
        let mut command = Command::new(&self.java);
        let class_path = format!("{}/*", self.libraries.display());
        command.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &class_path]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command
    }

    /// Makes an empty store for the `n`th of nodes that listen there: to clients, and to each other.
    async fn format(&self, n: usize, ports: &[(u16, u16)], doors: &[Door]) -> Result<(), Error> {
        let properties = self.properties();
        let (port, controller) = ports[n];
        let voters = ports.iter().enumerate().map(|(n, (_, controller))| format!("{}@127.0.0.1:{controller}", n + 1));
        let text = with_doors(PROPERTIES, doors)
            .replace("@NODE@", &(n + 1).to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@CONTROLLER@", &controller.to_string())
            .replace("@VOTERS@", &voters.collect::<Vec<_>>().join(","))
            .replace("@COPIES@", &ports.len().to_string())
            .replace("@IN_SYNC@", &(ports.len() / 2 + 1).to_string())
            .replace("@LOGS@", &self.place.join("logs").to_string_lossy());
        std::fs::write(&properties, text).map_err(Error::io(&properties))?;
        let mut format = self.machine("-Xmx128m");
        // Any 22 characters of base64 name a cluster.
        format.args(["kafka.tools.StorageTool", "format", "-t", "cGF5ZmxlZXQtdGVzdHMtMQ", "-c"]).arg(&properties);
        finish("kafka.tools.StorageTool", &mut format).await
    }

    async fn run(&self, port: u16) -> Result<Supervised, Error> {
        let mut command = self.machine("-Xmx512m");
        command.arg("kafka.Kafka").arg(self.properties());
        let mut server = Supervised::start(&self.name, &self.directory, command, POLITE)?;
        match server.until(|| answers(port)).await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop().await;
                Err(error)
            }
        }
    }
}

/// The properties with more doors than they have.
fn with_doors(properties: &str, doors: &[Door]) -> String {
    let widened = |line: &str| {
        let more = |door: &Door| match line.split_once('=').map(|(key, _)| key) {
            Some("listeners") => format!(",{}://127.0.0.1:{}", door.name, door.port),
            Some("advertised.listeners") => format!(",{}://127.0.0.1:{}", door.name, door.told),
            Some("listener.security.protocol.map") => format!(",{}:PLAINTEXT", door.name),
            _ => String::new(),
        };
        format!("{line}{}\n", doors.iter().map(more).collect::<String>())
    };
    properties.lines().map(widened).collect()
}

/// Whether the broker answers for itself and for its group coordinator's partitions to come.
async fn answers(port: u16) -> bool {
    if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return false;
    }
    let asking = tokio::task::spawn_blocking(move || {
        let client: Result<BaseConsumer, _> = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{port}"))
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create();
        client.and_then(|client| client.fetch_metadata(None, Duration::from_secs(5)))
    });
    asking.await.is_ok_and(|metadata| metadata.is_ok_and(|metadata| !metadata.brokers().is_empty()))
}
