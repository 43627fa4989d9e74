//! Which processes run from this tree, and on which ports: `.dev/run/<instance>.json`.
//!
//! Ports may be "any free one", so whoever wants to talk to a process reads here where it listens. Only written where a
//! `.dev` directory is; a container has none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a process tells about itself.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Instance {
    pub process: String,
    pub pid: u32,
    /// By purpose: `api`, `admin`, `simulator`, `postgres` …
    pub ports: BTreeMap<String, u16>,
}

/// The file, as long as the process lives.
#[derive(Debug)]
pub struct Announced(PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

impl Instance {
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes the file under `<name>.json`, or `<name>-2.json` … while others of that name run.
    pub fn announce(&self, directory: &Path, name: &str) -> std::io::Result<Announced> {
        std::fs::create_dir_all(directory)?;
        let content = serde_json::to_vec_pretty(self)?;
        for number in 1.. {
            let path = match number {
                1 => directory.join(format!("{name}.json")),
                more => directory.join(format!("{name}-{more}.json")),
            };
            if Self::read(&path).is_some_and(|other| other.pid != self.pid && is_alive(other.pid)) {
                continue;
            }
            // Renamed into place, so that nobody reads half a file.
            let fresh = path.with_extension(format!("{}.tmp", self.pid));
            File::create(&fresh)?.write_all(&content)?;
            std::fs::rename(&fresh, &path)?;
            return Ok(Announced(path));
        }
        unreachable!("some number is free")
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
