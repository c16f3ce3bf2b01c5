//! The store's folder: its lock, its segments, the cursor files, the sequence number reserved so far.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Clock;

use super::ballast::Ballast;
use super::cursor;
use super::known::Known;
use super::ranges::Ranges;
use super::segments::{Found, Segments};
use super::slots::SlotFile;
use super::spool::{self, SpoolError};
use super::varint::{Cut, put};

/// So many sequence numbers are reserved with one write: an unclean stop skips the rest of them.
const RESERVE: u64 = 1 << 20;
/// What is in the folder, and whether it is a folder itself.
const NAMES: [(&str, bool); 8] = [
    ("lock", false),
    ("sequence", false),
    ("ballast", false),
    ("proof", true),
    ("readers", true),
    ("segments", true),
    ("quarantine", true),
    ("learned", true),
];

/// All files of the store.
pub(super) struct Disk {
    pub(super) segments: Segments,
    pub(super) ballast: Ballast,
    root: PathBuf,
    cursors: HashMap<String, SlotFile>,
    sequence: Option<SlotFile>,
    reserved: u64,
    /// Held as long as the store is.
    lock: Option<File>,
}

/// What an earlier run left.
pub(super) struct Left {
    pub(super) found: Found,
    pub(super) readers: Vec<(String, Ranges)>,
    /// The first sequence number that no run has used.
    pub(super) next: u64,
    /// A flush was seen to reach the disk.
    pub(super) durable: bool,
    /// The disk was full, and the ballast made the room to open.
    pub(super) was_full: bool,
    /// Files set aside that were no segments.
    pub(super) set_aside: u64,
}

impl Disk {
    /// Opens the folder, made when it is not there. What is damaged in it is set aside; an error is what
    /// has to be waited for.
    pub(super) fn open(
        root: &Path,
        max_bytes: u64,
        ballast: u64,
        directory: &Known,
        clock: &Clock,
    ) -> Result<(Disk, Left), SpoolError> {
        fs::create_dir_all(root)?;
        let mut set_aside = 0;
        for (name, is_folder) in NAMES {
            if fs::metadata(root.join(name)).is_ok_and(|meta| meta.is_dir() != is_folder) {
                let why = if is_folder { "a folder has to be here" } else { "a folder is in its place" };
                aside(root, name, why)?;
                set_aside += 1;
            }
        }
        let lock = Some(lock(root)?);
        let ballast = Ballast::new(root, ballast);
        let mut opened = Self::open_held(root, max_bytes, directory, clock);
        let was_full = matches!(opened, Err(SpoolError::Full(_))) && ballast.give_up();
        if was_full {
            // sled does not open on a full disk.
            opened = Self::open_held(root, max_bytes, directory, clock);
        }
        let (segments, sequence, cursors, mut left) = opened?;
        left.was_full = was_full;
        left.set_aside += set_aside;
        let reserved = left.next + RESERVE;
        Ok((
            Disk {
                segments,
                ballast,
                root: root.to_owned(),
                cursors,
                sequence: Some(sequence),
                reserved,
                lock,
            },
            left,
        ))
    }

    #[allow(clippy::type_complexity)] // Said once, for one caller.
    fn open_held(
        root: &Path,
        max_bytes: u64,
        directory: &Known,
        clock: &Clock,
    ) -> Result<(Segments, SlotFile, HashMap<String, SlotFile>, Left), SpoolError> {
        let proof = root.join("proof");
        let _ = fs::remove_dir_all(&proof);
        let durable = spool::prove(&proof)?;
        fs::remove_dir_all(&proof)?;

        let mut set_aside = 0;
        let (segments, found) = Segments::open(root, max_bytes, directory.clone(), clock.clone())?;
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
            let (file, content) = slots(&readers, &entry.file_name().to_string_lossy(), &mut set_aside)?;
            let settled = content.and_then(|bytes| cursor::decode(&bytes)).unwrap_or_else(|| {
                tracing::error!(reader = name, "its cursor is damaged: all that is kept is delivered again");
                Ranges::default()
            });
            cursors.insert(name.clone(), file);
            known.push((name, settled));
        }

