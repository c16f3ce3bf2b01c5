//! What was sent and is not proven to have arrived, and what waits for a birth: pure.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::{Batch, DeviceId};
use crate::store::Seq;

/// A batch that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    pub(super) samples: usize,
    pub(super) history: bool,
}

/// The fence: QoS 0 has no acknowledgement, so a batch is settled when the broker has answered
/// a SUBSCRIBE that was written after it. At most one is under way.
#[derive(Debug, Default)]
pub(super) struct Fence {
    open: Vec<Sent>,
    fenced: Vec<Sent>,
    under_way: bool,
    samples: usize,
    /// Bytes behind the last fence, and in front of it.
    open_bytes: u64,
    fenced_bytes: u64,
    /// When the first of them was written.
    open_since: Option<Instant>,
    fenced_since: Option<Instant>,
}

impl Fence {
    /// Samples that may be under way; beyond it nothing more is taken from the reader.
    const MOST: usize = 20_000;
    /// Batches that may be under way: one without samples costs memory, too.
    const MOST_BATCHES: usize = 8192;

    /// A batch was handed to the wire.
    pub(super) fn sent(&mut self, sent: Sent) {
        self.samples += sent.samples;
        self.open.push(sent);
    }

    /// A message of so many bytes was handed to the wire.
    pub(super) fn wrote(&mut self, bytes: u64, now: Instant) {
        self.open_bytes += bytes;
        self.open_since.get_or_insert(now);
    }

    /// What the fence under way covers, and when the first of it was written.
    pub(super) fn fenced(&self) -> Option<(u64, Instant)> {
        self.fenced_since.map(|since| (self.fenced_bytes, since))
    }

    /// Bytes under way.
    pub(super) fn bytes(&self) -> u64 {
        self.open_bytes + self.fenced_bytes
    }

    /// Whether one more message may be written, with a window of so many bytes.
    pub(super) fn may_write(&self, window: u64) -> bool {
        self.bytes() < window
    }

    /// Whether more may be taken to be sent.
    pub(super) fn has_room(&self, window: u64) -> bool {
        self.may_write(window)
            && self.samples < Self::MOST
            && self.open.len() + self.fenced.len() < Self::MOST_BATCHES
    }

    /// Whether a fence is wanted: something is not covered, and none is under way.
    pub(super) fn is_wanted(&self) -> bool {
        !self.under_way && (!self.open.is_empty() || self.open_bytes > 0)
    }

    /// Whether it is wanted at once, so that sending need not pause.
    pub(super) fn is_urgent(&self, window: u64) -> bool {
        let is_much = self.samples * 2 > Self::MOST
            || self.open.len() * 2 > Self::MOST_BATCHES
            || self.open_bytes * 2 >= window;
        self.is_wanted() && is_much
    }

    /// Whether one is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// A fence was written after all that was sent so far.
    pub(super) fn raise(&mut self) {
        self.mark();
        self.fenced.append(&mut self.open);
    }

    /// A fence was written between the messages of batches: it tells that these bytes have arrived, and of no batch
    /// that it has.
    pub(super) fn mark(&mut self) {
        self.under_way = true;
        self.fenced_bytes += std::mem::take(&mut self.open_bytes);
        self.fenced_since = self.fenced_since.or(self.open_since.take());
    }

    /// The batches come again; the bytes are under way all the same.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.fenced.clear();
        self.samples = 0;
    }

    /// The fence was answered: what it covers has arrived.
    pub(super) fn answered(&mut self) -> Vec<Sent> {
        self.under_way = false;
        self.fenced_bytes = 0;
        self.fenced_since = None;
        let arrived = std::mem::take(&mut self.fenced);
        self.samples -= arrived.iter().map(|s| s.samples).sum::<usize>();
        arrived
    }

    /// Something written after everything was answered.
    pub(super) fn all_arrived(&mut self) -> Vec<Sent> {
        self.raise();
        self.answered()
    }
}

/// Batches of devices that are not born: they stay unsettled, and are sent after the birth.
#[derive(Debug, Default)]
pub(super) struct Held {
    batches: HashMap<DeviceId, Vec<(Seq, Arc<Batch>)>>,
    samples: usize,
    left_out: bool,
}

