//! Where damaged segments are put, to be looked at: a few of them, since a card that fails has many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Debug)]
pub(super) struct Quarantine {
    folder: PathBuf,
}

/// Segments that stay, of at most 8 MiB each: enough to see what befell them.
const MOST: usize = 8;

impl Quarantine {
    pub(super) fn new(root: &Path) -> Quarantine {
        Quarantine { folder: root.join("quarantine") }
    }

    /// Moves a segment here, with its lists of blocks. False where it has to stay.
    pub(super) fn take(&self, id: u64, from: &Path, lists: &[(PathBuf, &str)], why: &str) -> bool {
        let to = self.folder.join(format!("segment-{id:016x}"));
        self.make_room();
        let moved = fs::create_dir_all(&self.folder)
            .and_then(|()| if to.exists() { fs::remove_dir_all(&to) } else { Ok(()) })
            .and_then(|()| if from.exists() { fs::rename(from, &to) } else { fs::create_dir(&to) });
        for (list, name) in lists {
            // Not each has all of them.
            let _ = fs::rename(list, to.join(name));
        }
        match &moved {
            Ok(()) => tracing::error!(
                segment = %to.display(), why,
                "a segment of the spool is damaged: set aside, what it held is not delivered"
            ),
            Err(error) => {
                tracing::error!(segment = %from.display(), why, %error, "a damaged segment of the spool cannot be set aside");
            }
        }
        moved.is_ok()
    }

    /// Removes the oldest, so that one more is not too many.
    fn make_room(&self) {
        // Names are numbers that grow with time.
        let mut here: Vec<_> = entries(&self.folder).unwrap_or_default();
        here.sort();
        let too_many = (here.len() + 1).saturating_sub(MOST);
        for oldest in here.iter().take(too_many) {
            match fs::remove_dir_all(oldest) {
                Ok(()) => tracing::warn!(
                    segment = %oldest.display(),
                    "removed from the quarantine: it keeps {MOST} damaged segments, and there is a newer one"
                ),
                Err(error) => {
                    tracing::warn!(segment = %oldest.display(), %error, "cannot be removed from the quarantine");
                }
            }
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_damaged_segments_stay_and_the_oldest_go() {
        let root = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(root.path());
        for id in 0..MOST as u64 + 3 {
            let from = root.path().join("segment");
            fs::create_dir(&from).unwrap();
            fs::write(root.path().join("list"), "blocks").unwrap();
            assert!(quarantine.take(id, &from, &[(root.path().join("list"), "index")], "a test"));
            assert!(!from.exists());
        }
        let mut left = entries(&quarantine.folder).unwrap();
        left.sort();
        assert_eq!(left.len(), MOST);
        assert!(left[0].ends_with("segment-0000000000000003"), "{left:?}");
        assert!(left[0].join("index").exists());
    }
}
