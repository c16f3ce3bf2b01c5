//! What keeps samples: the image of the latest, and the outbox of what is still to be delivered.
//!
//! `Store::accept` is the one door in. It never waits. The disk is one thread's business (`writer.rs`);
//! what is in the outbox and who has what is decided in `outbox.rs`, which touches none.

mod ballast;
mod classes;
mod codec;
mod cursor;
mod dictionary;
mod disk;
mod durable;
pub mod history;
mod image;
mod index;
pub mod inspect;
mod known;
pub mod learned;
mod losses;
mod meter;
pub mod options;
mod outbox;
#[cfg(test)]
mod property;
mod quarantine;
mod ranges;
mod reader;
mod segments;
mod shared;
mod slots;
mod spool;
mod thin;
mod thinning;
mod varint;
mod writer;

pub use history::HistoryError;
pub use options::{Durability, History, Options, ReaderRules, Replay, WhenFull};

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::model::{
    Batch, Class, Clock, DeviceId, DeviceState, Directory, Identified, Sample, TagId, Timestamp,
};
use crate::telemetry::{OutboxCounts, StoreStats};

use image::Image;
use known::Known;
use outbox::{Outbox, Rules, Take};
use shared::Shared;
use writer::Writer;

/// Whether the operating system holds its clock for synchronised, by NTP, PTP or whatever sets it.
pub fn clock_is_synchronised() -> bool {
    durable::clock_is_synchronised()
}

/// A batch's place in the order of acceptance; never used twice, also over restarts. Where the disk let no number
/// be reserved those of batches that never reached it are used again by a later run: nobody knows them any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

impl Seq {
    /// As it is called outside, so that what was given keeps its number when the outbox is renumbered.
    fn outside(self, skew: u64) -> Seq {
        Seq(self.0.wrapping_sub(skew))
    }
}

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
    /// What is its own; `None`: as the store's options say.
    pub rules: Option<ReaderRules>,
}

/// What a reader has still to deliver.
///
/// Samples accepted since the reader was made (and, in a later run, those it had left) are
/// `delivered + pending + dropped` at any time.
#[derive(Debug, Clone, Default)]
pub struct ReaderReport {
    /// Its name.
    pub name: String,
    /// Samples.
    pub pending: u64,
    /// The oldest one.
    pub oldest: Option<Timestamp>,
    /// Samples settled as sent in this run.
    pub delivered: u64,
    /// Samples that it never got or that the north rejected, in this run.
    pub dropped: u64,
    /// All of it, by reason.
    pub counts: OutboxCounts,
    /// Bytes sent north in this run, as the publisher reports them.
    pub sent_bytes: u64,
    /// Bytes of its budget that may go now; `None` where it has none.
    pub budget_left: Option<u64>,
    /// What waits for its budget: 0 nothing, 1 history, 2 diagnostic values too, 3 normal ones too.
    pub budget_short: u8,
}

/// Image and outbox.
#[derive(Debug)]
pub struct Store {
    image: Image,
    directory: Known,
    /// Between two configurations: links that still go by the one before must not bring what is gone.
    changing: AtomicBool,
    shared: Arc<Shared>,
    stats: Arc<StoreStats>,
    clock: Clock,
    /// Places of those who read history at a time; none where it is off.
    history: Option<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// A store without a spool; what is not delivered is lost at the end of the process.
    pub fn in_memory() -> Arc<Store> {
        Self::open(
            Options::default(),
            Arc::default(),
            Clock::starting_at(Timestamp::default()),
            Arc::default(),
        )
    }

