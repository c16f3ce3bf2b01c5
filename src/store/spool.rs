//! Records on disk, by key: the one file that names sled.
//!
//! A [`Spool`] is one segment: a small database in a folder of its own. Whoever wants another engine
//! writes another `Spool`.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::durable;

/// Why a spool did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpoolError {
    /// What is on the disk makes no sense.
    #[error("damaged: {0}")]
    Damaged(String),
    /// One block fails its check; the segment is well.
    #[error("a block failed its check")]
    Block,
    /// It cannot be read or written where it lies (EIO): a bad place on the disk, or all of the disk.
    #[error("{0}")]
    Failing(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
    /// The disk, the file system or its rights.
    #[error("{0}")]
    Disk(String),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> SpoolError {
        use rustix::io::Errno;
        let why = error.to_string();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => SpoolError::Full(why),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => SpoolError::Damaged(why),
            ErrorKind::IsADirectory | ErrorKind::NotADirectory => SpoolError::Damaged(why),
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN) => SpoolError::Failing(why),
                // sled keeps its first error and gives out copies, which have only its words.
                None if why.contains("Os { code: 5,") => SpoolError::Failing(why),
                _ => SpoolError::Disk(why),
            },
        }
    }
}

/// A key and its bytes.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// One open segment.
pub(super) trait Spool: Send {
    /// Writes all of them; they are on the disk when this returns.
    fn write(&mut self, records: &[Record]) -> Result<(), SpoolError>;
    /// The bytes of a key.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError>;
    /// All records, in the order of their keys.
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), SpoolError>;
}

/// Opens or makes the segment in `folder`.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Spool>, SpoolError> {
    #[cfg(test)]
    if let Some(opened) = super::property::engine::open(folder) {
        return opened;
    }
    // A snapshot torn by a power cut refuses to open; without one the log is read instead.
    if let Ok(entries) = std::fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    let patience = Instant::now() + Duration::from_secs(2);
    loop {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(8 << 20)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        // After an unclean stop a flipped byte makes sled panic here.
        match guarded(|| config.open()) {
            Ok(db) => return Ok(Box::new(SledSpool { db: Some(db) })),
            // The last owner of this folder in this process is just going.
            Err(SpoolError::Disk(why)) if why.contains("acquire lock") && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a flush in `folder` reaches the disk: makes a small database there, flushes it, and looks
/// whether a real sync was made.
pub(super) fn prove(folder: &Path) -> Result<bool, SpoolError> {
    let before = durable::syncs();
    open(folder)?.write(&[(b"proof".to_vec(), b"proof".to_vec())])?;
    Ok(durable::syncs() > before)
}

/// Turns sled's errors and panics into ours.
fn guarded<T>(work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, SpoolError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(sled::Error::Io(error))) => Err(error.into()),
        Ok(Err(error)) => Err(SpoolError::Damaged(error.to_string())),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            Err(SpoolError::Damaged(why.chars().take(200).collect()))
        }
    }
}

struct SledSpool {
    db: Option<sled::Db>,
}

impl SledSpool {
    fn db(&self) -> Result<&sled::Db, SpoolError> {
        self.db.as_ref().ok_or_else(|| SpoolError::Disk("closed".into()))
    }
}

impl Spool for SledSpool {
    fn write(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        let db = self.db()?;
        guarded(|| {
            for (key, bytes) in records {
                db.insert(key, bytes.as_slice())?;
            }
            db.flush().map(drop)
        })
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let db = self.db()?;
        guarded(|| Ok(db.get(key)?.map(|bytes| bytes.to_vec())))
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), SpoolError> {
        let db = self.db()?;
        guarded(|| {
            for record in db.iter() {
                let (key, bytes) = record?;
                visit(&key, &bytes);
            }
            Ok(())
        })
    }
}

impl Drop for SledSpool {
    fn drop(&mut self) {
        // sled flushes when it is dropped, and may panic there on a broken disk.
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(db)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_a_real_sync() {
        let folder = tempfile::tempdir().unwrap();
        assert!(prove(&folder.path().join("proof")).unwrap());
    }

    #[test]
    fn records_come_back_in_order_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path()).unwrap();
        spool.write(&[(vec![2], vec![20]), (vec![1], vec![10])]).unwrap();
        drop(spool);
        let spool = open(folder.path()).unwrap();
        let mut seen = Vec::new();
        spool.each(&mut |key, bytes| seen.push((key.to_vec(), bytes.to_vec()))).unwrap();
        assert_eq!(seen, [(vec![1], vec![10]), (vec![2], vec![20])]);
        assert_eq!(spool.read(&[2]).unwrap(), Some(vec![20]));
        assert_eq!(spool.read(&[3]).unwrap(), None);
    }
}
