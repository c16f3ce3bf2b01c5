//! The session of an edge node: births, deaths, data and their order. No I/O, no clock.

mod births;
mod follow;
mod group;
mod layout;
mod names;
mod shapes;

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Batch, Class, DeviceId, DeviceState, Directory, Identity, Sample, TagId, Timestamp};
use crate::store::Store;

use self::group::{Group, Spare};
pub use self::layout::published_as;
use self::layout::{Layout, Part};
use self::shapes::Cells;
use super::commands::Control;
use super::form::Form;
use super::payload::direct::Writer;
use super::payload::{self, Metric, Payload, Say};
use super::topic::Topics;

/// Ready to be published, QoS 0, not retained.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Where.
    pub topic: Arc<str>,
    /// What.
    pub payload: Vec<u8>,
    /// For the counters.
    pub kind: Kind,
}

impl Message {
    /// Bytes of its PUBLISH at QoS 0: fixed header with a length of up to four bytes, topic with its length.
    pub fn bytes(&self) -> u64 {
        let rest = (2 + self.topic.len() + self.payload.len()) as u64;
        let length = match rest {
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000..0x20_0000 => 3,
            _ => 4,
        };
        1 + length + rest
    }
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NBIRTH or DBIRTH.
    Birth,
    /// NDATA or DDATA.
    Data,
    /// NDEATH or DDEATH.
    Death,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in a message, or a birth or death tells it.
    Told,
    /// Its device is not born, so nothing may be said of it yet.
    Unborn,
    /// It can never be sent.
    Never,
}

/// One edge node. A seq exists only in messages that it made; they are to be sent in that order, all.
#[derive(Debug)]
pub struct Session {
    directory: Arc<Directory>,
    topics: Topics,
    limit: usize,
    /// Data are cut into packets of so many bytes where they can be.
    cut: usize,
    controls: Vec<Control>,
    form: Form,
    layout: Layout,
    cells: Cells,
    /// Instances in data so far.
    instances: u64,
    bd_seq: u8,
    seq: u8,
    devices: HashMap<DeviceId, Device>,
    metrics: HashMap<TagId, State>,
    pending: Vec<Group>,
    /// What is used again, so that a sample allocates nothing.
    spare: Spare,
    writer: Writer,
}

#[derive(Debug)]
struct Device {
    is_node: bool,
    status: Status,
    data: Arc<str>,
    /// What was said of who it is.
    identity: Option<Arc<Identity>>,
}

