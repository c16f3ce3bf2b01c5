//! The one thread that touches the disk: writes the head, reads blocks back, keeps cursors and bounds.

mod bounds;
mod history;
#[cfg(test)]
mod steps;
mod trouble;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Clock;
use crate::telemetry::StoreStats;

use super::Options;
use super::codec;
use super::disk::{Disk, Left};
use super::history::{Keeper, Query};
use super::known::Known;
use super::learned;
use super::losses::Reason;
use super::outbox::Outbox;
use super::ranges::Ranges;
use super::shared::Shared;
use super::spool::SpoolError;

/// The thread's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    directory: Known,
    clock: Clock,
    stats: Arc<StoreStats>,
    disk: Option<Disk>,
    /// The sequence number with which this run began.
    base: u64,
    /// A flush was seen to reach the disk.
    proven: bool,
    /// The disk failed; tried again then.
    trouble: Option<Instant>,
    /// Paths that were said to be unknown.
    told: BTreeSet<String>,
    /// How long readers that nobody takes up keep their backlog.
    patience: Duration,
    chores_at: Instant,
    /// The block whose reading failed last, and how often.
    unreadable: Option<(u64, u32)>,
    history: Keeper,
    /// What history is asked for, under way.
    query: Option<Query>,
    /// How often the folder was not opened since a block could not be read.
    unopened: u32,
    /// Somebody asked for the next write.
    hurry: bool,
}

