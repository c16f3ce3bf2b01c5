//! What the outbox may hold, for each reader and in all: who gets nothing new, whose oldest goes, what is to be written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Batch, Class, Timestamp};

use super::{Entry, Outbox, weight};
use crate::store::losses::Reason;
use crate::store::options::{Durability, WhenFull};
use crate::store::reader::{Gone, Place};

/// What the place of a batch takes, besides the batch.
const SLOT: u64 = size_of::<Option<Entry>>() as u64;

/// Who is full and drops what is new goes on when so much of the bound is free.
fn again(bound: u64) -> u64 {
    bound - bound / 16
}

impl Outbox {
    /// Takes a batch. True when the head should be written soon, since memory runs short.
    pub(in crate::store) fn accept(&mut self, batch: Arc<Batch>, class: Class, now: Instant) -> bool {
        let samples = batch.samples.len() as u64;
        let bytes = weight(&batch);
        let most = self.rules.memory;
        let pressed =
            self.rules.when_full == WhenFull::DropNewest && self.held_bytes() + bytes + SLOT > again(most);
        let (spool_full, share) = (self.spool_full, self.rules.share);
        let refuses = |reader: &mut Place| {
            // Who has little waiting is not to blame for the store being full.
            (pressed && reader.in_memory > most / 16)
                || (spool_full && reader.on_disk > share)
                || reader.refuses(bytes)
        };
        let history = self.history_takes(&batch);
        // What all refuse has no number: its place would take memory, too, for as long as they are full.
        let refused = !history && !self.readers.is_empty() && self.readers.iter_mut().all(refuses);
        let seq = self.next_seq;
        if !refused {
            self.next_seq += 1;
            if self.head.is_empty() {
                self.base = seq;
            }
        }
        let (mut holders, mut durable, mut crowded) = (u32::from(history), u32::from(history), false);
        for reader in &mut self.readers {
            reader.counts.accepted += samples;
            if refuses(reader) {
                reader.counts.drop_by(Reason::Newest, samples);
                if !refused {
                    reader.settled.insert(seq, seq + 1);
                    reader.dirty = true;
                }
                self.losses.batch(&reader.name, Reason::Newest, &batch);
                continue;
            }
            reader.counts.pending += samples;
            reader.in_memory += bytes;
            reader.unwritten_bytes += bytes;
            holders += 1;
            durable += u32::from(reader.durable);
            crowded |= reader.crowded();
            reader.wake.notify_one();
        }
        if holders == 0 {
            if self.head.is_empty() {
                self.base = self.next_seq;
            } else if !refused {
                self.head.push_back(None);
            }
            return false;
        }
        self.head.push_back(Some(Entry {
            batch,
            class,
            at: now,
            bytes,
            holders,
            durable,
            written: false,
            history,
        }));
        self.bytes += bytes;
        self.bound();
        self.bound_each();
        crowded || self.bytes > self.rules.memory / 2
    }

    /// Bytes of what waits in memory, with the places of all batches.
    fn held_bytes(&self) -> u64 {
        self.bytes + self.head.len() as u64 * SLOT
    }

    /// The oldest goes while there is more than the memory may hold.
    fn bound(&mut self) {
        let over = |outbox: &Outbox| outbox.held_bytes() > outbox.rules.memory && outbox.head.len() > 1;
        if over(self) {
            self.history_yields();
        }
        while over(self) {
            self.drop_front(Reason::Memory);
        }
    }

    /// Each reader's oldest goes while more waits for it than may.
    fn bound_each(&mut self) {
        for at in 0..self.readers.len() {
            // What can be thinned is thinned on the disk first; see the writer.
            while self.readers.get(at).is_some_and(|r| r.rules.when_full != WhenFull::Downsample && r.over())
                && self.drop_oldest(at, Reason::Full)
            {}
        }
    }

    /// The readers that are over their own bound and have it thinned; by their serial numbers.
    pub(in crate::store) fn to_thin(&self) -> Vec<u64> {
        self.readers.iter().filter(|r| self.too_much_thinned(r)).map(|r| r.serial).collect()
    }