impl Device {
    fn unborn(topics: &Topics, device: &crate::model::Device) -> Device {
        let data = if device.is_node { topics.node("NDATA") } else { topics.device("DDATA", &device.name) };
        Device { is_node: device.is_node, status: Status::Unborn, data, identity: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Unborn,
    Born,
    /// Its birth is larger than a packet may be.
    TooLarge,
}

/// What the hosts know of a metric.
#[derive(Debug, Clone, Copy)]
struct State {
    born: Timestamp,
    /// The newest one that was told as live.
    live: Timestamp,
    /// Whether the last quality said was good: what is not said counts as good.
    good: bool,
    /// The clock was synchronised then: what is not said counts as that.
    timed: bool,
    /// The number of the instance in data that it was last a member of.
    told_in: u64,
}

/// Nothing was told of it.
impl Default for State {
    fn default() -> State {
        let never = Timestamp(i64::MIN);
        State { born: never, live: never, good: true, timed: true, told_in: 0 }
    }
}

/// Topic length field, packet identifier, fixed header, time stamp and seq of a payload.
const ENVELOPE: usize = 64;

impl Session {
    /// A session that has said nothing yet. `limit`: largest packet in bytes.
    pub fn new(directory: Arc<Directory>, bd_seq: u8, limit: usize) -> Session {
        let topics = Topics::new(&directory.group, &directory.node);
        Session {
            devices: directory.devices().iter().map(|d| (d.id, Device::unborn(&topics, d))).collect(),
            metrics: directory.tags().iter().map(|t| (t.id, State::default())).collect(),
            cells: Cells::of(&directory),
            directory,
            topics,
            limit,
            cut: usize::MAX,
            controls: Vec::new(),
            form: Form::default(),
            layout: Layout::default(),
            instances: 0,
            bd_seq,
            seq: 0,
            pending: Vec::new(),
            spare: Spare::default(),
            writer: Writer::default(),
        }
    }

    /// Hosts may ask for these, so that they are metrics of the node.
    pub fn allowing(mut self, controls: &[Control]) -> Session {
        self.controls = controls.to_vec();
        self
    }

    /// The broker takes no larger packets than this many bytes.
    pub fn limit_to(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
    }

    /// Data are cut into packets of so many bytes from now on; a metric is never cut.
    pub fn cut_to(&mut self, bytes: u64) {
        self.cut = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// The same with its payloads made up in another way.
    pub fn in_form(self, form: Form) -> Session {
        Session { form, ..self }
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Whether there is such a device.
    pub fn knows(&self, device: DeviceId) -> bool {
        self.devices.contains_key(&device)
    }

    /// Whether samples of a device may be published now.
    pub fn is_born(&self, device: DeviceId) -> bool {
        self.devices.get(&device).is_some_and(|d| d.status == Status::Born)
    }

    /// NDEATH, as the will and before a clean DISCONNECT: the bdSeq and nothing else, no seq
    /// (tck-id-topics-ndeath-payload, tck-id-topics-ndeath-seq).
    pub fn death(&self, now: Timestamp) -> Message {
        let payload = Payload {
            timestamp: Some(payload::millis(now)),
            metrics: vec![self.bd_seq_metric(now)],
            ..Payload::default()
        };
        Message { topic: self.topics.node("NDEATH"), payload: payload.bytes(), kind: Kind::Death }
    }

    /// Takes a batch: data to be flushed, or a birth or death with what waits before it.
    pub fn take(
        &mut self,
        batch: &Batch,
        history: bool,
        image: &Store,
        now: Timestamp,
        out: &mut Vec<Message>,
    ) -> Taken {
        let Some(device) = self.devices.get(&batch.device) else { return Taken::Never };
        let (is_node, status) = (device.is_node, device.status);
        match (batch.state, status) {
            (_, Status::TooLarge) => return Taken::Never,
            _ if is_node && status == Status::Born => self.add(batch, history, |_| true),
            (state, Status::Unborn)
                if !history
                    && (state == DeviceState::Alive
                        // Another class says that it answers; should that have been dropped, this tells.
                        || state == DeviceState::Unknown
                            && image.device_state(batch.device) == DeviceState::Alive) =>
            {
                // What the image has is told by the birth; `add` leaves that out.
                self.bear(batch.device, image, now, out);
                if !self.is_born(batch.device) {
                    return Taken::Never;
                }
                self.add(batch, false, |_| true);
            }
            (DeviceState::Dead, Status::Born) if !history => {
                // That all its values are bad is what its death says (tck-id-operational-behavior-device-ddeath).
                self.add(batch, false, |s| !s.quality.is_bad());
                self.bury(batch.device, now, out);
            }
            (_, Status::Unborn) => {
                // A device that is not born is bad to every host already.
                let nothing_new = batch.samples.iter().all(|s| s.quality.is_bad());
                return if nothing_new { Taken::Told } else { Taken::Unborn };
            }
            (_, Status::Born) => {
                if !history {
                    self.tell_identity(batch.device, image, now);
                }
                self.add(batch, history, |_| true);
            }
        }
        Taken::Told
    }

    /// What is so now, after live batches of a class were put off: of each tag the value of the image, where it
    /// is not what was told last. What was put off comes later, as history.
    pub fn catch_up(&mut self, class: Class, image: &Store, now: Timestamp, out: &mut Vec<Message>) {
        let directory = self.directory.clone();
        for device in directory.devices() {
            let (status, state) =
                (self.devices.get(&device.id).map(|d| d.status), image.device_state(device.id));
            if directory.lead(device.id) == class && !device.is_node {
                match (state, status) {
                    (DeviceState::Alive, Some(Status::Unborn)) => self.bear(device.id, image, now, out),
                    (DeviceState::Dead, Some(Status::Born)) => self.bury(device.id, now, out),
                    _ => {}
                }
            }
            if !self.is_born(device.id) {
                continue;
            }
            for tag in directory.tags_of(device.id).filter(|tag| directory.class(tag.id) == class) {
                let Some(sample) = image.latest(tag.id) else { continue };
                let Some(state) = self.metrics.get_mut(&tag.id).filter(|s| sample.at > s.live) else {
                    continue;
                };
                // As a birth does: this very sample is not repeated, and what is older is history.
                let good = sample.quality.is_good();
                let timed = sample.stamp.is_synchronised();
                let say = Say { quality: !(good && state.good), clock: !state.timed };
                *state = State { born: sample.at, live: sample.at, good, timed, ..*state };
                self.tell(device.id, &sample, false, say);
            }
        }
    }

    /// DDEATH, after what waits.
    fn bury(&mut self, id: DeviceId, now: Timestamp, out: &mut Vec<Message>) {
        self.flush(now, out);
        self.set(id, Status::Unborn);
        let names = self.directory.device(id).map(|device| self.layout.names(device));
        for name in names.into_iter().flatten() {
            let topic = self.topics.device("DDEATH", &name);
            let message = self.message(topic, Vec::new(), Kind::Death, now);
            out.push(message);
        }
    }

    /// Whether something waits to be flushed.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn add(&mut self, batch: &Batch, history: bool, wanted: impl Fn(&Sample) -> bool) {
        for sample in batch.samples.iter().filter(|s| wanted(s)) {
            let Some(state) = self.metrics.get_mut(&sample.tag) else { continue };
            // The birth told this very sample; what is older than it must not look like news.
            if !history && sample.at == state.born {
                continue;
            }
            let history = history || sample.at < state.born;
            if !history {
                state.live = sample.at;
            }
            let good = sample.quality.is_good();
            let timed = sample.stamp.is_synchronised();
            let say = Say { quality: !(good && state.good), clock: !state.timed };
            state.timed = timed && (!history || state.timed);
            // After historical good, a host that had a bad live value still has it.
            state.good = good && (!history || state.good);
            self.tell(batch.device, sample, history, say);
        }
    }

    /// Puts metrics into the next payload of their device.
    fn queue(
        &mut self,
        device: DeviceId,
        part: Part,
        history: bool,
        metrics: impl IntoIterator<Item = Metric>,
    ) {
        let group = self.spare.group(&mut self.pending, device, part, history);
        metrics.into_iter().for_each(|metric| group.push(metric));
    }

    /// Where the data of a part go.
    fn data_topic(&self, id: DeviceId, part: Part) -> Option<Arc<str>> {
        match part {
            0 => self.devices.get(&id).map(|device| device.data.clone()),
            _ => Some(self.topics.device("DDATA", self.layout.name(self.directory.device(id)?, part))),
        }
    }

    /// Most bytes of a packet with data.
    fn most_bytes(&self) -> usize {
        self.limit.min(self.form.max_bytes).min(self.cut)
    }

    fn set(&mut self, device: DeviceId, status: Status) {
        if let Some(device) = self.devices.get_mut(&device) {
            device.status = status;
        }
    }

    /// tck-id-payloads-sequence-num-incrementing: 0 to 255 over all messages.
    fn next_seq(&mut self) -> u8 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        seq
    }

    fn message(&mut self, topic: Arc<str>, metrics: Vec<Metric>, kind: Kind, now: Timestamp) -> Message {
        let seq = self.next_seq();
        let (timestamp, seq) = (Some(payload::millis(now)), Some(u64::from(seq)));
        let payload = Payload { timestamp, metrics, seq, ..Payload::default() };
        Message { topic, payload: payload.compressed(self.form.compression), kind }
    }
}

/// Unique over node and devices, as the tag's number is (tck-id-payloads-alias-uniqueness).
fn alias(tag: TagId) -> u64 {
    u64::from(tag.0) + 1
}

#[cfg(test)]
mod tests {
    use super::births::identity_alias;
    use super::*;
    use crate::model::Bad;
    use crate::model::{DataType, Device as Named, Tag, Value};
    use crate::publishers::sparkplug::payload::Raw;

    const PLC: DeviceId = DeviceId(1);

    fn directory(tags: u32) -> Arc<Directory> {
        let device = Named::plain(PLC, "plc", "net");
        let tag = |i| Tag::plain(TagId(i), PLC, &format!("plc/tag-{i}"), DataType::U16);
        Arc::new(Directory::new("g", "n", vec![device], (0..tags).map(tag).collect()))
    }

    fn batch(at: i64, tag: u32) -> Batch {
        let sample = Sample::good(TagId(tag), Value::U16(1), Timestamp(at));
        Batch { device: PLC, state: DeviceState::Alive, samples: vec![sample] }
    }

    fn kinds(out: &[Message]) -> Vec<&str> {
        out.iter().map(|m| m.topic.split('/').nth(2).unwrap()).collect()
    }

    #[test]
    fn a_device_of_which_a_single_tag_does_not_fit_is_never_published_and_the_others_are() {
        let store = Store::in_memory();
        store.accept(batch(1, 0));
        let mut tag = directory(1).tags()[0].clone();
        tag.description = Some("long ".repeat(300).into());
        let device = directory(1).devices()[0].clone();
        let mut session = Session::new(Arc::new(Directory::new("g", "n", vec![device], vec![tag])), 0, 1024);
        let mut out = Vec::new();
        session.births(&store, Timestamp(2), &mut out);
        assert_eq!(kinds(&out), ["NBIRTH"]);
        assert_eq!(session.take(&batch(3, 0), false, &store, Timestamp(3), &mut out), Taken::Never);
    }

    #[test]
    fn no_data_come_with_births_however_much_waits() {
        let store = Store::in_memory();
        store.accept(batch(1, 0));
        let mut session = Session::new(directory(2), 0, 1 << 20);
        let mut out = Vec::new();
        session.births(&store, Timestamp(2), &mut out);
        out.clear();
        session.take(&batch(3, 1), false, &store, Timestamp(3), &mut out);
        assert!(session.has_pending());
        session.births(&store, Timestamp(4), &mut out);
        session.flush(Timestamp(4), &mut out);
        assert_eq!(kinds(&out), ["NBIRTH", "DBIRTH"]);
    }

    #[test]
    fn what_is_older_than_the_birth_is_history_and_what_the_birth_said_is_not_repeated() {
        let store = Store::in_memory();
        store.accept(batch(2000, 0));
        let mut session = Session::new(directory(1), 0, 1 << 20);
        let mut out = Vec::new();
        session.births(&store, Timestamp(3000), &mut out);
        out.clear();
        for at in [1000, 2000, 3000] {
            session.take(&batch(at, 0), false, &store, Timestamp(4000), &mut out);
        }
        session.flush(Timestamp(4000), &mut out);
        let told: Vec<_> = out
            .iter()
            .flat_map(|m| Payload::parse(&m.payload).unwrap().metrics)
            .map(|m| (m.timestamp, m.is_historical))
            .collect();
        assert_eq!(told, [(Some(1), Some(true)), (Some(3), None)]);
    }

    #[test]
    fn another_identity_is_told_as_data_once_and_the_birth_has_its_metrics_as_null_before() {
        let store = Store::in_memory();
        store.accept(batch(1000, 0));
        let plate = crate::model::Plate { is_asked: true, ..Default::default() };
        let asked = Directory::clone(&directory(1)).with_plates([(PLC, plate)].into());
        let mut session = Session::new(Arc::new(asked), 0, 1 << 20);
        let mut out = Vec::new();
        session.births(&store, Timestamp(2000), &mut out);
        let born: Vec<_> = out.iter().flat_map(|m| Payload::parse(&m.payload).unwrap().metrics).collect();
        let null = born.iter().find(|m| m.name.as_deref() == Some("Properties/Manufacturer")).unwrap();
        assert_eq!((null.is_null, &null.value), (Some(true), &None));
        let silent = Batch { samples: Vec::new(), ..batch(0, 0) };
        let mut told = |vendor: &str, at: i64| {
            let identity = Identity { vendor: Some(vendor.into()), ..Identity::default() };
            store.identify(
                PLC,
                crate::model::Identified {
                    identity: Arc::new(identity),
                    at: Timestamp(at),
                    stamp: Default::default(),
                },
            );
            let mut out = Vec::new();
            session.take(&silent, false, &store, Timestamp(at), &mut out);
            session.flush(Timestamp(at), &mut out);
            let metrics = out.iter().flat_map(|m| Payload::parse(&m.payload).unwrap().metrics);
            let named = metrics.filter(|m| m.alias == Some(identity_alias(PLC, 0)));
            (kinds(&out).join(" "), named.filter_map(|m| m.value).collect::<Vec<_>>())
        };
        assert_eq!(told("Acme", 3000), ("DDATA".into(), vec![Raw::Text("Acme".into())]));
        assert_eq!(told("Acme", 4000), (String::new(), vec![]));
        assert_eq!(told("Other", 5000), ("DDATA".into(), vec![Raw::Text("Other".into())]));
        // A birth for another reason says it again.
        let mut out = Vec::new();
        session.births(&store, Timestamp(6000), &mut out);
        session.take(&silent, false, &store, Timestamp(6000), &mut out);
        assert_eq!(kinds(&out), ["NBIRTH", "DBIRTH"]);
    }

    #[test]
    fn a_device_that_is_not_born_may_say_nothing_until_its_birth() {
        let store = Store::in_memory();
        let mut session = Session::new(directory(1), 0, 1 << 20);
        let mut out = Vec::new();
        session.births(&store, Timestamp(1), &mut out);
        assert_eq!(session.take(&batch(1, 0), true, &store, Timestamp(2), &mut out), Taken::Unborn);
        store.accept(batch(2, 0));
        assert_eq!(session.take(&batch(2, 0), false, &store, Timestamp(2), &mut out), Taken::Told);
        assert_eq!(session.take(&batch(1, 0), true, &store, Timestamp(2), &mut out), Taken::Told);
        session.flush(Timestamp(2), &mut out);
        assert_eq!(kinds(&out), ["NBIRTH", "DBIRTH", "DDATA"]);
    }

    /// A device with an alarm (tag 0) and a measured value (tag 1).
    fn with_alarm() -> (Arc<Directory>, Arc<Store>) {
        let directory = Directory::clone(&directory(2)).with_classes([(TagId(0), Class::Critical)].into());
        let directory = Arc::new(directory);
        let clock = crate::model::Clock::starting_at(Timestamp::default());
        (directory.clone(), Store::open(crate::store::Options::default(), directory, clock, Arc::default()))
    }

    fn values(out: &[Message]) -> Vec<(u64, Option<u64>, bool)> {
        out.iter()
            .filter(|m| m.kind == Kind::Data)
            .flat_map(|m| Payload::parse(&m.payload).unwrap().metrics)
            .map(|m| (m.alias.unwrap(), m.timestamp, m.is_historical == Some(true)))
            .collect()
    }

    #[test]
    fn births_and_deaths_keep_their_order_though_alarms_pass_what_came_before_them() {
        let (directory, store) = with_alarm();
        let mut reader = store.reader("cloud", crate::store::ReaderOptions { durable: true, rules: None });
        let mut session = Session::new(directory, 0, 1 << 20);
        let mut out = Vec::new();
        session.births(&store, Timestamp(0), &mut out);
        let both =
            |at: i64| [0, 1].map(|tag| Sample::good(TagId(tag), Value::U16(at as u16), Timestamp(at * 1000)));
        let bad = |at: i64| [0, 1].map(|tag| Sample::bad(TagId(tag), Bad::NoAnswer, Timestamp(at * 1000)));
        let alive =
            |samples: &[Sample]| Batch { device: PLC, state: DeviceState::Alive, samples: samples.to_vec() };
        store.accept(alive(&both(1)));
        store.accept(alive(&both(2)[1..]));
        store.accept(Batch { state: DeviceState::Dead, ..alive(&bad(3)) });
        store.accept(alive(&both(4)));
        store.accept(alive(&both(5)));
        out.clear();
        let mut held = Vec::new();
        while let Some(next) = futures_util::FutureExt::now_or_never(reader.next()) {
            let crate::store::Next::Live(_, batch) = next else { panic!("all is live") };
            if session.take(&batch, false, &store, Timestamp(6000), &mut out) == Taken::Unborn {
                held.push(batch);
            }
        }
        session.flush(Timestamp(6000), &mut out);
        // The alarm's five batches first: born, dead, born again; then the values of before, as history.
        assert_eq!(kinds(&out), ["DBIRTH", "DDATA", "DDEATH", "DBIRTH", "DDATA"]);
        assert!(held.is_empty() && session.is_born(PLC));
        let told = values(&out);
        let of = |alias| told.iter().filter(|v| v.0 == alias).map(|v| (v.1, v.2)).collect::<Vec<_>>();
        assert_eq!(of(2), [1, 2, 3, 4].map(|ms| (Some(ms), true)), "what the birth told is not repeated");
    }

    #[test]
    fn what_was_put_off_is_told_as_it_is_now_once_and_comes_as_history_later() {
        let (directory, store) = with_alarm();
        let mut session = Session::new(directory, 0, 1 << 20);
        let value = |at: i64| Batch {
            device: PLC,
            state: DeviceState::Unknown,
            samples: vec![Sample::good(TagId(1), Value::U16(at as u16), Timestamp(at * 1000))],
        };
        let mut out = Vec::new();
        store.accept(Batch { state: DeviceState::Alive, ..value(1) });
        session.births(&store, Timestamp(0), &mut out);
        out.clear();
        store.accept(Batch { state: DeviceState::Alive, ..value(2) });
        store.accept(Batch { state: DeviceState::Alive, ..value(3) });
        for _ in 0..2 {
            session.catch_up(Class::Normal, &store, Timestamp(4000), &mut out);
        }
        session.take(&value(2), true, &store, Timestamp(4000), &mut out);
        session.take(&value(3), true, &store, Timestamp(4000), &mut out);
        session.flush(Timestamp(4000), &mut out);
        assert_eq!(values(&out), [(2, Some(3), false), (2, Some(2), true), (2, Some(3), true)]);
        // A device that died meanwhile is dead, by the class that says so.
        store.accept(Batch { state: DeviceState::Dead, device: PLC, samples: Vec::new() });
        out.clear();
        session.catch_up(Class::Normal, &store, Timestamp(5000), &mut out);
        assert_eq!(kinds(&out), Vec::<&str>::new());
        session.catch_up(Class::Critical, &store, Timestamp(5000), &mut out);
        assert_eq!(kinds(&out), ["DDEATH"]);
        assert!(!session.is_born(PLC));
    }
}
