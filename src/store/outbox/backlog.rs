//! The outbox's side towards the disk: what is to be written, what was, what came back, what is gone.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Block, Loaded, Outbox};
use crate::store::codec::Item;
use crate::store::losses::Reason;
use crate::store::ranges::Ranges;
use crate::store::reader::{Gone, Place};
use crate::store::segments::Written;
use crate::store::thinning::Thinned;

/// Sequence numbers and how many samples each has.
type Counts = Vec<(u64, u64)>;

impl Outbox {
    /// These blocks are on the disk now.
    pub(in crate::store) fn commit(&mut self, written: Vec<Written>) {
        for (block, counts) in written {
            for (seq, _) in &counts {
                let Some(entry) = self.slot_mut(*seq).filter(|e| !e.written) else { continue };
                entry.written = true;
                let bytes = entry.bytes;
                for reader in self.readers.iter_mut().filter(|r| !r.settled.contains(*seq)) {
                    reader.unwritten_bytes = reader.unwritten_bytes.saturating_sub(bytes);
                }
                self.history_has(*seq);
            }
            for reader in self.readers.iter_mut().filter(|r| r.durable) {
                // Settled while it was being written.
                let done = counts.iter().filter(|(seq, _)| reader.settled.contains(*seq));
                let done: u64 = done.map(|(_, samples)| samples).sum();
                reader.holds(&block, done);
            }
            self.blocks.insert(block.from, block);
        }
        if self.any_always() {
            self.wake_all();
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
            let mut released = Vec::new();
            for (index, reader) in self.readers.iter_mut().enumerate().filter(|(_, r)| r.durable) {
                let mut settled = reader.let_go(&block);
                if reader.settled.covers(block.from, block.last + 1) {
                    continue;
                }
                // Only who was given it holds it in memory from here on.
                let waits = |seq: &&u64| !reader.settled.contains(**seq) && !reader.given.contains_key(seq);
                released.extend(in_memory.iter().filter(waits).map(|seq| (index, *seq)));
                let mut at = block.from;
                for (seq, given) in reader.given.range_mut(block.from..=block.last) {
                    // It may still be delivered.
                    if !in_memory.contains(seq) && given.gone.is_none() {
                        given.gone = Some(Gone { reason, from: block.oldest, to: block.newest });
                    }
                    settled += given.stored;
                    reader.settled.insert(at, *seq);
                    at = seq + 1;
                }
                reader.settled.insert(at, block.last + 1);
                let lost = block.samples.saturating_sub(settled);
                reader.drop_samples(reason, lost);
                reader.dirty = true;
                self.losses.blocks(&reader.name, reason, lost, block.tags, block.oldest, block.newest);
                reader.wake.notify_one();
            }
            released.into_iter().for_each(|(index, seq)| self.release(index, seq));
            in_memory.into_iter().for_each(|seq| self.not_on_disk(seq));
        }
    }

    /// What is still in memory, since a reader was given it, is not on the disk any more: a stop has to write it.
    fn not_on_disk(&mut self, seq: u64) {
        let Some(entry) = self.slot_mut(seq).filter(|e| e.written) else { return };
        entry.written = false;
        let bytes = entry.bytes;
        self.unwritten = self.unwritten.min(seq);
        for reader in self.readers.iter_mut().filter(|r| !r.settled.contains(seq)) {
            reader.unwritten_bytes += bytes;
            reader.unwritten = reader.unwritten.min(seq);
        }
    }

    /// Whether a segment may be thinned: in any case, or where only these readers wait for any of it.
    pub(in crate::store) fn may_thin(&self, segment: u64, only: Option<&[u64]>) -> bool {
        let mut blocks = self.blocks.values().filter(|b| b.segment == segment);
        let others = |r: &&Place| r.durable && only.is_some_and(|only| !only.contains(&r.serial));
        let waits = |r: &Place, b: &Block| !r.settled.covers(b.from, b.last + 1);
        let mut known = false;
        let free = blocks.all(|b| {
            known = true;
            !self.readers.iter().filter(others).any(|r| waits(r, b))
        });
        known && free
    }

    /// The blocks of a segment that is to be thinned, and the batches that must stay whole, since somebody
    /// has them. From here on nobody is given anything of it before it is read again.
    pub(in crate::store) fn before_thinning(&mut self, segment: u64) -> Option<(Vec<Block>, BTreeSet<u64>)> {
        let blocks: Vec<_> = self.blocks.values().filter(|b| b.segment == segment).cloned().collect();
        let (first, last) = (blocks.first()?.from, blocks.last()?.last);
        let given = self.readers.iter().flat_map(|r| r.given.range(first..=last)).map(|(seq, _)| *seq);
        let mut whole: BTreeSet<u64> = given.collect();
        let end = (last + 1).min(self.base + self.head.len() as u64);
        for seq in first.max(self.base)..end {
            // Who keeps nothing over a restart has it from memory only.
            match self.slot(seq).map(|e| e.written && e.durable == e.holders) {
                Some(true) => self.leave_to_the_disk(seq),
                Some(false) => whole.extend([seq]),
                None => {}
            }
        }
        self.cache.retain(|l| !blocks.iter().any(|b| b.from == l.from));
        Some((blocks, whole))
    }