/// Readers that nobody takes up keep their backlog as long.
const ABSENT: Duration = Duration::from_secs(3600);
/// Samples written with one flush at most, so that memory stays bounded.
const ROUND: u64 = 65_536;
/// So often a block is read before it counts as damaged.
const TRIES: u32 = 5;
/// Blocks read back between two looks at what must be written.
const READS: usize = 8;

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Options,
        directory: Known,
        clock: Clock,
        stats: Arc<StoreStats>,
        base: u64,
    ) -> Writer {
        let history = Keeper::new(options.history);
        Writer {
            shared,
            options,
            directory,
            clock,
            stats,
            disk: None,
            base,
            proven: false,
            trouble: None,
            told: BTreeSet::new(),
            patience: ABSENT,
            chores_at: Instant::now(),
            unreadable: None,
            history,
            query: None,
            unopened: 0,
            hurry: false,
        }
    }

    /// Until the store is dropped.
    pub(super) fn run(mut self) {
        loop {
            let own = self.shared.outbox().pace(self.options.commit);
            let tick = (own / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
            let signals = self.shared.wait(tick);
            if signals.stop {
                return;
            }
            self.hurry = signals.hurry;
            self.turn(!signals.drains.is_empty());
            for done in signals.drains {
                // Who asked may have gone.
                let _ = done.send(());
            }
        }
    }

    fn turn(&mut self, drain: bool) {
        let due = self.trouble.is_none_or(|at| Instant::now() >= at);
        if self.disk.is_none() && (due || drain) {
            self.try_open();
        }
        if self.trouble.is_some()
            && (due || drain)
            && let Some(Err(error)) = self.disk.as_mut().map(Disk::reopen)
        {
            self.failed(&error);
        } else if due || drain {
            // What cannot be read must not keep anything from being written.
            let (read, written) = (self.read_back(), self.write(drain));
            self.note(read.and(written));
        }
        if drain || self.chores_at <= Instant::now() {
            self.chores_at = Instant::now() + Duration::from_secs(1);
            // While the disk is left alone for a while, a failure here must not prolong that.
            let well = drain || self.trouble.is_none_or(|at| Instant::now() >= at);
            // With nothing on the disk there is nothing that a cursor could be needed for: no write at all.
            let swept = self.disk.as_mut().is_none_or(|disk| disk.segments.sweep());
            if well && (!swept || self.shared.outbox().has_blocks()) {
                let kept = self.keep_cursors(false);
                self.note(kept);
            }
            self.chores();
            self.keep_learned(drain);
        }
        self.answer();
        if drain {
            if let Some(disk) = &mut self.disk {
                disk.segments.seal_tail();
            }
            let left = self.shared.outbox().unwritten();
            if left {
                tracing::error!("not all could be written to the store: what was not delivered is lost");
            }
        }
    }

    // ---- the folder ----

    /// Opens the folder; where that fails the store goes on from memory.
    pub(super) fn try_open(&mut self) {
        let Some(root) = self.options.path.clone() else { return };
        let least = self.options.history.map_or(u64::MAX, |history| history.max_bytes);
        let most = self.options.max_bytes.min(least);
        match Disk::open(&root, most, self.options.ballast, &self.directory, &self.clock) {
            Ok((disk, left)) => {
                if left.was_full {
                    self.gave_up_ballast();
                }
                self.shared.learned().adopt(learned::read(&root));
                self.adopt(disk, left);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Where the folder did not open at the start: numbers from here on, above all that are in it.
    pub(super) fn start_at(&mut self, base: u64) {
        if self.disk.is_none() {
            let mut outbox = self.shared.outbox();
            *outbox = Outbox::new(outbox.rules.clone(), base);
            outbox.disk_down = true;
            self.base = base;
        }
    }

    fn adopt(&mut self, mut disk: Disk, left: Left) {
        self.proven = left.durable;
        let mut held = match held(&mut disk, &left, self.unopened < TRIES) {
            Ok(held) => held,
            // It may pass; taken for damage it would cost what the block holds.
            Err(error) => {
                self.unopened += 1;
                return self.failed(&error);
            }
        };
        self.stats.durable.set(i64::from(left.durable));
        self.stats.quarantined.add(left.found.quarantined.len() as u64 + left.set_aside);
        self.stats.damaged.add(left.found.damaged);
        if !left.durable {
            tracing::error!(
                "a flush of the store does not reach the disk: what is written may be lost in a power cut"
            );
        }
        let mut outbox = self.shared.outbox();
        if outbox.next_seq == self.base && outbox.has_no_readers() && outbox.next_seq < left.next {
            // Nothing happened yet: go on where the last run stopped.
            *outbox = Outbox::new(outbox.rules.clone(), left.next);
            self.base = left.next;
        }
        if left.next > self.base {
            // This run had to begin without the folder, and its clock was behind.
            outbox.renumber(self.base, left.next);
            self.base = left.next;
        }
        let stats = &self.stats;
        outbox.adopt(self.base, left.found.blocks, left.readers, &mut |block| {
            let counts = held.remove(&(block.segment, block.key));
            if counts.is_none() {
                stats.damaged.bump();
                tracing::warn!(first = block.key, last = block.last, "a block of the spool is skipped");
            }
            counts
        });
        for id in left.found.quarantined {
            outbox.drop_blocks(|b| b.segment == id, Reason::Damage);
        }
        outbox.disk_down = false;
        let next = outbox.next_seq;
        let waiting: u64 = outbox.pending();
        drop(outbox);
        let reserved = disk.reserve(next);
        tracing::info!(segments = disk.segments.len(), bytes = disk.segments.bytes(), waiting, "store open");
        self.disk = Some(disk);
        self.note(reserved);
        self.show();
    }

    // ---- to the disk ----

    fn write(&mut self, all: bool) -> Result<(), SpoolError> {
        if self.disk.is_none() {
            return Ok(());
        }
        let Some(upto) = self.shared.outbox().due(self.options.commit, all || self.hurry) else {
            return Ok(());
        };
        // A block without its reader's cursor would not be found again, and the first block after a while
        // finds cursors of long ago.
        let first = !self.shared.outbox().has_blocks();
        self.keep_cursors(!first)?;
        let next = self.shared.outbox().next_seq;
        if let Some(disk) = &mut self.disk {
            disk.reserve(next)?;
        }
        while let Some(disk) = &mut self.disk {
            let (batches, last) = self.shared.outbox().collect(upto, ROUND);
            if batches.is_empty() {
                return Ok(());
            }
            let written = disk.segments.append(&batches)?;
            written.iter().for_each(|(block, _)| self.history.grows(block.segment));
            let mut outbox = self.shared.outbox();
            self.stats.spooled.add(written.iter().map(|(block, _)| block.samples).sum());
            outbox.disk_down = false;
            outbox.commit(written);
            drop(outbox);
            self.mark_full();
            if last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Not worth a word to the north, nor a pause for what is: where it fails it is tried again.
    fn keep_learned(&mut self, all: bool) {
        let (Some(root), true) = (&self.options.path, self.disk.is_some()) else { return };
        let due = self.shared.learned().due(all, Instant::now());
        for (name, text) in due {
            if let Err(error) = learned::write(root, &name, &text)
                && self.told.insert(format!("learned of {name}"))
            {
                tracing::warn!(name, %error, "what was learned of the device cannot be kept");
            }
        }
    }

    fn keep_cursors(&mut self, new: bool) -> Result<(), SpoolError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let due = self.shared.outbox().cursors(new);
        let mut result = Ok(());
        for (reader, settled) in due {
            match disk.keep(&reader, &settled) {
                Ok(()) => self.stats.cursors.bump(),
                Err(error) => {
                    self.shared.outbox().not_kept(&reader);
                    result = Err(error);
                }
            }
        }
        result
    }

    // ---- from the disk ----

    fn read_back(&mut self) -> Result<(), SpoolError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        for _ in 0..READS {
            let Some(block) = self.shared.outbox().next_wanted() else { return Ok(()) };
            let mut missing = BTreeSet::new();
            match disk.segments.read(&block, &mut missing) {
                Ok(items) => self.shared.outbox().loaded(&block, items),
                Err(SpoolError::Block) => {
                    self.stats.damaged.bump();
                    tracing::warn!(
                        first = block.key,
                        last = block.last,
                        samples = block.samples,
                        "a block of the spool failed its check: skipped"
                    );
                    self.shared.outbox().drop_blocks(|b| b.from == block.from, Reason::Damage);
                }
                Err(SpoolError::Damaged(why)) => {
                    self.stats.quarantined.bump();
                    disk.segments.condemn(block.segment, &why);
                    self.shared.outbox().drop_blocks(|b| b.segment == block.segment, Reason::Damage);
                }
                Err(error) => {
                    let tries =
                        self.unreadable.filter(|(from, _)| *from == block.from).map_or(1, |(_, n)| n + 1);
                    self.unreadable = Some((block.from, tries));
                    if tries < TRIES {
                        self.shared.outbox().wanted.insert(block.from);
                    } else {
                        self.stats.damaged.bump();
                        tracing::error!(
                            first = block.key, last = block.last, samples = block.samples, %error,
                            "a block of the spool cannot be read: skipped"
                        );
                        if matches!(error, SpoolError::Failing(_)) && !disk.segments.is_open(block.segment) {
                            // Each of its blocks would fail in the same way.
                            self.stats.quarantined.bump();
                            disk.segments.condemn(block.segment, &error.to_string());
                            self.shared.outbox().drop_blocks(|b| b.segment == block.segment, Reason::Damage);
                        } else {
                            self.shared.outbox().drop_blocks(|b| b.from == block.from, Reason::Damage);
                        }
                    }
                    return Err(error);
                }
            }
            if missing.iter().any(|path| path.starts_with(codec::LOST_NAME)) {
                self.stats.damaged.bump();
                tracing::warn!(
                    segment = %format_args!("{:016x}", block.segment), first = block.key, last = block.last,
                    "names of tags are lost with a damaged record of the spool: their samples are dropped"
                );
            }
            for path in missing.into_iter().filter(|path| !path.starts_with(codec::LOST_NAME)) {
                if self.told.insert(path.clone()) {
                    tracing::warn!(
                        path,
                        "the store has samples of a tag that is no longer configured: they are dropped"
                    );
                }
            }
        }
        // More may be wanted: no pause before the next turn.
        self.shared.poke();
        Ok(())
    }

    fn chores(&mut self) {
        let now = self.clock.now();
        let age = i64::try_from(self.options.max_age.as_micros()).unwrap_or(i64::MAX);
        {
            let mut outbox = self.shared.outbox();
            debug_assert_eq!(outbox.audit(), Ok(()));
            outbox.expire(Instant::now(), now);
            outbox.losses.tell();
        }
        let always = self.shared.outbox().any_always();
        if let Some(disk) = &mut self.disk {
            for (first, last) in disk.segments.spans() {
                // Made anew every second it would cost more than it takes.
                let made_anew = always && !self.history.is_on() && disk.segments.tail() == Some(first);
                if made_anew || self.history.has(first) {
                    continue;
                }
                let mut outbox = self.shared.outbox();
                if outbox.drained(first, last) {
                    outbox.remove_blocks(first);
                    drop(outbox);
                    if self.history.takes(first) {
                        continue;
                    }
                    if let Err(error) = disk.segments.remove(first) {
                        tracing::warn!(%error, "a drained segment of the spool cannot be removed");
                    }
                }
            }
        }
        while self.waited_for().0.is_some_and(|newest| newest.0 < now.0.saturating_sub(age)) {
            self.evict_oldest(Reason::Age);
        }
        self.bound();
        self.end_history(now);
        self.keep_ballast();
        let next = self.shared.outbox().next_seq;
        if let Some(disk) = self.disk.as_mut().filter(|_| self.trouble.is_none()) {
            let reserved = disk.reserve(next);
            self.note(reserved);
        }
        let gone = self.shared.outbox().forget_absent(std::mem::replace(&mut self.patience, ABSENT));
        for (reader, pending) in gone {
            tracing::warn!(
                reader,
                pending,
                "no publisher of this name any more: what waited for it is dropped"
            );
            if let Some(disk) = &mut self.disk {
                disk.forget(&reader);
            }
        }
        self.show();
    }

    fn show(&self) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.stats.memory_bytes.set(whole(self.shared.outbox().bytes));
        if let Some(disk) = &self.disk {
            self.stats.spool_bytes.set(whole(self.waited_for().1));
            self.stats.spool_segments.set(disk.segments.len() as i64);
        }
    }
}

/// What those blocks hold of which a reader has settled some, or which begin within an earlier one, by
/// segment and key. Damaged ones are left out, and those that the disk does not give unless it is `patient`.
fn held(disk: &mut Disk, left: &Left, patient: bool) -> Result<Held, SpoolError> {
    let mut blocks: Vec<_> = left.found.blocks.iter().collect();
    blocks.sort_by_key(|b| (b.key, b.segment));
    let (mut held, mut end) = (Held::new(), 0);
    for block in blocks {
        let some = |(_, settled): &(String, Ranges)| {
            settled.touches(block.key, block.last + 1) && !settled.covers(block.key, block.last + 1)
        };
        if block.key < end || left.readers.iter().any(some) {
            match disk.segments.counts(block) {
                Ok(counts) => drop(held.insert((block.segment, block.key), counts)),
                Err(error @ (SpoolError::Disk(_) | SpoolError::Failing(_))) if patient => return Err(error),
                Err(error) => {
                    tracing::debug!(first = block.key, last = block.last, %error, "a block cannot be read");
                }
            }
        }
        end = end.max(block.last + 1);
    }
    Ok(held)
}

/// Sequence numbers and sample counts of blocks.
type Held = HashMap<(u64, u64), Vec<(u64, u64)>>;
