//! Samples to messages: pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Batch, DeviceId, Directory, Sample, Tag, TagId, Timestamp};

use super::body::body;
use super::config::{Payload, Per, Shape};
use super::pattern::{Said, encode};

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) payload: Vec<u8>,
    pub(super) retain: bool,
    /// Numbers the messages that bring data, from 1; 0 brings none.
    pub(super) part: u64,
}

impl Message {
    /// Bytes of its MQTT packet, nearly.
    pub(super) fn bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64 + 8
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has no samples.
    Empty,
    /// It is in messages up to this part.
    Upto(u64),
    /// In messages up to this part, but for samples that are larger than a packet may be.
    Torn(u64),
    /// Nothing of it can be said: tags that are gone, or too large.
    Never,
}

/// What is known of a tag beforehand.
#[derive(Debug)]
struct Known {
    /// Of its own messages.
    topic: Arc<str>,
    /// `"device":"pump-1","tag":"flow",`
    names: Box<[u8]>,
    /// `"flow":`
    key: Box<[u8]>,
    /// The newest that was told as live.
    told: Timestamp,
}

/// A message that takes more samples.
#[derive(Debug)]
struct Open {
    device: DeviceId,
    historical: bool,
    payload: Vec<u8>,
    /// A name may stand in an object once.
    tags: Vec<TagId>,
    newest: Timestamp,
}

/// Puts samples into messages.
#[derive(Debug)]
pub(super) struct Composer {
    shape: Shape,
    max_packet: usize,
    /// Payloads that are larger are not sent.
    largest: usize,
    /// Messages of several samples are no larger where they can be cut.
    cut: usize,
    directory: Arc<Directory>,
    tags: HashMap<TagId, Known>,
    /// Of messages of a device, by device, and of a batch.
    topics: HashMap<DeviceId, Arc<str>>,
    topic: Arc<str>,
    /// What each message of a batch begins with, and each of a device.
    before: Vec<u8>,
    befores: HashMap<DeviceId, Vec<u8>>,
    /// The longest of those that are used.
    head: usize,
    open: Option<Open>,
    parts: u64,
    /// Written first, so that it is known whether it fits.
    scratch: Vec<u8>,
    /// Samples that were larger than a packet.
    pub(super) too_large: u64,
}

impl Composer {
    /// `max_packet`: larger ones the connection does not take.
    pub(super) fn new(shape: Shape, max_packet: usize, directory: Arc<Directory>) -> Composer {
        let topic = |device: Option<&str>, tag: Option<&str>| -> Arc<str> {
            shape.topic.names(&directory, device, tag).into()
        };
        let name = |tag: &Tag| directory.device(tag.device).map_or("", |d| &*d.name);
        let json = |text: &str| {
            let mut bytes = Vec::new();
            encode(text, &mut bytes);
            bytes
        };
        let known = |tag: &Tag| {
            let device = name(tag);
            let names = [b"\"device\":", &*json(device), b",\"tag\":", &*json(&tag.name), b","].concat();
            let of_tag = shape.per == Per::Tag;
            Known {
                topic: if of_tag { topic(Some(device), Some(&tag.name)) } else { "".into() },
                names: names.into(),
                key: [&*json(&tag.name), b":"].concat().into(),
                told: Timestamp(i64::MIN),
            }
        };
        let (group, node) = (json(&directory.group), json(&directory.node));
        let before = [b"{\"group\":", &*group, b",\"node\":", &*node, b",\"samples\":["].concat();
        let of_device = |name: &str| [b"{\"device\":", &*json(name), b",\"values\":{"].concat();
        let befores: HashMap<_, _> = directory.devices().iter().map(|d| (d.id, of_device(&d.name))).collect();
        let head = match shape.per {
            Per::Tag => 0,
            Per::Device => befores.values().map(Vec::len).max().unwrap_or_default(),
            Per::Batch => before.len(),
        };
        let mut composer = Composer {
            tags: directory.tags().iter().map(|tag| (tag.id, known(tag))).collect(),
            topics: directory.devices().iter().map(|d| (d.id, topic(Some(&d.name), None))).collect(),
            topic: topic(None, None),
            before,
            befores,
            head,
            open: None,
            parts: 0,
            scratch: Vec::new(),
            too_large: 0,
            shape,
            max_packet,
            largest: 0,
            cut: usize::MAX,
            directory,
        };
        composer.limit_to(max_packet);
        composer
    }

    /// Goes on with other devices and tags. What was begun goes out as it is; what is retained of tags that are gone
    /// is taken back, so that nobody takes it for a value.
    pub(super) fn follow(&mut self, directory: Arc<Directory>, out: &mut impl Extend<Message>) {
        self.flush(out);
        let mut next = Composer::new(self.shape.clone(), self.max_packet, directory);
        (next.cut, next.parts, next.too_large) = (self.cut, self.parts, self.too_large);
        let mut before = std::mem::take(&mut self.tags);
        for (tag, known) in &mut next.tags {
            if let Some(old) = before.remove(tag) {
                known.told = old.told;
            }
        }
        if self.shape.retain && self.shape.per == Per::Tag {
            let empty =
                |known: Known| Message { topic: known.topic, payload: Vec::new(), retain: true, part: 0 };
            let stays: std::collections::HashSet<_> = next.tags.values().map(|known| &known.topic).collect();
            out.extend(before.into_values().filter(|known| !stays.contains(&known.topic)).map(empty));
        }
        *self = next;
    }

    /// No packet may be larger.
    pub(super) fn limit_to(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
        let of_tags = self.tags.values().map(|known| &known.topic);
        let longest = of_tags.chain(self.topics.values()).map(|topic| topic.len()).max().unwrap_or_default();
        self.largest = max_packet.saturating_sub(longest.max(self.topic.len()) + HEADER);
    }

