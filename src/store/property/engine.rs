//! The disk of the property test: a plain file a segment, which can fail, or be cut off, at any operation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::store::spool::{Record, Spool, SpoolError};
use crate::store::varint::{Cut, put_bytes, seal, unseal};

/// What happens to the operations on the disk of this thread.
#[derive(Default)]
struct Disk {
    /// Segments are sled's, as in the program.
    sled: bool,
    /// So many operations from now on succeed, and so many then fail.
    succeed: u32,
    fail: u32,
    /// They fail since there is no room.
    full: bool,
    /// How many failed so far.
    failed: u32,
    /// What goes on elsewhere while the next block is being written.
    meanwhile: Option<Box<dyn FnOnce()>>,
}

thread_local! {
    /// None: this thread is no property test.
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

fn with<T>(what: impl FnOnce(&mut Disk) -> T) -> Option<T> {
    DISK.with_borrow_mut(|disk| disk.as_mut().map(what))
}

/// From here on this thread's stores use this disk.
pub(in crate::store) fn begin(sled: bool) {
    DISK.set(Some(Disk { sled, ..Disk::default() }));
}

pub(in crate::store) fn end() {
    DISK.set(None);
}

/// After `succeed` operations the next `fail` ones fail.
pub(in crate::store) fn break_it(succeed: u32, fail: u32, full: bool) {
    with(|disk| (disk.succeed, disk.fail, disk.full) = (succeed, fail, full));
}

/// All operations succeed from here on.
pub(in crate::store) fn heal() {
    with(|disk| disk.fail = 0);
}

/// What fails fails for another reason than want of room.
pub(in crate::store) fn has_room() {
    with(|disk| disk.full = false);
}

/// How many operations failed so far.
pub(in crate::store) fn failed() -> u32 {
    with(|disk| disk.failed).unwrap_or(0)
}

/// Done while the next block is being written; gives back what did not come to it.
pub(in crate::store) fn meanwhile(what: Option<Box<dyn FnOnce()>>) -> Option<Box<dyn FnOnce()>> {
    with(|disk| std::mem::replace(&mut disk.meanwhile, what)).flatten()
}

/// One operation on the disk; called by the code under test.
pub(in crate::store) fn operation() -> io::Result<()> {
    let fails = with(|disk| {
        if disk.fail == 0 {
            return None;
        }
        if disk.succeed > 0 {
            disk.succeed -= 1;
            return None;
        }
        disk.fail -= 1;
        disk.failed += 1;
        Some(if disk.full { "No space left on device" } else { "input/output error" })
    });
    fails.flatten().map_or(Ok(()), |why| Err(io::Error::other(why)))
}

/// Opens a segment on this thread's disk; `None` where it is sled's.
pub(in crate::store) fn open(folder: &Path) -> Option<Result<Box<dyn Spool>, SpoolError>> {
    let sled = with(|disk| disk.sled)?;
    match operation() {
        Err(error) => Some(Err(error.into())),
        Ok(()) if sled => None,
        Ok(()) => Some(Plain::open(folder)),
    }
}

/// A segment in one file, each record with a check of its own.
struct Plain {
    file: File,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Plain {
    fn open(folder: &Path) -> Result<Box<dyn Spool>, SpoolError> {
        fs::create_dir_all(folder)?;
        let path: PathBuf = folder.join("db");
        let bytes = fs::read(&path).unwrap_or_default();
        let (mut cut, mut records) = (Cut(&bytes), BTreeMap::new());
        let mut whole = 0;
        // What a cut tore is not there.
        while let Some(record) = cut.bytes().and_then(unseal) {
            let mut record = Cut(record);
            if let (Some(key), Some(value)) = (record.bytes(), record.bytes()) {
                records.insert(key.to_vec(), value.to_vec());
            }
            whole = bytes.len() - cut.0.len();
        }
        let file = File::options().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok(Box::new(Plain { file, records }))
    }

    fn append(&mut self, (key, value): &Record) -> io::Result<()> {
        let (mut record, mut bytes) = (Vec::new(), Vec::new());
        put_bytes(&mut record, key);
        put_bytes(&mut record, value);
        seal(&mut record);
        put_bytes(&mut bytes, &record);
        self.file.write_all(&bytes)?;
        self.records.insert(key.clone(), value.clone());
        Ok(())
    }
}

impl Spool for Plain {
    fn write(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        if let Some(others) = meanwhile(None) {
            others();
        }
        let done = operation();
        // Some of what failed may be there later all the same.
        let some = if done.is_err() { records.len() / 2 } else { records.len() };
        for record in records.iter().take(some) {
            self.append(record)?;
        }
        Ok(done?)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        operation()?;
        Ok(self.records.get(key).cloned())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), SpoolError> {
        operation()?;
        self.records.iter().for_each(|(key, value)| visit(key, value));
        Ok(())
    }
}
