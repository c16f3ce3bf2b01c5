//! One rich session, recorded once by a broker that is not ours, on which the statements are proved.
//!
//! Birth, data of every type, a device that comes late, its death and that of another, a rebirth, a lost
//! connection with a CONNECT that is not answered after it, history, a clean stop, a restart, a kill.

use std::sync::LazyLock;

use super::plant::*;
use super::proto::{self, Metric as Wired};
use super::wire::{Entry, Event, Publish, Recorder};

pub(super) const TYPES: DeviceId = DeviceId(3);
const ALARM: TagId = TagId(4);
/// Never read, as `idle` of the node.
const UNREAD: TagId = TagId(5);
const FIRST_TYPE: u32 = 6;

/// What the broker saw, and between which times (ms since 1970).
pub(super) struct Record {
    pub(super) log: Vec<Entry>,
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// A message of the node.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Where in the log.
    pub(super) at: usize,
    pub(super) connection: usize,
    pub(super) kind: String,
    pub(super) device: Option<String>,
    pub(super) publish: Publish,
    pub(super) payload: proto::Payload,
}

pub(super) fn record() -> &'static Record {
    static RECORD: LazyLock<Record> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(session())
    });
    &RECORD
}

impl Record {
    pub(super) fn sent(&self) -> Vec<Sent> {
        let message = |(at, (connection, event)): (usize, &Entry)| {
            let Event::Publish(publish) = event else { return None };
            let parts: Vec<_> = publish.topic.split('/').collect();
            Some(Sent {
                at,
                connection: *connection,
                kind: parts[2].to_owned(),
                device: parts.get(4).map(|d| (*d).to_owned()),
                payload: proto::Payload::read(&publish.payload),
                publish: publish.clone(),
            })
        };
        self.log.iter().enumerate().filter_map(message).collect()
    }

    /// Never empty: a statement on nothing proves nothing.
    pub(super) fn of(&self, kind: &str) -> Vec<Sent> {
        let found: Vec<_> = self.sent().into_iter().filter(|m| m.kind == kind).collect();
        assert!(!found.is_empty(), "no {kind}");
        found
    }

    /// The wills, with their connections.
    pub(super) fn wills(&self) -> Vec<(usize, Publish)> {
        let will = |(connection, event): &Entry| match event {
            Event::Connect { will, .. } => Some((*connection, will.clone().expect("a will"))),
            _ => None,
        };
        let found: Vec<_> = self.log.iter().filter_map(will).collect();
        assert!(found.len() >= 4, "{found:?}");
        found
    }

    /// Metrics of all messages of these kinds, with the message.
    pub(super) fn metrics(&self, kinds: &[&str]) -> Vec<(Sent, Wired)> {
        let of = kinds.iter().flat_map(|kind| self.of(kind));
        of.flat_map(|m| m.payload.metrics.clone().into_iter().map(move |metric| (m.clone(), metric)))
            .collect()
    }
}

/// One tag of each type, with a value and another one; the numbers of the types and fields (6.4.17).
pub(super) fn types() -> Vec<(&'static str, u64, u64, [Value; 2])> {
    vec![
        ("i8", 1, 10, [Value::I8(-8), Value::I8(7)]),
        ("i16", 2, 10, [Value::I16(-16), Value::I16(16)]),
        ("i32", 3, 10, [Value::I32(-32), Value::I32(32)]),
        ("i64", 4, 11, [Value::I64(-64), Value::I64(64)]),
        ("u8", 5, 10, [Value::U8(200), Value::U8(8)]),
        ("u16", 6, 10, [Value::U16(60_000), Value::U16(16)]),
        // The text says uint32; Tahu, Ignition and the official TCK want it in `long_value`.
        ("u32", 7, 11, [Value::U32(4_000_000_000), Value::U32(32)]),
        ("u64", 8, 11, [Value::U64(u64::MAX), Value::U64(64)]),
        ("f32", 9, 12, [Value::F32(-0.5), Value::F32(0.25)]),
        ("f64", 10, 13, [Value::F64(-1e300), Value::F64(0.125)]),
        ("bool", 11, 14, [Value::Bool(true), Value::Bool(false)]),
        ("text", 12, 15, [Value::Text("Füller".into()), Value::Text("leer".into())]),
        (
            "i16s",
            23,
            16,
            [[-2, 258], [3, -4]].map(|pair| Value::Array(fieldgate::model::Array::I16(pair.into()))),
        ),
        (
            "bits",
            32,
            16,
            [[true, false, true], [false; 3]]
                .map(|all| Value::Array(fieldgate::model::Array::Bool(all.into()))),
        ),
    ]
}

