//! Ends what killed runs left behind, and removes what they kept.

use std::path::Path;

use rustix::process::Signal;

use super::supervised::stop_orphan;
use super::{Directory, Error, postgres};

/// What each kind of run may have left, and the signal that ends it politely.
const LEFT: [(&str, Signal); 4] =
    [("gateway-sim", Signal::TERM), ("kafka", Signal::TERM), ("redis", Signal::TERM), ("postgres", Signal::INT)];

/// Refused while a run uses a directory.
pub async fn clean(home: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.join("lock").is_file() {
            continue;
        }
        let directory = Directory::take(&path)?;
        for (name, polite) in LEFT {
            stop_orphan(name, directory.path(), polite).await;
        }
        postgres::forget(directory.path());
        std::fs::remove_dir_all(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}
