//! Where a fleet stands: PostgreSQL (with fsync), Redis and Apache Kafka of its own, and the settings that every process is started
//! with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use payfleet::dev::secrets::Secrets;
use payfleet::dev::servers::kafka::{Door, Kafka};
use payfleet::dev::servers::postgres::{Durability, Postgres};
use payfleet::dev::servers::redis::Redis;
use payfleet::dev::servers::{Directory, free_port};
use tokio::process::Command;

/// Settings by their variables.
pub type Variables = BTreeMap<String, String>;

pub struct Site {
    directory: Directory,
    pub postgres: Postgres,
    pub redis: Redis,
    pub kafka: Kafka,
    /// What all processes have in common.
    pub variables: Variables,
    /// Kept over the replacement of a process: callers and gateways know them.
    pub ingress_ports: [u16; 2],
}

impl Site {
    /// Starts the servers in a directory that is named after the test, emptied of what the last run left there.
    pub async fn prepare(test: &str) -> Self {
        Self::prepare_with(test, &[]).await
    }

    /// Likewise, with these settings of PostgreSQL's, each as `name=value`.
    pub async fn prepare_with(test: &str, settings: &[&str]) -> Self {
        Self::prepare_on(test, settings, 1, &[]).await
    }

    /// Likewise, with these doors of Kafka's.
    pub async fn prepare_behind(test: &str, doors: &[Door]) -> Self {
        Self::prepare_on(test, &[], 1, doors).await
    }

    /// Likewise, with so many brokers, of which most have what counts as sent.
    pub async fn prepare_copied(test: &str, brokers: usize) -> Self {
        Self::prepare_on(test, &[], brokers, &[]).await
    }

    async fn prepare_on(test: &str, settings: &[&str], brokers: usize, doors: &[Door]) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fleet");
        let directory = Directory::take_any(&home.join(test)).unwrap();
        clear(directory.path());
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join(".dev/kafka");
        let secrets = directory.path().join("secrets");
        let (postgres, redis, kafka, secrets) = tokio::join!(
            Postgres::start_with(&directory, Durability::Kept, settings),
            Redis::start(&directory),
            Kafka::start_with(&directory, &jars, brokers, doors),
            Secrets::prepare(&secrets)
        );
        let ports = [(); 3].map(|()| free_port().unwrap());
        let (postgres, redis, kafka) = (postgres.unwrap(), redis.unwrap(), kafka.unwrap());
        let mut site = Self {
            directory,
            postgres,
            redis,
            kafka,
            variables: Variables::new(),
            ingress_ports: [ports[0], ports[1]],
        };
        site.variables = site.settings(&secrets.unwrap(), ports[2]);
        site.variables.insert("PAYFLEET_KAFKA__REPLICATION".to_owned(), brokers.to_string());
        site
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The simulator's.
    pub fn charge_log(&self) -> PathBuf {
        payfleet::gateway_sim::charge_log::path_in(&self.path().join("sim"))
    }

    /// Where processes say in which window they stand.
    pub fn windows(&self) -> PathBuf {
        self.path().join("windows")
    }

    fn settings(&self, secrets: &Secrets, simulator: u16) -> Variables {
        let host = format!("127.0.0.1:{}", self.postgres.port);
        let password = secrets.read("app_password").unwrap();
        let gateway = |name: &str| format!("http://127.0.0.1:{simulator}/{name}");
        let path = |name: &str| self.path().join(name).to_string_lossy().into_owned();
        let given = [
            ("ENV", "dev".to_owned()),
            ("POSTGRES__URL", format!("postgres://payfleet_app:{password}@{host}/payfleet")),
            ("MIGRATE__OWNER_URL", format!("{}/payfleet", self.postgres.url())),
            ("REDIS__URL", self.redis.url()),
            ("KAFKA__BROKERS", self.kafka.brokers()),
            // The checker wants to see every record that there ever was.
            ("KAFKA__RETENTION_MS", "-1".to_owned()),
            ("PROCESS__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("GATEWAYS__STRIPE__BASE_URL", gateway("stripe")),
            ("GATEWAYS__PAYPAL__BASE_URL", gateway("paypal")),
            ("GATEWAYS__PAYPAL__CLIENT_ID", "fleet".to_owned()),
            ("GATEWAYS__PAYPAL__WEBHOOK_ID", "WH-fleet".to_owned()),
            ("GATEWAYS__BANK__BASE_URL", gateway("bank")),
            ("GATEWAYS__BANK__USERNAME", "fleet".to_owned()),
            ("GATEWAYS__BANK__ACCOUNT_IBAN", "DE02120300000000202051".to_owned()),
            ("GATEWAYS__BANK__ACCOUNT_OWNER", "Payfleet".to_owned()),
            ("GATEWAYS__BANK__ACCOUNT_BIC", "BYLADEM1001".to_owned()),
            ("SIM__LISTEN", format!("127.0.0.1:{simulator}")),
            ("SIM__DATA_DIR", path("sim")),
            ("SIM__CALLBACK_BASE_URL", format!("http://127.0.0.1:{}", self.ingress_ports[0])),
            ("SIM__PAYPAL__CLIENT_ID", "fleet".to_owned()),
            ("SIM__PAYPAL__WEBHOOK_ID", "WH-fleet".to_owned()),
            ("SIM__BANK__USERNAME", "fleet".to_owned()),
        ];
        let given = given.into_iter().map(|(setting, value)| (format!("PAYFLEET_{setting}"), value));
        let mut all: Variables = given.chain(secrets.variables()).collect();
        for (setting, name) in [
            ("INGRESS__API_KEY_PEPPER", "api_key_pepper"),
            ("SIM__PAYPAL__CALLBACK_PRIVATE_KEY", "paypal_key.pem"),
            ("SIM__BANK__CALLBACK_KEY", "bank_callback_key"),
        ] {
            all.insert(format!("PAYFLEET_{setting}_FILE"), path(&format!("secrets/{name}")));
        }
        all
    }

    /// Runs a command of the operator's to its end.
    pub async fn command(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet"));
        command.args(arguments).env_clear().envs(&self.variables).kill_on_drop(true);
        let done = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "payfleet {arguments:?} failed: {said}");
    }

    pub fn postgres_settings(&self) -> payfleet::postgres::Settings {
        payfleet::postgres::Settings { url: self.variables["PAYFLEET_POSTGRES__URL"].clone(), ..Default::default() }
    }

    pub fn kafka_settings(&self) -> payfleet::kafka::Settings {
        let replication = self.variables["PAYFLEET_KAFKA__REPLICATION"].parse().unwrap();
        payfleet::kafka::Settings { brokers: self.kafka.brokers(), replication, retention_ms: -1, ..Default::default() }
    }

    /// Ends the servers. What they and the processes wrote stays if it is evidence of a failure.
    pub async fn leave(self, evidence: Evidence) {
        tokio::join!(self.postgres.stop(), self.redis.stop(), self.kafka.stop());
        match evidence {
            Evidence::Kept => eprintln!("the logs of this run are in {}", self.directory.path().display()),
            Evidence::Discarded => clear(self.directory.path()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    Kept,
    Discarded,
}

/// Removes everything but the lock and the records of servers that a killed run may have left alive.
fn clear(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else if !path.ends_with("lock") && path.extension().is_none_or(|extension| extension != "pid") {
            std::fs::remove_file(&path).unwrap();
        }
    }
}
