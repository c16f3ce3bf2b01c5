//! The outbox's side towards the disk: what is to be written, what was, what came back, what is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::model::Batch;

use super::{Block, Loaded, Outbox};
use crate::store::codec::Item;
use crate::store::losses::Reason;
use crate::store::ranges::Ranges;
use crate::store::reader::Place;
use crate::store::segments::Written;

/// Sequence numbers and how many samples each has.
type Counts = Vec<(u64, u64)>;

impl Outbox {
    /// When the oldest batch that a durable reader waits for and that is not on the disk was accepted.
    pub(in crate::store) fn oldest_unwritten(&mut self) -> Option<Instant> {
        self.unwritten = self.unwritten.max(self.base);
        while self.unwritten < self.next_seq {
            match self.slot(self.unwritten) {
                Some(entry) if entry.durable > 0 && !entry.written => return Some(entry.at),
                _ => self.unwritten += 1,
            }
        }
        None
    }

    /// What is to be written next, at most so many samples; and the number below which then all is.
    pub(in crate::store) fn collect(&mut self, most: u64) -> (Vec<(u64, Arc<Batch>)>, u64) {
        let (mut found, mut samples) = (Vec::new(), 0);
        if self.oldest_unwritten().is_none() {
            return (found, self.next_seq);
        }
        let mut seq = self.unwritten;
        while seq < self.next_seq && samples < most {
            if let Some(entry) = self.slot(seq).filter(|e| e.durable > 0 && !e.written) {
                samples += entry.batch.samples.len() as u64 + 1;
                found.push((seq, entry.batch.clone()));
            }
            seq += 1;
        }
        (found, seq)
    }

    /// These blocks are on the disk now, and all below `upto` that must be.
    pub(in crate::store) fn commit(&mut self, written: Vec<Written>, upto: u64) {
        for (block, counts) in written {
            for (seq, _) in &counts {
                if let Some(entry) = self.slot_mut(*seq) {
                    entry.written = true;
                }
            }
            for reader in self.readers.iter_mut().filter(|r| r.durable) {
                // Settled while it was being written.
                let done = counts.iter().filter(|(seq, _)| reader.settled.contains(*seq));
                let done: u64 = done.map(|(_, samples)| samples).sum();
                if done > 0 {
                    reader.partial.insert(block.from, done);
                }
            }
            self.blocks.insert(block.from, block);
        }
        if upto > self.committed {
            self.committed = upto;
            if self.rules.gated {
                self.wake_all();
            }
        }
        // What is on the disk makes room, so that the next write is a large one again.
        self.trim();
        while self.bytes > self.rules.memory / 4
            && let Some(Some(front)) = self.head.front()
            && (front.written || front.durable == 0)
        {
            self.drop_front(Reason::Memory);
        }
    }

    /// Wakes every reader.
    pub(in crate::store) fn wake_all(&self) {
        self.readers.iter().for_each(|r| r.wake.notify_one());
    }

    /// A block that readers wait for.
    pub(in crate::store) fn next_wanted(&mut self) -> Option<Block> {
        while let Some(from) = self.wanted.pop_first() {
            if let Some(block) = self.blocks.get(&from)
                && !self.cache.iter().any(|l| l.from == from)
            {
                return Some(block.clone());
            }
        }
        None
    }

    /// A block was read.
    pub(in crate::store) fn loaded(&mut self, block: &Block, items: Vec<Item>) {
        let items: Vec<_> = items.into_iter().filter(|i| i.seq >= block.from).collect();
        self.fill_gaps(block, items.iter().map(|i| i.seq));
        while self.cache.len() >= 2 + 3 * self.readers.len() {
            self.cache.pop_front();
        }
        self.cache.push_back(Loaded { from: block.from, items });
        self.wake_all();
    }

    /// What lies between a block's batches was settled by all when it was written.
    fn fill_gaps(&mut self, block: &Block, seqs: impl Iterator<Item = u64> + Clone) {
        for reader in self.readers.iter_mut().filter(|r| r.durable) {
            let mut at = block.from;
            for seq in seqs.clone() {
                reader.settled.insert(at, seq);
                at = seq + 1;
            }
            reader.settled.insert(at, block.last + 1);
        }
    }

    /// Blocks are gone: their room was needed, they are too old, or damaged.
    pub(in crate::store) fn drop_blocks(&mut self, which: impl Fn(&Block) -> bool, reason: Reason) {
        let gone: Vec<_> = self.blocks.values().filter(|b| which(b)).cloned().collect();
        for block in gone {
            self.blocks.remove(&block.from);
            self.cache.retain(|l| l.from != block.from);
            let end = (block.last + 1).min(self.base + self.head.len() as u64);
            let in_memory: BTreeSet<u64> =
                (block.from.max(self.base)..end).filter(|seq| self.slot(*seq).is_some()).collect();
            for reader in self.readers.iter_mut().filter(|r| r.durable) {
                let mut settled = reader.partial.remove(&block.from).unwrap_or(0);
                if reader.settled.covers(block.from, block.last + 1) {
                    continue;
                }
                let mut at = block.from;
                for (seq, given) in reader.given.range_mut(block.from..=block.last) {
                    // It may still be delivered.
                    given.gone |= !in_memory.contains(seq);
                    settled += given.stored;
                    reader.settled.insert(at, *seq);
                    at = seq + 1;
                }
                reader.settled.insert(at, block.last + 1);
                let lost = block.samples.saturating_sub(settled);
                reader.drop_samples(lost);
                reader.dirty = true;
                self.losses.block(&reader.name, reason, lost, block.oldest, block.newest);
                reader.wake.notify_one();
            }
            // Only who has it holds it in memory now.
            for seq in in_memory {
                let held = self.readers.iter().filter(|r| r.durable && r.given.contains_key(&seq)).count();
                let durable = self.slot(seq).map_or(0, |e| e.durable);
                (held as u32..durable).for_each(|_| self.release(seq, true));
            }
        }
    }

