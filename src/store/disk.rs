//! The store's folder: its lock, its segments, the cursor files, the sequence number reserved so far.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::Directory;

use super::cursor;
use super::ranges::Ranges;
use super::segments::{Found, Segments};
use super::slots::SlotFile;
use super::spool::{self, SpoolError};
use super::varint::{Cut, put};

/// So many sequence numbers are reserved with one write: an unclean stop skips the rest of them.
const RESERVE: u64 = 1 << 20;

/// All files of the store.
pub(super) struct Disk {
    pub(super) segments: Segments,
    readers: PathBuf,
    cursors: HashMap<String, SlotFile>,
    sequence: SlotFile,
    reserved: u64,
    /// Held as long as the store is.
    _lock: File,
}

/// What an earlier run left.
pub(super) struct Left {
    pub(super) found: Found,
    pub(super) readers: Vec<(String, Ranges)>,
    /// The first sequence number that no run has used.
    pub(super) next: u64,
    /// A flush was seen to reach the disk.
    pub(super) durable: bool,
}

impl Disk {
    /// Opens the folder, made when it is not there.
    pub(super) fn open(
        root: &Path,
        max_bytes: u64,
        directory: Arc<Directory>,
    ) -> Result<(Disk, Left), SpoolError> {
        fs::create_dir_all(root)?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SpoolError::Disk("another process holds the store (its file `lock`)".into()))?;

        let proof = root.join("proof");
        let _ = fs::remove_dir_all(&proof);
        let durable = spool::prove(&proof)?;
        fs::remove_dir_all(&proof)?;

        let (segments, found) = Segments::open(root, max_bytes, directory)?;
        let readers = root.join("readers");
        fs::create_dir_all(&readers)?;
        let (mut cursors, mut known) = (HashMap::new(), Vec::new());
        for entry in fs::read_dir(&readers)?.flatten() {
            let Some(name) = entry.file_name().to_str().and_then(cursor::reader_name) else { continue };
            if entry.metadata().is_ok_and(|about| about.len() == 0) {
                // Made and never written: a reader whose first cursor did not get there has nothing here.
                let _ = fs::remove_file(entry.path());
                continue;
            }
            let (file, content) = SlotFile::open(&entry.path())?;
            let settled = content.and_then(|bytes| cursor::decode(&bytes)).unwrap_or_else(|| {
                tracing::error!(reader = name, "its cursor is damaged: all that is kept is delivered again");
                Ranges::default()
            });
            cursors.insert(name.clone(), file);
            known.push((name, settled));
        }

        let (mut sequence, content) = SlotFile::open(&root.join("sequence"))?;
        let reserved = content.and_then(|bytes| Cut(&bytes).number()).unwrap_or(0);
        let written = found.blocks.iter().map(|b| b.last + 1).max().unwrap_or(0);
        let settled = known.iter().filter_map(|(_, s)| s.iter().last()).map(|(_, to)| to).max().unwrap_or(0);
        let next = reserved.max(written).max(settled);
        let reserved = next + RESERVE;
        sequence.write(&number(reserved))?;
        for folder in [root, &readers] {
            File::open(folder)?.sync_all()?;
        }
        let disk = Disk { segments, readers, cursors, sequence, reserved, _lock: lock };
        Ok((disk, Left { found, readers: known, next, durable }))
    }

    /// Keeps the sequence numbers in use below those reserved.
    pub(super) fn reserve(&mut self, next: u64) -> Result<(), SpoolError> {
        if next + RESERVE / 2 > self.reserved {
            self.sequence.write(&number(next + RESERVE))?;
            self.reserved = next + RESERVE;
        }
        Ok(())
    }

    /// Keeps what a reader has settled.
    pub(super) fn keep(&mut self, reader: &str, settled: &Ranges) -> Result<(), SpoolError> {
        if !self.cursors.contains_key(reader) {
            let (file, _) = SlotFile::open(&self.readers.join(cursor::file_name(reader)))?;
            File::open(&self.readers)?.sync_all()?;
            self.cursors.insert(reader.to_owned(), file);
        }
        if let Some(file) = self.cursors.get_mut(reader) {
            file.write(&cursor::encode(settled))?;
        }
        Ok(())
    }

    /// The reader is no more.
    pub(super) fn forget(&mut self, reader: &str) {
        self.cursors.remove(reader);
        let _ = fs::remove_file(self.readers.join(cursor::file_name(reader)));
    }
}

fn number(n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, n);
    bytes
}
