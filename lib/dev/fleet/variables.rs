//! The settings of a fleet on a developer's machine: what the developer gave, and below it what this machine's servers need.

use std::collections::BTreeMap;

use crate::cli::settings::{Env, Settings};
use crate::service::config::{self, Fault, Faults};

#[derive(Clone, Debug)]
pub struct Variables {
    given: BTreeMap<String, String>,
    ours: BTreeMap<String, String>,
}

impl Variables {
    /// What the environment gives, above what suits a developer's terminal.
    pub fn of_environment() -> Self {
        let given = std::env::vars().filter(|(name, _)| name.starts_with("PAYFLEET_")).collect();
        let mut variables = Self { given, ours: BTreeMap::new() };
        variables.set("ENV", "dev");
        // People want to see the answer to what they typed, not each step of each payment.
        variables.set("TELEMETRY__LOG", "warn");
        // No proxy stands in front: Ctrl-C need not wait for one to hear of it.
        variables.set("INGRESS__HTTP__LEAVE_MS", "0");
        // A person clicks.
        variables.set("SIM__CUSTOMER", "page");
        for gateway in ["GATEWAYS", "SIM"] {
            variables.set(&format!("{gateway}__PAYPAL__CLIENT_ID"), "payfleet-development");
            variables.set(&format!("{gateway}__PAYPAL__WEBHOOK_ID"), "WH-PAYFLEET-DEVELOPMENT");
            variables.set(&format!("{gateway}__BANK__USERNAME"), "payfleet");
        }
        // A published example of an IBAN; no such account exists.
        variables.set("GATEWAYS__BANK__ACCOUNT_IBAN", "DE89370400440532013000");
        variables.set("GATEWAYS__BANK__ACCOUNT_OWNER", "Payfleet Development");
        variables.set("GATEWAYS__BANK__ACCOUNT_BIC", "COBADEFFXXX");
        variables
    }

    /// `PAYFLEET_<name>`, unless the developer gave it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.ours.insert(format!("PAYFLEET_{name}"), value.into());
    }

    /// `PAYFLEET_<name>`, whatever the developer gave.
    pub fn put(&mut self, name: &str, value: impl Into<String>) {
        self.given.insert(format!("PAYFLEET_{name}"), value.into());
    }

    pub fn extend(&mut self, more: impl IntoIterator<Item = (String, String)>) {
        self.ours.extend(more);
    }

    /// All of them, for this process and its children.
    pub fn all(&self) -> BTreeMap<String, String> {
        let mut all = self.ours.clone();
        for (name, value) in &self.given {
            // Either form of a setting replaces the other.
            all.remove(&format!("{name}_FILE"));
            all.remove(name.trim_end_matches("_FILE"));
            all.insert(name.clone(), value.clone());
        }
        all
    }

    /// Refuses production: this fleet has users whose keys everybody knows, and believes a simulator.
    pub fn load(&self) -> Result<Settings, Faults> {
        let settings: Settings = config::load_from(self.all())?.settings;
        if settings.env == Env::Production {
            return Err(Faults(vec![Fault::between(
                "env",
                "it is production, or empty, and this fleet is for trying things out: everybody knows its users' keys",
                "unset it; in production each process is run by itself",
            )]));
        }
        Ok(settings)
    }
}
