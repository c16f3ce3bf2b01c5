//! One reader's place in the sequence: what it has, what it was given, where it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::losses::Reason;
use super::meter::Meter;
use super::outbox::Block;
use super::ranges::Ranges;
use super::{Durability, ReaderRules, Settled};
use crate::model::{Class, Timestamp};
use crate::telemetry::OutboxCounts;

/// While live samples came within this time, history is held to its rate.
const LIVE_FLOWS: Duration = Duration::from_secs(1);

/// A batch that the reader has and has not settled.
#[derive(Debug)]
pub(super) struct Given {
    /// Samples as accepted, and as given (fewer where tags are no longer configured).
    pub(super) stored: u64,
    pub(super) samples: u64,
    /// Neither in memory nor on the disk any more.
    pub(super) gone: Option<Gone>,
}

/// Why and of when a batch is that nobody can give again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    pub(super) reason: Reason,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) durable: bool,
    pub(super) rules: ReaderRules,
    /// Tells its handle from an earlier one of the same name.
    pub(super) serial: u64,
    pub(super) attached: bool,
    /// Nobody took it up since then: since the start, or since it is no longer configured.
    pub(super) absent_since: Option<std::time::Instant>,
    pub(super) wake: Arc<Notify>,
    /// All that it need not get (any more).
    pub(super) settled: Ranges,
    pub(super) given: BTreeMap<u64, Given>,
    /// By class.
    pub(super) lanes: [Lane; 3],
    pub(super) meter: Meter,
    /// Samples settled of each block on the disk.
    pub(super) partial: BTreeMap<u64, u64>,
    /// Samples: `accepted = delivered + pending + dropped` since the reader was made.
    pub(super) counts: OutboxCounts,
    /// Bytes in memory that it holds, and of these those not on the disk.
    pub(super) in_memory: u64,
    pub(super) unwritten_bytes: u64,
    /// Bytes of the blocks of which it has not settled all.
    pub(super) on_disk: u64,
    /// With `drop-newest`: nothing new until there is room.
    pub(super) full: bool,
    /// Below it nothing needs writing for this reader.
    pub(super) unwritten: u64,
    /// Its cursor on the disk is behind; it has one at all.
    pub(super) dirty: bool,
    pub(super) kept: bool,
    last_live: Option<Instant>,
    /// History samples that may go now; below zero after a large batch.
    tokens: f64,
    tokens_at: Option<Instant>,
    rate: f64,
}

/// Where it is with the batches of one class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    /// From here on batches are live.
    pub(super) live_from: u64,
    /// The next live and the next history batch to look at.
    pub(super) live_at: u64,
    pub(super) hist_at: u64,
    /// Live batches were put off, so the north does not know what is so now.
    pub(super) missed: bool,
}

impl Lane {
    /// Where it goes on.
    pub(super) fn at(&mut self, live: bool, seq: u64) {
        *(if live { &mut self.live_at } else { &mut self.hist_at }) = seq;
    }
}

impl Place {
    /// A reader that gets what is accepted from now on.
    pub(super) fn new(name: &str, durable: bool, serial: u64, next: u64, rules: ReaderRules) -> Place {
        let mut settled = Ranges::default();
        settled.insert(0, next);
        Place {
            name: name.to_owned(),
            durable,
            rules,
            serial,
            attached: true,
            absent_since: None,
            wake: Arc::new(Notify::new()),
            settled,
            given: BTreeMap::new(),
            lanes: [Lane { live_from: next, live_at: next, hist_at: next, missed: false }; 3],
            meter: Meter::default(),
            partial: BTreeMap::new(),
            counts: OutboxCounts::default(),
            in_memory: 0,
            unwritten_bytes: 0,
            on_disk: 0,
            full: false,
            unwritten: next,
            dirty: true,
            kept: false,
            last_live: None,
            tokens: 0.0,
            tokens_at: None,
            rate: 0.0,
        }
    }

    /// Samples that it will never get.
    pub(super) fn drop_samples(&mut self, reason: Reason, samples: u64) {
        self.counts.pending = self.counts.pending.saturating_sub(samples);
        self.counts.drop_by(reason, samples);
    }

