//! The one thread that touches the disk: writes the head, reads blocks back, keeps cursors and bounds.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::{Clock, Directory};
use crate::telemetry::StoreStats;

use super::disk::{Disk, Left};
use super::learned::{self, Learned};
use super::losses::Reason;
use super::outbox::Outbox;
use super::spool::SpoolError;
use super::{Options, WhenFull};

/// What the store, its readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    learned: Mutex<Learned>,
    signals: Mutex<Signals>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Signals {
    poked: bool,
    stop: bool,
    drains: Vec<oneshot::Sender<()>>,
}

impl Shared {
    pub(super) fn new(outbox: Outbox) -> Shared {
        Shared {
            outbox: Mutex::new(outbox),
            learned: Mutex::default(),
            signals: Mutex::default(),
            woken: Condvar::new(),
        }
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, what: impl FnOnce(&mut Signals)) {
        what(&mut self.signals.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_one();
    }

    /// There is something to do.
    pub(super) fn poke(&self) {
        self.signal(|s| s.poked = true);
    }

    /// The writer ends.
    pub(super) fn stop(&self) {
        self.signal(|s| s.stop = true);
    }

    /// All that waits goes to the disk; answered when it is there.
    pub(super) fn drain(&self) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.signal(|s| s.drains.push(done));
        answer
    }

    fn wait(&self, at_most: Duration) -> Signals {
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |s: &mut Signals| !s.poked && !s.stop && s.drains.is_empty();
        let (mut signals, _) =
            self.woken.wait_timeout_while(signals, at_most, idle).unwrap_or_else(PoisonError::into_inner);
        let stop = signals.stop;
        std::mem::replace(&mut *signals, Signals { stop, ..Signals::default() })
    }
}

/// The thread's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    directory: Arc<Directory>,
    clock: Clock,
    stats: Arc<StoreStats>,
    disk: Option<Disk>,
    /// The sequence number with which this run began.
    base: u64,
    /// The disk failed; tried again then.
    trouble: Option<Instant>,
    /// Paths that were said to be unknown.
    told: BTreeSet<String>,
    forget_at: Option<Instant>,
    chores_at: Instant,
    /// The block whose reading failed last, and how often.
    unreadable: Option<(u64, u32)>,
}

