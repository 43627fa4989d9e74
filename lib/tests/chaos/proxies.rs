//! The connections of the fleet, by way of Toxiproxy: cut, held up, slowed, and left half open.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use payfleet::dev::servers::{Supervised, free_port, stop_orphan};
use rand::Rng;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

/// Where `make prepare` installs it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.dev/toxiproxy/server");
/// The one toxic that a line has at a time.
const TOXIC: &str = "toxic";
/// What each Toxiproxy calls its one line.
const LINE: &str = "line";
/// One that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who speaks to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Line {
    IngressPostgres,
    RelayPostgres,
    WorkerPostgres,
    RelayKafka,
    WorkerKafka,
    Redis,
    Stripe,
    Paypal,
    Bank,
    Callbacks,
    /// To the first ingress, and to the second.
    Clients1,
    Clients2,
}

impl Line {
    pub const ALL: [Self; 12] = [
        Self::IngressPostgres,
        Self::RelayPostgres,
        Self::WorkerPostgres,
        Self::RelayKafka,
        Self::WorkerKafka,
        Self::Redis,
        Self::Stripe,
        Self::Paypal,
        Self::Bank,
        Self::Callbacks,
        Self::Clients1,
        Self::Clients2,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What is asked.
    Upstream,
    /// What is answered.
    Downstream,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Cut,
    Answerless,
    HalfOpen,
    Late,
    Slow,
    Reset,
    Sliced,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Cut, Self::Answerless, Self::HalfOpen, Self::Late, Self::Slow, Self::Reset, Self::Sliced];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Answerless => "answers lost after what was asked arrived",
            Self::HalfOpen => "half open",
            Self::Late => "delayed",
            Self::Slow => "throttled",
            Self::Reset => "reset",
            Self::Sliced => "sliced",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toxic {
    /// Every connection is closed, and none is let in.
    Cut,
    /// What is asked arrives, the answers do not; the connection is closed after so many milliseconds. Commits are among what is asked.
    Answerless(u64),
    /// Nothing comes through this way, and nothing tells so.
    HalfOpen(Way),
    /// Answers come so many milliseconds late, give or take the second number.
    Late(u64, u64),
    /// So many KB a second.
    Slow(Way, u64),
    /// Connections are reset after so many milliseconds.
    Reset(u64),
    /// Answers come in pieces of about so many bytes.
    Sliced(u64),
}

impl Toxic {
    pub fn draw(kind: Kind, dice: &mut StdRng) -> Self {
        let way = if dice.random_bool(0.5) { Way::Upstream } else { Way::Downstream };
        match kind {
            Kind::Cut => Self::Cut,
            Kind::Answerless => Self::Answerless(dice.random_range(20..1_200)),
            Kind::HalfOpen => Self::HalfOpen(way),
            Kind::Late => Self::Late(dice.random_range(50..600), dice.random_range(0..200)),
            Kind::Slow => Self::Slow(way, dice.random_range(2..64)),
            Kind::Reset => Self::Reset(dice.random_range(0..500)),
            Kind::Sliced => Self::Sliced(dice.random_range(1..200)),
        }
    }

    pub fn lasts_ms(self) -> Range<u64> {
        match self {
            Self::Cut | Self::Reset(_) => 200..3_000,
            Self::Answerless(ms) => ms..ms + 1_000,
            Self::HalfOpen(_) => 2_000..9_000,
            Self::Late(..) | Self::Slow(..) | Self::Sliced(_) => 3_000..10_000,
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::Cut => Kind::Cut,
            Self::Answerless(_) => Kind::Answerless,
            Self::HalfOpen(_) => Kind::HalfOpen,
            Self::Late(..) => Kind::Late,
            Self::Slow(..) => Kind::Slow,
            Self::Reset(_) => Kind::Reset,
            Self::Sliced(_) => Kind::Sliced,
        }
    }