    /// What is not written yet is written before anything is thinned or goes for it, as long as it can be.
    fn too_much_thinned(&self, reader: &Place) -> bool {
        let counts = if self.disk_down { reader.waiting() } else { reader.on_disk };
        reader.durable
            && reader.rules.when_full == WhenFull::Downsample
            && reader.rules.max_bytes.is_some_and(|most| counts > most)
    }

    /// What is thinned already and still too much: the oldest goes.
    pub(in crate::store) fn bound_thinned(&mut self, serial: u64) {
        let Some(at) = self.find(serial) else { return };
        while self.readers.get(at).is_some_and(|r| self.too_much_thinned(r))
            && self.drop_oldest(at, Reason::Full)
        {}
    }

    /// The oldest that waits for a reader goes: the rest of a block, or a batch in memory. What it was given
    /// may still be delivered. False when there is nothing.
    fn drop_oldest(&mut self, at: usize, reason: Reason) -> bool {
        let Some(seq) = self.oldest_waiting(at) else { return false };
        if self.readers.get(at).is_some_and(|r| r.durable)
            && let Some(from) = self.block_of(seq).map(|b| b.from)
        {
            self.drop_block_of(at, from, reason);
            return true;
        }
        match self.slot(seq).map(|e| e.batch.clone()) {
            Some(batch) => {
                self.lose(at, seq, &batch, reason);
                self.release(at, seq);
            }
            None => {
                debug_assert!(false, "batch {seq} is nowhere");
                self.readers.iter_mut().skip(at).take(1).for_each(|r| r.settled.insert(seq, seq + 1));
            }
        }
        true
    }

    /// The first that a reader has not settled and was not given.
    fn oldest_waiting(&self, at: usize) -> Option<u64> {
        let reader = self.readers.get(at)?;
        let mut seq = reader.settled.next_gap(0);
        while reader.given.contains_key(&seq) {
            seq = reader.settled.next_gap(seq + 1);
        }
        (seq < self.next_seq).then_some(seq)
    }

    /// The rest of one block goes for one reader; others keep it.
    fn drop_block_of(&mut self, at: usize, from: u64, reason: Reason) {
        let Some(block) = self.blocks.get(&from).cloned() else { return };
        let Some(reader) = self.readers.get_mut(at) else { return };
        let given: Vec<u64> = reader.given.range(block.from..=block.last).map(|(seq, _)| *seq).collect();
        let held: u64 = reader.given.range(block.from..=block.last).map(|(_, g)| g.stored).sum();
        let done = reader.partial.get(&from).copied().unwrap_or(0);
        let lost = block.samples.saturating_sub(done + held);
        let end = (block.last + 1).min(self.base + self.head.len() as u64);
        let waits = |seq: &u64| !reader.settled.contains(*seq) && !given.contains(seq);
        let in_memory: Vec<u64> = (block.from.max(self.base)..end).filter(waits).collect();
        let mut next = block.from;
        for seq in given {
            reader.settled.insert(next, seq);
            next = seq + 1;
        }
        reader.settled.insert(next, block.last + 1);
        reader.done_in(&block, lost);
        reader.drop_samples(reason, lost);
        reader.dirty = true;
        reader.wake.notify_one();
        self.losses.blocks(&reader.name, reason, lost, block.tags, block.oldest, block.newest);
        in_memory.into_iter().for_each(|seq| self.release(at, seq));
    }

    /// The oldest batch leaves memory; who cannot get it from the disk loses it.
    pub(super) fn drop_front(&mut self, reason: Reason) {
        self.trim();
        let seq = self.base;
        if let Some(entry) = self.free(seq) {
            if entry.history {
                self.history_loses(&entry.batch);
            }
            let saved = entry.written && self.block_of(seq).is_some();
            for at in 0..self.readers.len() {
                if let Some(reader) = self.readers.get_mut(at).filter(|r| !r.settled.contains(seq)) {
                    reader.left_memory(&entry);
                    if !(reader.durable && saved) {
                        self.lose(at, seq, &entry.batch, reason);
                    }
                }
            }
        }
        self.trim();
    }

