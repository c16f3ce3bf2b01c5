//! Metrics that wait for the same payloads: as bytes, in buffers that are used again.

use std::sync::Arc;

use crate::model::{DeviceId, Timestamp};

use super::super::payload::{self, Metric, direct};
use super::{ENVELOPE, Kind, Message, Part, Session};

/// Metrics that go into the same payloads: of one part of a device, all historical or none.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) device: DeviceId,
    pub(super) part: Part,
    pub(super) history: bool,
    items: Vec<Item>,
    /// Those that are written.
    bytes: Vec<u8>,
    /// Those that may still change: instances, and what is rare.
    pub(super) made: Vec<Metric>,
    pub(super) open: Option<Open>,
}

/// In the order in which they were told.
#[derive(Debug, Clone, Copy)]
enum Item {
    /// Up to here in the bytes, and its size.
    Written(usize, usize),
    /// Its place.
    Made(usize),
}

/// An instance that is being put together in a payload: samples of one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Where among those made.
    pub(super) metric: usize,
    /// Its number in the session.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) bytes: usize,
}

/// One metric of a group.
pub(super) enum Waiting<'a> {
    Written(&'a [u8]),
    Made(&'a Metric),
}

impl Waiting<'_> {
    /// As a field of a payload.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Waiting::Written(bytes) => out.extend_from_slice(bytes),
            Waiting::Made(metric) => direct::made(metric, out),
        }
    }
}

impl Group {
    /// One more; `write` puts it at the end and gives its size.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        let size = write(&mut self.bytes);
        self.items.push(Item::Written(self.bytes.len(), size));
    }

    /// One more.
    pub(super) fn push(&mut self, metric: Metric) {
        self.items.push(Item::Made(self.made.len()));
        self.made.push(metric);
    }

    /// All, in order, with their sizes.
    pub(super) fn metrics(&self) -> impl Iterator<Item = (usize, Waiting<'_>)> {
        let mut from = 0;
        self.items.iter().filter_map(move |item| match *item {
            Item::Written(to, size) => {
                let bytes = self.bytes.get(std::mem::replace(&mut from, to)..to)?;
                Some((size, Waiting::Written(bytes)))
            }
            Item::Made(at) => self.made.get(at).map(|metric| (metric.size(), Waiting::Made(metric))),
        })
    }

    /// Of all together, at most.
    pub(super) fn size(&self) -> usize {
        self.metrics().map(|(size, _)| size).sum()
    }

    /// Bytes that it holds.
    fn held(&self) -> usize {
        self.bytes.capacity() + self.items.capacity() * size_of::<Item>()
    }
}

/// Groups that were flushed: their buffers serve the next.
#[derive(Debug, Default)]
pub(super) struct Spare {
    groups: Vec<Group>,
    held: usize,
}

impl Spare {
    /// Bytes that are kept; a host's catching up must not fill the memory for good.
    const MOST: usize = 2 << 20;
    const MOST_GROUPS: usize = 256;

    /// The payload that a metric goes into: the last of its device, where that is of the same kind; else a new one.
    pub(super) fn group<'a>(
        &mut self,
        pending: &'a mut Vec<Group>,
        device: DeviceId,
        part: Part,
        history: bool,
    ) -> &'a mut Group {
        let last = pending.iter().rposition(|g| g.device == device && g.part == part);
        let at =
            last.filter(|at| pending.get(*at).is_some_and(|g| g.history == history)).unwrap_or(pending.len());
        if at == pending.len() {
            pending.push(self.take(device, part, history));
        }
        #[expect(clippy::indexing_slicing, reason = "it was found there, or pushed")]
        &mut pending[at]
    }

    fn take(&mut self, device: DeviceId, part: Part, history: bool) -> Group {
        let (items, bytes, made) = (Vec::new(), Vec::new(), Vec::new());
        let Some(used) = self.groups.pop() else {
            return Group { device, part, history, items, bytes, made, open: None };
        };
        self.held = self.held.saturating_sub(used.held());
        Group { device, part, history, ..used }
    }

    /// Empties a group and keeps it, where there is room.
    pub(super) fn keep(&mut self, mut group: Group) {
        let held = group.held();
        if self.groups.len() >= Self::MOST_GROUPS || self.held + held > Self::MOST {
            return;
        }
        group.items.clear();
        group.bytes.clear();
        group.made = Vec::new();
        group.open = None;
        self.held += held;
        self.groups.push(group);
    }
}

impl Session {
    /// All that waits, as few messages as the packet limit allows.
    pub fn flush(&mut self, now: Timestamp, out: &mut Vec<Message>) {
        self.tell_tables();
        let mut pending = std::mem::take(&mut self.pending);
        for group in pending.drain(..) {
            if let Some(topic) = self.data_topic(group.device, group.part) {
                self.cut(&topic, &group, now, out);
            }
            self.spare.keep(group);
        }
        self.pending = pending;
    }

    /// The metrics of a group, as few messages as the packet limit allows.
    fn cut(&mut self, topic: &Arc<str>, group: &Group, now: Timestamp, out: &mut Vec<Message>) {
        let room = self.most_bytes().saturating_sub(ENVELOPE + topic.len());
        let mut left = group.size();
        let start = |left: usize| {
            let mut bytes = Vec::with_capacity(left.min(room) + ENVELOPE);
            direct::begin(now, &mut bytes);
            bytes
        };
        let (mut bytes, mut size) = (start(left), 0);
        for (more, metric) in group.metrics() {
            if size + more > room && size > 0 {
                out.push(self.data(topic.clone(), std::mem::replace(&mut bytes, start(left)), now));
                size = 0;
            }
            size += more;
            left = left.saturating_sub(more);
            metric.write(&mut bytes);
        }
        out.push(self.data(topic.clone(), bytes, now));
    }

    /// A message of metrics that are bytes already.
    fn data(&mut self, topic: Arc<str>, mut bytes: Vec<u8>, now: Timestamp) -> Message {
        let seq = self.next_seq();
        direct::end(seq, &mut bytes);
        let (timestamp, seq) = (Some(payload::millis(now)), Some(u64::from(seq)));
        let payload = payload::compressed(bytes, timestamp, seq, self.form.compression);
        Message { topic, payload, kind: Kind::Data }
    }
}
