//! What is in a store, also while a gateway runs with it: from its lists and cursors alone.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use crate::model::Timestamp;

use super::Folder;

/// What lies on the disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Segments, and what they take on the disk.
    pub segments: usize,
    /// Bytes, as the file system counts them.
    pub bytes: u64,
    /// Blocks that are listed.
    pub blocks: usize,
    /// Samples in them, delivered ones included.
    pub samples: u64,
    /// Time stamp of the oldest and the newest sample; `None` where there is none from a synchronised clock.
    pub oldest: Option<Timestamp>,
    /// See `oldest`.
    pub newest: Option<Timestamp>,
    /// Segments that were set aside because they were damaged.
    pub quarantined: u64,
    /// Bytes of the ballast file; `None` where there is none.
    pub ballast: Option<u64>,
    /// No run has used this sequence number; `None` where the file is damaged.
    pub next: Option<u64>,
    /// Segments without a list: what is in them is in no figure here.
    pub unlisted: usize,
    /// Each publisher that has a cursor.
    pub publishers: Vec<PublisherStatus>,
}

/// What a publisher has still to deliver of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublisherStatus {
    /// Its name.
    pub name: String,
    /// Samples that wait for it on the disk; where not `exact`, at most so many.
    pub pending: u64,
    /// No block is settled in part.
    pub exact: bool,
    /// The oldest and the newest of the blocks with them.
    pub oldest: Option<Timestamp>,
    /// See `oldest`.
    pub newest: Option<Timestamp>,
    /// All below this sequence number is settled; `None` where its cursor is damaged: then all is delivered
    /// again.
    pub cursor: Option<u64>,
}

impl Folder {
    /// What is in it. Takes no lock and opens no database.
    pub fn status(&self) -> Result<Status, String> {
        let segments = self.segments()?;
        let mut blocks: Vec<_> = segments.iter().flat_map(|s| &s.blocks).collect();
        blocks.sort_by_key(|b| (b.key, b.segment));
        let timed = || blocks.iter().filter(|b| !b.marked);
        let publishers = self
            .cursors()
            .into_iter()
            .map(|(name, cursor)| {
                let settled = cursor.clone().unwrap_or_default();
                let mut status = PublisherStatus {
                    name,
                    pending: 0,
                    exact: true,
                    oldest: None,
                    newest: None,
                    cursor: cursor.map(|settled| settled.next_gap(0)),
                };
                let mut end = 0;
                for block in &blocks {
                    // After a failed write the same batches may lie in two blocks.
                    let from = block.key.max(end);
                    if block.last < end || settled.covers(from, block.last + 1) {
                        continue;
                    }
                    status.exact &= from == block.key && !settled.touches(from, block.last + 1);
                    status.pending += block.samples;
                    if !block.marked {
                        status.oldest = status.oldest.into_iter().chain([block.oldest]).min();
                        status.newest = status.newest.max(Some(block.newest));
                    }
                    end = block.last + 1;
                }
                status
            })
            .collect();
        Ok(Status {
            segments: segments.len(),
            bytes: segments.iter().map(|s| s.bytes).sum(),
            blocks: blocks.len(),
            samples: blocks.iter().map(|b| b.samples).sum(),
            oldest: timed().map(|b| b.oldest).min(),
            newest: timed().map(|b| b.newest).max(),
            quarantined: self.quarantined(),
            ballast: fs::metadata(self.root.join("ballast")).ok().map(|about| about.blocks() * 512),
            next: self.sequence(),
            unlisted: segments.iter().filter(|s| !s.well).count(),
            publishers,
        })
    }
}