    /// A batch on the disk leaves memory; nobody loses it.
    pub(super) fn leave_to_the_disk(&mut self, seq: u64) {
        let Some(entry) = self.free(seq) else { return };
        for reader in self.readers.iter_mut().filter(|r| !r.settled.contains(seq)) {
            reader.left_memory(&entry);
        }
    }

    fn lose(&mut self, at: usize, seq: u64, batch: &Batch, reason: Reason) {
        let Some(reader) = self.readers.get_mut(at) else { return };
        if reader.settled.contains(seq) {
            return;
        }
        if let Some(given) = reader.given.get_mut(&seq) {
            // It may still be delivered; only a rewind cannot bring it back.
            let times = || batch.samples.iter().map(|s| s.at);
            let (from, to) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
            given.gone = Some(Gone { reason, from, to });
            return;
        }
        reader.drop_samples(reason, batch.samples.len() as u64);
        reader.settled.insert(seq, seq + 1);
        reader.dirty = true;
        self.losses.batch(&reader.name, reason, batch);
    }

    /// What waits longer for a reader than its `max-age` is lost for it.
    pub(in crate::store) fn expire(&mut self, now: Instant, time: Timestamp) {
        for at in 0..self.readers.len() {
            while let Some(seq) = self.oldest_waiting(at)
                && let Some(reader) = self.readers.get(at)
            {
                let age = reader.rules.max_age;
                let oldest = time.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
                let old = match self.block_of(seq).filter(|_| reader.durable) {
                    Some(block) => block.span().1.0 < oldest,
                    None => self.slot(seq).is_some_and(|e| now.saturating_duration_since(e.at) > age),
                };
                if !old || !self.drop_oldest(at, Reason::Age) {
                    break;
                }
            }
        }
    }

    // ---- what is to be written ----

    /// When the oldest batch was accepted that this reader waits for and that is not on the disk.
    fn unwritten_since(&mut self, at: usize) -> Option<Instant> {
        let reader = self.readers.get(at)?;
        let mut seq = reader.unwritten.max(self.base);
        let mut since = None;
        while seq < self.next_seq && since.is_none() {
            match self.slot(seq) {
                Some(entry) if !entry.written && !reader.settled.contains(seq) => since = Some(entry.at),
                _ => seq += 1,
            }
        }
        self.readers.iter_mut().skip(at).take(1).for_each(|r| r.unwritten = seq);
        since
    }

    /// Whether anything of a durable reader is not on the disk.
    pub(in crate::store) fn unwritten(&mut self) -> bool {
        let history = self.history_since().is_some();
        history
            || (0..self.readers.len()).any(|at| {
                self.readers.get(at).is_some_and(|r| r.durable) && self.unwritten_since(at).is_some()
            })
    }

    /// Up to which number all is to be written now, as far as a durable reader holds it; `None`: nothing is.
    /// That is up to the last batch of who lags, of whose commit is due, or of all when memory runs short or
    /// the store stops. What is written is always all from the first on: between two batches of a block
    /// there is nothing that anybody still waits for.
    pub(in crate::store) fn due(&mut self, commit: Duration, all: bool) -> Option<u64> {
        let all = all || self.bytes > self.rules.memory / 2;
        let mut upto = None;
        for at in 0..self.readers.len() {
            let Some(reader) = self.readers.get(at).filter(|r| r.durable) else { continue };
            let due = all || reader.crowded();
            let wait = if reader.always() { commit } else { reader.rules.spill_after };
            let end = reader.settled.last_gap(self.next_seq);
            if self.unwritten_since(at).is_some_and(|since| due || since.elapsed() >= wait) {
                upto = upto.max(Some(end));
            }
        }
        let wait = self.own_pace(commit);
        if self.history_since().is_some_and(|since| all || since.elapsed() >= wait) {
            upto = Some(self.next_seq);
        }
        upto
    }

