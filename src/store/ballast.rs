//! Room on the disk that is kept back: given up when the disk is full, so that what waits can still be
//! written and sled can open at all; taken again when there is plenty.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// The file, in the store's folder.
const FILE: &str = "ballast";

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Ballast {
    folder: PathBuf,
    path: PathBuf,
    size: u64,
}

impl Ballast {
    /// Of so many bytes; 0 is none. Touches no file.
    pub(super) fn new(folder: &Path, size: u64) -> Ballast {
        Ballast { folder: folder.to_owned(), path: folder.join(FILE), size }
    }

    /// Bytes that it has now.
    pub(super) fn held(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| meta.blocks() * 512)
    }

    /// Gives its room up; false where there was none.
    pub(super) fn give_up(&self) -> bool {
        let had = self.held() > 0;
        let gone = fs::remove_file(&self.path).is_ok();
        // The blocks of a removed file are free only when the journal has it.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        had && gone
    }

    /// Takes the room again where as much is free besides, so that it does not come and go with every
    /// block. True when it was not there and is now.
    pub(super) fn restore(&self) -> io::Result<bool> {
        let held = self.held();
        if self.size == 0 || held > self.size.saturating_mul(2) {
            // Another configuration's.
            if held > 0 {
                fs::remove_file(&self.path)?;
            }
            return Ok(false);
        }
        if held >= self.size {
            return Ok(false);
        }
        let disk = statvfs(&self.folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free.saturating_add(held) < self.size.saturating_mul(2) {
            return Ok(false);
        }
        let made = self.make();
        if made.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        made.map(|()| true)
    }

    fn make(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Ok(()) => {}
            // A file system without it gets plain bytes.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let piece = vec![0xB0; 64 << 10];
                let mut left = self.size;
                while left > 0 {
                    let now = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    file.write_all(piece.get(..now).unwrap_or_default())?;
                    left -= now as u64;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_real_room_once_and_gives_it_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(folder.path(), 1 << 20);
        assert!(!ballast.give_up());
        assert!(ballast.restore().unwrap());
        assert!(ballast.held() >= 1 << 20);
        assert!(!ballast.restore().unwrap(), "it is there");
        // A restart with a smaller one, and with none.
        assert!(!Ballast::new(folder.path(), 256 << 10).restore().unwrap());
        assert!(Ballast::new(folder.path(), 256 << 10).restore().unwrap());
        assert!(ballast.held() < 1 << 20);
        assert!(!Ballast::new(folder.path(), 0).restore().unwrap());
        assert_eq!(ballast.held(), 0);
        assert!(ballast.restore().unwrap());
        assert!(ballast.give_up());
        assert!(!ballast.give_up());
    }

    #[test]
    fn it_is_not_made_where_it_would_take_the_last_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = statvfs(folder.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        assert!(!Ballast::new(folder.path(), free / 2 + free / 4).restore().unwrap());
        assert!(!folder.path().join(FILE).exists());
    }
}