impl Held {
    /// Samples that are held; more stay with the store, to be asked for again.
    const MOST: usize = 50_000;

    /// Holds a batch, or remembers that one was left with the store.
    pub(super) fn hold(&mut self, seq: Seq, batch: Arc<Batch>) {
        if self.samples >= Self::MOST {
            self.left_out = true;
            return;
        }
        self.samples += batch.samples.len().max(1);
        self.batches.entry(batch.device).or_default().push((seq, batch));
    }

    /// Devices of which something is held.
    pub(super) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.batches.keys().copied()
    }

    /// What is held of a device, in order.
    pub(super) fn release(&mut self, device: DeviceId) -> Vec<(Seq, Arc<Batch>)> {
        let batches = self.batches.remove(&device).unwrap_or_default();
        self.samples -= batches.iter().map(|(_, b)| b.samples.len().max(1)).sum::<usize>();
        batches
    }

    /// Whether the store must be asked again for what did not fit here; asked once.
    pub(super) fn must_rewind(&mut self) -> bool {
        self.left_out && self.samples < Self::MOST / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceState, Sample, TagId, Timestamp};

    fn sent(seq: u64) -> Sent {
        Sent { seq: Seq(seq), samples: 1, history: false }
    }

    #[test]
    fn a_fence_covers_what_was_sent_before_it_and_nothing_else() {
        let mut fence = Fence::default();
        assert!(!fence.is_wanted());
        fence.sent(sent(1));
        assert!(fence.is_wanted());
        fence.raise();
        fence.sent(sent(2));
        assert!(!fence.is_wanted(), "one at a time");
        assert_eq!(fence.answered(), [sent(1)]);
        assert!(fence.is_wanted());
        assert_eq!(fence.all_arrived(), [sent(2)]);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut fence = Fence::default();
        fence.sent(Sent { seq: Seq(0), samples: Fence::MOST, history: false });
        assert!(!fence.has_room(100) && fence.is_urgent(100));
        fence.raise();
        fence.answered();
        assert!(fence.has_room(100));
        (0..Fence::MOST_BATCHES as u64).for_each(|i| fence.sent(Sent { samples: 0, ..sent(i) }));
        assert!(!fence.has_room(100));
    }

    #[test]
    fn bytes_are_bounded_by_the_window_and_a_mark_frees_them_and_settles_nothing() {
        let (mut fence, now) = (Fence::default(), Instant::now());
        fence.sent(sent(1));
        fence.wrote(60, now);
        assert!(fence.may_write(100) && fence.is_urgent(100));
        fence.wrote(60, now);
        assert!(!fence.may_write(100) && !fence.has_room(100));
        fence.mark();
        assert_eq!(fence.fenced(), Some((120, now)));
        fence.wrote(10, now);
        assert_eq!((fence.answered(), fence.bytes()), (vec![], 10));
        fence.raise();
        assert_eq!((fence.answered(), fence.bytes()), (vec![sent(1)], 0));
        // A birth has bytes and no batch; what is forgotten is under way all the same.
        fence.wrote(10, now);
        assert!(fence.is_wanted() && !fence.is_urgent(100));
        fence.sent(sent(2));
        fence.raise();
        fence.forget();
        assert_eq!((fence.bytes(), fence.answered(), fence.bytes()), (10, vec![], 0));
    }

    #[test]
    fn what_waits_for_a_birth_is_bounded_and_what_is_left_out_is_asked_for_again() {
        let mut held = Held::default();
        let samples = vec![Sample::bad(TagId(1), crate::model::Bad::Waiting, Timestamp(0)); 10_000];
        let batch = |device| {
            Arc::new(Batch { device: DeviceId(device), state: DeviceState::Dead, samples: samples.clone() })
        };
        (0..6).for_each(|i| held.hold(Seq(i), batch(i as u32 % 2)));
        assert_eq!(held.devices().count(), 2);
        assert!(!held.must_rewind());
        assert_eq!(held.release(DeviceId(0)).len(), 3);
        assert!(held.must_rewind());
    }
}
