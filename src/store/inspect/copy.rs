//! A segment opened without touching it: as a copy that goes when it is done with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use super::super::dictionary::Dictionary;
use super::super::segments::NAMES;
use super::super::spool::{self, Spool, SpoolError};

/// A copy, open.
pub(super) struct Copy {
    spool: Option<Box<dyn Spool>>,
    pub(super) names: Dictionary,
    /// Records of names that fail their check.
    pub(super) bad_names: u64,
    folder: PathBuf,
}

impl Copy {
    /// Copies a segment into the folder for temporary files and opens it there.
    pub(super) fn of(segment: &Path) -> Result<Copy, SpoolError> {
        let name = segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = env::temp_dir().join(format!("fieldgate-{}-{name}", process::id()));
        let mut copy = Copy { spool: None, names: Dictionary::default(), bad_names: 0, folder };
        let _ = fs::remove_dir_all(&copy.folder);
        if !segment.join("db").exists() {
            return Err(SpoolError::Damaged("its database is missing".into()));
        }
        duplicate(segment, &copy.folder)?;
        let spool = spool::open(&copy.folder)?;
        let (names, bad) = (&mut copy.names, &mut copy.bad_names);
        spool.each(&mut |key, bytes| {
            if key.first() == Some(&NAMES) && !names.load(bytes) {
                *bad += 1;
            }
        })?;
        copy.spool = Some(spool);
        Ok(copy)
    }

    /// The keys of its blocks with their sizes, in order.
    pub(super) fn keys(&self) -> Result<BTreeMap<u64, usize>, SpoolError> {
        let mut keys = BTreeMap::new();
        self.spool()?.each(&mut |key, bytes| {
            if let Ok(key) = <[u8; 8]>::try_from(key) {
                keys.insert(u64::from_be_bytes(key), bytes.len());
            }
        })?;
        Ok(keys)
    }

    /// A block.
    pub(super) fn block(&self, key: u64) -> Result<Option<Vec<u8>>, SpoolError> {
        self.spool()?.read(&key.to_be_bytes())
    }

    fn spool(&self) -> Result<&dyn Spool, SpoolError> {
        self.spool.as_deref().ok_or_else(|| SpoolError::Disk("closed".into()))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.spool = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn duplicate(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            duplicate(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
