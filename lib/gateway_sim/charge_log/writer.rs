//! Appending to the log: many requests share one fsync.
//!
//! A thread of its own takes whatever lines wait, writes them in order and syncs once; what arrives meanwhile is the next
//! round. Lines are handed over in the order in which the books changed, so a line that is durable has all before it durable.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::entry::Entry;
use super::{Error, path_in, read_whole_lines};

/// How long a start waits for the one before it to let go of the log.
const PATIENCE: Duration = Duration::from_secs(5);

struct Append {
    lines: Vec<u8>,
    durable: oneshot::Sender<()>,
}

/// The log, open for appending. The file is locked against a second simulator until the last clone is gone.
#[derive(Clone)]
pub struct ChargeLog {
    appends: mpsc::Sender<Append>,
}

/// The log could not be written; nothing further may be answered.
#[derive(Debug, thiserror::Error)]
#[error("the charge log cannot be written any more")]
pub struct Closed;

/// A log just opened.
pub struct Opened {
    pub log: ChargeLog,
    pub entries: Vec<Entry>,
    /// Tells why the log closed, if it ever does before it is dropped.
    pub failure: oneshot::Receiver<Error>,
}

impl ChargeLog {
    /// Opens the log of a data directory, making both if need be. A line cut short by a crash is cut off.
    pub async fn open(data_dir: &Path) -> Result<Opened, Error> {
        let path = path_in(data_dir);
        std::fs::create_dir_all(data_dir).map_err(Error::io(data_dir))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        lock(&file, &path).await?;
        let (entries, whole) = read_whole_lines(&path)?;
        file.set_len(whole).map_err(Error::io(&path))?;
        file.seek(SeekFrom::Start(whole)).map_err(Error::io(&path))?;
        file.sync_all().map_err(Error::io(&path))?;
        File::open(data_dir).and_then(|directory| directory.sync_all()).map_err(Error::io(data_dir))?;
        let (appends, waiting) = mpsc::channel();
        let (broken, failure) = oneshot::channel();
        std::thread::Builder::new()
            .name("charge-log".into())
            .spawn(move || write_all(&file, &path, &waiting, broken))
            .map_err(Error::io(data_dir))?;
        Ok(Opened { log: Self { appends }, entries, failure })
    }

    /// Hands the entries over; the returned future is ready when they are on disk. Call it while the books are locked, so
    /// that the log has the order of the books.
    pub fn append(&self, entries: &[Entry]) -> impl Future<Output = Result<(), Closed>> + Send + use<> {
        let mut lines = Vec::with_capacity(entries.len() * 512);
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).expect("entries are plain structs of strings and numbers");
            lines.push(b'\n');
        }
        let (durable, on_disk) = oneshot::channel();
        let handed_over = self.appends.send(Append { lines, durable });
        async move {
            handed_over.map_err(|_| Closed)?;
            on_disk.await.map_err(|_| Closed)
        }
    }
}

/// Waits a little: the simulator before this one may be on its way out.
async fn lock(file: &File, path: &Path) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(Error::io(path)(source)),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: path.to_owned() }),
        }
    }
}

/// The thread: ends when every [`ChargeLog`] is gone, or at the first error, which drops all that wait unanswered.
fn write_all(mut file: &File, path: &Path, waiting: &mpsc::Receiver<Append>, broken: oneshot::Sender<Error>) {
    let mut lines = Vec::new();
    let mut durable = Vec::new();
    while let Ok(first) = waiting.recv() {
        lines.clear();
        for append in std::iter::once(first).chain(waiting.try_iter()) {
            lines.extend_from_slice(&append.lines);
            durable.push(append.durable);
        }
        metrics::histogram!("payfleet_gateway_sim_log_batch_size").record(durable.len() as f64);
        if let Err(source) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            broken.send(Error::io(path)(source)).ok();
            return;
        }
        for told in durable.drain(..) {
            told.send(()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{ChargeLog, read};
    use super::*;
    use crate::gateway_sim::charge_log::{StateEntry, StateName};
    use crate::gateway_sim::vendor::Vendor;

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("charge-log-{}", uuid::Uuid::now_v7().simple()))
    }

    fn entry(reference: &str) -> Entry {
        Entry::State(StateEntry {
            gateway: Vendor::Stripe,
            reference: reference.into(),
            state: StateName::Captured,
            key: None,
            at: time::OffsetDateTime::UNIX_EPOCH,
        })
    }

    #[tokio::test]
    async fn what_is_durable_is_read_back_in_order() {
        let directory = directory();
        let opened = ChargeLog::open(&directory).await.unwrap();
        let waits: Vec<_> = (0..50).map(|n| opened.log.append(&[entry(&n.to_string())])).collect();
        for wait in waits {
            wait.await.unwrap();
        }
        let expected: Vec<Entry> = (0..50).map(|n| entry(&n.to_string())).collect();
        assert_eq!(read(&path_in(&directory)).unwrap(), expected);
        drop(opened);
        assert_eq!(ChargeLog::open(&directory).await.unwrap().entries, expected);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_line_cut_short_is_cut_off_and_the_log_goes_on() {
        let directory = directory();
        let opened = ChargeLog::open(&directory).await.unwrap();
        opened.log.append(&[entry("whole")]).await.unwrap();
        drop(opened);
        let mut file = OpenOptions::new().append(true).open(path_in(&directory)).unwrap();
        file.write_all(b"{\"entry\":\"state\",\"gatew").unwrap();
        let opened = ChargeLog::open(&directory).await.unwrap();
        opened.log.append(&[entry("next")]).await.unwrap();
        assert_eq!(read(&path_in(&directory)).unwrap(), [entry("whole"), entry("next")]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
