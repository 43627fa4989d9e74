//! The processes of a fleet: two ingresses, three relays, three gateway-workers and the simulated gateways.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use payfleet::load::{Base, Payers, Plan};
use payfleet::ops::verify::{self, Inputs, Invariant, Rest, Verdict};

use super::process::Process;
use super::site::{Evidence, Site, Variables};
use crate::harness::eventually;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    Ingress,
    Relay,
    Worker,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Ingress, Self::Relay, Self::Worker];

    pub fn program(self) -> &'static str {
        match self {
            Self::Ingress => env!("CARGO_BIN_EXE_ingress"),
            Self::Relay => env!("CARGO_BIN_EXE_relay"),
            Self::Worker => env!("CARGO_BIN_EXE_gateway-worker"),
        }
    }

    pub fn name(self, place: usize) -> String {
        let role = match self {
            Self::Ingress => "ingress",
            Self::Relay => "relay",
            Self::Worker => "gateway-worker",
        };
        format!("{role}-{}", place + 1)
    }
}

/// A place in the fleet: whoever holds it, its replacement holds it after.
pub type Place = (Role, usize);

pub const PLACES: [Place; 8] = [
    (Role::Ingress, 0),
    (Role::Ingress, 1),
    (Role::Relay, 0),
    (Role::Relay, 1),
    (Role::Relay, 2),
    (Role::Worker, 0),
    (Role::Worker, 1),
    (Role::Worker, 2),
];

pub struct Fleet {
    pub site: Site,
    /// What this test wants different from the defaults.
    settings: Variables,
    simulator: Option<Process>,
    crew: BTreeMap<Place, Process>,
}

/// Brings a fleet up, runs `body` with it, and takes it down by its process ids, whatever becomes of `body`. `armed` says whose
/// failpoints are set from the start.
pub async fn with_fleet(
    test: &str,
    settings: &[(&str, &str)],
    armed: &[(Place, String)],
    body: impl AsyncFnOnce(&mut Fleet),
) {
    on_site(Site::prepare(test).await, settings, armed, body).await;
}