    /// Done with a batch.
    pub(super) fn settle(&mut self, seq: u64, given: &Given, how: Settled) {
        self.counts.pending = self.counts.pending.saturating_sub(given.stored);
        match how {
            Settled::Sent => {
                self.counts.delivered += given.samples;
                self.counts.drop_by(Reason::Unknown, given.stored.saturating_sub(given.samples));
            }
            Settled::Rejected => self.counts.drop_by(Reason::Rejected, given.stored),
        }
        self.settled.insert(seq, seq + 1);
        self.dirty = true;
    }

    /// So many samples more of a block are settled.
    pub(super) fn done_in(&mut self, block: &Block, samples: u64) {
        let done = self.partial.entry(block.from).or_default();
        let before = *done;
        *done += samples;
        if before < block.samples.max(1) && *done >= block.samples.max(1) {
            self.on_disk = self.on_disk.saturating_sub(block.bytes);
        }
    }

    /// A block is there that it has not settled, but for so many samples.
    pub(super) fn holds(&mut self, block: &Block, done: u64) {
        self.on_disk += block.bytes;
        if done > 0 {
            self.done_in(block, done);
        }
    }

    /// A block goes; gives how many of its samples were settled.
    pub(super) fn let_go(&mut self, block: &Block) -> u64 {
        let done = self.partial.remove(&block.from).unwrap_or(0);
        if done < block.samples.max(1) {
            self.on_disk = self.on_disk.saturating_sub(block.bytes);
        }
        done
    }

    /// Bytes that wait for it, in memory and on the disk.
    pub(super) fn waiting(&self) -> u64 {
        if self.durable { self.unwritten_bytes + self.on_disk } else { self.in_memory }
    }

    /// Whether nothing goes to it that is not on the disk.
    pub(super) fn always(&self) -> bool {
        self.durable && self.rules.durability == Durability::Always
    }

    /// All that is not settled is history from here on.
    pub(super) fn rewound(&mut self, next: u64) {
        self.absent_since = None;
        let hist_at = self.settled.next_gap(0);
        self.lanes = [Lane { live_from: next, live_at: next, hist_at, missed: false }; 3];
        (self.last_live, self.tokens_at) = (None, None);
    }

    /// A batch was given.
    pub(super) fn gave(&mut self, seq: u64, class: Class, live: bool, samples: u64, now: Instant) {
        self.lane_mut(class).at(live, seq + 1);
        self.meter.gave(samples);
        if live {
            self.last_live = Some(now);
            return;
        }
        self.rate = f64::from(self.rules.history_rate.max(1));
        // No more than a tenth of a second's share is saved up.
        let most = self.rate / 10.0;
        if self.last_live.is_none_or(|at| now.saturating_duration_since(at) >= LIVE_FLOWS) {
            // Nobody is in its way: what goes now is not held against it later.
            (self.tokens, self.tokens_at) = (0.0, Some(now));
            return;
        }
        let since = self.tokens_at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.tokens = (self.tokens + since * self.rate).min(most) - samples as f64;
        self.tokens_at = Some(now);
    }

    pub(super) fn lane(&self, class: Class) -> &Lane {
        let [critical, normal, diagnostic] = &self.lanes;
        match class {
            Class::Critical => critical,
            Class::Normal => normal,
            Class::Diagnostic => diagnostic,
        }
    }

    pub(super) fn lane_mut(&mut self, class: Class) -> &mut Lane {
        let [critical, normal, diagnostic] = &mut self.lanes;
        match class {
            Class::Critical => critical,
            Class::Normal => normal,
            Class::Diagnostic => diagnostic,
        }
    }

    /// Whether anything of this kind may wait; batches of another class count where nobody has looked yet.
    pub(super) fn waits(&self, class: Class, live: bool, next: u64) -> bool {
        let lane = self.lane(class);
        let (at, end) = if live { (lane.live_at, next) } else { (lane.hist_at, lane.live_from) };
        self.settled.next_gap(at) < end
    }

    /// Live batches of a class that wait are history from here on.
    pub(super) fn put_off(&mut self, class: Class, next: u64) {
        let missed = self.waits(class, true, next);
        let lane = self.lane_mut(class);
        lane.missed |= missed;
        (lane.live_from, lane.live_at) = (next, next);
    }

    /// While live samples flow: until when history is held back.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        let idle_at = self.last_live? + LIVE_FLOWS;
        if idle_at <= now {
            return None;
        }
        let at = self.tokens_at?;
        let owed = (-self.tokens / self.rate.max(1.0)).clamp(0.0, 10.0);
        let free_at = at + Duration::from_secs_f64(owed);
        (free_at > now).then_some(free_at.min(idle_at))
    }
}
