//! What is still to be delivered: one sequence of batches, a place in it for each reader. Pure: no
//! disk, no clock, no waiting.
//!
//! What a reader has still to get is exactly what its `settled` does not hold. Each such batch lies in
//! the head (memory), in a block (disk), or in both.

mod backlog;
mod bounds;
mod configuration;
mod history;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::{Batch, Class, Directory, Sample, Timestamp, Value};

use super::classes::Classes;
use super::codec::{Head, Item};
use super::losses::{Losses, Reason};
use super::reader::{Given, Place};
use super::{Next, ReaderReport, ReaderRules, Replay, Seq, Settled, WhenFull};

/// A block on the disk.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) segment: u64,
    /// Its key in the segment: the first sequence number written.
    pub(super) key: u64,
    /// The first that counts; above `key` where an earlier block has the same batches.
    pub(super) from: u64,
    pub(super) last: u64,
    pub(super) samples: u64,
    /// How many tags they are of; 0 where that is not known.
    pub(super) tags: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
    /// Not all of its time stamps are from a synchronised clock.
    pub(super) marked: bool,
    pub(super) classes: Classes,
}

impl Block {
    /// The first and the last moment of which it may have samples. Where time stamps are not sure nobody knows:
    /// any, and only its bytes bound how long it stays.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        match self.marked {
            true => (Timestamp(i64::MIN), Timestamp(i64::MAX)),
            false => (self.oldest, self.newest),
        }
    }

    pub(super) fn new(segment: u64, head: &Head, bytes: u64) -> Block {
        Block {
            segment,
            key: head.first,
            from: head.first,
            last: head.last,
            samples: head.samples,
            tags: 0,
            bytes,
            oldest: head.oldest,
            newest: head.newest,
            marked: head.marked,
            classes: head.classes,
        }
    }
}

/// A batch in memory.
#[derive(Debug)]
struct Entry {
    batch: Arc<Batch>,
    class: Class,
    at: Instant,
    bytes: u64,
    /// Readers that have not settled it, and how many of them are durable.
    holders: u32,
    durable: u32,
    /// It is on the disk too.
    written: bool,
    /// History waits for it to be written: one of the durable holders.
    history: bool,
}

/// A block that was read back.
#[derive(Debug)]
struct Loaded {
    from: u64,
    items: Vec<Item>,
}

/// What a reader can do now.
#[derive(Debug)]
pub(super) enum Take {
    /// It has a batch.
    Give(Next),
    /// Nothing until something is accepted, read or settled; or until this moment at the latest.
    Wait(Option<tokio::time::Instant>),
}

/// How the outbox is bounded and served.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Most bytes in memory.
    pub(super) memory: u64,
    /// Of a reader that brings none of its own.
    pub(super) reader: ReaderRules,
    /// There is a disk to write to.
    pub(super) spools: bool,
    /// What goes when the store as a whole is full.
    pub(super) when_full: WhenFull,
    /// With `drop-newest`: who has no more than this on the disk is not to blame when that is full.
    pub(super) share: u64,
    /// With `always`: how long a batch waits for the disk before it goes without.
    pub(super) patience: Duration,
    /// All that is accepted is written, for history.
    pub(super) history: bool,
}

/// The sequence and its readers.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) rules: Rules,
    pub(super) next_seq: u64,
    /// Sequence number of the first slot of `head`.
    base: u64,
    head: VecDeque<Option<Entry>>,
    pub(super) bytes: u64,
    /// Below it nothing in the head needs writing.
    unwritten: u64,
    /// With `drop-newest`: the spool is at its bound.
    pub(super) spool_full: bool,
    /// The disk does not do it: memory has to.
    pub(super) disk_down: bool,
    blocks: BTreeMap<u64, Block>,
    readers: Vec<Place>,
    cache: VecDeque<Loaded>,
    pub(super) wanted: BTreeSet<u64>,
    pub(super) losses: Losses,
    /// History gave its share of the memory back: what is accepted now is not written for it.
    history_rests: bool,
    /// Below it nothing waits to be written for history.
    history_from: u64,
    /// Samples that history never got.
    pub(super) history_lost: u64,
    serial: u64,
    /// What batches are called outside is so much less than their number: see `renumber`.
    pub(super) skew: u64,
    /// What was accepted below this number may be of tags that are not among these.
    known: Option<(Arc<Directory>, u64)>,
}

