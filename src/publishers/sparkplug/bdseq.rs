//! The bdSeq: a number per CONNECT that outlives the process.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Counts CONNECT packets: 0 on an empty folder, one more each time, 0 again after 255
/// (tck-id-payloads-nbirth-bdseq-repeat, tck-id-payloads-ndeath-bdseq).
#[derive(Debug)]
pub(super) struct BdSeq {
    folder: PathBuf,
    last: Option<u8>,
    unused: bool,
}

impl BdSeq {
    /// What the folder remembers. Something unreadable counts as nothing.
    pub(super) async fn load(folder: &Path) -> BdSeq {
        let path = folder.join(FILE);
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let last = match read {
            Ok(Ok(text)) => {
                let last = text.trim().parse().ok();
                if last.is_none() {
                    tracing::warn!(folder = %folder.display(), "the file bdseq holds no number; counted from 0");
                }
                last
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(Err(error)) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot read bdseq; counted from 0");
                None
            }
            Err(_) => None,
        };
        BdSeq { folder: folder.to_owned(), last, unused: false }
    }

    /// The number of the next CONNECT; on disk when this returns.
    pub(super) async fn next(&mut self) -> u8 {
        if self.unused
            && let Some(last) = self.last
        {
            self.unused = false;
            return last;
        }
        let next = self.last.map_or(0, |last| last.wrapping_add(1));
        self.last = Some(next);
        let folder = self.folder.clone();
        match tokio::task::spawn_blocking(move || write(&folder, next)).await {
            Ok(Ok(())) => {}
            // Better a number that may come twice after a restart than no connection.
            Ok(Err(error)) => {
                tracing::warn!(folder = %self.folder.display(), %error, "cannot keep bdSeq; after a restart it may repeat")
            }
            Err(error) => tracing::warn!(%error, "cannot keep bdSeq; after a restart it may repeat"),
        }
        next
    }

    /// No CONNECT was sent with it: the next one takes the same.
    pub(super) fn not_used(&mut self) {
        self.unused = true;
    }
}

const FILE: &str = "bdseq";

/// Whole or not at all, also over a power cut.
fn write(folder: &Path, number: u8) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let fresh = folder.join("bdseq.new");
    let mut file = std::fs::File::create(&fresh)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, folder.join(FILE))?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_counts_over_restarts_and_wraps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publishers/cloud");
        let mut first = BdSeq::load(&path).await;
        assert_eq!((first.next().await, first.next().await), (0, 1));
        let mut again = BdSeq::load(&path).await;
        assert_eq!(again.next().await, 2);
        again.not_used();
        assert_eq!((again.next().await, again.next().await), (2, 3));
        std::fs::write(path.join(FILE), "255\n").unwrap();
        assert_eq!(BdSeq::load(&path).await.next().await, 0);
    }

    #[tokio::test]
    async fn garbage_in_the_file_counts_from_zero() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "twelve").unwrap();
        assert_eq!(BdSeq::load(folder.path()).await.next().await, 0);
    }
}
