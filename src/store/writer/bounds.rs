//! The bounds of what is on the disk: what goes when they are reached, as a whole or thinned.

use super::Writer;
use crate::store::WhenFull;
use crate::store::losses::Reason;
use crate::store::spool::SpoolError;

impl Writer {
    pub(super) fn evict_oldest(&mut self, reason: Reason) {
        let Some(disk) = &mut self.disk else { return };
        let Some(id) = self.history.waited_for(&disk.segments).next().map(|s| s.segment) else { return };
        let mut outbox = self.shared.outbox();
        outbox.drop_blocks(|b| b.segment == id, reason);
        drop(outbox);
        if self.history.takes(id) {
            return;
        }
        if let Err(error) = disk.segments.remove(id) {
            tracing::warn!(%error, "a segment of the spool cannot be removed");
        }
    }

    /// With `drop-newest`: from seven eighths on nothing new of who has much waiting; what others have is
    /// still written.
    pub(super) fn mark_full(&self) {
        if self.options.when_full != WhenFull::DropNewest {
            return;
        }
        let (most, bytes) = (self.options.max_bytes, self.waited_for().1);
        let mut outbox = self.shared.outbox();
        let limit = if outbox.spool_full { most - most / 8 - most / 16 } else { most - most / 8 };
        outbox.spool_full = bytes > limit;
    }

    /// The spool's own bound, and those of publishers that have their backlog thinned.
    pub(super) fn bound(&mut self) {
        let most = self.options.max_bytes;
        let bytes = |w: &Writer| w.waited_for().1;
        self.mark_full();
        while bytes(self) > most {
            if self.options.when_full == WhenFull::Downsample && self.thin_one(None) {
                continue;
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
    pub(super) fn thin_one(&mut self, only: Option<&[u64]>) -> bool {
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
}
