//! What every process of the fleet is started from: settings, the lines that it speaks through, failpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use payfleet::dev::servers::free_port;
use payfleet::dev::servers::kafka::Door;
use payfleet::service::failpoint::Window;

use super::bound::Times;
use super::proxies::{self, Line};
use crate::fleet::crew::{Place, Role};
use crate::fleet::process::Process;
use crate::fleet::site::{Site, Variables};

/// Ports that must be known before anything runs.
pub struct Ports {
    pub lines: BTreeMap<Line, u16>,
    relays: u16,
    workers: u16,
}

impl Ports {
    pub fn choose() -> Self {
        Self { lines: proxies::ports(), relays: free_port().unwrap(), workers: free_port().unwrap() }
    }

    pub fn doors(&self) -> [Door; 2] {
        [
            Door { name: "RELAYS", port: self.relays, told: self.lines[&Line::RelayKafka] },
            Door { name: "WORKERS", port: self.workers, told: self.lines[&Line::WorkerKafka] },
        ]
    }

    /// Where each line leads: (port here, port there).
    pub fn lines(&self, site: &Site, simulator: u16) -> BTreeMap<Line, (u16, u16)> {
        let there = |line: Line| match line {
            Line::IngressPostgres | Line::RelayPostgres | Line::WorkerPostgres => site.postgres.port,
            Line::RelayKafka => self.relays,
            Line::WorkerKafka => self.workers,
            Line::Redis => site.redis.port,
            Line::Stripe | Line::Paypal | Line::Bank => simulator,
            Line::Callbacks | Line::Clients1 => site.ingress_ports[0],
            Line::Clients2 => site.ingress_ports[1],
        };
        self.lines.iter().map(|(line, here)| (*line, (*here, there(*line)))).collect()
    }
}

/// How long a process stands in a window, and at how many percent of its visits: long enough to be killed there, too short to hold much up;
/// seldom where most of the work comes by, always where little does.
fn stay(window: Window) -> (&'static str, u32) {
    use Window::*;
    match window {
        C5 | C6 => ("600ms", 4),
        C1 | C2 | C3 | C4 => ("600ms", 10),
        C7 | C8 | C9 | C10 | C11 | C12 | C13 | C14 => ("600ms", 15),
        C16 => ("600ms", 20),
        C15 | C17 => ("600ms", 100),
        // The server gives up a truncation that stands still for 500 ms.
        C18 => ("250ms", 50),
    }
}

/// Windows that are seldom reached: all of a role stand in them for a while whenever they come by, and whoever is there first is killed.
pub fn is_rare(window: Window) -> bool {
    matches!(window, Window::C15 | Window::C16 | Window::C17 | Window::C18)
}

fn rare(role: Role) -> &'static [Window] {
    match role {
        Role::Ingress => &[],
        Role::Relay => &[Window::C18],
        Role::Worker => &[Window::C15, Window::C16, Window::C17],
    }
}

/// With which failpoints a process is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Armed {
    /// The rare windows of its role, and where it is to be killed next.
    For(Option<Window>),
    Not,
}

impl Armed {
    fn text(self, role: Role) -> String {
        let Self::For(next) = self else { return String::new() };
        let windows = rare(role).iter().copied().chain(next.filter(|next| !is_rare(*next)));
        let order = |window: Window| {
            let (time, percent) = stay(window);
            format!("{}=delay({time},{percent}%);", window.name())
        };
        windows.map(order).collect()
    }
}

pub struct Ground {
    pub path: PathBuf,
    /// Of the simulator, direct.
    pub simulator: u16,
    pub brokers: String,
    windows: PathBuf,
    variables: Variables,
    roles: BTreeMap<Role, Variables>,
    ingress_ports: [u16; 2],
    started: AtomicU64,
    /// Lets a process have a clock of its own.
    faketime: Option<PathBuf>,
}

