//! The simulator's books as they stand on disk: one JSON object a line, appended and fsynced before anything is answered.
//!
//! Every request to a gateway is logged with its arrival, every payment that a gateway took on its books, every later change of it, and every
//! callback. [`read`] gives the lines back; [`standings`] folds them into what became of each payment, which is what the
//! fleet's ledger is compared with.
//!
//! If it dies here: a line cut short by a crash is the last one, and nothing was answered on the strength of it. Readers leave it
//! out, the next start cuts it off.

mod entry;
mod standing;
mod writer;

pub use entry::{
    Answer, BegunEntry, CallbackEntry, CallbackState, ChargeEntry, ChargeResult, Entry, LiedEntry, RequestEntry,
    StateEntry, StateName,
};
pub use standing::{Fate, Standing, standings};
pub(super) use writer::{ChargeLog, Closed};

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Where the log lies in a simulator's data directory.
pub fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("charges.jsonl")
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the charge log {path} cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another simulator has the charge log {path}: give each its own data_dir")]
    InUse { path: PathBuf },
    #[error("line {line} of the charge log {path} cannot be read")]
    Corrupt {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// All entries in the order in which they happened. A last line without its newline is still being written: it is left out.
pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    Ok(read_whole_lines(path)?.0)
}

/// The entries, and how many bytes of the file they take.
pub(super) fn read_whole_lines(path: &Path) -> Result<(Vec<Entry>, u64), Error> {
    let mut lines = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let mut entries = Vec::new();
    let mut whole = 0_u64;
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = lines.read_until(b'\n', &mut text).map_err(Error::io(path))?;
        if text.last() != Some(&b'\n') {
            return Ok((entries, whole));
        }
        let corrupt = |source| Error::Corrupt { path: path.to_owned(), line: entries.len() + 1, source };
        let entry = serde_json::from_slice(&text).map_err(corrupt)?;
        entries.push(entry);
        whole += length as u64;
    }
}