    /// As Toxiproxy knows it; None: the line is taken down altogether.
    fn json(self, percent: u32) -> Option<Value> {
        let (kind, way, attributes) = match self {
            Self::Cut => return None,
            Self::Answerless(ms) => ("timeout", Way::Downstream, json!({ "timeout": ms })),
            Self::HalfOpen(way) => ("timeout", way, json!({ "timeout": 0 })),
            Self::Late(latency, jitter) => {
                ("latency", Way::Downstream, json!({ "latency": latency, "jitter": jitter.min(latency) }))
            }
            Self::Slow(way, rate) => ("bandwidth", way, json!({ "rate": rate })),
            Self::Reset(ms) => ("reset_peer", Way::Downstream, json!({ "timeout": ms })),
            Self::Sliced(bytes) => {
                ("slicer", Way::Downstream, json!({ "average_size": bytes, "size_variation": bytes / 2, "delay": 100 }))
            }
        };
        let stream = match way {
            Way::Upstream => "upstream",
            Way::Downstream => "downstream",
        };
        let toxicity = f64::from(percent) / 100.0;
        Some(json!({ "name": TOXIC, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes }))
    }
}

/// Ports of all lines, to be told to those who use them before the proxy runs.
pub fn ports() -> BTreeMap<Line, u16> {
    Line::ALL.map(|line| (line, free_port().unwrap())).into()
}

/// Before anything is started: who fails later leaves servers behind.
pub fn must_be_installed() {
    assert!(Path::new(PROGRAM).is_file(), "{PROGRAM} is not there: `make prepare` installs it");
}

/// One line's Toxiproxy. Each line has a process of its own: now and then one hangs for ever when a toxic is taken away while much is
/// written (Shopify/toxiproxy#558), and must take no other line with it.
struct Proxy {
    name: String,
    directory: PathBuf,
    /// (port here, port there)
    ports: (u16, u16),
    server: Supervised,
    base: String,
}

impl Proxy {
    async fn start(line: Line, directory: &Path, ports: (u16, u16)) -> Self {
        let name = format!("toxiproxy-{line:?}").to_lowercase();
        stop_orphan(&name, directory, Signal::TERM).await;
        let (server, base) = Self::serve(&name, directory, ports).await;
        Self { name, directory: directory.to_owned(), ports, server, base }
    }

    async fn serve(name: &str, directory: &Path, (here, there): (u16, u16)) -> (Supervised, String) {
        let port = free_port().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-host", "127.0.0.1", "-port"]).arg(port.to_string());
        command.env("LOG_LEVEL", "error");
        let mut server = Supervised::start(name, directory, command, Signal::TERM).unwrap();
        let (http, base) = (http(), format!("http://127.0.0.1:{port}"));
        let version = format!("{base}/version");
        let asking = || {
            let asked = http.get(&version).send();
            async move { asked.await.is_ok() }
        };
        server.until(asking).await.unwrap();
        let (listen, upstream) = (format!("127.0.0.1:{here}"), format!("127.0.0.1:{there}"));
        let line = json!({ "name": LINE, "listen": listen, "upstream": upstream, "enabled": true });
        let answer = http.post(format!("{base}/proxies")).json(&line).send().await.unwrap();
        assert!(answer.status().is_success(), "{name}, {line}: {}", answer.text().await.unwrap_or_default());
        (server, base)
    }

    /// One that hangs is started anew: its connections are gone, and no toxic is left.
    async fn ordered(&mut self, request: reqwest::RequestBuilder) -> bool {
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                assert!(status.is_success(), "{}: {status} {}", self.name, answer.text().await.unwrap_or_default());
                true
            }
            Err(error) => {
                assert!(error.is_timeout(), "{}: {error}", self.name);
                self.server.kill().await;
                (self.server, self.base) = Self::serve(&self.name, &self.directory, self.ports).await;
                false
            }
        }
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

pub struct Proxies {
    lines: BTreeMap<Line, Mutex<Proxy>>,
    http: reqwest::Client,
}

impl Proxies {
    /// Starts one for each line (port here, port there).
    pub async fn start(directory: &Path, lines: &BTreeMap<Line, (u16, u16)>) -> Self {
        let starting = lines.iter().map(async |(line, ports)| {
            let proxy = Proxy::start(*line, directory, *ports).await;
            (*line, Mutex::new(proxy))
        });
        let lines = join_all(starting).await.into_iter().collect();
        Self { lines, http: http() }
    }

    /// False: its proxy hung, and was started anew.
    pub async fn poison(&self, line: Line, toxic: Toxic, percent: u32) -> bool {
        let mut proxy = self.lines[&line].lock().await;
        let request = match toxic.json(percent) {
            Some(toxic) => self.http.post(format!("{}/proxies/{LINE}/toxics", proxy.base)).json(&toxic),
            None => self.enabled(&proxy, false),
        };
        proxy.ordered(request).await
    }

    /// Likewise; the toxic is gone either way.
    pub async fn cure(&self, line: Line, toxic: Toxic) -> bool {
        let mut proxy = self.lines[&line].lock().await;
        let request = match toxic {
            Toxic::Cut => self.enabled(&proxy, true),
            _ => self.http.delete(format!("{}/proxies/{LINE}/toxics/{TOXIC}", proxy.base)),
        };
        proxy.ordered(request).await
    }

    fn enabled(&self, proxy: &Proxy, enabled: bool) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/proxies/{LINE}", proxy.base)).json(&json!({ "enabled": enabled }))
    }

    pub async fn stop(self) {
        join_all(self.lines.into_values().map(|proxy| proxy.into_inner().server.stop())).await;
    }
}
