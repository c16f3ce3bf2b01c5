//! Rewrites one segment with fewer samples: beside the old one, synced, put in its place by one rename.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Batch, DeviceId, DeviceState};

use super::codec::Item;
use super::dictionary::Dictionary;
use super::outbox::Block;
use super::segments::{Open, Segments, Written};
use super::spool::{self, SpoolError};
use super::thin::Thinner;

/// Samples read for one write.
const ROUND: u64 = 65_536;

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) seq: u64,
    /// Samples before, and how many of them are no longer configured.
    pub(super) stored: u64,
    pub(super) unknown: u64,
    /// Samples now.
    pub(super) kept: u64,
    /// The batch is still there; it may have no samples.
    pub(super) there: bool,
}

/// What is in the segment now.
#[derive(Debug, Default)]
pub(super) struct Thinned {
    pub(super) written: Vec<Written>,
    pub(super) counted: Vec<Counted>,
}

/// Where it failed: at this block, or elsewhere.
pub(super) type Failed = (Option<u64>, SpoolError);

impl Segments {
    /// Thins a segment that nothing is written to any more. `whole`: batches that stay as they are.
    pub(super) fn thin(
        &mut self,
        id: u64,
        blocks: &[Block],
        window: Duration,
        whole: &BTreeSet<u64>,
    ) -> Result<Thinned, Failed> {
        let path = self.beside(id);
        let done = self.rewrite(id, blocks, window, whole);
        if done.is_err() {
            let _ = fs::remove_dir_all(path);
        }
        done
    }

    fn rewrite(
        &mut self,
        id: u64,
        blocks: &[Block],
        window: Duration,
        whole: &BTreeSet<u64>,
    ) -> Result<Thinned, Failed> {
        let path = self.beside(id);
        let elsewhere = |error: std::io::Error| (None, SpoolError::from(error));
        let _ = fs::remove_dir_all(&path);
        // First all is seen, then it is known what stays: two readings, so that no more than a round is
        // in memory at a time.
        let mut thinner = Thinner::new(window);
        for block in blocks {
            for item in self.items(block)? {
                let whole = whole.contains(&item.seq);
                item.batch.iter().flat_map(|b| &b.samples).for_each(|s| thinner.see(s, whole));
            }
        }
        let mut stays = thinner.finish().into_iter();
        fs::create_dir_all(&path).map_err(elsewhere)?;
        let spool = spool::open(&path).map_err(|error| (None, error))?;
        let mut new = Open { id, spool, names: Dictionary::default() };
        let mut done = Thinned::default();
        let mut states = HashMap::new();
        let (mut batches, mut samples, mut list) = (Vec::new(), 0, Vec::new());
        for (at, block) in blocks.iter().enumerate() {
            for item in self.items(block)? {
                let (counted, batch) = filter(&item, &mut stays, &mut states);
                done.counted.push(counted);
                samples += counted.kept + 1;
                batches.extend(batch.map(|batch| (item.seq, batch)));
            }
            if samples >= ROUND || at + 1 == blocks.len() {
                let written = self.put(&mut new, &batches, &mut list).map_err(|error| (None, error))?;
                done.written.extend(written);
                batches.clear();
                samples = 0;
            }
        }
        drop(new);
        if done.written.is_empty() {
            // Nothing of it is configured any more.
            fs::remove_dir_all(&path).and_then(|()| self.remove(id)).map_err(elsewhere)?;
            return Ok(done);
        }
        // Without its folder a list counts only where there is no older folder either.
        let list_path = self.list_to_be(id);
        fs::write(&list_path, &list)
            .and_then(|()| File::open(&list_path)?.sync_all())
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(elsewhere)?;
        // From the rename on the new one counts; a start that finds both removes the old one.
        self.replace(id, &path, done.written.iter().map(|(block, _)| block)).map_err(elsewhere)?;
        Ok(done)
    }

    fn items(&mut self, block: &Block) -> Result<Vec<Item>, Failed> {
        let mut items = self.read(block, &mut BTreeSet::new()).map_err(|error| (Some(block.from), error))?;
        items.retain(|item| item.seq >= block.from);
        Ok(items)
    }
}

/// A batch with only what stays; `None` where nothing of it needs to.
fn filter(
    item: &Item,
    stays: &mut impl Iterator<Item = bool>,
    states: &mut HashMap<DeviceId, DeviceState>,
) -> (Counted, Option<Arc<Batch>>) {
    let gone = Counted { seq: item.seq, stored: item.stored, unknown: item.stored, kept: 0, there: false };
    let Some(batch) = &item.batch else { return (gone, None) };
    let samples: Vec<_> = batch.samples.iter().filter(|_| stays.next().unwrap_or(true)).cloned().collect();
    let unknown = item.stored.saturating_sub(batch.samples.len() as u64);
    let changed = states.get(&batch.device) != Some(&batch.state);
    if samples.is_empty() && !batch.samples.is_empty() && !changed {
        return (Counted { unknown, ..gone }, None);
    }
    // A change of the device's state is said, with samples or without.
    states.insert(batch.device, batch.state);
    let counted = Counted { unknown, kept: samples.len() as u64, there: true, ..gone };
    (counted, Some(Arc::new(Batch { samples, ..Batch::clone(batch) })))
}