    /// Several samples share a message of so many bytes from now on.
    pub(super) fn cut_to(&mut self, bytes: u64) {
        self.cut = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// As at the start: what was begun and what was told is forgotten.
    pub(super) fn reset(&mut self) {
        self.open = None;
        self.parts = 0;
        self.forget();
    }

    /// What was told is forgotten: times before and after the clock was put right cannot be compared.
    pub(super) fn forget(&mut self) {
        for known in self.tags.values_mut() {
            known.told = Timestamp(i64::MIN);
        }
    }

    /// Whether a message is begun and not out.
    pub(super) fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a batch from the outbox.
    pub(super) fn take(&mut self, batch: &Batch, history: bool, out: &mut impl Extend<Message>) -> Taken {
        if batch.samples.is_empty() {
            return Taken::Empty;
        }
        let too_large = self.too_large;
        let mut any = false;
        for sample in &batch.samples {
            any |= self.add(sample, history, out);
        }
        if self.shape.per == Per::Device {
            self.flush(out);
        }
        let last = self.parts + u64::from(self.open.is_some());
        match (any, self.too_large == too_large) {
            (false, _) => Taken::Never,
            (true, true) => Taken::Upto(last),
            (true, false) => Taken::Torn(last),
        }
    }

    /// What is so now of a tag, as a new connection wants it; several of one device in a row share a message.
    pub(super) fn show(&mut self, sample: &Sample, out: &mut impl Extend<Message>) {
        self.add(sample, false, out);
    }

    /// Ends the message that is begun.
    pub(super) fn flush(&mut self, out: &mut impl Extend<Message>) {
        let Some(Open { device, historical, mut payload, newest, .. }) = self.open.take() else { return };
        let topic = match self.shape.per {
            Per::Device => {
                payload.extend_from_slice(b"},\"timestamp\":");
                encode(&newest.millis(), &mut payload);
                if historical {
                    payload.extend_from_slice(b",\"historical\":true");
                }
                payload.push(b'}');
                self.topics.get(&device).unwrap_or(&self.topic).clone()
            }
            Per::Tag | Per::Batch => {
                payload.extend_from_slice(b"]}");
                self.topic.clone()
            }
        };
        self.emit(topic, payload, false, out);
    }

    fn emit(&mut self, topic: Arc<str>, payload: Vec<u8>, retain: bool, out: &mut impl Extend<Message>) {
        self.parts += 1;
        out.extend([Message { topic, payload, retain, part: self.parts }]);
    }

    /// False where it cannot be said.
    fn add(&mut self, sample: &Sample, history: bool, out: &mut impl Extend<Message>) -> bool {
        let Some(tag) = self.directory.tag(sample.tag) else { return false };
        let Some(known) = self.tags.get_mut(&sample.tag) else { return false };
        // The image was told first, and it may be ahead of the outbox.
        let historical = history || sample.at < known.told;
        self.scratch.clear();
        match (&self.shape.payload, self.shape.per) {
            (Payload::Pattern(pattern), _) => {
                let device = self.directory.device(tag.device).map_or("", |d| &*d.name);
                pattern.write(&self.directory, &Said { device, tag, sample, historical }, &mut self.scratch);
            }
            (Payload::Json, Per::Device) => {
                self.scratch.extend_from_slice(&known.key);
                self.scratch.push(b'{');
                body(sample, false, &mut self.scratch);
            }
            (Payload::Json, Per::Tag | Per::Batch) => {
                self.scratch.push(b'{');
                self.scratch.extend_from_slice(&known.names);
                body(sample, historical, &mut self.scratch);
            }
        }
        if self.head + self.scratch.len() + TAIL > self.largest {
            self.too_large += 1;
            return false;
        }
        if !historical {
            known.told = sample.at;
        }
        if self.shape.per == Per::Tag {
            let topic = known.topic.clone();
            let payload = self.scratch.clone();
            self.emit(topic, payload, self.shape.retain && !historical, out);
            return true;
        }
        let device = tag.device;
        if self.open.as_ref().is_some_and(|open| !self.fits(open, sample.tag, device, historical)) {
            self.flush(out);
        }
        match &mut self.open {
            Some(open) => {
                open.payload.push(b',');
                open.payload.extend_from_slice(&self.scratch);
                open.tags.push(sample.tag);
                open.newest = open.newest.max(sample.at);
            }
            None => {
                let before = match self.shape.per {
                    Per::Device => self.befores.get(&device).map_or(&[][..], Vec::as_slice),
                    Per::Tag | Per::Batch => &self.before,
                };
                let (mut payload, tags) = (before.to_vec(), vec![sample.tag]);
                payload.extend_from_slice(&self.scratch);
                self.open = Some(Open { device, historical, payload, tags, newest: sample.at });
            }
        }
        true
    }

    /// Whether what was just written goes into the message that is begun.
    fn fits(&self, open: &Open, tag: TagId, device: DeviceId, historical: bool) -> bool {
        let most = self.shape.max_bytes.min(self.largest).min(self.cut);
        open.payload.len() + 1 + self.scratch.len() + TAIL <= most
            && (self.shape.per == Per::Batch
                || open.device == device && open.historical == historical && !open.tags.contains(&tag))
    }
}

/// What a PUBLISH has besides topic and payload: type and length (5), the topic's length (2), the packet identifier
/// (2), and in MQTT 5 the length of its properties (MQTT 5.0, section 3.3).
const HEADER: usize = 10;
/// The most that stands behind the samples of one message.
const TAIL: usize = r#"},"timestamp":-9223372036854775808,"historical":true}"#.len();

#[cfg(test)]
mod tests;
