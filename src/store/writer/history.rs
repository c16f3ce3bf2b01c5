//! History on the disk: what is asked of it, what it keeps, and what it gives up.

use std::time::{Duration, Instant};

use super::Writer;
use crate::model::Timestamp;
use crate::store::losses::Reason;
use crate::store::spool::SpoolError;

/// So long history is worked on between two looks at what must be written.
const SLICE: Duration = Duration::from_millis(20);

impl Writer {
    /// Works on what history is asked for, a while only: what is to be written must not wait.
    pub(super) fn answer(&mut self) {
        let until = Instant::now() + SLICE;
        while let Some(mut query) = self.query.take().or_else(|| self.shared.queries().pop_front()) {
            // Who asks is told by the end of the query that nothing can be read.
            let Some(disk) = &mut self.disk else { continue };
            if !query.begin(&self.directory.now(), &disk.segments, |of| self.shared.outbox().in_memory(of)) {
                continue;
            }
            let mut step = Ok(());
            while step.is_ok() && !query.is_done() && Instant::now() < until {
                step = query.step(&mut disk.segments);
            }
            if let Err((segment, block, error)) = step
                && !self.passes_over(segment, block, error)
            {
                continue;
            }
            if query.is_done() {
                query.finish();
                continue;
            }
            self.query = Some(query);
            if Instant::now() >= until {
                self.shared.poke();
                return;
            }
        }
    }

    /// What history meets that cannot be read. False when the disk itself fails: then there is no answer.
    pub(super) fn passes_over(&mut self, segment: u64, block: Option<u64>, error: SpoolError) -> bool {
        match error {
            SpoolError::Block => {
                if self.told.insert(format!("block {segment} {block:?}")) {
                    self.stats.damaged.bump();
                    tracing::warn!(first = block, "a block of history failed its check: skipped");
                }
                true
            }
            SpoolError::Damaged(why) => {
                self.stats.quarantined.bump();
                if let Some(disk) = &mut self.disk {
                    disk.segments.condemn(segment, &why);
                }
                self.history.grows(segment);
                self.shared.outbox().drop_blocks(|b| b.segment == segment, Reason::Damage);
                true
            }
            error @ (SpoolError::Disk(_) | SpoolError::Failing(_) | SpoolError::Full(_)) => {
                tracing::warn!(%error, "history cannot be read");
                self.stats.disk_errors.bump();
                false
            }
        }
    }

    /// The newest sample of the oldest segment that a publisher waits for, and the bytes of all of them.
    pub(super) fn waited_for(&self) -> (Option<Timestamp>, u64) {
        let Some(disk) = &self.disk else { return (None, 0) };
        let oldest = self.history.waited_for(&disk.segments).next().map(|s| s.newest);
        (oldest, self.history.waited_for(&disk.segments).map(|s| s.disk).sum())
    }

    /// Room for what is not delivered: the oldest of history goes. False when there is none.
    pub(super) fn history_gives(&mut self) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        let Some(id) = self.history.gives() else { return false };
        if let Err(error) = disk.segments.remove(id) {
            tracing::warn!(%error, "a segment of history cannot be removed");
        }
        true
    }

    /// History beyond its age or its bytes goes.
    pub(super) fn end_history(&mut self, now: Timestamp) {
        let Some(disk) = &mut self.disk else { return };
        for id in self.history.ends(disk.segments.stretches(), now) {
            if let Err(error) = disk.segments.remove(id) {
                tracing::warn!(%error, "a segment of history cannot be removed");
            }
        }
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (bytes, oldest) = self.history.extent(disk.segments.stretches());
        self.stats.history_bytes.set(whole(bytes));
        self.stats.history_oldest.set(oldest.map_or(0, |at| at.0.max(0)));
        self.stats.history_lost.set(whole(self.shared.outbox().history_lost));
    }
}