impl Outbox {
    pub(super) fn new(rules: Rules, next_seq: u64) -> Outbox {
        Outbox {
            rules,
            next_seq,
            base: next_seq,
            head: VecDeque::new(),
            bytes: 0,
            unwritten: next_seq,
            spool_full: false,
            disk_down: false,
            blocks: BTreeMap::new(),
            readers: Vec::new(),
            cache: VecDeque::new(),
            wanted: BTreeSet::new(),
            losses: Losses::default(),
            history_rests: false,
            history_from: next_seq,
            history_lost: 0,
            serial: 0,
            skew: 0,
            known: None,
        }
    }

    // ---- in memory ----

    fn slot(&self, seq: u64) -> Option<&Entry> {
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.head.get(at)?.as_ref()
    }

    fn slot_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.head.get_mut(at)?.as_mut()
    }

    /// Takes a batch out of memory.
    fn free(&mut self, seq: u64) -> Option<Entry> {
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        let entry = self.head.get_mut(at)?.take()?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.trim();
        Some(entry)
    }

    fn trim(&mut self) {
        while let Some(None) = self.head.front() {
            self.head.pop_front();
            self.base += 1;
        }
    }

    /// This reader holds the batch no more.
    fn release(&mut self, at: usize, seq: u64) {
        let index = seq.checked_sub(self.base).and_then(|n| usize::try_from(n).ok());
        let Some(Some(entry)) = index.and_then(|n| self.head.get_mut(n)) else { return };
        let Some(reader) = self.readers.get_mut(at) else { return };
        reader.left_memory(entry);
        entry.holders = entry.holders.saturating_sub(1);
        entry.durable = entry.durable.saturating_sub(u32::from(reader.durable));
        if entry.holders == 0 {
            self.free(seq);
        }
    }

    // ---- readers ----

    /// A reader by name, new or again; gives its handle and what wakes it.
    pub(super) fn attach(
        &mut self,
        name: &str,
        durable: bool,
        rules: Option<ReaderRules>,
    ) -> (u64, Arc<Notify>) {
        let rules = rules.unwrap_or(self.rules.reader);
        self.serial += 1;
        let serial = self.serial;
        let next = self.next_seq;
        if let Some(reader) = self.readers.iter_mut().find(|r| r.name == name && r.durable && durable) {
            reader.serial = serial;
            reader.rules = rules;
            reader.attached = true;
            let wake = Arc::new(Notify::new());
            reader.wake = wake.clone();
            self.rewind(serial);
            return (serial, wake);
        }
        let mut place = Place::new(name, durable, serial, next, rules);
        // It is owed nothing of what is there already.
        place.partial.extend(self.blocks.iter().map(|(from, block)| (*from, block.samples.max(1))));
        self.readers.push(place);
        (serial, self.readers.last().map(|r| r.wake.clone()).unwrap_or_default())
    }

    /// The reader's handle is gone. A durable one keeps its place.
    pub(super) fn detach(&mut self, serial: u64) {
        if let Some(reader) = self.readers.iter_mut().find(|r| r.serial == serial) {
            reader.attached = false;
            if !reader.durable {
                self.forget(serial);
            }
        }
    }

    /// Nothing is kept for this reader any more.
    fn forget(&mut self, serial: u64) {
        let Some(at) = self.readers.iter().position(|r| r.serial == serial) else { return };
        for seq in self.base..self.base + self.head.len() as u64 {
            if self.readers.get(at).is_some_and(|r| !r.settled.contains(seq)) {
                self.release(at, seq);
            }
        }
        self.readers.remove(at);
    }

    /// How far every reader may lag from now on.
    #[cfg(test)]
    pub(super) fn spill_after(&mut self, wait: Duration) {
        self.rules.reader.spill_after = wait;
        self.readers.iter_mut().for_each(|r| r.rules.spill_after = wait);
    }

    /// A reader's place, to be compared with a model.
    #[cfg(test)]
    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.readers.iter().find(|r| r.name == name)
    }

    fn find(&self, serial: u64) -> Option<usize> {
        self.readers.iter().position(|r| r.serial == serial)
    }

    /// What each reader has still to deliver; `time` is when a sample was taken, as far as it is known now.
    pub(super) fn reports(&self, time: impl Fn(&Sample) -> Timestamp) -> Vec<ReaderReport> {
        let report = |reader: &Place| {
            let oldest = reader.settled.next_gap(0);
            let in_memory = self.slot(oldest).and_then(|e| e.batch.samples.first()).map(&time);
            let mut counts = reader.counts;
            counts.last = self.losses.last(&reader.name);
            ReaderReport {
                name: reader.name.clone(),
                pending: counts.pending,
                oldest: in_memory
                    .or_else(|| self.block_of(oldest).filter(|b| !b.marked).map(|b| b.oldest))
                    .filter(|_| counts.pending > 0),
                delivered: counts.delivered,
                dropped: counts.all_dropped(),
                counts,
                sent_bytes: reader.meter.sent(),
                budget_left: reader.meter.remains(),
                budget_short: reader.meter.short(tokio::time::Instant::now()),
            }
        };
        self.readers.iter().map(report).collect()
    }

    pub(super) fn has_no_readers(&self) -> bool {
        self.readers.is_empty()
    }

    /// What waits, in samples, over all readers.
    pub(super) fn pending(&self) -> u64 {
        self.readers.iter().map(|r| r.counts.pending).sum()
    }

    /// See [`super::Reader::rewind`].
    pub(super) fn rewind(&mut self, serial: u64) {
        let next = self.next_seq;
        let Some(at) = self.find(serial) else { return };
        let given = self.readers.get_mut(at).map(|r| std::mem::take(&mut r.given)).unwrap_or_default();
        for (seq, given) in given {
            // It may have reached the disk after it left the memory; only durable readers get it from there.
            let saved = self.readers.get(at).is_some_and(|r| r.durable) && self.block_of(seq).is_some();
            let lost = given.gone.filter(|_| !saved);
            if let (Some(reader), Some(gone)) = (self.readers.get_mut(at), lost) {
                reader.drop_samples(gone.reason, given.stored);
                reader.settled.insert(seq, seq + 1);
                reader.dirty = true;
                self.losses.block(&reader.name, gone.reason, given.stored, gone.from, gone.to);
            }
        }
        if let Some(reader) = self.readers.get_mut(at) {
            reader.rewound(next);
        }
    }

    /// See [`super::Reader::settle`].
    pub(super) fn settle(&mut self, serial: u64, seq: u64, how: Settled) {
        let block = self.block_of(seq).cloned();
        let Some(at) = self.find(serial) else { return };
        let Some(reader) = self.readers.get_mut(at) else { return };
        let Some(given) = reader.given.remove(&seq) else { return };
        reader.settle(seq, &given, how);
        let (reason, lost) = match how {
            Settled::Sent => (Reason::Unknown, given.stored.saturating_sub(given.samples)),
            Settled::Rejected => (Reason::Rejected, given.stored),
        };
        if lost > 0 {
            let in_memory = self.slot(seq).and_then(|e| e.batch.samples.first()).map(|s| (s.at, s.at));
            let times = in_memory.or(block.as_ref().map(|b| (b.oldest, b.newest))).unwrap_or_default();
            if let Some(reader) = self.readers.get(at) {
                self.losses.block(&reader.name, reason, lost, times.0, times.1);
            }
        }
        if let (Some(block), Some(reader)) = (block, self.readers.get_mut(at).filter(|r| r.durable)) {
            reader.done_in(&block, given.stored);
        }
        self.release(at, seq);
    }

    // ---- out ----

    /// See [`super::Reader::spent`].
    pub(super) fn spent(&mut self, serial: u64, bytes: u64, now: tokio::time::Instant) {
        if let Some(reader) = self.readers.iter_mut().find(|r| r.serial == serial) {
            reader.meter.tick(reader.rules.budget, now);
            reader.meter.spent(bytes);
        }
    }

    /// See [`super::Reader::missed`].
    pub(super) fn missed(&mut self, serial: u64, now: tokio::time::Instant) -> Vec<Class> {
        let Some(reader) = self.readers.iter_mut().find(|r| r.serial == serial) else { return Vec::new() };
        reader.meter.tick(reader.rules.budget, now);
        let again = |class: &Class| reader.meter.short_until(*class, true, now).is_none();
        let classes: Vec<_> =
            Class::ALL.into_iter().filter(|c| reader.lane(*c).missed).filter(again).collect();
        classes.iter().for_each(|class| reader.lane_mut(*class).missed = false);
        classes
    }

    /// The next batch of a reader, if there is one that it may have now; see [`order`] for which.
    pub(super) fn take(&mut self, serial: u64, now: tokio::time::Instant) -> Take {
        let Some(at) = self.find(serial) else { return Take::Wait(None) };
        let next_seq = self.next_seq;
        let Some(reader) = self.readers.get_mut(at) else { return Take::Wait(None) };
        let rules = reader.rules;
        reader.meter.tick(rules.budget, now);
        let mut wait: Option<tokio::time::Instant> = None;
        // What of one kind is being read from the disk is not passed by what is less urgent, so that the few
        // blocks in memory are those that are needed next.
        let (mut live_read, mut history_read) = (false, false);
        for (class, live) in order(rules.replay) {
            let Some(reader) = self.readers.get_mut(at) else { break };
            if (if live { live_read } else { history_read })
                || (live && rules.replay == Replay::InOrder && reader.waits(class, false, next_seq))
            {
                continue;
            }
            let held = if !live && rules.replay == Replay::LiveFirst { reader.held_until(now) } else { None };
            let short = reader.meter.short_until(class, live, now);
            if let Some(until) = held.max(short) {
                if live && rules.replay == Replay::LiveFirst {
                    // By the time that it may go it is no news; what is news then goes before it.
                    reader.put_off(class, next_seq);
                }
                if reader.waits(class, live, next_seq) {
                    wait = earlier(wait, Some(until));
                }
                continue;
            }
            match self.seek(at, class, live) {
                Seek::Found(seq, batch, stored) => {
                    let Some(reader) = self.readers.get_mut(at) else { break };
                    let samples = batch.samples.len() as u64;
                    reader.given.insert(seq, Given { stored, samples, gone: None });
                    reader.gave(seq, class, live, samples, now);
                    let next =
                        if live { Next::Live(Seq(seq), batch) } else { Next::History(Seq(seq), batch) };
                    return Take::Give(next);
                }
                Seek::Soon if live => live_read = true,
                Seek::Soon => history_read = true,
                Seek::None => {}
                Seek::Gated(since) => {
                    wait = earlier(wait, Some(now + self.rules.patience.saturating_sub(since.elapsed())));
                }
            }
        }
        Take::Wait(wait)
    }

    /// The next batch of one class and kind.
    fn seek(&mut self, at: usize, class: Class, live: bool) -> Seek {
        loop {
            let Some(reader) = self.readers.get_mut(at) else { return Seek::None };
            let lane = reader.lane(class);
            let (from, end) =
                if live { (lane.live_at, self.next_seq) } else { (lane.hist_at, lane.live_from) };
            let mut seq = reader.settled.next_gap(from);
            while reader.given.contains_key(&seq) {
                seq = reader.settled.next_gap(seq + 1);
            }
            // What was passed here is of another class, and stays so.
            reader.lane_mut(class).at(live, seq.min(end));
            if seq >= end {
                return Seek::None;
            }
            let durable = reader.durable;
            if let Some(entry) = self.slot(seq) {
                if entry.class != class {
                    self.pass(at, class, live, seq + 1);
                    continue;
                }
                let gated = self.readers.get(at).is_some_and(|r| self.gated(r, entry));
                if gated && entry.at.elapsed() < self.rules.patience {
                    return Seek::Gated(entry.at);
                }
                let stored = entry.batch.samples.len() as u64;
                let Some(batch) = self.configured(seq, &entry.batch) else {
                    self.leave_out(at, seq, stored);
                    continue;
                };
                let found = Seek::Found(seq, batch, stored);
                if gated {
                    self.disk_down = true;
                    tracing::error!(
                        waited = ?self.rules.patience,
                        "the disk does not answer: batches go out without being written first"
                    );
                }
                return found;
            }
            let Some(block) = self.block_of(seq).filter(|_| durable).cloned() else {
                // Nowhere: settled, or the reader would wait for it for ever.
                debug_assert!(false, "batch {seq} is nowhere");
                if let Some(reader) = self.readers.get_mut(at) {
                    reader.settled.insert(seq, seq + 1);
                }
                continue;
            };
            if !block.classes.has(class) {
                self.pass(at, class, live, block.last + 1);
                continue;
            }
            let Some(loaded) = self.cache.iter().find(|l| l.from == block.from) else {
                self.wanted.insert(block.from);
                return Seek::Soon;
            };
            let found = loaded.items.binary_search_by_key(&seq, |item| item.seq).ok();
            let found = found.and_then(|at| loaded.items.get(at)).cloned();
            self.read_ahead(block.last + 1, end, class);
            match found {
                Some(item) if item.class != class => self.pass(at, class, live, seq + 1),
                Some(Item { batch: Some(batch), stored, .. }) => return Seek::Found(seq, batch, stored),
                Some(Item { stored, .. }) => {
                    // Its device or tags are no longer configured.
                    if let Some(reader) = self.readers.get_mut(at) {
                        reader.drop_samples(Reason::Unknown, stored);
                        reader.settled.insert(seq, seq + 1);
                        reader.dirty = true;
                        reader.done_in(&block, stored);
                        self.losses.block(&reader.name, Reason::Unknown, stored, block.oldest, block.newest);
                    }
                }
                None => {
                    if let Some(reader) = self.readers.get_mut(at) {
                        reader.settled.insert(seq, seq + 1);
                    }
                }
            }
        }
    }

    fn pass(&mut self, at: usize, class: Class, live: bool, to: u64) {
        if let Some(reader) = self.readers.get_mut(at) {
            reader.lane_mut(class).at(live, to);
        }
    }

    /// The next block of a class is read before it is asked for, so that the drain does not wait for each.
    fn read_ahead(&mut self, from: u64, end: u64, class: Class) {
        // Where a class is rare, looking far for its next block would cost more than waiting for it.
        let mut next = self.blocks.range(from..).take_while(|(first, _)| **first < end).take(64);
        let ahead = next.find(|(_, block)| block.classes.has(class));
        if let Some((&ahead, _)) = ahead
            && self.slot(ahead).is_none()
            && !self.cache.iter().any(|l| l.from == ahead)
        {
            self.wanted.insert(ahead);
        }
    }

    pub(super) fn block_of(&self, seq: u64) -> Option<&Block> {
        self.blocks.range(..=seq).next_back().map(|(_, b)| b).filter(|b| b.last >= seq)
    }
}

