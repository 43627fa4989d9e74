//! What processes hold in memory, watched from outside while something happens to them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::process::Process;

const LOOK: Duration = Duration::from_millis(250);

/// Resident kilobytes, by process and time.
#[derive(Default)]
pub struct Memory(BTreeMap<String, Vec<(Instant, u64)>>);

impl Memory {
    /// Looks at these processes until `stop`.
    pub async fn watch(processes: &[(String, u32)], stop: &CancellationToken) -> Self {
        let mut memory = Self::default();
        let mut looks = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            for (name, pid) in processes {
                let seen = memory.0.entry(name.clone()).or_default();
                seen.extend(resident_kb(*pid).map(|kb| (Instant::now(), kb)));
            }
        }
        memory
    }

    /// The most that each held within this time.
    pub fn most_kb(&self, from: Instant, to: Instant) -> BTreeMap<&str, u64> {
        let within = |seen: &[(Instant, u64)]| {
            seen.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, kb)| *kb).max().unwrap_or_default()
        };
        self.0.iter().map(|(name, seen)| (name.as_str(), within(seen))).collect()
    }
}

/// What a process is to be watched by.
pub fn named(process: &Process) -> (String, u32) {
    (process.name.clone(), process.pid)
}

/// None: it has ended.
pub fn resident_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