/// Likewise, on servers that are there.
pub async fn on_site(
    site: Site,
    settings: &[(&str, &str)],
    armed: &[(Place, String)],
    body: impl AsyncFnOnce(&mut Fleet),
) {
    let settings = settings.iter().map(|(name, value)| (format!("PAYFLEET_{name}"), (*value).to_owned())).collect();
    let mut fleet = Fleet { site, settings, simulator: None, crew: BTreeMap::new() };
    let done = AssertUnwindSafe(async {
        fleet.bring_up(armed).await;
        body(&mut fleet).await;
        fleet.dismiss().await;
    });
    let done = done.catch_unwind().await;
    // Those that are left are killed when dropped, before the servers they stand on are stopped.
    let Fleet { site, simulator, crew, .. } = fleet;
    drop((simulator, crew));
    let wanted = std::env::var_os("PAYFLEET_TEST_KEEP_LOGS").is_some();
    site.leave(if done.is_ok() && !wanted { Evidence::Discarded } else { Evidence::Kept }).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl Fleet {
    async fn bring_up(&mut self, armed: &[(Place, String)]) {
        self.site.command(&["migrate"]).await;
        self.site.command(&["seed", "--demo"]).await;
        let simulator = self.start_simulator();
        let starting = PLACES.map(|place| {
            let failpoints = armed.iter().find(|(armed, _)| *armed == place);
            self.start(place, failpoints.map_or("", |(_, failpoints)| failpoints))
        });
        self.simulator = Some(simulator.ready().await);
        self.crew = PLACES.into_iter().zip(join_all(starting.into_iter().map(Process::ready)).await).collect();
    }

    fn process(&self, program: &str, name: &str, own: Vec<(&str, String)>) -> Process {
        let mut variables = self.site.variables.clone();
        variables.extend(self.settings.clone());
        variables.extend(own.into_iter().map(|(name, value)| (format!("PAYFLEET_{name}"), value)));
        Process::start(program, name, self.site.path(), &variables)
    }

    /// Starts whoever is to hold this place.
    pub fn start(&self, (role, place): Place, failpoints: &str) -> Process {
        let name = role.name(place);
        let mut own = match role {
            Role::Ingress => vec![("INGRESS__LISTEN", format!("127.0.0.1:{}", self.site.ingress_ports[place]))],
            Role::Relay => vec![("RELAY__NAME", name.clone())],
            Role::Worker => Vec::new(),
        };
        // Programs as they are shipped know no such settings.
        if cfg!(feature = "failpoints") {
            own.push(("FAILPOINTS", failpoints.to_owned()));
            own.push(("FAILPOINTS_LOG", self.site.windows().to_string_lossy().into_owned()));
        }
        self.process(role.program(), &name, own)
    }

    pub fn start_simulator(&self) -> Process {
        self.process(env!("CARGO_BIN_EXE_gateway-sim"), "gateway-sim", Vec::new())
    }

    pub fn take_simulator(&mut self) -> Process {
        self.simulator.take().unwrap()
    }

    pub fn put_simulator(&mut self, simulator: Process) {
        self.simulator = Some(simulator);
    }

    pub fn at(&self, place: Place) -> &Process {
        &self.crew[&place]
    }

    /// All but the simulator.
    pub fn crew(&self) -> impl Iterator<Item = &Process> {
        self.crew.values()
    }

    pub fn take(&mut self, place: Place) -> Process {
        self.crew.remove(&place).unwrap()
    }

    pub fn put(&mut self, place: Place, process: Process) {
        self.crew.insert(place, process);
    }

    /// A load on both ingresses, by the demo users whose currencies all three gateways take.
    pub fn load(&self) -> Plan {
        let bases = self.site.ingress_ports.map(|port| format!("http://127.0.0.1:{port}").parse::<Base>().unwrap());
        Plan {
            bases: bases.into(),
            payers: Payers::WithKeys(["pf_test_demo_de", "pf_test_demo_us"].map(str::to_owned).into()),
            log: Some(self.load_log()),
            ..Plan::default()
        }
    }

    fn load_log(&self) -> PathBuf {
        self.site.path().join("load.jsonl")
    }

    /// Ends everybody; each must say that it ended well.
    async fn dismiss(&mut self) {
        let everybody = std::mem::take(&mut self.crew).into_values().chain(self.simulator.take());
        let ended = join_all(everybody.map(async |process| (process.name.clone(), process.stop().await))).await;
        let failed: Vec<_> = ended.iter().filter(|(_, status)| !status.success()).collect();
        assert!(failed.is_empty(), "ended by a failure: {failed:?}");
    }

    /// All that this fleet can be judged by.
    pub fn inputs(&self, rest: Rest) -> Inputs {
        Inputs {
            postgres: self.site.postgres_settings(),
            kafka: Some(self.site.kafka_settings()),
            charge_log: Some(self.site.charge_log()),
            load_log: Some(self.load_log()),
            rest,
            only: Default::default(),
        }
    }

    /// Holds everything that was meant, answered, charged, committed and sent against each other. All must hold, and all must be
    /// checkable.
    pub async fn verify(&self) {
        let mut inputs = Inputs { only: [Invariant::I9].into(), ..self.inputs(Rest::AtRest) };
        // The relays are a moment behind the commits.
        eventually("every event to be on its topic", Duration::from_secs(30), async || {
            let report = verify::verify(&inputs, &|_| {}).await.unwrap();
            (report.verdict() == Verdict::Held).then_some(())
        })
        .await;
        inputs.only.clear();
        let report = verify::verify(&inputs, &|_| {}).await.unwrap();
        eprintln!("{}", report.table());
        assert_eq!(report.verdict(), Verdict::Held);
    }
}
