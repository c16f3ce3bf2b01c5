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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{Bad, DataType, Device, DeviceState, Stamp, Uncertain, Value};
    use crate::publishers::mqtt::pattern::Pattern;

    const AT: Timestamp = Timestamp(1_760_000_000_123_457);

    fn directory() -> Arc<Directory> {
        let device = |id, name: &str| Device::plain(DeviceId(id), name, "bus");
        let tag = |id, device: u32, owner: &str, name: &str| Tag {
            unit: Some("m³/h".into()),
            ..Tag::plain(TagId(id), DeviceId(device), &format!("{owner}/{name}"), DataType::F64)
        };
        let devices = vec![device(0, "pump-1"), device(1, "tank \"B\"")];
        let tags = vec![
            tag(0, 0, "pump-1", "flow"),
            tag(1, 0, "pump-1", "motor/current"),
            tag(2, 1, "tank \"B\"", "level"),
        ];
        Arc::new(Directory::new("water", "ps-07", devices, tags))
    }

    fn shape(per: Per, topic: &str) -> Shape {
        let topic = Pattern::parse(topic).unwrap();
        Shape { per, topic, payload: Payload::Json, retain: false, max_bytes: 64 << 10 }
    }

    fn composer(shape: Shape) -> Composer {
        Composer::new(shape, 1 << 20, directory())
    }

    fn of_tag(payload: &str) -> Composer {
        let payload = Payload::Pattern(Pattern::parse(payload).unwrap());
        composer(Shape { payload, ..shape(Per::Tag, "{device}/{tag}") })
    }

    fn good(tag: u32, value: f64) -> Sample {
        Sample::good(TagId(tag), Value::F64(value), AT)
    }

    fn later(sample: &Sample, by: i64) -> Sample {
        Sample { at: Timestamp(sample.at.0 + by), ..sample.clone() }
    }

    fn batch(device: u32, samples: Vec<Sample>) -> Batch {
        Batch { device: DeviceId(device), state: DeviceState::Alive, samples }
    }

    fn read(message: &Message) -> serde_json::Value {
        serde_json::from_slice(&message.payload).unwrap()
    }

    fn text(message: &Message) -> &str {
        std::str::from_utf8(&message.payload).unwrap()
    }

    #[test]
    fn a_tag_has_a_message_of_its_own_with_names_value_quality_and_time() {
        let mut composer = composer(shape(Per::Tag, "plant/{node}/{device}/{tag}"));
        let mut out = Vec::new();
        let bad = Sample::bad(TagId(1), Bad::NoAnswer, AT);
        let taken = composer.take(&batch(0, vec![good(0, 12.5), bad]), false, &mut out);
        assert_eq!(taken, Taken::Upto(2));
        assert_eq!((&*out[0].topic, out[0].part), ("plant/ps-07/pump-1/flow", 1));
        assert_eq!(
            text(&out[0]),
            r#"{"device":"pump-1","tag":"flow","value":12.5,"quality":"good","timestamp":1760000000123}"#
        );
        assert_eq!(&*out[1].topic, "plant/ps-07/pump-1/motor/current");
        assert_eq!(
            read(&out[1]),
            json!({"device": "pump-1", "tag": "motor/current", "value": null, "quality": "bad",
                   "reason": "no answer", "timestamp": 1_760_000_000_123_i64})
        );
    }

    #[test]
    fn a_device_has_one_message_for_what_came_together() {
        let mut composer = composer(shape(Per::Device, "{node}/{device}"));
        let mut out = Vec::new();
        let late = Sample { stamp: Stamp::Unknown, ..later(&good(1, 2.0), 5000) };
        assert_eq!(composer.take(&batch(0, vec![good(0, 1.0), late]), true, &mut out), Taken::Upto(1));
        assert_eq!(&*out[0].topic, "ps-07/pump-1");
        assert_eq!(
            read(&out[0]),
            json!({"device": "pump-1", "historical": true, "timestamp": 1_760_000_000_128_i64, "values": {
                "flow": {"value": 1.0, "quality": "good", "timestamp": 1_760_000_000_123_i64},
                "motor/current": {"value": 2.0, "quality": "good", "timestamp": 1_760_000_000_128_i64,
                                  "synchronised": false}}})
        );
    }

    #[test]
    fn a_name_stands_once_in_the_message_of_a_device() {
        let mut composer = composer(shape(Per::Device, "{node}/{device}"));
        let mut out = Vec::new();
        let twice = vec![good(0, 1.0), later(&good(0, 2.0), 1)];
        assert_eq!(composer.take(&batch(0, twice), false, &mut out), Taken::Upto(2));
        let values: Vec<_> = out.iter().map(|m| read(m)["values"]["flow"]["value"].clone()).collect();
        assert_eq!(values, [json!(1.0), json!(2.0)]);
    }

    #[test]
    fn no_packet_is_larger_than_it_may_be_however_long_the_names_are() {
        let long = |letter: &str| letter.repeat(128);
        let device = Device { name: long("𝄞").into(), ..directory().devices()[0].clone() };
        let tags = (0..40).map(|id| Tag {
            id: TagId(id),
            name: format!("{id}-{}", long("\"")).into(),
            ..directory().tags()[0].clone()
        });
        let directory = Arc::new(Directory::new("g", "n", vec![device], tags.collect()));
        let samples: Vec<_> = (0..40).map(|tag| good(tag, f64::from(tag))).collect();
        for (per, topic) in [(Per::Tag, "{device}/{tag}"), (Per::Device, "{device}"), (Per::Batch, "{node}")]
        {
            for most in 1100..1900 {
                let mut composer = Composer::new(shape(per, topic), most, directory.clone());
                let mut out = Vec::new();
                composer.take(&batch(0, samples.clone()), true, &mut out);
                composer.flush(&mut out);
                let largest = out.iter().map(|m| m.topic.len() + m.payload.len()).max().unwrap_or(0);
                assert!(largest + HEADER <= most, "{per:?}: {largest} of {most}");
                out.iter().for_each(|message| drop(read(message)));
            }
        }
    }

    #[test]
    fn a_batch_takes_samples_of_all_devices_until_it_is_full() {
        let mut composer = composer(Shape { max_bytes: 1024, ..shape(Per::Batch, "{group}/{node}") });
        let mut out = Vec::new();
        assert_eq!(composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out), Taken::Upto(1));
        assert_eq!(composer.take(&batch(1, vec![good(2, 2.0)]), true, &mut out), Taken::Upto(1));
        assert!(out.is_empty() && composer.has_open());
        let many = (0..100).map(|i| later(&good(0, f64::from(i)), i64::from(i))).collect();
        let Taken::Upto(last) = composer.take(&batch(0, many), false, &mut out) else { panic!() };
        composer.flush(&mut out);
        assert_eq!(out.last().unwrap().part, last, "the last sample is in the last message");
        assert!(out.iter().all(|m| m.payload.len() <= 1024 && &*m.topic == "water/ps-07"));
        let samples: Vec<_> =
            out.iter().flat_map(|m| read(m)["samples"].as_array().unwrap().clone()).collect();
        assert_eq!(samples.len(), 102);
        assert_eq!(
            samples[1],
            json!({"device": "tank \"B\"", "tag": "level", "value": 2.0, "quality": "good",
                   "timestamp": 1_760_000_000_123_i64, "historical": true})
        );
        assert_eq!(read(&out[0])["node"], "ps-07");
    }

    #[test]
    fn only_what_is_live_is_retained_and_what_is_older_than_what_was_told_is_history() {
        let mut composer = composer(Shape { retain: true, ..shape(Per::Tag, "{device}/{tag}") });
        let mut out = Vec::new();
        composer.show(&later(&good(0, 2.0), 10), &mut out);
        composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out);
        composer.take(&batch(0, vec![later(&good(0, 2.0), 10)]), false, &mut out);
        composer.take(&batch(0, vec![later(&good(0, 3.0), 20)]), true, &mut out);
        let seen: Vec<_> = out.iter().map(|m| (m.retain, read(m).get("historical").is_some())).collect();
        assert_eq!(seen, [(true, false), (false, true), (true, false), (false, true)]);
        composer.reset();
        composer.take(&batch(0, vec![good(0, 1.0)]), false, &mut out);
        assert!(out.last().unwrap().retain);
    }

    #[test]
    fn a_template_says_what_it_is_asked_to_and_a_missing_value_is_null() {
        let said = |template: &str, sample: Sample, history| {
            let mut out = Vec::new();
            of_tag(template).take(&batch(0, vec![sample]), history, &mut out);
            text(&out[0]).to_owned()
        };
        assert_eq!(said("{value}", good(0, 12.5), false), "12.5");
        assert_eq!(
            said("{path} {value} {time} {unit}", good(0, 1.0), false),
            "pump-1/flow 1 2025-10-09T08:53:20.123457Z m³/h"
        );
        assert_eq!(
            said(
                r#"{{"v":{value:json},"q":{quality:json},"why":{reason:json}}}"#,
                Sample::bad(TagId(0), Bad::Busy, AT),
                false
            ),
            r#"{"v":null,"q":"bad","why":"device busy"}"#
        );
        assert_eq!(
            said("{value} {timestamp} {historical} {synchronised}", good(0, f64::NAN), true),
            "null 1760000000123 true true"
        );
        assert_eq!(said("{value} {quality}", good(0, f64::INFINITY), false), "null bad");
        let big = Sample::good(TagId(0), Value::U64(u64::MAX), AT);
        assert_eq!(said("{value} {value:json}", big, false), "18446744073709551615 \"18446744073709551615\"");
        let words = Sample::good(TagId(0), Value::Text("a \"b\"".into()), AT);
        assert_eq!(
            said("{value} {value:json} {group} {node}", words, false),
            r#"a "b" "a \"b\"" water ps-07"#
        );
    }

    #[test]
    fn tags_that_are_gone_and_samples_larger_than_a_packet_are_told_apart_from_what_was_sent() {
        let mut composer = Composer::new(shape(Per::Tag, "{device}/{tag}"), 1024, directory());
        let mut out = Vec::new();
        assert_eq!(composer.take(&batch(0, vec![good(9, 1.0)]), false, &mut out), Taken::Never);
        assert_eq!(composer.take(&batch(0, vec![]), false, &mut out), Taken::Empty);
        let huge = Sample::good(TagId(0), Value::Text("x".repeat(1000).into()), AT);
        assert_eq!(composer.take(&batch(0, vec![huge.clone()]), false, &mut out), Taken::Never);
        assert_eq!(composer.take(&batch(0, vec![huge, good(1, 1.0)]), false, &mut out), Taken::Torn(1));
        assert_eq!((out.len(), composer.too_large), (1, 2));
    }

    #[test]
    fn an_array_is_a_list_and_one_with_an_element_that_is_no_number_is_bad() {
        let said = |of: [f64; 2]| {
            let mut out = Vec::new();
            let sample = Sample::good(TagId(0), Value::Array(crate::model::Array::F64(of.into())), AT);
            composer(shape(Per::Tag, "{device}/{tag}")).take(
                &batch(0, vec![sample.clone()]),
                false,
                &mut out,
            );
            of_tag("{value}").take(&batch(0, vec![sample]), false, &mut out);
            (read(&out[0])["value"].clone(), read(&out[0])["quality"].clone(), text(&out[1]).to_owned())
        };
        assert_eq!(said([1.5, 2.0]), (json!([1.5, 2.0]), json!("good"), "[1.5,2.0]".into()));
        assert_eq!(said([1.5, f64::NAN]), (json!([1.5, null]), json!("bad"), "[1.5,null]".into()));
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i8>().prop_map(Value::I8),
            any::<u16>().prop_map(Value::U16),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            any::<f32>().prop_map(Value::F32),
            any::<f64>().prop_map(Value::F64),
            Just(Value::F64(f64::NAN)),
            any::<String>().prop_map(|text| Value::Text(text.into())),
        ]
    }

    /// What a reader of JSON makes of it.
    fn back(json: &serde_json::Value, like: &Value) -> Option<Value> {
        let number = |text: &str| match like {
            Value::I64(_) => text.parse().ok().map(Value::I64),
            Value::U64(_) => text.parse().ok().map(Value::U64),
            _ => None,
        };
        match (like, json) {
            (Value::Text(_), serde_json::Value::String(text)) => Some(Value::Text(text.as_str().into())),
            (_, serde_json::Value::String(text)) => number(text),
            (_, serde_json::Value::Bool(value)) => Some(Value::Bool(*value)),
            (Value::F32(_), _) => json.as_f64().map(|v| Value::F32(v as f32)),
            (Value::F64(_), _) => json.as_f64().map(Value::F64),
            _ => json.as_i64().and_then(|v| Value::I64(v).coerce(like.data_type())),
        }
    }

    proptest! {
        #[test]
        fn the_json_always_parses_and_gives_back_the_value(
            value in value(), quality in 0..3_u8, at in any::<i64>(), history: bool, per in 0..4_u8,
        ) {
            let at = Timestamp(at);
            let sample = match quality {
                0 => Sample::good(TagId(2), value.clone(), at),
                1 => Sample::uncertain(TagId(2), value.clone(), Uncertain::OutOfLimits, at),
                _ => Sample::bad(TagId(2), Bad::Refused(3), at),
            };
            let mut composer = match per {
                0 => composer(shape(Per::Tag, "{device}/{tag}")),
                1 => composer(shape(Per::Device, "{device}")),
                2 => composer(shape(Per::Batch, "t")),
                _ => of_tag(r#"{{"device":{device:json},"tag":{tag:json},"value":{value:json},"quality":{quality:json},"reason":{reason:json},"unit":{unit:json},"timestamp":{timestamp},"time":{time:json},"historical":{historical}}}"#),
            };
            let mut out = Vec::new();
            composer.take(&batch(1, vec![sample]), history, &mut out);
            composer.flush(&mut out);
            prop_assert_eq!(out.len(), 1);
            let json = read(&out[0]);
            let said = match per {
                1 => &json["values"]["level"],
                2 => &json["samples"][0],
                _ => &json,
            };
            prop_assert_eq!(&said["timestamp"], &json!(at.millis()));
            let finite = value.as_f64().is_none_or(f64::is_finite);
            if quality == 2 || !finite {
                prop_assert!(said["value"].is_null());
                prop_assert_eq!(&said["quality"], "bad");
                prop_assert!(said["reason"].as_str().is_some_and(|why| !why.is_empty()));
            } else {
                prop_assert_eq!(back(&said["value"], &value), Some(value));
            }
        }
    }
}