    /// What is to be written next up to a number, at most so many samples; and whether that is all.
    pub(in crate::store) fn collect(&mut self, upto: u64, most: u64) -> (Vec<(u64, Arc<Batch>)>, bool) {
        let wanted = |entry: &&Entry| entry.durable > 0 && !entry.written;
        self.unwritten = self.unwritten.max(self.base);
        while self.unwritten < self.next_seq && self.slot(self.unwritten).filter(wanted).is_none() {
            self.unwritten += 1;
        }
        let (mut found, mut samples, mut seq) = (Vec::new(), 0, self.unwritten);
        while seq < upto && samples < most {
            if let Some(entry) = self.slot(seq).filter(wanted) {
                samples += entry.batch.samples.len() as u64 + 1;
                found.push((seq, entry.batch.clone()));
            }
            seq += 1;
        }
        (found, seq >= upto)
    }

    /// Whether this reader must not have this batch before it is on the disk.
    pub(super) fn gated(&self, reader: &Place, entry: &Entry) -> bool {
        self.rules.spools && reader.always() && !self.disk_down && !entry.written
    }

    /// How long after a batch the first reader may want it written.
    pub(in crate::store) fn pace(&self, commit: Duration) -> Duration {
        let wait = |r: &Place| if r.always() { commit } else { r.rules.spill_after };
        let own = self.own_pace(commit);
        let first = self.readers.iter().filter(|r| r.durable).map(wait).min();
        if self.rules.history { own.min(first.unwrap_or(own)) } else { first.unwrap_or(own) }
    }

    /// The same of the store itself: what history waits for, and readers to come.
    fn own_pace(&self, commit: Duration) -> Duration {
        match self.rules.reader.durability {
            Durability::Always => commit,
            Durability::Spill => self.rules.reader.spill_after,
        }
    }

    /// Whether what is counted is what is there.
    pub(in crate::store) fn audit(&self) -> Result<(), String> {
        for reader in &self.readers {
            let (mut in_memory, mut unwritten) = (0, 0);
            for (seq, entry) in (self.base..).zip(&self.head) {
                if let Some(entry) = entry.as_ref().filter(|_| !reader.settled.contains(seq)) {
                    in_memory += entry.bytes;
                    unwritten += if entry.written { 0 } else { entry.bytes };
                }
            }
            let done = |from: &u64| reader.partial.get(from).copied().unwrap_or(0);
            let held = self.blocks.iter().filter(|(from, b)| reader.durable && done(from) < b.samples.max(1));
            let on_disk: u64 = held.map(|(_, b)| b.bytes).sum();
            let counted =
                (reader.in_memory, reader.unwritten_bytes, reader.on_disk, reader.counts.imbalance());
            if counted != (in_memory, unwritten, on_disk, 0) {
                return Err(format!("{}: {counted:?} is {:?}", reader.name, (in_memory, unwritten, on_disk)));
            }
        }
        Ok(())
    }

    /// Whether any reader has every batch written.
    pub(in crate::store) fn any_always(&self) -> bool {
        self.readers.iter().any(Place::always)
    }
}

impl Place {
    /// Whether more waits for it than may.
    fn over(&self) -> bool {
        self.rules.max_bytes.is_some_and(|most| self.waiting() > most)
    }

    /// Near its bound, and a good part of it is in memory, where it takes several times the room.
    fn crowded(&self) -> bool {
        self.durable
            && self
                .rules
                .max_bytes
                .is_some_and(|most| self.waiting() > most - most / 8 && self.unwritten_bytes > most / 8)
    }

    /// With `drop-newest`: whether it is full.
    fn refuses(&mut self, bytes: u64) -> bool {
        let Some(most) = self.rules.max_bytes.filter(|_| self.rules.when_full == WhenFull::DropNewest) else {
            return false;
        };
        let most = if self.full { again(most) } else { most };
        self.full = self.waiting() + bytes > most;
        self.full
    }

    /// A batch that it holds is no longer in memory, or no longer its own.
    pub(super) fn left_memory(&mut self, entry: &Entry) {
        self.in_memory = self.in_memory.saturating_sub(entry.bytes);
        if !entry.written {
            self.unwritten_bytes = self.unwritten_bytes.saturating_sub(entry.bytes);
        }
    }
}
