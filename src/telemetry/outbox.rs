//! What became of the samples of one publisher's outbox, by reason where they were lost.

use crate::model::Timestamp;

/// Why samples never reach a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// `[store] memory` was full and the disk could not take them.
    Memory,
    /// `[store] max-bytes` was reached, or the file system was full: the oldest went.
    DiskFull,
    /// The publisher's own `max-bytes` was reached: its oldest went.
    Full,
    /// Accepted while it was full, with `when-full = "drop-newest"`.
    Newest,
    /// Older than `max-age`.
    Age,
    /// Thinned by `when-full = "downsample"`.
    Thinned,
    /// The spool was damaged.
    Damage,
    /// The tag or device is no longer configured.
    Unknown,
    /// The north will never take them.
    Rejected,
}

impl LossReason {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// All, in the order of [`OutboxCounts::dropped`].
    pub const ALL: [LossReason; Self::COUNT] = [
        LossReason::Memory,
        LossReason::DiskFull,
        LossReason::Full,
        LossReason::Newest,
        LossReason::Age,
        LossReason::Thinned,
        LossReason::Damage,
        LossReason::Unknown,
        LossReason::Rejected,
    ];

    /// The word in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            LossReason::Memory => "memory",
            LossReason::DiskFull => "disk-full",
            LossReason::Full => "max-bytes",
            LossReason::Newest => "newest",
            LossReason::Age => "max-age",
            LossReason::Thinned => "downsample",
            LossReason::Damage => "damage",
            LossReason::Unknown => "unknown-tag",
            LossReason::Rejected => "rejected",
        }
    }

    /// The number that the system device shows; 0 is none.
    pub fn number(self) -> u64 {
        self as u64 + 1
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            LossReason::Memory => "the memory for samples is full",
            LossReason::DiskFull => "the spool has reached max-bytes, or the disk is full",
            LossReason::Full => "the publisher has reached its max-bytes: the oldest went",
            LossReason::Newest => "accepted while the outbox was full",
            LossReason::Age => "older than max-age",
            LossReason::Thinned => "thinned, since the outbox was full",
            LossReason::Damage => "the spool is damaged",
            LossReason::Unknown => "no longer in the configuration",
            LossReason::Rejected => "the north does not take them",
        }
    }
}

/// The last episode of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLoss {
    /// Time of the oldest sample lost.
    pub from: Timestamp,
    /// Time of the newest.
    pub to: Timestamp,
    /// Of so many tags; where only blocks went, of at least so many.
    pub tags: u64,
    /// Why.
    pub reason: LossReason,
}

/// Samples since the outbox was made: `accepted = delivered + pending + dropped` at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Accepted for it, and at the start taken over from an earlier run.
    pub accepted: u64,
    /// The north has them.
    pub delivered: u64,
    /// Not delivered yet.
    pub pending: u64,
    /// Lost, by [`LossReason`].
    pub dropped: [u64; LossReason::COUNT],
    /// The last loss.
    pub last: Option<LastLoss>,
}

impl OutboxCounts {
    /// Lost for this reason.
    pub fn dropped_by(&self, reason: LossReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Counts samples lost.
    pub fn drop_by(&mut self, reason: LossReason, samples: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += samples;
        }
    }

    /// Lost for any reason.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Samples that no count explains; always 0, or there is a mistake in this program.
    pub fn imbalance(&self) -> i64 {
        let gone = self.delivered + self.pending + self.all_dropped();
        i64::try_from(i128::from(self.accepted) - i128::from(gone)).unwrap_or(i64::MAX)
    }
}
