//! Ends what killed runs left behind, and removes what they kept.

use std::path::Path;

use futures_util::future::join_all;
use rustix::process::Signal;

use super::supervised::{stop_by_environment, stop_orphan};
use super::{Directory, Error, postgres};
use crate::service::instance::Instance;

/// What each kind of run may have left, and the signal that ends it politely.
const LEFT: [(&str, Signal); 5] = [
    ("gateway-sim", Signal::TERM),
    // Of the chaos run.
    ("toxiproxy", Signal::TERM),
    ("kafka", Signal::TERM),
    ("redis", Signal::TERM),
    ("postgres", Signal::INT),
];

/// Refused while a run uses a directory.
pub async fn clean(home: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.join("lock").is_file() {
            continue;
        }
        let directory = Directory::take(&path)?;
        stop_processes(directory.path()).await;
        for (name, polite) in LEFT {
            stop_orphan(name, directory.path(), polite).await;
        }
        postgres::forget(directory.path());
        std::fs::remove_dir_all(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// Ends processes of a fleet that were started one by one and announced themselves there. Their ids may be strangers' by now, so each
/// must have been told to announce itself there.
async fn stop_processes(directory: &Path) {
    let run = directory.join("run");
    let told = format!("PAYFLEET_PROCESS__RUN_DIR={}", run.display());
    let announced = std::fs::read_dir(&run).into_iter().flatten().flatten();
    let alive: Vec<Instance> = announced.filter_map(|entry| Instance::read(&entry.path())).collect();
    join_all(alive.iter().map(|instance| stop_by_environment(instance.pid.cast_signed(), &told, Signal::TERM))).await;
}