    /// Opens the store; reads and writes files. Where the folder cannot be used, the store goes on from
    /// memory, tries again, and says so.
    pub fn open(
        options: Options,
        directory: Arc<Directory>,
        clock: Clock,
        stats: Arc<StoreStats>,
    ) -> Arc<Store> {
        let spools = options.path.is_some();
        let rules = Rules {
            memory: options.memory,
            reader: options.reader_rules(),
            spools,
            when_full: options.when_full,
            share: options.max_bytes / 16,
            history: spools && options.history.is_some(),
            patience: (options.commit * 4).max(Duration::from_secs(5)),
        };
        // Above all numbers that runs before this one can have used, should the folder open only later.
        let base = if spools { u64::try_from(clock.now().0).unwrap_or(0) } else { 0 };
        let shared = Arc::new(Shared::new(Outbox::new(rules, if spools { 0 } else { base })));
        let directory = Known::new(directory);
        let history = (spools && options.history.is_some()).then(|| Semaphore::new(history::READERS));
        let mut thread = None;
        if spools {
            let mut writer =
                Writer::new(shared.clone(), options, directory.clone(), clock.clone(), stats.clone(), 0);
            writer.try_open();
            writer.start_at(base);
            let spawned = std::thread::Builder::new().name("store".into()).spawn(move || writer.run());
            match spawned {
                Ok(handle) => thread = Some(handle),
                Err(error) => {
                    tracing::error!(%error, "the store's thread cannot be started: samples are kept in memory only");
                    shared.outbox().disk_down = true;
                }
            }
        }
        let image = Image::default();
        let (changing, thread) = (AtomicBool::new(false), Mutex::new(thread));
        Arc::new(Store { image, directory, changing, shared, stats, clock, history, thread })
    }

    /// Goes on with other devices and tags. What waits of tags that are gone is lost, as `unknown-tag`, when it is
    /// its turn. Until [`Store::followed`], what still comes of them is not taken.
    pub fn follow(&self, directory: Arc<Directory>) {
        self.changing.store(true, SeqCst);
        self.directory.replace(directory.clone());
        self.image.retain(&directory);
        self.shared.outbox().follow(directory);
    }

    /// All who bring samples go by the devices and tags that [`Store::follow`] was told of.
    pub fn followed(&self) {
        self.changing.store(false, SeqCst);
    }

    /// A publisher is no longer configured: what waits for it is kept for an hour, should it come again, and then
    /// lost.
    pub fn retire(&self, reader: &str) {
        self.shared.outbox().retire(reader);
    }

    /// Takes a batch: image first, outbox second. Never waits.
    pub fn accept(&self, mut batch: Batch) {
        let directory = self.directory.now();
        if self.changing.load(SeqCst) {
            if directory.device(batch.device).is_none() {
                return;
            }
            batch.samples.retain(|sample| directory.tag(sample.tag).is_some());
        }
        let changed = self.image.take(&batch);
        self.stats.accepted.add(batch.samples.len() as u64);
        let now = Instant::now();
        let mut soon = false;
        let mut outbox = self.shared.outbox();
        classes::split(batch, &directory, changed, |batch, class| {
            soon |= outbox.accept(Arc::new(batch), class, now);
        });
        drop(outbox);
        if soon {
            self.shared.poke();
        }
    }

    /// The latest sample of a tag, in the best time known; `None` before the first.
    pub fn latest(&self, tag: TagId) -> Option<Sample> {
        self.image.sample(tag).map(|sample| self.clock.put_right_one(sample))
    }

    /// Whether a device answers.
    pub fn device_state(&self, device: DeviceId) -> DeviceState {
        self.image.device(device)
    }

    /// Takes who a device says that it is; the batch that follows makes the publishers look.
    pub fn identify(&self, device: DeviceId, known: Identified) {
        self.image.identify(device, known);
    }

    /// Who a device said last that it is; `None` where it never did.
    pub fn identity(&self, device: DeviceId) -> Option<Identified> {
        let known = self.image.identity(device)?;
        Some(Identified { at: self.clock.best(known.at, known.stamp), ..known })
    }

    /// When a device was first seen alive in this run.
    pub fn first_seen(&self, device: DeviceId) -> Option<Timestamp> {
        self.image.first_seen(device).map(|(at, stamp)| self.clock.best(at, stamp))
    }

    /// Keeps what a link's driver learned of a device, over restarts where the store has a folder. Never waits:
    /// it is written within some seconds, and at a clean stop.
    pub fn remember(&self, name: &str, text: String) {
        self.shared.learned().note(name, text, Instant::now());
    }

    /// What was learned of a device, in this run or an earlier one.
    pub fn recall(&self, name: &str) -> Option<String> {
        self.shared.learned().text(name)
    }

    /// What each reader has still to deliver.
    pub fn readers(&self) -> Vec<ReaderReport> {
        let outbox = self.shared.outbox();
        self.stats.memory_bytes.set(i64::try_from(outbox.bytes).unwrap_or(i64::MAX));
        outbox.reports(|sample| self.clock.best(sample.at, sample.stamp))
    }

