//! Says once, and then once a minute, that samples were lost: how many, of how many tags, from when to when.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::model::{Batch, TagId, Timestamp};
use crate::telemetry::LastLoss;
pub(super) use crate::telemetry::LossReason as Reason;

/// Losses not told yet, and the last of each reader.
#[derive(Debug, Default)]
pub(super) struct Losses {
    open: Vec<Loss>,
    last: Vec<(String, LastLoss)>,
}

#[derive(Debug)]
struct Loss {
    reader: String,
    reason: Reason,
    samples: u64,
    /// Of the whole episode.
    tags: HashSet<TagId>,
    /// Where only the numbers of tags in blocks are known: at least so many.
    least_tags: u64,
    from: Timestamp,
    to: Timestamp,
    /// Since when and until when the whole episode lasts, for the north.
    episode: (Timestamp, Timestamp),
    told: Option<Instant>,
}

impl Loss {
    fn count_of_tags(&self) -> u64 {
        (self.tags.len() as u64).max(self.least_tags)
    }
}

impl Losses {
    /// Between two words about the same thing; after as long without a loss the next is a new episode.
    const PAUSE: Duration = Duration::from_secs(60);

    /// A batch was lost for a reader.
    pub(super) fn batch(&mut self, reader: &str, reason: Reason, batch: &Batch) {
        let times = || batch.samples.iter().map(|s| s.at);
        let (Some(from), Some(to)) = (times().min(), times().max()) else { return };
        let tags = batch.samples.iter().map(|s| s.tag);
        self.loss(reader, reason, batch.samples.len() as u64, tags, 0, (from, to));
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
        self.blocks(reader, reason, samples, 0, from, to);
    }

    /// The same, where it is known how many tags the block has.
    pub(super) fn blocks(
        &mut self,
        reader: &str,
        reason: Reason,
        samples: u64,
        tags: u64,
        from: Timestamp,
        to: Timestamp,
    ) {
        if samples > 0 {
            self.loss(reader, reason, samples, std::iter::empty(), tags, (from, to));
        }
    }

    /// The last loss of a reader: from when to when its episode goes, and why.
    pub(super) fn last(&self, reader: &str) -> Option<LastLoss> {
        self.last.iter().find(|(name, _)| name == reader).map(|(_, last)| *last)
    }

    fn loss(
        &mut self,
        reader: &str,
        reason: Reason,
        samples: u64,
        tags: impl Iterator<Item = TagId>,
        least_tags: u64,
        (from, to): (Timestamp, Timestamp),
    ) {
        let at = match self.open.iter().position(|l| l.reader == reader && l.reason == reason) {
            Some(at) => at,
            None => {
                self.open.push(Loss {
                    reader: reader.to_owned(),
                    reason,
                    samples: 0,
                    tags: HashSet::new(),
                    least_tags: 0,
                    from,
                    to,
                    episode: (from, to),
                    told: None,
                });
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
        loss.episode = (loss.episode.0.min(from), loss.episode.1.max(to));
        loss.tags.extend(tags);
        loss.least_tags = loss.least_tags.max(least_tags);
        let (from, to) = loss.episode;
        let last = LastLoss { from, to, tags: loss.count_of_tags(), reason };
        match self.last.iter_mut().find(|(name, _)| name == reader) {
            Some((_, known)) => *known = last,
            None => self.last.push((reader.to_owned(), last)),
        }
        self.tell();
    }

    /// Tells what is due; called at each loss and now and then.
    pub(super) fn tell(&mut self) {
        let due = |told: Option<Instant>| told.is_none_or(|t| t.elapsed() >= Self::PAUSE);
        for loss in self.open.iter_mut().filter(|l| l.samples > 0 && due(l.told)) {
            tracing::warn!(
                reader = loss.reader,
                samples = loss.samples,
                tags = loss.count_of_tags(),
                from_us = loss.from.0,
                to_us = loss.to.0,
                "samples lost, not delivered: {}",
                loss.reason.words()
            );
            loss.samples = 0;
            loss.told = Some(Instant::now());
        }
        self.open.retain(|l| l.samples > 0 || l.told.is_some_and(|t| t.elapsed() < Self::PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bad, DeviceId, DeviceState, Sample};

    #[test]
    fn an_episode_of_losses_has_its_tags_its_time_and_its_reason() {
        let mut losses = Losses::default();
        let batch = |tags: &[u32], at| {
            let samples =
                tags.iter().map(|tag| Sample::bad(TagId(*tag), Bad::Waiting, Timestamp(at))).collect();
            Batch { device: DeviceId(0), state: DeviceState::Alive, samples }
        };
        losses.batch("cloud", Reason::Age, &batch(&[1, 2], 20));
        losses.batch("cloud", Reason::Age, &batch(&[2, 3], 10));
        let last = |tags| LastLoss { from: Timestamp(10), to: Timestamp(20), tags, reason: Reason::Age };
        assert_eq!(losses.last("cloud"), Some(last(3)));
        losses.blocks("cloud", Reason::Age, 100, 7, Timestamp(12), Timestamp(13));
        assert_eq!(losses.last("cloud"), Some(last(7)));
        assert_eq!(losses.last("other"), None);
    }
}