    /// Blocks without a sample that anybody waits for; they only go.
    pub(in crate::store) fn remove_blocks(&mut self, segment: u64) {
        let gone: Vec<_> = self.blocks.values().filter(|b| b.segment == segment).map(|b| b.from).collect();
        for from in gone {
            self.blocks.remove(&from);
            self.cache.retain(|l| l.from != from);
            for reader in &mut self.readers {
                reader.partial.remove(&from);
            }
        }
    }

    /// Whether every durable reader has settled all of it.
    pub(in crate::store) fn drained(&self, first: u64, last: u64) -> bool {
        self.readers.iter().filter(|r| r.durable).all(|r| r.settled.covers(first, last + 1))
    }

    /// Moves all that this run accepted, from number `from` on, to `to` and on: above what the disk holds.
    /// Only before blocks are adopted. What was given out keeps its outside name, by the skew.
    pub(in crate::store) fn renumber(&mut self, from: u64, to: u64) {
        let by = to.saturating_sub(from);
        self.skew = self.skew.wrapping_add(by);
        for number in [&mut self.next_seq, &mut self.base, &mut self.unwritten, &mut self.committed] {
            *number += by;
        }
        for reader in &mut self.readers {
            let mut settled = Ranges::default();
            settled.insert(0, to);
            reader.settled.iter().for_each(|(a, b)| settled.insert(a.max(from) + by, b.max(from) + by));
            reader.settled = settled;
            let given = std::mem::take(&mut reader.given);
            reader.given = given.into_iter().map(|(seq, given)| (seq + by, given)).collect();
            for at in [&mut reader.live_from, &mut reader.live_at, &mut reader.hist_at] {
                *at = (*at).max(from) + by;
            }
        }
    }

    /// Takes over what an earlier run left: its blocks and its readers. `counts` reads what a block
    /// holds; `None` when it is damaged.
    pub(in crate::store) fn adopt(
        &mut self,
        base: u64,
        mut blocks: Vec<Block>,
        readers: Vec<(String, Ranges)>,
        counts: &mut dyn FnMut(&Block) -> Option<Counts>,
    ) {
        for (name, settled) in readers {
            let known = self.readers.iter().position(|r| r.durable && r.name == name);
            let at = known.unwrap_or_else(|| {
                let mut place = Place::new(&name, true, 0, self.next_seq);
                self.serial += 1;
                (place.serial, place.attached, place.never_attached) = (self.serial, false, true);
                self.readers.push(place);
                self.readers.len() - 1
            });
            let Some(reader) = self.readers.get_mut(at) else { continue };
            let mut merged = settled;
            // What was accepted in this run before the folder could be opened.
            reader.settled.iter().for_each(|(from, to)| merged.insert(from.max(base), to));
            reader.settled = merged;
        }
        // After a failed write the same batches may lie in two blocks.
        blocks.sort_by_key(|b| (b.key, b.segment));
        let mut end = 0;
        for mut block in blocks {
            if block.last < end || block.last >= base {
                continue;
            }
            let overlaps = block.key < end;
            block.from = block.key.max(end);
            let touched = |r: &Place| {
                r.settled.touches(block.from, block.last + 1) && !r.settled.covers(block.from, block.last + 1)
            };
            let held = if overlaps || self.readers.iter().any(|r| r.durable && touched(r)) {
                let Some(held) = counts(&block) else {
                    self.readers.iter_mut().filter(|r| r.durable).for_each(|r| r.dropped += block.samples);
                    continue;
                };
                let held: Vec<_> = held.into_iter().filter(|(seq, _)| *seq >= block.from).collect();
                block.samples = held.iter().map(|(_, samples)| samples).sum();
                self.fill_gaps(&block, held.iter().map(|(seq, _)| *seq));
                held
            } else {
                Vec::new()
            };
            for reader in self.readers.iter_mut().filter(|r| r.durable) {
                // Between two blocks there is nothing.
                reader.settled.insert(end, block.from);
                let done: u64 = if reader.settled.covers(block.from, block.last + 1) {
                    block.samples
                } else {
                    held.iter().filter(|(seq, _)| reader.settled.contains(*seq)).map(|(_, n)| n).sum()
                };
                if done > 0 {
                    reader.partial.insert(block.from, done);
                }
                reader.pending += block.samples.saturating_sub(done);
            }
            end = block.last + 1;
            self.blocks.insert(block.from, block);
        }
        for reader in self.readers.iter_mut().filter(|r| r.durable) {
            reader.settled.insert(end, base);
            reader.hist_at = 0;
            reader.dirty = true;
            reader.wake.notify_one();
        }
    }

    /// What the durable readers have settled, as it is to be kept; `new` only those never kept before.
    pub(in crate::store) fn cursors(&mut self, new: bool) -> Vec<(String, Ranges)> {
        let mut due = Vec::new();
        for reader in self.readers.iter_mut().filter(|r| r.durable && r.dirty && (!new || !r.kept)) {
            (reader.dirty, reader.kept) = (false, true);
            due.push((reader.name.clone(), reader.settled.clone()));
        }
        due
    }

    /// Whether anything lies on the disk.
    pub(in crate::store) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The cursor could not be kept; tried again.
    pub(in crate::store) fn not_kept(&mut self, name: &str) {
        for reader in self.readers.iter_mut().filter(|r| r.durable && r.name == name) {
            (reader.dirty, reader.kept) = (true, false);
        }
    }
}
