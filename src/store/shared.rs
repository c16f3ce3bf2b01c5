//! What the store, its readers and its thread share, and how the thread is told that there is something to do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::history::Query;
use super::learned::Learned;
use super::outbox::Outbox;

/// What the store, its readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    learned: Mutex<Learned>,
    queries: Mutex<VecDeque<Query>>,
    signals: Mutex<Signals>,
    woken: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Signals {
    poked: bool,
    pub(super) hurry: bool,
    pub(super) stop: bool,
    pub(super) drains: Vec<oneshot::Sender<()>>,
}

impl Shared {
    pub(super) fn new(outbox: Outbox) -> Shared {
        Shared {
            outbox: Mutex::new(outbox),
            learned: Mutex::default(),
            queries: Mutex::default(),
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

    /// History is asked.
    pub(super) fn ask(&self, query: Query) {
        self.queries().push_back(query);
        self.poke();
    }

    pub(super) fn queries(&self) -> MutexGuard<'_, VecDeque<Query>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, what: impl FnOnce(&mut Signals)) {
        what(&mut self.signals.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_one();
    }

    /// There is something to do.
    pub(super) fn poke(&self) {
        self.signal(|s| s.poked = true);
    }

    /// What waits is to be written now, without waiting for more.
    pub(super) fn hurry(&self) {
        self.signal(|s| (s.poked, s.hurry) = (true, true));
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

    pub(super) fn wait(&self, at_most: Duration) -> Signals {
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |s: &mut Signals| !s.poked && !s.stop && s.drains.is_empty();
        let (mut signals, _) =
            self.woken.wait_timeout_while(signals, at_most, idle).unwrap_or_else(PoisonError::into_inner);
        let stop = signals.stop;
        std::mem::replace(&mut *signals, Signals { stop, ..Signals::default() })
    }
}