/// In which order a reader is served: classes, and live (`true`) or history. What stands later waits longer,
/// also where a rate or a budget is short.
fn order(replay: Replay) -> [(Class, bool); 6] {
    use Class::{Critical, Diagnostic, Normal};
    match replay {
        // An alarm of an hour ago is worth more than a temperature of now; but to know how the plant runs is
        // worth more than how it ran.
        Replay::LiveFirst => [
            (Critical, true),
            (Critical, false),
            (Normal, true),
            (Diagnostic, true),
            (Normal, false),
            (Diagnostic, false),
        ],
        Replay::InOrder => [
            (Critical, false),
            (Critical, true),
            (Normal, false),
            (Normal, true),
            (Diagnostic, false),
            (Diagnostic, true),
        ],
    }
}

enum Seek {
    Found(u64, Arc<Batch>, u64),
    /// On the disk, being read.
    Soon,
    /// Accepted then, not on the disk yet.
    Gated(Instant),
    None,
}

fn earlier(a: Option<tokio::time::Instant>, b: Option<tokio::time::Instant>) -> Option<tokio::time::Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What a batch takes in memory.
fn weight(batch: &Batch) -> u64 {
    let beside = |s: &Sample| s.value.as_ref().map_or(0, Value::bytes) as u64;
    let fixed = size_of::<Batch>() + 16 + batch.samples.capacity() * size_of::<Sample>();
    fixed as u64 + batch.samples.iter().map(beside).sum::<u64>()
}