        let was_there = root.join("sequence").exists();
        let (mut sequence, content) = slots(root, "sequence", &mut set_aside)?;
        let reserved = content.and_then(|bytes| Cut(&bytes).number());
        let written = found.blocks.iter().map(|b| b.last + 1).max().unwrap_or(0);
        let settled = known.iter().filter_map(|(_, s)| s.iter().last()).map(|(_, to)| to).max().unwrap_or(0);
        let mut next = reserved.unwrap_or(0).max(written).max(settled);
        if reserved.is_none() && was_there {
            tracing::warn!(next, "the file `sequence` is damaged: numbers go on above all that is kept");
            next += RESERVE;
        }
        sequence.write(&number(next + RESERVE))?;
        for folder in [root, &readers] {
            File::open(folder)?.sync_all()?;
        }
        let left = Left { found, readers: known, next, durable, was_full: false, set_aside };
        Ok((segments, sequence, cursors, left))
    }

    /// All files are opened anew: after trouble the old handles may belong to a card that was pulled, or
    /// to a mount that is no more.
    pub(super) fn reopen(&mut self) -> Result<(), SpoolError> {
        self.segments.close_all();
        self.cursors.clear();
        (self.lock, self.sequence, self.reserved) = (None, None, 0);
        self.lock = Some(lock(&self.root)?);
        self.sequence = Some(slots(&self.root, "sequence", &mut 0)?.0);
        Ok(())
    }

    /// Keeps the sequence numbers in use below those reserved.
    pub(super) fn reserve(&mut self, next: u64) -> Result<(), SpoolError> {
        if next + RESERVE / 2 > self.reserved {
            let Some(sequence) = &mut self.sequence else { return Err(SpoolError::Disk("closed".into())) };
            sequence.write(&number(next + RESERVE))?;
            self.reserved = next + RESERVE;
        }
        Ok(())
    }

    /// Keeps what a reader has settled.
    pub(super) fn keep(&mut self, reader: &str, settled: &Ranges) -> Result<(), SpoolError> {
        if !self.cursors.contains_key(reader) {
            let readers = self.root.join("readers");
            fs::create_dir_all(&readers)?;
            let (file, _) = slots(&readers, &cursor::file_name(reader), &mut 0)?;
            File::open(&readers)?.sync_all()?;
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
        let _ = fs::remove_file(self.root.join("readers").join(cursor::file_name(reader)));
    }
}

fn lock(root: &Path) -> Result<File, SpoolError> {
    let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| SpoolError::Disk("another process holds the store (its file `lock`)".into()))?;
    Ok(lock)
}

/// Opens a small file; one that cannot be read is set aside, and a new one made.
fn slots(folder: &Path, name: &str, set_aside: &mut u64) -> Result<(SlotFile, Option<Vec<u8>>), SpoolError> {
    let path = folder.join(name);
    match SlotFile::open(&path).map_err(SpoolError::from) {
        Err(SpoolError::Damaged(why) | SpoolError::Failing(why)) => {
            aside(folder, name, &why)?;
            *set_aside += 1;
            Ok(SlotFile::open(&path)?)
        }
        other => other,
    }
}

/// Moves what is damaged out of the way, to where it can be looked at.
fn aside(folder: &Path, name: &str, why: &str) -> io::Result<()> {
    let from = folder.join(name);
    let free = |n: &u32| !folder.join(format!("{name}.damaged.{n}")).exists();
    let to = folder.join(format!("{name}.damaged.{}", (1..1000).find(free).unwrap_or(1000)));
    fs::rename(&from, &to)?;
    tracing::error!(file = %from.display(), to = %to.display(), why, "a file of the store is damaged: set aside");
    Ok(())
}

fn number(n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, n);
    bytes
}
