//! A store's folder looked at from outside, as `fieldgate store` does: nothing here changes a segment.
//!
//! sled cannot open a database without writing to it, and not at all while the gateway has it. So what is
//! asked of a running gateway comes from the lists and cursors beside the databases, and where blocks are
//! read, a copy of their segment is opened, one at a time.

mod copy;
mod export;
mod purge;
mod status;
mod verify;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use export::{Exported, Which};
pub use purge::Purged;
pub use status::{PublisherStatus, Status};
pub use verify::{Damage, Verified};

use super::cursor;
use super::index::{self, GROWING, INDEX};
use super::outbox::Block;
use super::ranges::Ranges;
use super::segments::{read_name, size};
use super::slots;
use super::varint::Cut;

/// Called after each step with how many are done, how many there are and what is done now.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize, &str);

/// The folder of a store.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

/// The right to change the folder: as long as it is held, no gateway opens it.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// A segment, as its list says.
struct Listed {
    id: u64,
    path: PathBuf,
    blocks: Vec<Block>,
    /// The list is there and well.
    well: bool,
    /// It is the list of a segment that is complete.
    sealed: bool,
    bytes: u64,
}

impl Folder {
    /// The folder, if it is a store's.
    pub fn at(root: &Path) -> Result<Folder, String> {
        match fs::metadata(root.join("segments")) {
            Ok(about) if about.is_dir() => Ok(Folder { root: root.to_owned() }),
            Ok(_) => Err(format!("{} is no store: `segments` is no folder", root.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("there is no store in {}: no gateway has run with it yet", root.display()))
            }
            Err(error) => Err(format!("{} cannot be read: {error}", root.display())),
        }
    }

    /// The file that a gateway locks as long as it has the store.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Locks the folder; `None` while another process has it.
    pub fn hold(&self) -> Result<Option<Held>, String> {
        let path = self.lock_file();
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        let locked = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        Ok(locked.is_ok().then_some(Held { _lock: lock }))
    }

    /// All segments, the oldest first.
    fn segments(&self) -> Result<Vec<Listed>, String> {
        let folder = self.root.join("segments");
        let entries =
            fs::read_dir(&folder).map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
        let mut found: BTreeMap<u64, PathBuf> = BTreeMap::new();
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        // Of one that was just rewritten the newer folder counts.
        names.sort();
        for (id, _, path) in names.iter().filter_map(|name| {
            let (id, times) = read_name(name.to_str()?)?;
            Some((id, times, folder.join(name)))
        }) {
            found.insert(id, path);
        }
        let listed = |(id, path): (u64, PathBuf)| {
            let list =
                |kind: &str| fs::read(index::path(&path, kind)).map(|bytes| index::read(&bytes, id)).ok();
            let (sealed, found) = match list(INDEX) {
                Some(found) => (true, Some(found)),
                None => (false, list(GROWING)),
            };
            let (mut blocks, well) = found.unwrap_or_default();
            blocks.sort_by_key(|b| b.key);
            let bytes = size(&path);
            Listed { id, path, blocks, well, sealed, bytes }
        };
        Ok(found.into_iter().map(listed).collect())
    }

    /// What each publisher has settled, by name; `None` where its cursor is damaged.
    fn cursors(&self) -> Vec<(String, Option<Ranges>)> {
        let Ok(entries) = fs::read_dir(self.root.join("readers")) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str().and_then(cursor::reader_name)?;
                let content = slots::content(&entry.path()).ok().flatten();
                Some((name, content.and_then(|bytes| cursor::decode(&bytes))))
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// The cursor of one publisher; the error names those that there are.
    fn cursor(&self, publisher: &str) -> Result<Ranges, String> {
        let cursors = self.cursors();
        let names = cursors.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let found = cursors.into_iter().find(|(name, _)| name == publisher);
        // Where the cursor is damaged all that is kept is delivered again.
        found.map(|(_, settled)| settled.unwrap_or_default()).ok_or_else(|| {
            let known = if names.is_empty() { "no publisher".into() } else { format!("only {names}") };
            format!("the store keeps nothing for a publisher `{publisher}`; {known} has a cursor in it")
        })
    }

    /// The first sequence number that no run has reserved; `None` where its file is damaged.
    fn sequence(&self) -> Option<u64> {
        let content = slots::content(&self.root.join("sequence")).ok().flatten();
        content.and_then(|bytes| Cut(&bytes).number())
    }

    /// Segments that were set aside.
    fn quarantined(&self) -> u64 {
        fs::read_dir(self.root.join("quarantine")).map_or(0, |entries| entries.flatten().count() as u64)
    }
}

/// A segment's name, as its folder has it.
fn segment_name(id: u64) -> String {
    format!("segment-{id:016x}")
}
