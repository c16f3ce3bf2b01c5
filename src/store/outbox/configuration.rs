//! The outbox's side towards the configuration: tags and publishers that are there no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outbox;
use crate::model::{Batch, Directory, Sample};
use crate::store::losses::Reason;
use crate::store::reader::Place;

impl Outbox {
    /// Other devices and tags are configured from here on.
    pub(in crate::store) fn follow(&mut self, directory: Arc<Directory>) {
        // What was read from the disk was read with those of before.
        self.cache.clear();
        self.known = Some((directory, self.next_seq));
    }

    /// Nobody takes this reader up; see [`Self::forget_absent`].
    pub(in crate::store) fn retire(&mut self, name: &str) {
        if let Some(reader) = self.readers.iter_mut().find(|r| r.name == name && r.durable && !r.attached) {
            reader.absent_since = Some(Instant::now());
        }
    }

    /// Durable readers that nobody took up for so long: forgotten; gives their names.
    pub(in crate::store) fn forget_absent(&mut self, patience: Duration) -> Vec<(String, u64)> {
        let absent = |r: &&Place| {
            r.durable && !r.attached && r.absent_since.is_some_and(|since| since.elapsed() >= patience)
        };
        let gone: Vec<_> = self
            .readers
            .iter()
            .filter(absent)
            .map(|r| (r.serial, r.name.clone(), r.counts.pending))
            .collect();
        gone.iter().for_each(|(serial, ..)| self.forget(*serial));
        gone.into_iter().map(|(_, name, pending)| (name, pending)).collect()
    }

    #[cfg(test)]
    pub(in crate::store) fn has_absent(&self) -> bool {
        self.readers.iter().any(|r| r.durable && !r.attached && r.absent_since.is_some())
    }

    /// What of a batch in memory is still configured; `None`: nothing.
    pub(super) fn configured(&self, seq: u64, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let Some((directory, _)) = self.known.as_ref().filter(|(_, below)| seq < *below) else {
            return Some(batch.clone());
        };
        directory.device(batch.device)?;
        let is_there = |sample: &&Sample| directory.tag(sample.tag).is_some();
        let left = batch.samples.iter().filter(is_there).count();
        if left == batch.samples.len() {
            return Some(batch.clone());
        }
        let samples: Vec<_> = batch.samples.iter().filter(is_there).cloned().collect();
        (left > 0).then(|| Arc::new(Batch { samples, ..Batch::clone(batch) }))
    }

    /// A batch in memory of which nothing is configured any more: this reader is done with it.
    pub(super) fn leave_out(&mut self, at: usize, seq: u64, stored: u64) {
        let block = self.block_of(seq).cloned();
        let times = self.slot(seq).and_then(|e| e.batch.samples.first()).map(|s| (s.at, s.at));
        if let Some(reader) = self.readers.get_mut(at) {
            reader.drop_samples(Reason::Unknown, stored);
            reader.settled.insert(seq, seq + 1);
            reader.dirty = true;
            let (from, to) = times.unwrap_or_default();
            self.losses.block(&reader.name, Reason::Unknown, stored, from, to);
            if let Some(block) = block.filter(|_| reader.durable) {
                reader.done_in(&block, stored);
            }
        }
        self.release(at, seq);
    }
}
