//! Who stands in which window: read from the lines that armed failpoints leave.

use std::path::PathBuf;
use std::time::Duration;

use payfleet::service::failpoint::Window;

use super::process::Process;
use crate::harness::eventually;

/// One stay in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    pub pid: u32,
    visit: u64,
}

pub struct Windows {
    pub log: PathBuf,
}

impl Windows {
    /// The setting that makes so many percent of the visits so long that only a kill ends them.
    pub fn wide(window: Window, percent: u32) -> String {
        format!("{}=delay(600s,{percent}%)", window.name())
    }

    /// The setting that makes so many percent of the visits a second long.
    pub fn for_a_while(window: Window, percent: u32) -> String {
        format!("{}=delay(1s,{percent}%)", window.name())
    }

    /// The process's last stay in the window, if it was ever there.
    pub fn stay_of(&self, window: Window, process: &Process) -> Option<Stay> {
        self.stays(window, "in").into_iter().rfind(|stay| stay.pid == process.pid)
    }

    /// Waits until the process stands in the window.
    pub async fn until_inside(&self, window: Window, process: &Process, limit: Duration) -> Stay {
        let what = format!("{} ({}) to stand in {}", process.name, process.pid, window.name());
        let inside = || async {
            let left = self.stays(window, "out");
            self.stays(window, "in").into_iter().rfind(|stay| stay.pid == process.pid && !left.contains(stay))
        };
        eventually(&what, limit, inside).await
    }

    /// Whether the process has left the window alive.
    pub fn has_left(&self, window: Window, stay: Stay) -> bool {
        self.stays(window, "out").contains(&stay)
    }

    fn stays(&self, window: Window, what: &str) -> Vec<Stay> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let stay = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [name, pid, visit, said] if name == window.name() && said == what => {
                Some(Stay { pid: pid.parse().ok()?, visit: visit.parse().ok()? })
            }
            _ => None,
        };
        text.lines().filter_map(stay).collect()
    }
}
