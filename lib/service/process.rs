//! What every process can be told about itself.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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

/// File descriptors that this process may have.
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the number of file descriptors to what the system allows: the usual soft limit is below the connections of one port.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
}

impl Settings {
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_raised_to_what_the_system_allows() {
        raise_descriptors();
        assert_eq!(Some(descriptors()), getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)));
    }
}