/// Between two tries of a disk that fails.
const RETRY: Duration = Duration::from_secs(2);
/// Readers of an earlier run that nobody takes up keep their backlog as long.
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
        directory: Arc<Directory>,
        clock: Clock,
        stats: Arc<StoreStats>,
        base: u64,
    ) -> Writer {
        Writer {
            shared,
            options,
            directory,
            clock,
            stats,
            disk: None,
            base,
            trouble: None,
            told: BTreeSet::new(),
            forget_at: None,
            chores_at: Instant::now(),
            unreadable: None,
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
        if due || drain {
            // What cannot be read must not keep anything from being written.
            let (read, written) = (self.read_back(), self.write(drain));
            self.note(read.and(written));
        }
        if drain || self.chores_at <= Instant::now() {
            self.chores_at = Instant::now() + Duration::from_secs(1);
            // While the disk is left alone for a while, a failure here must not prolong that.
            let well = drain || self.trouble.is_none_or(|at| Instant::now() >= at);
            // With nothing on the disk there is nothing that a cursor could be needed for: no write at all.
            if well && self.shared.outbox().has_blocks() {
                let kept = self.keep_cursors(false);
                self.note(kept);
            }
            self.chores();
            self.keep_learned(drain);
        }
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
        match Disk::open(&root, self.options.max_bytes, self.directory.clone()) {
            Ok((disk, left)) => {
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
        self.stats.durable.set(i64::from(left.durable));
        self.stats.quarantined.add(left.found.quarantined.len() as u64);
        self.stats.damaged.add(left.found.damaged);
        if !left.durable {
            tracing::error!(
                "a flush of the store does not reach the disk: what is written may be lost in a power cut"
            );
        }
        let mut outbox = self.shared.outbox();
        if outbox.next_seq == self.base && outbox.reports().is_empty() && outbox.next_seq < left.next {
            // Nothing happened yet: go on where the last run stopped.
            *outbox = Outbox::new(outbox.rules.clone(), left.next);
            self.base = left.next;
        }
        if left.next > self.base {
            tracing::error!(
                "the store holds numbers ahead of this run's; it is taken up at the next start, until then samples are kept in memory only"
            );
            outbox.disk_down = true;
            self.trouble = Some(Instant::now() + ABSENT);
            return;
        }
        let stats = &self.stats;
        let segments = &mut disk.segments;
        outbox.adopt(self.base, left.found.blocks, left.readers, &mut |block| {
            let counts = segments.counts(block);
            if let Err(error) = &counts {
                stats.damaged.bump();
                tracing::warn!(first = block.key, last = block.last, %error, "a block of the spool is skipped");
            }
            counts.ok()
        });
        for id in left.found.quarantined {
            outbox.drop_blocks(|b| b.segment == id, Reason::Damage);
        }
        outbox.disk_down = false;
        let waiting: u64 = outbox.reports().iter().map(|r| r.pending).sum();
        drop(outbox);
        let reserved = disk.reserve(self.base);
        tracing::info!(segments = disk.segments.len(), bytes = disk.segments.bytes(), waiting, "store open");
        self.disk = Some(disk);
        self.forget_at = Some(Instant::now() + ABSENT);
        self.note(reserved);
        self.show();
    }

    fn note(&mut self, done: Result<(), SpoolError>) {
        match done {
            Err(error) => self.failed(&error),
            Ok(()) if self.disk.is_some() && self.trouble.is_some_and(|at| Instant::now() >= at) => {
                self.trouble = None;
                self.shared.outbox().disk_down = false;
                tracing::info!("the store's disk works again");
            }
            Ok(()) => {}
        }
    }

    fn failed(&mut self, error: &SpoolError) {
        self.stats.disk_errors.bump();
        if self.trouble.is_none() {
            let path = self.options.path.clone().unwrap_or_default();
            tracing::error!(
                path = %path.display(), %error,
                "the store cannot use its disk: samples are kept in memory only, within its budget; tried again every {RETRY:?}"
            );
        }
        self.trouble = Some(Instant::now() + RETRY);
        let mut outbox = self.shared.outbox();
        outbox.disk_down = true;
        outbox.wake_all();
        drop(outbox);
        // Removing a folder needs no room, so the oldest makes some.
        if error.to_string().contains("No space left")
            && self.disk.as_ref().is_some_and(|d| d.segments.len() > 1)
        {
            self.evict_oldest(Reason::DiskFull);
        }
    }

    // ---- to the disk ----

    fn write(&mut self, all: bool) -> Result<(), SpoolError> {
        if self.disk.is_none() {
            return Ok(());
        }
        let Some(upto) = self.shared.outbox().due(self.options.commit, all) else { return Ok(()) };
        // A block without its reader's cursor would not be found again, and the first block after a while
        // finds cursors of long ago.
        let first = !self.shared.outbox().has_blocks();
        self.keep_cursors(!first)?;
        let next = self.shared.outbox().next_seq;
        if let Some(disk) = &mut self.disk {
            disk.reserve(next)?;
        }
        loop {
            let Some(disk) = &mut self.disk else { return Ok(()) };
            let (batches, last) = self.shared.outbox().collect(upto, ROUND);
            if batches.is_empty() {
                return Ok(());
            }
            let written = disk.segments.append(&batches)?;
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
            if let Err(error) = disk.keep(&reader, &settled) {
                self.shared.outbox().not_kept(&reader);
                result = Err(error);
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
                        self.shared.outbox().drop_blocks(|b| b.from == block.from, Reason::Damage);
                    }
                    return Err(error);
                }
            }
            for path in missing {
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

    // ---- bounds ----

    fn evict_oldest(&mut self, reason: Reason) {
        let Some(disk) = &mut self.disk else { return };
        let Some((id, _)) = disk.segments.oldest() else { return };
        let mut outbox = self.shared.outbox();
        outbox.drop_blocks(|b| b.segment == id, reason);
        drop(outbox);
        if let Err(error) = disk.segments.remove(id) {
            tracing::warn!(%error, "a segment of the spool cannot be removed");
        }
    }

    /// With `drop-newest`: from seven eighths on nothing new of who has much waiting; what others have is
    /// still written.
    fn mark_full(&self) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.options.when_full == WhenFull::DropNewest) else {
            return;
        };
        let most = self.options.max_bytes;
        let mut outbox = self.shared.outbox();
        let limit = if outbox.spool_full { most - most / 8 - most / 16 } else { most - most / 8 };
        outbox.spool_full = disk.segments.bytes() > limit;
    }

    /// The spool's own bound, and those of publishers that have their backlog thinned.
    fn bound(&mut self) {
        let most = self.options.max_bytes;
        let bytes = |w: &Writer| w.disk.as_ref().map_or(0, |d| d.segments.bytes());
        self.mark_full();
        while bytes(self) > most {
            if self.options.when_full == WhenFull::Downsample && self.thin_one(None) {
                continue;
            }
            if self.disk.as_ref().is_none_or(|d| d.segments.len() == 0) {
                break;
            }
            self.evict_oldest(Reason::DiskFull);
        }
        loop {
            let who = self.shared.outbox().to_thin();
            if who.is_empty() || !self.thin_one(Some(&who)) {
                who.into_iter().for_each(|serial| self.shared.outbox().bound_thinned(serial));
                return;
            }
        }
    }

    /// Thins the oldest segment that was not yet: of any, or of those that only these readers wait for.
    /// False when there is none.
    fn thin_one(&mut self, only: Option<&[u64]>) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        let outbox = || self.shared.outbox();
        let Some(id) = disk.segments.never_thinned(|id| outbox().may_thin(id, only)) else { return false };
        if disk.segments.tail() == Some(id) {
            disk.segments.seal_tail();
        }
        let Some((blocks, whole)) = outbox().before_thinning(id) else { return false };
        match disk.segments.thin(id, &blocks, self.options.downsample, &whole) {
            Ok(new) => {
                let kept: u64 = new.written.iter().map(|(block, _)| block.samples).sum();
                let before: u64 = blocks.iter().map(|b| b.samples).sum();
                tracing::info!(samples = before, kept, "a segment of the spool was thinned");
                outbox().thinned(&blocks, new);
                true
            }
            // What cannot be read is a loss of its own, and the next turn goes on.
            Err((Some(from), SpoolError::Block)) => {
                self.stats.damaged.bump();
                outbox().drop_blocks(|b| b.from == from, Reason::Damage);
                true
            }
            Err((_, SpoolError::Damaged(why))) => {
                self.stats.quarantined.bump();
                disk.segments.condemn(id, &why);
                outbox().drop_blocks(|b| b.segment == id, Reason::Damage);
                true
            }
            Err((_, error)) => {
                self.stats.disk_errors.bump();
                tracing::warn!(%error, "a segment of the spool cannot be thinned: the oldest goes instead");
                false
            }
        }
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
                if always && disk.segments.tail() == Some(first) {
                    continue;
                }
                let mut outbox = self.shared.outbox();
                if outbox.drained(first, last) {
                    outbox.remove_blocks(first);
                    drop(outbox);
                    if let Err(error) = disk.segments.remove(first) {
                        tracing::warn!(%error, "a drained segment of the spool cannot be removed");
                    }
                }
            }
        }
        let oldest = |w: &Writer| w.disk.as_ref().and_then(|d| d.segments.oldest());
        while let Some((_, newest)) = oldest(self)
            && newest.0 < now.0.saturating_sub(age)
        {
            self.evict_oldest(Reason::Age);
        }
        self.bound();
        let next = self.shared.outbox().next_seq;
        if let Some(disk) = self.disk.as_mut().filter(|_| self.trouble.is_none()) {
            let reserved = disk.reserve(next);
            self.note(reserved);
        }
        if self.forget_at.is_some_and(|at| Instant::now() >= at) {
            self.forget_at = None;
            let gone = self.shared.outbox().forget_absent();
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
        }
        self.show();
    }

    fn show(&self) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.stats.memory_bytes.set(whole(self.shared.outbox().bytes));
        if let Some(disk) = &self.disk {
            self.stats.spool_bytes.set(whole(disk.segments.bytes()));
            self.stats.spool_segments.set(disk.segments.len() as i64);
        }
    }
}