fn plant() -> Arc<Directory> {
    let small = directory();
    let mut devices = small.devices().to_vec();
    devices.push(Device { id: TYPES, name: "types".into(), ..devices[1].clone() });
    let mut tags = small.tags().to_vec();
    let like = tags[0].clone();
    let tag = |id: u32, device, owner: &str, name: &str, kind| Tag {
        id: TagId(id),
        device,
        name: name.into(),
        path: format!("{owner}/{name}").into(),
        kind,
        description: Some("a tag".into()),
        ..like.clone()
    };
    tags.push(tag(ALARM.0, SYSTEM, "system", "alarm", DataType::Bool));
    tags.push(tag(UNREAD.0, PLC, "plc", "unread", DataType::I32));
    for (i, (name, _, _, values)) in types().iter().enumerate() {
        tags.push(tag(FIRST_TYPE + i as u32, TYPES, "types", name, values[0].data_type()));
    }
    let idle = FIRST_TYPE + types().len() as u32;
    tags.push(tag(idle, SYSTEM, "system", "idle", DataType::F32));
    let asked = Plate { is_asked: true, ..Plate::default() };
    Arc::new(Directory::new("g", "n", devices, tags).with_plates([(PLC, asked)].into()))
}

fn types_say(node: &Node, which: usize) {
    let at = node.now();
    let sample = |(i, (_, _, _, values)): (usize, &(_, _, _, [Value; 2]))| {
        Sample::good(TagId(FIRST_TYPE + i as u32), values[which].clone(), at)
    };
    node.batch(TYPES, DeviceState::Alive, types().iter().enumerate().map(sample).collect());
}

fn all_answer(node: &Node) {
    types_say(node, 0);
    node.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(ALARM, Value::Bool(false), node.now())]);
    node.all_devices_answer_but_late();
}

fn births(log: &[Entry], kind: &str) -> usize {
    let kind = format!("/{kind}/");
    log.iter().filter(|e| matches!(&e.1, Event::Publish(p) if p.topic.contains(&kind))).count()
}

fn published(log: &[Entry]) -> usize {
    log.iter().filter(|e| matches!(e.1, Event::Publish(_))).count()
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn session() -> Record {
    let began = now_ms();
    let folder = tempfile::tempdir().unwrap();
    let broker = Recorder::start();
    let directory = plant();
    let node = Node::of(directory.clone(), broker.address(), folder.path(), "");
    all_answer(&node);
    broker.wait("births", |log| births(log, "DBIRTH") == 2);
    node.is_up().await;

    // One message each, so that seq goes round.
    let one = |send: &dyn Fn()| {
        let before = broker.published();
        send();
        broker.wait("a message", |log| published(log) > before);
    };
    for i in 1..=300 {
        one(&|| node.level(f64::from(i)));
    }
    for i in 2..5 {
        one(&|| {
            node.batch(SYSTEM, DeviceState::Alive, vec![Sample::good(UPTIME, Value::U64(i), node.now())])
        });
    }
    one(&|| types_say(&node, 1));
    let level = |sample: Sample| one(&|| node.batch(PLC, DeviceState::Alive, vec![sample.clone()]));
    level(Sample::bad(LEVEL, Bad::NotANumber, node.now()));
    level(Sample::uncertain(LEVEL, Value::F64(200.0), Uncertain::OutOfLimits, node.now()));
    level(Sample::good(LEVEL, Value::F64(1.0), node.now()));
    let identity = Identity { vendor: Some("Acme".into()), ..Identity::default() };
    node.cx.store.identify(
        PLC,
        Identified { identity: Arc::new(identity), at: node.now(), stamp: Stamp::Synchronised },
    );
    level(Sample::good(LEVEL, Value::F64(2.0), node.now()));

    let late = |value| {
        one(&|| {
            let sample = Sample::good(LATE_LEVEL, Value::U16(value), node.now());
            node.batch(LATE, DeviceState::Alive, vec![sample]);
        });
    };
    late(1);
    late(2);
    one(&|| {
        let bad = |tag| Sample::bad(tag, Bad::NoAnswer, node.now());
        node.batch(PLC, DeviceState::Dead, vec![bad(SPEED), bad(LEVEL)]);
    });
    level(Sample::good(LEVEL, Value::F64(3.0), node.now()));
    level(Sample::good(LEVEL, Value::F64(4.0), node.now()));

    broker.say("spBv1.0/g/NCMD/n", &proto::command("Node Control/Rebirth", proto::TRUE));
    // plc and types at first, late, plc again; then all three.
    broker.wait("the births again", |log| births(log, "DBIRTH") == 7);
    level(Sample::good(LEVEL, Value::F64(5.0), node.now()));

    broker.refuse(1);
    broker.cut();
    until("the loss is noticed", || node.cx.stats.state.get() == Connection::Down).await;
    for i in 100..110 {
        node.level(f64::from(i));
    }
    broker.wait("births after the loss", |log| births(log, "DBIRTH") == 10);
    node.is_up().await;
    level(Sample::good(LEVEL, Value::F64(6.0), node.now()));
    until("all is delivered", || node.cx.stats.pending_age_ms.get() == 0).await;
    node.stop().await;
    broker.wait("DISCONNECT", |log| log.iter().any(|e| e.1 == Event::Disconnect));

    let node = Node::of(directory, broker.address(), folder.path(), "");
    all_answer(&node);
    broker.wait("births after the restart", |log| births(log, "DBIRTH") == 12);
    node.kill().await;
    broker.wait("the end", |log| matches!(log.last(), Some((_, Event::Closed))));
    Record { log: broker.log(), began, ended: now_ms() }
}
