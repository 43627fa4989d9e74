//! A directory that one run at a time may use.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// The directory, held until this is dropped or the process is gone, however it went.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory, making it if it does not exist. [`Error::InUse`] if another process holds it.
    pub fn take(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let path = path.canonicalize().map_err(Error::io(path))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).ok();
                return Err(Error::InUse { path, holder: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => return Err(Error::Io { path: lock_path, cause }),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(Error::io(&lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Takes the first of `<path>-1`, `<path>-2` … that nobody uses: for runs that may go on side by side.
    pub fn take_any(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut number = 1;
        loop {
            match Self::take(&path.with_file_name(format!("{name}-{number}"))) {
                Err(Error::InUse { .. }) => number += 1,
                other => return other,
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it for one server, emptied if `fresh`.
    pub fn inner(&self, name: &str, content: Content) -> Result<PathBuf, Error> {
        let inner = self.path.join(name);
        if content == Content::Discarded && inner.exists() {
            std::fs::remove_dir_all(&inner).map_err(Error::io(&inner))?;
        }
        std::fs::create_dir_all(&inner).map_err(Error::io(&inner))?;
        Ok(inner)
    }
}

/// What becomes of a server's files of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Kept,
    Discarded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let path = std::env::temp_dir().join(format!("payfleet-directory-{}", std::process::id()));
        let first = Directory::take(&path).unwrap();
        let refused = Directory::take(&path).unwrap_err();
        assert!(matches!(&refused, Error::InUse { holder: Some(pid), .. } if *pid == std::process::id()), "{refused}");
        let beside = Directory::take_any(&path.join("test")).unwrap();
        let further = Directory::take_any(&path.join("test")).unwrap();
        assert!(beside.path().ends_with("test-1") && further.path().ends_with("test-2"));
        drop(first);
        Directory::take(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