    /// Whether what was delivered can be read back.
    pub fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// A page of history, also of earlier runs: of each tag what was accepted with a time within the bounds, in
    /// the order of time (and of acceptance where times are the same), without doubles.
    ///
    /// It is read on the store's own thread, bit by bit: writing goes before. Cancelling it ends the reading.
    pub async fn history(&self, ask: history::Ask) -> Result<Vec<history::Page>, HistoryError> {
        let places = self.history.as_ref().ok_or(HistoryError::Off)?;
        let _place = places.acquire().await.map_err(|_| HistoryError::Unavailable)?;
        let (query, answer) = history::Query::new(ask, self.clock.clone());
        self.shared.ask(query);
        answer.await.map_err(|_| HistoryError::Unavailable)
    }

    /// Writes what is left to the spool; what is settled until then need not be.
    pub async fn drain(&self, within: Duration) {
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return;
        }
        if tokio::time::timeout(within, self.shared.drain()).await.is_err() {
            tracing::error!(?within, "the store could not write all that waits in time");
        }
    }

    /// Lets what waits be written now, in one flush, not within `commit` or `spill-after`. For the bench, whose
    /// peers write when they are told to.
    #[doc(hidden)]
    pub fn hurry(&self) {
        self.shared.hurry();
    }

    /// A publisher's reader. A durable one continues where the reader of this name stopped,
    /// also in an earlier run; only one reader of a name may exist at a time: an earlier one gets
    /// nothing more.
    pub fn reader(&self, name: &str, options: ReaderOptions) -> Reader {
        let (serial, wake) = self.shared.outbox().attach(name, options.durable, options.rules);
        let (shared, clock, stats) = (self.shared.clone(), self.clock.clone(), self.stats.clone());
        Reader { shared, clock, stats, serial, wake }
    }
}

impl Drop for Store {
    /// Ends the thread; what was not drained and is only in memory is lost.
    fn drop(&mut self) {
        if let Some(places) = &self.history {
            places.close();
        }
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's thread fell by a panic");
        }
    }
}

/// A publisher's place in the outbox.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    clock: Clock,
    stats: Arc<StoreStats>,
    serial: u64,
    wake: Arc<Notify>,
}

impl Reader {
    /// The next batch; waits until there is one. Live before history (`replay = "live-first"`).
    /// Time stamps are the best known when it is given, and what has none that can be trusted says so.
    /// Cancelling it loses nothing.
    pub async fn next(&mut self) -> Next {
        loop {
            let (take, wanted, skew) = {
                let mut outbox = self.shared.outbox();
                let take = outbox.take(self.serial, tokio::time::Instant::now());
                (take, !outbox.wanted.is_empty(), outbox.skew)
            };
            if wanted {
                self.shared.poke();
            }
            // What wakes the reader leaves a permit, so nothing is missed between the two lines.
            match take {
                Take::Give(next) => return self.put_right(next, skew),
                Take::Wait(None) => self.wake.notified().await,
                Take::Wait(Some(until)) => {
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
            }
        }
    }

    fn put_right(&self, next: Next, skew: u64) -> Next {
        let right = |batch: Arc<Batch>| match self.clock.put_right(&batch) {
            Some((batch, restamped)) => {
                self.stats.restamped.add(restamped);
                Arc::new(batch)
            }
            None => batch,
        };
        match next {
            Next::Live(seq, batch) => Next::Live(seq.outside(skew), right(batch)),
            Next::History(seq, batch) => Next::History(seq.outside(skew), right(batch)),
        }
    }

    /// Done with a batch that `next` gave. In any order.
    pub fn settle(&mut self, seq: Seq, how: Settled) {
        let mut outbox = self.shared.outbox();
        let seq = seq.0.wrapping_add(outbox.skew);
        outbox.settle(self.serial, seq, how);
    }

    /// So many bytes went north, with all that was given before; they count against the `budget`.
    pub fn spent(&mut self, bytes: u64) {
        self.shared.outbox().spent(self.serial, bytes, tokio::time::Instant::now());
    }

    /// The classes of which live batches were put off since the last call for want of budget, and may go again:
    /// what was put off comes as history, so the north is to be told what is so now. Only with `live-first`.
    pub fn missed(&mut self) -> Vec<Class> {
        self.shared.outbox().missed(self.serial, tokio::time::Instant::now())
    }

    /// The connection was lost or made anew: all that was given and not settled, and all that waits,
    /// is history from here on; what is accepted from now on is live.
    pub fn rewind(&mut self) {
        self.shared.outbox().rewind(self.serial);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.outbox().detach(self.serial);
    }
}