    /// A segment was thinned: its blocks are these now.
    pub(in crate::store) fn thinned(&mut self, old: &[Block], new: Thinned) {
        for block in old {
            self.blocks.remove(&block.from);
            self.cache.retain(|l| l.from != block.from);
            self.readers.iter_mut().filter(|r| r.durable).for_each(|r| {
                r.let_go(block);
            });
        }
        let times = || old.iter().map(|b| (b.oldest, b.newest));
        let oldest = times().map(|(oldest, _)| oldest).min().unwrap_or_default();
        let newest = times().map(|(_, newest)| newest).max().unwrap_or_default();
        let tags = old.iter().map(|b| b.tags).max().unwrap_or(0);
        for reader in self.readers.iter_mut().filter(|r| r.durable) {
            let (mut thinned, mut unknown) = (0, 0);
            let mut at = old.first().map_or(0, |b| b.from);
            for one in &new.counted {
                // Between two batches there is nothing.
                reader.settled.insert(at, one.seq);
                at = one.seq + 1;
                if reader.settled.contains(one.seq) {
                    continue;
                }
                unknown += one.unknown;
                thinned += one.stored.saturating_sub(one.unknown + one.kept);
                if let Some(given) = reader.given.get_mut(&one.seq) {
                    given.stored = given.stored.saturating_sub(one.unknown);
                } else if !one.there {
                    reader.settled.insert(one.seq, one.seq + 1);
                }
                reader.dirty = true;
            }
            reader.settled.insert(at, old.last().map_or(0, |b| b.last + 1));
            for (reason, lost) in [(Reason::Thinned, thinned), (Reason::Unknown, unknown)] {
                reader.drop_samples(reason, lost);
                self.losses.blocks(&reader.name, reason, lost, tags, oldest, newest);
            }
            for (block, counts) in &new.written {
                let done = counts.iter().filter(|(seq, _)| reader.settled.contains(*seq));
                reader.holds(block, done.map(|(_, samples)| samples).sum());
            }
        }
        self.blocks.extend(new.written.into_iter().map(|(block, _)| (block.from, block)));
        self.wake_all();
    }

    /// Blocks without a sample that anybody waits for; they only go.
    pub(in crate::store) fn remove_blocks(&mut self, segment: u64) {
        let gone: Vec<_> = self.blocks.values().filter(|b| b.segment == segment).map(|b| b.from).collect();
        for from in gone {
            let Some(block) = self.blocks.remove(&from) else { continue };
            self.cache.retain(|l| l.from != from);
            self.readers.iter_mut().filter(|r| r.durable).for_each(|r| {
                r.let_go(&block);
            });
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
        for number in [&mut self.next_seq, &mut self.base, &mut self.unwritten, &mut self.history_from] {
            *number += by;
        }
        if let Some((_, below)) = &mut self.known {
            *below += by;
        }
        for reader in &mut self.readers {
            let mut settled = Ranges::default();
            settled.insert(0, to);
            reader.settled.iter().for_each(|(a, b)| settled.insert(a.max(from) + by, b.max(from) + by));
            reader.settled = settled;
            let given = std::mem::take(&mut reader.given);
            reader.given = given.into_iter().map(|(seq, given)| (seq + by, given)).collect();
            reader.unwritten = reader.unwritten.max(from) + by;
            for lane in &mut reader.lanes {
                for at in [&mut lane.live_from, &mut lane.live_at, &mut lane.hist_at] {
                    *at = (*at).max(from) + by;
                }
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
                let mut place = Place::new(&name, true, 0, self.next_seq, self.rules.reader);
                self.serial += 1;
                (place.serial, place.attached) = (self.serial, false);
                place.absent_since = Some(Instant::now());
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
            let covered = |r: &Place| r.settled.covers(block.from, block.last + 1);
            let held = if overlaps || self.readers.iter().any(|r| r.durable && touched(r)) {
                let Some(held) = counts(&block) else {
                    for reader in self.readers.iter_mut().filter(|r| r.durable) {
                        // Whether it was settled cannot be known; what nobody will get is a loss.
                        let lost = if covered(reader) { 0 } else { block.samples };
                        reader.counts.accepted += lost;
                        reader.counts.drop_by(Reason::Damage, lost);
                        self.losses.block(&reader.name, Reason::Damage, lost, block.oldest, block.newest);
                    }
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
                reader.holds(&block, done);
                let left = block.samples.saturating_sub(done);
                reader.counts.accepted += left;
                reader.counts.pending += left;
            }
            end = block.last + 1;
            self.blocks.insert(block.from, block);
        }
        for reader in self.readers.iter_mut().filter(|r| r.durable) {
            reader.settled.insert(end, base);
            reader.lanes.iter_mut().for_each(|lane| lane.hist_at = 0);
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
