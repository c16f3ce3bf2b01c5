//! For tests that have the turns of the writer in their own hand.

use std::time::{Duration, Instant};

use super::Writer;
use crate::store::Options;

impl Writer {
    /// A turn in which nothing waits for its time: `due` all that waits is to be written, `chores` as
    /// once a second.
    pub(in crate::store) fn turn_now(&mut self, drain: bool, due: bool, chores: bool) {
        let long = Duration::from_secs(3600);
        let wait = if due { Duration::ZERO } else { long };
        (self.options.spill_after, self.options.commit) = (wait, wait);
        self.shared.outbox().spill_after(wait);
        self.trouble = self.trouble.map(|_| Instant::now());
        self.chores_at = Instant::now() + if chores { Duration::ZERO } else { long };
        self.turn(drain);
    }

    pub(in crate::store) fn is_open(&self) -> bool {
        self.disk.is_some()
    }

    pub(in crate::store) fn base(&self) -> u64 {
        self.base
    }

    pub(in crate::store) fn segments(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.segments.len())
    }

    pub(in crate::store) fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The next chores forget who is absent; false where nobody is known to be.
    pub(in crate::store) fn forget_soon(&mut self) -> bool {
        let any = self.shared.outbox().has_absent();
        if any {
            self.patience = Duration::ZERO;
        }
        any
    }
}