impl Ground {
    pub fn new(site: &Site, ports: &Ports, times: Times, seed: u64) -> Self {
        let mut variables = site.variables.clone();
        let simulator = variables["PAYFLEET_SIM__LISTEN"].rsplit_once(':').unwrap().1.parse().unwrap();
        let by = |line: Line| format!("127.0.0.1:{}", ports.lines[&line]);
        let mut set = |name: &str, value: String| variables.insert(format!("PAYFLEET_{name}"), value);
        for (name, value) in times.settings() {
            set(name, value.to_owned());
        }
        for (gateway, line) in [("stripe", Line::Stripe), ("paypal", Line::Paypal), ("bank", Line::Bank)] {
            let name = format!("GATEWAYS__{}__BASE_URL", gateway.to_uppercase());
            set(&name, format!("http://{}/{gateway}", by(line)));
        }
        set("SIM__SEED", seed.to_string());
        set("SIM__CALLBACK_BASE_URL", format!("http://{}", by(Line::Callbacks)));
        set("REDIS__URL", format!("redis://{}", by(Line::Redis)));
        let direct = format!("127.0.0.1:{}", site.postgres.port);
        let role = |postgres: Line, kafka: Option<Line>| -> Variables {
            let url = variables["PAYFLEET_POSTGRES__URL"].replace(&direct, &by(postgres));
            let kafka = kafka.map(|line| ("PAYFLEET_KAFKA__BROKERS".to_owned(), by(line)));
            [("PAYFLEET_POSTGRES__URL".to_owned(), url)].into_iter().chain(kafka).collect()
        };
        let roles = BTreeMap::from([
            (Role::Ingress, role(Line::IngressPostgres, None)),
            (Role::Relay, role(Line::RelayPostgres, Some(Line::RelayKafka))),
            (Role::Worker, role(Line::WorkerPostgres, Some(Line::WorkerKafka))),
        ]);
        Self {
            path: site.path().to_owned(),
            simulator,
            brokers: site.kafka.brokers(),
            windows: site.windows(),
            variables,
            roles,
            ingress_ports: site.ingress_ports,
            started: AtomicU64::new(0),
            faketime: faketime(),
        }
    }

    pub fn start_simulator(&self) -> Process {
        Process::start(env!("CARGO_BIN_EXE_gateway-sim"), "gateway-sim", &self.path, &self.variables)
    }

    pub fn start(&self, place: Place, armed: Armed) -> Process {
        let (role, number) = place;
        let name = role.name(number);
        let mut variables = self.variables.clone();
        variables.extend(self.roles[&role].clone());
        let mut set = |name: &str, value: String| variables.insert(format!("PAYFLEET_{name}"), value);
        set("FAILPOINTS", armed.text(role));
        set("FAILPOINTS_LOG", self.windows.to_string_lossy().into_owned());
        // Else every process would stand at the same visits.
        set("FAILPOINTS_SEED", self.started.fetch_add(1, Ordering::Relaxed).to_string());
        match role {
            Role::Ingress => drop(set("INGRESS__LISTEN", format!("127.0.0.1:{}", self.ingress_ports[number]))),
            Role::Relay => drop(set("RELAY__NAME", name.clone())),
            Role::Worker => {}
        }
        if let Some(library) = &self.faketime {
            self.set_clock(place, 0);
            variables.extend(own_clock(library, &self.clock(place)));
        }
        Process::start(role.program(), &name, &self.path, &variables)
    }

    fn clock(&self, (role, number): Place) -> PathBuf {
        self.path.join(format!("{}.clock", role.name(number)))
    }

    /// Sets the clock of whoever holds the place so many seconds off. False: processes have no clocks of their own here.
    pub fn set_clock(&self, place: Place, seconds: i64) -> bool {
        if self.faketime.is_some() {
            let (clock, fresh) = (self.clock(place), self.clock(place).with_extension("new"));
            std::fs::write(&fresh, format!("{seconds:+}\n")).unwrap();
            std::fs::rename(fresh, clock).unwrap();
        }
        self.faketime.is_some()
    }
}

/// The library, where it is installed.
fn faketime() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime"];
    places.iter().map(|place| Path::new(place).join("libfaketime.so.1")).find(|library| library.is_file())
}

/// Only the time of day is another: what measures how long something takes goes on as ever.
fn own_clock(library: &Path, clock: &Path) -> Variables {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let variables = [
        ("LD_PRELOAD", text(library)),
        ("FAKETIME_TIMESTAMP_FILE", text(clock)),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_RESET", "1".to_owned()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
