//! What every process can be told about itself.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name under which it announces its ports; the process's own name if empty.
    pub instance: String,
    /// Where it announces them, if that directory's parent exists.
    pub run_dir: PathBuf,
    /// Address and port of livez, readyz and metrics; if empty the process's usual port on the loopback address.
    pub admin_listen: String,
    /// How long it may finish what is under way when told to stop, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { instance: String::new(), run_dir: ".dev/run".into(), admin_listen: String::new(), drain_ms: 20_000 }
    }
}

impl Settings {
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}
