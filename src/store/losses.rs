//! Says once, and then once a minute, that samples were lost: how many, of how many tags, from when to when.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::model::{Batch, TagId, Timestamp};

/// Why samples are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Memory,
    DiskFull,
    Age,
    Damage,
    /// The tag or device is no longer configured.
    Unknown,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Reason::Memory => "the memory for samples is full",
            Reason::DiskFull => "the spool has reached max-bytes",
            Reason::Age => "older than max-age",
            Reason::Damage => "the spool is damaged",
            Reason::Unknown => "no longer in the configuration",
        }
    }
}

/// Losses not told yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    open: Vec<Loss>,
}

#[derive(Debug)]
struct Loss {
    reader: String,
    reason: Reason,
    samples: u64,
    tags: HashSet<TagId>,
    from: Timestamp,
    to: Timestamp,
    told: Option<Instant>,
}

impl Losses {
    /// Between two words about the same thing; after as long without a loss the next is a new episode.
    const PAUSE: Duration = Duration::from_secs(60);

    /// A batch was lost for a reader.
    pub(super) fn batch(&mut self, reader: &str, reason: Reason, batch: &Batch) {
        let times = || batch.samples.iter().map(|s| s.at);
        let (Some(from), Some(to)) = (times().min(), times().max()) else { return };
        let loss = self.loss(reader, reason, batch.samples.len() as u64, from, to);
        loss.tags.extend(batch.samples.iter().map(|s| s.tag));
        self.tell();
    }

    /// Some of a block was lost for a reader.
    pub(super) fn block(
        &mut self,
        reader: &str,
        reason: Reason,
        samples: u64,
        from: Timestamp,
        to: Timestamp,
    ) {
        if samples > 0 {
            self.loss(reader, reason, samples, from, to);
            self.tell();
        }
    }

    fn loss(
        &mut self,
        reader: &str,
        reason: Reason,
        samples: u64,
        from: Timestamp,
        to: Timestamp,
    ) -> &mut Loss {
        let at = match self.open.iter().position(|l| l.reader == reader && l.reason == reason) {
            Some(at) => at,
            None => {
                let (reader, tags) = (reader.to_owned(), HashSet::new());
                self.open.push(Loss { reader, reason, samples: 0, tags, from, to, told: None });
                self.open.len() - 1
            }
        };
        // In range: it was found or pushed just now.
        #[allow(clippy::indexing_slicing)]
        let loss = &mut self.open[at];
        if loss.samples == 0 {
            (loss.from, loss.to) = (from, to);
        }
        loss.samples += samples;
        (loss.from, loss.to) = (loss.from.min(from), loss.to.max(to));
        loss
    }

    /// Tells what is due; called at each loss and now and then.
    pub(super) fn tell(&mut self) {
        let due = |told: Option<Instant>| told.is_none_or(|t| t.elapsed() >= Self::PAUSE);
        for loss in self.open.iter_mut().filter(|l| l.samples > 0 && due(l.told)) {
            tracing::warn!(
                reader = loss.reader,
                samples = loss.samples,
                tags = loss.tags.len(),
                from_us = loss.from.0,
                to_us = loss.to.0,
                "samples lost, not delivered: {}",
                loss.reason.text()
            );
            loss.samples = 0;
            loss.tags.clear();
            loss.told = Some(Instant::now());
        }
        self.open.retain(|l| l.samples > 0 || l.told.is_some_and(|t| t.elapsed() < Self::PAUSE));
    }
}
