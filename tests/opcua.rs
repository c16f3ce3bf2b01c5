//! The OPC UA server over real sockets, with a client of the same library.
#![cfg(feature = "opcua")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/opcua.rs"]
mod ground;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::command::{Refusal, Write};
use fieldgate::model::*;
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Bounds, Login, Role, Security, Spec, Trust};
use fieldgate::publishers::publisher::{Context, PublishError, Publisher};
use fieldgate::store::{History, Options};
use fieldgate::telemetry::Connection;
use opcua::client::{ClientBuilder, DataChangeCallback, HistoryReadAction, IdentityToken, Session};
use opcua::crypto::SecurityPolicy;
use opcua::types::*;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use ground::{AT, connect, is_up, surroundings, token, until, until_value, url, user};

/// Tag, its type, and whether it may be written.
const TAGS: [(&str, DataType, bool); 16] = [
    ("pump/bool", DataType::Bool, false),
    ("pump/i8", DataType::I8, false),
    ("pump/u8", DataType::U8, false),
    ("pump/i16", DataType::I16, false),
    ("pump/u16", DataType::U16, false),
    ("pump/i32", DataType::I32, false),
    ("pump/u32", DataType::U32, false),
    ("pump/i64", DataType::I64, false),
    ("pump/u64", DataType::U64, false),
    ("pump/f32", DataType::F32, false),
    ("pump/f64", DataType::F64, false),
    ("pump/string", DataType::Text, false),
    ("pump/motor/speed", DataType::U16, true),
    ("system/unread", DataType::F64, true),
    ("pump/reset", DataType::Bool, true),
    ("pump/profile", DataType::Array(&DataType::F32, 3), true),
];
const SPEED: u32 = 12;
const UNREAD: u32 = 13;
/// Only written.
const RESET: u32 = 14;
const PROFILE: u32 = 15;

/// A running server and the hands on its other ends.
struct Plant {
    cx: Context,
    task: JoinHandle<Result<(), PublishError>>,
    writes: mpsc::Receiver<Write>,
    folder: tempfile::TempDir,
}

fn spec(folder: &Path, port: u16) -> Spec {
    Spec {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        security: vec![Security::None, Security::Basic256Sha256, Security::Aes256],
        anonymous: true,
        users: vec![user(folder, "operator", Role::Operator), user(folder, "viewer", Role::Observer)],
        trust: Trust::Any,
        host: None,
        engineer_only: Vec::new(),
        reverse_connect: Vec::new(),
        register_at: None,
        bounds: Bounds::default(),
    }
}

fn directory() -> Directory {
    let device = |id, name: &str, is_node| Device {
        id: DeviceId(id),
        name: name.into(),
        link: "net".into(),
        description: Some(format!("the {name}").into()),
        is_node,
    };
    let tags = TAGS.iter().enumerate().map(|(id, (path, kind, writable))| {
        let (device, name) = path.split_once('/').unwrap();
        Tag {
            id: TagId(id as u32),
            device: DeviceId(u32::from(device == "system")),
            name: name.into(),
            path: (*path).into(),
            kind: *kind,
            access: match *writable {
                _ if id as u32 == RESET => Access::WriteOnly,
                true => Access::ReadWrite,
                false => Access::Read,
            },
            unit: (id as u32 == SPEED).then(|| "rpm".into()),
            low: (id as u32 == SPEED).then_some(0.0),
            high: (id as u32 == SPEED).then_some(100.0),
            description: (id as u32 == SPEED).then(|| "of the motor".into()),
        }
    });
    Directory::new("water", "gw-1", vec![device(0, "pump", false), device(1, "system", true)], tags.collect())
}

impl Plant {
    /// Starts a server without waiting for it.
    fn begin(port: u16) -> Plant {
        Plant::begin_with(port, tempfile::tempdir().unwrap(), Options::default())
    }

    /// With a store in the folder that keeps history.
    async fn with_history(folder: tempfile::TempDir) -> Plant {
        let options = Options {
            path: Some(folder.path().join("store")),
            history: Some(History { keep: Duration::from_secs(7 * 86400), max_bytes: 512 << 20 }),
            ..Options::default()
        };
        let plant = Plant::begin_with(0, folder, options);
        plant.is_up().await;
        plant
    }

    fn begin_with(port: u16, folder: tempfile::TempDir, options: Options) -> Plant {
        let (cx, writes) = surroundings(&folder.path().join("opcua"), directory(), options);
        let task = tokio::spawn(OpcUa::new(spec(folder.path(), port)).run(cx.clone()));
        Plant { cx, task, writes, folder }
    }

    async fn start() -> Plant {
        let plant = Plant::begin(0);
        plant.is_up().await;
        plant
    }

    async fn is_up(&self) {
        is_up(&self.cx).await;
    }

    fn url(&self) -> String {
        url(&self.cx)
    }

    fn accept(&self, samples: Vec<Sample>) {
        self.cx.store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples });
    }

    async fn anonymous(&self) -> Client {
        self.connect(SecurityPolicy::None, IdentityToken::Anonymous).await.unwrap()
    }

    async fn user(&self, name: &str) -> Client {
        self.connect(SecurityPolicy::Basic256Sha256, token(name)).await.unwrap()
    }

    async fn connect(&self, policy: SecurityPolicy, token: IdentityToken) -> Result<Client, String> {
        let session = connect(self.folder.path(), &self.url(), policy, token).await?;
        let ns = session.get_namespace_index("urn:fieldgate:water:gw-1").await.unwrap();
        Ok(Client { session, ns })
    }
}

struct Client {
    session: Arc<Session>,
    ns: u16,
}

impl Client {
    fn id(&self, path: &str) -> NodeId {
        NodeId::new(self.ns, path)
    }

    async fn attribute(&self, path: &str, attribute: AttributeId) -> DataValue {
        let wanted = ReadValueId::new(self.id(path), attribute);
        let mut values = self.session.read(&[wanted], TimestampsToReturn::Both, 0.0).await.unwrap();
        values.remove(0)
    }

    async fn value(&self, path: &str) -> DataValue {
        self.attribute(path, AttributeId::Value).await
    }

    /// Reads until it is as wished.
    async fn value_that(&self, path: &str, wished: impl Fn(&DataValue) -> bool) -> DataValue {
        until_value(path, async || self.value(path).await, wished).await
    }

    async fn write(&self, path: &str, value: impl Into<DataValue>) -> StatusCode {
        let wanted = WriteValue {
            node_id: self.id(path),
            attribute_id: AttributeId::Value as u32,
            index_range: NumericRange::None,
            value: value.into(),
        };
        self.session.write(&[wanted]).await.unwrap()[0]
    }

    /// Browse name → reference, of all forward hierarchical references.
    async fn children(&self, node: NodeId) -> HashMap<String, ReferenceDescription> {
        let wanted = BrowseDescription {
            node_id: node,
            browse_direction: BrowseDirection::Forward,
            reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
            include_subtypes: true,
            node_class_mask: 0,
            result_mask: BrowseDescriptionResultMask::all().bits(),
        };
        let mut results = self.session.browse(&[wanted], 0, None).await.unwrap();
        let references = results.remove(0).references.unwrap_or_default();
        references.into_iter().map(|r| (r.browse_name.name.to_string(), r)).collect()
    }

    async fn leave(self) {
        self.session.disconnect().await.ok();
    }
}

/// A value without status and times, as most clients write.
fn plain(value: impl Into<Variant>) -> DataValue {
    DataValue::value_only(value)
}

fn micros(time: Option<DateTime>) -> i64 {
    time.unwrap().as_chrono().timestamp_micros()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_browses_an_object_per_device_and_a_variable_per_tag() {
    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    let mut node = ObjectId::ObjectsFolder.into();
    for name in ["water", "gw-1", "pump"] {
        let mut children = client.children(node).await;
        let child = children.remove(name).unwrap_or_else(|| panic!("{name} is not in {children:?}"));
        assert_eq!(child.node_class, NodeClass::Object);
        node = child.node_id.node_id;
    }
    assert_eq!(node, client.id("pump"));
    let device = client.attribute("pump", AttributeId::Description).await;
    assert_eq!(device.value, Some(Variant::from(LocalizedText::from("the pump"))));
    let tags = client.children(node).await;
    assert_eq!(tags["motor"].node_class, NodeClass::Object);
    assert_eq!(tags["u16"].type_definition.node_id, VariableTypeId::BaseDataVariableType);
    let motor = client.children(tags["motor"].node_id.node_id.clone()).await;
    assert_eq!(motor["speed"].node_id.node_id, client.id("pump/motor/speed"));
    assert_eq!(motor["speed"].type_definition.node_id, VariableTypeId::AnalogUnitRangeType);
    assert!(client.children(client.id("/water/gw-1")).await.contains_key("system"));

    let built_in = ["Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"];
    let built_in =
        built_in.into_iter().chain(["Float", "Double", "String", "UInt16", "Double", "Boolean", "Float"]);
    for ((path, ..), name) in TAGS.iter().zip(built_in) {
        let data_type = client.attribute(path, AttributeId::DataType).await.value.unwrap();
        let Variant::NodeId(id) = data_type else { panic!("{data_type:?}") };
        assert_eq!(format!("{:?}", id.as_data_type_id().unwrap()), name, "{path}");
    }
    let properties = client.children(client.id("pump/motor/speed")).await;
    let Some(Variant::ExtensionObject(range)) = client.value("pump/motor/speed#EURange").await.value else {
        panic!()
    };
    let range = range.inner_as::<Range>().unwrap();
    assert_eq!((range.low, range.high), (0.0, 100.0));
    let Some(Variant::ExtensionObject(unit)) = client.value("pump/motor/speed#EngineeringUnits").await.value
    else {
        panic!()
    };
    let unit = unit.inner_as::<EUInformation>().unwrap();
    assert_eq!((unit.unit_id, unit.display_name.text.as_ref()), (5_394_509, "rpm"));
    assert!(properties.contains_key("EURange") && properties.contains_key("EngineeringUnits"));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_arrives_with_type_value_status_and_exact_source_time() {
    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    let before = client.value("pump/u16").await;
    assert_eq!(before.value, Some(Variant::Empty));
    assert_eq!(before.status(), StatusCode::BadWaitingForInitialData);
    let values = [
        (Value::Bool(true), Variant::Boolean(true)),
        (Value::I8(-8), Variant::SByte(-8)),
        (Value::U8(200), Variant::Byte(200)),
        (Value::I16(-16), Variant::Int16(-16)),
        (Value::U16(16), Variant::UInt16(16)),
        (Value::I32(-32), Variant::Int32(-32)),
        (Value::U32(32), Variant::UInt32(32)),
        (Value::I64(i64::MIN), Variant::Int64(i64::MIN)),
        (Value::U64(u64::MAX), Variant::UInt64(u64::MAX)),
        (Value::F32(0.1), Variant::Float(0.1)),
        (Value::F64(-1e300), Variant::Double(-1e300)),
        (Value::Text("Füller".into()), Variant::from("Füller")),
    ];
    let samples = values.iter().enumerate();
    plant.accept(
        samples
            .map(|(id, (v, _))| Sample::good(TagId(id as u32), v.clone(), Timestamp(AT.0 + id as i64)))
            .collect(),
    );
    for (id, (_, expected)) in values.iter().enumerate() {
        let path = TAGS[id].0;
        let value = client.value_that(path, |v| v.status().is_good()).await;
        assert_eq!(value.value.as_ref(), Some(expected), "{path}");
        assert_eq!(micros(value.source_timestamp), AT.0 + id as i64, "{path}");
    }
    let later = Timestamp(AT.0 + 1_000_001);
    plant.accept(vec![
        Sample::uncertain(TagId(4), Value::U16(999), Uncertain::OutOfLimits, later),
        Sample::bad(TagId(5), Bad::NoAnswer, later),
    ]);
    let uncertain = client.value_that("pump/u16", |v| !v.status().is_good()).await;
    assert_eq!(uncertain.status(), StatusCode::UncertainEngineeringUnitsExceeded);
    assert_eq!(uncertain.value, Some(Variant::UInt16(999)));
    let bad = client.value_that("pump/i32", |v| !v.status().is_good()).await;
    assert_eq!((bad.status(), bad.value), (StatusCode::BadTimeout, Some(Variant::Empty)));
    assert_eq!(micros(bad.source_timestamp), later.0);
    client.leave().await;
    until("all are settled", || plant.cx.stats.delivered.get() == 14).await;
    assert_eq!(plant.cx.stats.messages.get(), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_who_it_is_as_properties_of_its_object() {
    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    assert!(!client.children(client.id("pump")).await.contains_key("Manufacturer"));
    let tell = |vendor: &str, model: Option<&str>| {
        let identity =
            Identity { vendor: Some(vendor.into()), model: model.map(Into::into), ..Identity::default() };
        plant.cx.store.identify(
            DeviceId(0),
            Identified { identity: Arc::new(identity), at: AT, stamp: Stamp::Synchronised },
        );
        plant.accept(vec![]);
    };
    let text = |text: &str| Some(Variant::from(LocalizedText::from(text)));
    tell("Acme", Some("P-100"));
    client.value_that("pump#Manufacturer", |v| v.value == text("Acme")).await;
    client.value_that("pump#Model", |v| v.value == text("P-100")).await;
    let children = client.children(client.id("pump")).await;
    assert_eq!(children["Manufacturer"].type_definition.node_id, VariableTypeId::PropertyType);
    assert!(!children.contains_key("SoftwareRevision"), "what is not known is not there");
    tell("Other", None);
    client.value_that("pump#Manufacturer", |v| v.value == text("Other")).await;
    let children = client.children(client.id("pump")).await;
    assert!(!children.contains_key("Model") && children.contains_key("u16"));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_before_the_start_is_there_at_once() {
    let plant = Plant::begin(0);
    plant.accept(vec![Sample::good(TagId(4), Value::U16(4), AT)]);
    plant.is_up().await;
    let client = plant.anonymous().await;
    assert_eq!(client.value_that("pump/u16", |v| v.status().is_good()).await.value, Some(Variant::UInt16(4)));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_every_change_with_its_own_source_time() {
    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    let (told, mut changes) = mpsc::unbounded_channel();
    let callback = DataChangeCallback::new(move |value, _| drop(told.send(value)));
    let session = &client.session;
    let subscription =
        session.create_subscription(Duration::from_millis(100), 100, 20, 0, 0, true, callback).await.unwrap();
    let item = MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::new_value(client.id("pump/u16")),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: 1,
            // Faster changes than this must arrive unchanged, too.
            sampling_interval: 1000.0,
            filter: ExtensionObject::null(),
            queue_size: 50,
            discard_oldest: true,
        },
    };
    let mut unknown = item.clone();
    unknown.item_to_monitor.node_id = client.id("pump/nonsense");
    unknown.requested_parameters.client_handle = 2;
    let made =
        session.create_monitored_items(subscription, TimestampsToReturn::Both, vec![item, unknown]).await;
    let made: Vec<_> = made.unwrap().into_iter().map(|m| m.result.status_code).collect();
    assert_eq!(made, [StatusCode::Good, StatusCode::BadNodeIdUnknown]);
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(10), changes.recv()).await.unwrap().unwrap();
    assert_eq!(next().await.status(), StatusCode::BadWaitingForInitialData);
    // There is no filter, so only the library's idea of a change decides.
    for (n, (why, status)) in [
        (Bad::NoAnswer, StatusCode::BadTimeout),
        (Bad::NotConnected, StatusCode::BadNoCommunication),
        (Bad::Busy, StatusCode::BadResourceUnavailable),
    ]
    .into_iter()
    .enumerate()
    {
        plant.accept(vec![Sample::bad(TagId(4), why, Timestamp(AT.0 - 10_000 + 1000 * n as i64))]);
        while next().await.status() != status {}
    }
    // All in one batch, one millisecond apart.
    let samples =
        (0..20u16).map(|n| Sample::good(TagId(4), Value::U16(n), Timestamp(AT.0 + i64::from(n) * 1000)));
    plant.accept(samples.collect());
    plant.accept(vec![Sample::bad(TagId(4), Bad::NotConnected, Timestamp(AT.0 + 30_000))]);
    for n in 0..20u16 {
        let mut value = next().await;
        // A bad one may be told twice.
        while n == 0 && value.status() == StatusCode::BadResourceUnavailable {
            value = next().await;
        }
        assert_eq!(value.value, Some(Variant::UInt16(n)));
        assert_eq!(micros(value.source_timestamp), AT.0 + i64::from(n) * 1000);
    }
    let bad = next().await;
    assert_eq!(bad.status(), StatusCode::BadNoCommunication);
    assert_eq!(micros(bad.source_timestamp), AT.0 + 30_000);
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_when_the_device_has_answered() {
    let mut plant = Plant::start().await;
    let client = plant.user("operator").await;
    let device = tokio::spawn(async move {
        let mut seen = Vec::new();
        for answer in [Ok(()), Err(Refusal::Fault(Fault::Refused(2))), Err(Refusal::Fault(Fault::Timeout))] {
            let write = plant.writes.recv().await.unwrap();
            seen.push((write.tag, write.value));
            write.reply.send(answer).unwrap();
        }
        (plant, seen)
    });
    let mut answers = Vec::new();
    for value in [42u16, 43, 44] {
        answers.push(client.write("pump/motor/speed", plain(value)).await);
    }
    assert_eq!(answers, [StatusCode::Good, StatusCode::BadDeviceFailure, StatusCode::BadTimeout]);
    let (plant, seen) = device.await.unwrap();
    assert_eq!(seen, [42, 43, 44].map(|v| (TagId(SPEED), Value::U16(v))));
    // What was written is shown when the device says so, not before.
    assert_eq!(client.value("pump/motor/speed").await.status(), StatusCode::BadWaitingForInitialData);
    assert_eq!((plant.cx.stats.commands.get(), plant.cx.stats.refused.get()), (3, 2));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_write_is_told_apart() {
    let mut plant = Plant::start().await;
    let client = plant.user("operator").await;
    let answers = [
        (Ok(()), StatusCode::Good),
        (Err(Refusal::OutOfRange), StatusCode::BadOutOfRange),
        (Err(Refusal::TooOften), StatusCode::BadTooManyOperations),
        (Err(Refusal::LinkDown), StatusCode::BadNoCommunication),
        (Err(Refusal::Fault(Fault::NotConnected)), StatusCode::BadNoCommunication),
        (Err(Refusal::Fault(Fault::Timeout)), StatusCode::BadTimeout),
        (Err(Refusal::Fault(Fault::Garbled)), StatusCode::BadCommunicationError),
        (Err(Refusal::Fault(Fault::Refused(3))), StatusCode::BadDeviceFailure),
        (Err(Refusal::Fault(Fault::Busy)), StatusCode::BadResourceUnavailable),
        (Err(Refusal::Fault(Fault::Altered)), StatusCode::BadOutOfRange),
        (Err(Refusal::Fault(Fault::Unsupported)), StatusCode::BadNotSupported),
    ];
    let device = tokio::spawn(async move {
        for (answer, _) in answers {
            plant.writes.recv().await.unwrap().reply.send(answer).unwrap();
        }
        plant
    });
    for (_, status) in answers {
        assert_eq!(client.write("pump/motor/speed", plain(5u16)).await, status);
    }
    let plant = device.await.unwrap();
    let part = WriteValue {
        node_id: client.id("pump/profile"),
        attribute_id: AttributeId::Value as u32,
        index_range: "1".parse().unwrap(),
        value: plain(vec![1f32]),
    };
    assert_eq!(client.session.write(&[part]).await.unwrap(), [StatusCode::BadWriteNotSupported]);
    // The gate's own limit, in one request: more than it lets through in a second.
    drop(plant.writes);
    let reset = WriteValue {
        node_id: client.id("pump/reset"),
        attribute_id: AttributeId::Value as u32,
        index_range: NumericRange::None,
        value: plain(true),
    };
    let statuses = client.session.write(&vec![reset; 30]).await.unwrap();
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!(count(StatusCode::BadNoCommunication), 20);
    assert_eq!(count(StatusCode::BadTooManyOperations), 10);
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_has_a_rank_and_is_read_in_parts_and_written_as_a_whole() {
    let mut plant = Plant::start().await;
    let client = plant.user("operator").await;
    let path = "pump/profile";
    let rank = client.attribute(path, AttributeId::ValueRank).await.value;
    assert_eq!(rank, Some(Variant::Int32(1)));
    let dimensions = client.attribute(path, AttributeId::ArrayDimensions).await.value;
    assert_eq!(dimensions, Some(Variant::from(vec![3u32])));
    let rank = client.attribute("pump/f32", AttributeId::ValueRank).await.value;
    assert_eq!(rank, Some(Variant::Int32(-1)));
    let profile = fieldgate::model::Array::F32([1.5, -2.0, 0.1].into());
    plant.accept(vec![Sample::good(TagId(PROFILE), Value::Array(profile), AT)]);
    let whole = Variant::from(vec![1.5f32, -2.0, 0.1]);
    client.value_that(path, |value| value.value.as_ref() == Some(&whole)).await;
    let part = ReadValueId { index_range: "1:2".parse().unwrap(), ..ReadValueId::from(client.id(path)) };
    let read = client.session.read(&[part], TimestampsToReturn::Both, 0.0).await.unwrap();
    assert_eq!(read[0].value, Some(Variant::from(vec![-2.0f32, 0.1])));

    let device = tokio::spawn(async move {
        let write = plant.writes.recv().await.unwrap();
        write.reply.send(Ok(())).unwrap();
        (plant, (write.tag, write.value))
    });
    let refused = [plain(vec![1f32, 2.0]), plain(vec![1f32; 4]), plain(1f32), plain(vec![1f64; 3])];
    for value in refused {
        assert_eq!(client.write(path, value).await, StatusCode::BadTypeMismatch);
    }
    assert_eq!(client.write(path, plain(vec![1f32, 2.0, 3.0])).await, StatusCode::Good);
    let (_plant, seen) = device.await.unwrap();
    let written = fieldgate::model::Array::F32([1.0, 2.0, 3.0].into());
    assert_eq!(seen, (TagId(PROFILE), Value::Array(written)));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_only_written_can_be_written_and_not_read() {
    let mut plant = Plant::start().await;
    let client = plant.user("operator").await;
    let level = client.attribute("pump/reset", AttributeId::AccessLevel).await.value;
    assert_eq!(level, Some(Variant::Byte(2)));
    let level = client.attribute("pump/reset", AttributeId::UserAccessLevel).await.value;
    assert_eq!(level, Some(Variant::Byte(2)));
    let viewer = plant.user("viewer").await;
    let level = viewer.attribute("pump/reset", AttributeId::UserAccessLevel).await.value;
    assert_eq!(level, Some(Variant::Byte(0)), "who only reads can do nothing with it");
    let kind = viewer.attribute("pump/reset", AttributeId::DataType).await.value;
    assert_eq!(kind, Some(Variant::from(NodeId::from(DataTypeId::Boolean))), "its other attributes are told");
    viewer.leave().await;
    plant.accept(vec![Sample::bad(TagId(RESET), Bad::NeverRead, AT)]);
    client.value_that("pump/reset", |value| value.status() == StatusCode::BadNotReadable).await;
    let device = tokio::spawn(async move {
        let write = plant.writes.recv().await.unwrap();
        write.reply.send(Ok(())).unwrap();
        (plant, (write.tag, write.value))
    });
    assert_eq!(client.write("pump/reset", plain(true)).await, StatusCode::Good);
    let (_plant, seen) = device.await.unwrap();
    assert_eq!(seen, (TagId(RESET), Value::Bool(true)));
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_refused_and_reaches_no_device() {
    let mut plant = Plant::start().await;
    let operator = plant.user("operator").await;
    let speed = "pump/motor/speed";
    assert_eq!(operator.write("pump/u16", plain(1u16)).await, StatusCode::BadNotWritable);
    assert_eq!(operator.write("pump/motor/speed#EURange", plain(1u16)).await, StatusCode::BadNotWritable);
    assert_eq!(operator.write("pump", plain(1u16)).await, StatusCode::BadNotWritable);
    assert_eq!(operator.write("pump/nonsense", plain(1u16)).await, StatusCode::BadNodeIdUnknown);
    assert_eq!(operator.write(speed, plain(101u16)).await, StatusCode::BadOutOfRange);
    assert_eq!(operator.write("system/unread", plain(f64::NAN)).await, StatusCode::BadOutOfRange);
    assert_eq!(operator.write(speed, plain(5.0)).await, StatusCode::BadTypeMismatch);
    assert_eq!(operator.write(speed, plain(5i16)).await, StatusCode::BadTypeMismatch);
    assert_eq!(operator.write(speed, plain("5")).await, StatusCode::BadTypeMismatch);
    assert_eq!(operator.write(speed, plain(vec![1u16, 2])).await, StatusCode::BadTypeMismatch);
    assert_eq!(operator.write(speed, plain(Variant::Empty)).await, StatusCode::BadTypeMismatch);
    assert_eq!(operator.write(speed, DataValue::new_now(5u16)).await, StatusCode::BadWriteNotSupported);
    let bad = DataValue { status: Some(StatusCode::Bad), ..plain(5u16) };
    assert_eq!(operator.write(speed, bad).await, StatusCode::BadWriteNotSupported);
    let level = operator.attribute(speed, AttributeId::UserAccessLevel).await.value;
    assert_eq!(level, Some(Variant::Byte(3)));

    let viewer = plant.user("viewer").await;
    let anonymous = plant.anonymous().await;
    for client in [&viewer, &anonymous] {
        assert_eq!(client.write(speed, plain(5u16)).await, StatusCode::BadUserAccessDenied);
        let level = client.attribute(speed, AttributeId::UserAccessLevel).await.value;
        assert_eq!(level, Some(Variant::Byte(1)));
    }
    assert!(plant.writes.try_recv().is_err());
    assert_eq!((plant.cx.stats.commands.get(), plant.cx.stats.refused.get()), (15, 15));
    until("three clients are counted", || plant.cx.stats.clients.get() == 3).await;

    // One more without a link behind it.
    plant.writes.close();
    assert_eq!(operator.write("system/unread", plain(1.0)).await, StatusCode::BadNoCommunication);
    for client in [operator, viewer, anonymous] {
        client.leave().await;
    }
    until("no client is counted", || plant.cx.stats.clients.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_over_encrypted_endpoints_only() {
    let plant = Plant::start().await;
    let client = ClientBuilder::new()
        .application_name("test client")
        .application_uri("urn:test:client")
        .pki_dir(plant.folder.path().join("asking"))
        .client()
        .unwrap();
    let endpoints = client.get_server_endpoints_from_url(plant.url()).await.unwrap();
    let mut offered: Vec<_> = endpoints
        .iter()
        .map(|e| {
            let tokens = e.user_identity_tokens.iter().flatten().map(|t| t.token_type).collect::<Vec<_>>();
            (SecurityPolicy::from_uri(e.security_policy_uri.as_ref()).to_str(), e.security_mode, tokens)
        })
        .collect();
    offered.sort_by_key(|(policy, ..)| *policy);
    let named = [UserTokenType::UserName, UserTokenType::Certificate];
    let encrypted = |policy| (policy, MessageSecurityMode::SignAndEncrypt, named.to_vec());
    assert_eq!(
        offered,
        [
            encrypted("Aes256-Sha256-RsaPss"),
            encrypted("Basic256Sha256"),
            ("None", MessageSecurityMode::None, vec![UserTokenType::Anonymous]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_over_encryption_lets_a_user_in() {
    let plant = Plant::start().await;
    let token = |name: &str, password: &str| IdentityToken::UserName(name.into(), password.into());
    let right = token("operator", "operator secret");
    for policy in [SecurityPolicy::Basic256Sha256, SecurityPolicy::Aes256Sha256RsaPss] {
        plant.connect(policy, right.clone()).await.unwrap().leave().await;
        for wrong in
            [token("operator", "viewer secret"), token("nobody", "operator secret"), IdentityToken::Anonymous]
        {
            assert!(plant.connect(policy, wrong).await.is_err());
        }
    }
    assert!(plant.connect(SecurityPolicy::None, right).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_tried_again_until_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plant = Plant::begin(other.local_addr().unwrap().port());
    until("the port is missed", || plant.cx.stats.state.get() == Connection::Down).await;
    assert!(plant.cx.stats.state.trouble().contains("cannot listen"));
    drop(other);
    plant.is_up().await;
    plant.anonymous().await.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_it_also_while_clients_are_connected() {
    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    plant.cx.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), plant.task).await.unwrap().unwrap().unwrap();
    assert_eq!(plant.cx.stats.state.get(), Connection::Stopped);
    assert_eq!(plant.cx.stats.clients.get(), 0);
    // The library's client waits forever for a server that is gone.
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_cannot_be_read_is_said_and_gives_up() {
    let plant = Plant::begin(0);
    plant.task.abort();
    let mut spec = spec(plant.folder.path(), 0);
    spec.users[0].login = Login::Password(Secret::File("/nonexistent/password".into()));
    let ended = OpcUa::new(spec).run(plant.cx.clone()).await;
    assert!(ended.unwrap_err().to_string().contains("password of operator"));
    assert_eq!(plant.cx.stats.state.get(), Connection::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_certificate_stays_the_same_over_a_restart() {
    let plant = Plant::start().await;
    let own = plant.cx.folder.join("pki/own/cert.der");
    let first = std::fs::read(&own).unwrap();
    plant.cx.stop.cancel();
    plant.task.await.unwrap().unwrap();
    let cx = Context { stop: CancellationToken::new(), ..plant.cx };
    let again = tokio::spawn(OpcUa::new(spec(plant.folder.path(), 0)).run(cx.clone()));
    until("it is up again", || cx.stats.state.get() == Connection::Up).await;
    assert_eq!(std::fs::read(&own).unwrap(), first);
    cx.stop.cancel();
    again.await.unwrap().unwrap();
}

#[test]
fn the_tags_of_these_tests_are_where_they_are_said_to_be() {
    assert_eq!((TAGS[SPEED as usize].0, TAGS[UNREAD as usize].0), ("pump/motor/speed", "system/unread"));
}

// ---- history ----

const U16: u32 = 4;
const F64: u32 = 10;

fn at(second: i64) -> Timestamp {
    Timestamp(AT.0 + second * 1_000_000)
}

fn ua_time(at: Timestamp) -> DateTime {
    DateTime::from(at.0 * 10 + 116_444_736_000_000_000)
}

fn raw(start: Option<Timestamp>, end: Option<Timestamp>, most: u32, bounds: bool) -> ReadRawModifiedDetails {
    let time = |at: Option<Timestamp>| at.map_or_else(DateTime::null, ua_time);
    ReadRawModifiedDetails {
        is_read_modified: false,
        start_time: time(start),
        end_time: time(end),
        num_values_per_node: most,
        return_bounds: bounds,
    }
}

fn averages(kinds: &[ObjectId], start: i64, end: i64, interval: f64) -> ReadProcessedDetails {
    ReadProcessedDetails {
        start_time: ua_time(at(start)),
        end_time: ua_time(at(end)),
        processing_interval: interval,
        aggregate_type: Some(kinds.iter().map(|kind| NodeId::from(*kind)).collect()),
        aggregate_configuration: AggregateConfiguration {
            use_server_capabilities_defaults: true,
            ..Default::default()
        },
    }
}

fn data(result: &HistoryReadResult) -> Vec<DataValue> {
    let data = result.history_data.inner_as::<HistoryData>().expect("history data");
    data.data_values.clone().unwrap_or_default()
}

trait Details {
    fn action(self) -> HistoryReadAction;
}

impl Details for ReadRawModifiedDetails {
    fn action(self) -> HistoryReadAction {
        HistoryReadAction::ReadRawModifiedDetails(self)
    }
}

impl Details for ReadProcessedDetails {
    fn action(self) -> HistoryReadAction {
        HistoryReadAction::ReadProcessedDetails(self)
    }
}

/// Seconds since `AT`, of each value.
fn seconds(values: &[DataValue]) -> Vec<i64> {
    values.iter().map(|v| (micros(v.source_timestamp) - AT.0) / 1_000_000).collect()
}

impl Client {
    async fn history(&self, what: impl Details, nodes: &[(&str, &ByteString)]) -> Vec<HistoryReadResult> {
        let node = |(path, point): &(&str, &ByteString)| HistoryReadValueId {
            node_id: self.id(path),
            index_range: NumericRange::None,
            data_encoding: QualifiedName::null(),
            continuation_point: (*point).clone(),
        };
        let nodes: Vec<_> = nodes.iter().map(node).collect();
        self.session.history_read(what.action(), TimestampsToReturn::Both, false, &nodes).await.unwrap()
    }

    async fn one(&self, what: impl Details, path: &str) -> HistoryReadResult {
        self.history(what, &[(path, &ByteString::null())]).await.remove(0)
    }

    /// All pages of a raw read of one tag, and how many there were.
    async fn all(&self, details: ReadRawModifiedDetails, path: &str) -> (Vec<DataValue>, usize) {
        let (mut found, mut point, mut pages) = (Vec::new(), ByteString::null(), 0);
        loop {
            let result = self.history(details.clone(), &[(path, &point)]).await.remove(0);
            assert!(result.status_code.is_good(), "{}", result.status_code);
            pages += 1;
            found.extend(data(&result));
            point = result.continuation_point;
            if point.is_null_or_empty() {
                return (found, pages);
            }
        }
    }
}

/// Values 0, 2, 3, 5 and 6 seconds after `AT`, as in Part 11 table 1.
async fn five_values() -> Plant {
    let plant = Plant::with_history(tempfile::tempdir().unwrap()).await;
    for second in [0, 2, 3, 5, 6] {
        plant.accept(vec![Sample::good(TagId(U16), Value::U16(second as u16), at(second))]);
    }
    plant
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_history_has_the_bounds_of_part_11_table_1() {
    let plant = five_values().await;
    let client = plant.anonymous().await;
    let none = |second| (second, true);
    let some = |seconds: &[i64]| seconds.iter().map(|s| (*s, false)).collect::<Vec<_>>();
    for (start, end, most, bounds, expected) in [
        (Some(0), Some(5), 0, true, some(&[0, 2, 3, 5])),
        (Some(0), Some(5), 0, false, some(&[0, 2, 3])),
        (Some(1), Some(4), 0, true, some(&[0, 2, 3, 5])),
        (Some(1), Some(4), 0, false, some(&[2, 3])),
        (Some(5), Some(0), 0, true, some(&[5, 3, 2, 0])),
        (Some(5), Some(0), 0, false, some(&[5, 3, 2])),
        (Some(4), Some(1), 0, true, some(&[5, 3, 2, 0])),
        (Some(4), Some(1), 0, false, some(&[3, 2])),
        (Some(-1), Some(5), 0, true, [vec![none(-1)], some(&[0, 2, 3, 5])].concat()),
        (Some(1), Some(7), 0, true, [some(&[0, 2, 3, 5, 6]), vec![none(7)]].concat()),
        (Some(0), None, 3, true, some(&[0, 2, 3])),
        (Some(1), None, 3, false, some(&[2, 3, 5])),
        (None, Some(6), 3, false, some(&[6, 5, 3])),
        (Some(2), Some(2), 0, false, some(&[2])),
        (Some(2), Some(2), 0, true, some(&[2])),
        (Some(1), Some(1), 0, true, some(&[0, 2])),
        (Some(1), Some(1), 0, false, some(&[])),
    ] {
        let case = format!("{start:?} {end:?} {most} {bounds}");
        for page in [most, 1, 2] {
            let page = if start.is_none() || end.is_none() { most } else { page };
            let (values, _) = client.all(raw(start.map(at), end.map(at), page, bounds), "pump/u16").await;
            let is_missing = |v: &DataValue| v.status == Some(StatusCode::BadBoundNotFound);
            let found: Vec<_> = seconds(&values).into_iter().zip(values.iter().map(is_missing)).collect();
            assert_eq!(found, expected, "{case} in pages of {page}");
        }
    }
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_history_comes_in_pages_both_ways_of_several_nodes_and_after_a_restart() {
    let plant = Plant::with_history(tempfile::tempdir().unwrap()).await;
    for n in 0..300 {
        let samples = vec![
            Sample::good(TagId(U16), Value::U16(n), at(n.into())),
            if n == 7 {
                Sample::bad(TagId(F64), Bad::NoAnswer, at(7))
            } else {
                Sample::good(TagId(F64), Value::F64(n.into()), at(n.into()))
            },
        ];
        plant.accept(samples);
    }
    // A restart in between, with part of it in memory only.
    plant.cx.store.drain(Duration::from_secs(20)).await;
    plant.cx.stop.cancel();
    plant.task.await.unwrap().unwrap();
    drop(plant.cx);
    let plant = Plant::with_history(plant.folder).await;
    for n in 300..350 {
        plant.accept(vec![Sample::good(TagId(U16), Value::U16(n), at(n.into()))]);
    }
    let client = plant.anonymous().await;
    let (values, pages) = client.all(raw(Some(at(0)), Some(at(1000)), 100, false), "pump/u16").await;
    assert_eq!((seconds(&values), pages), (Vec::from_iter(0..350), 4));
    assert_eq!(values[349].value, Some(Variant::UInt16(349)));
    assert_eq!(values[0].server_timestamp, None);
    let (values, pages) = client.all(raw(Some(at(1000)), Some(at(-1)), 50, false), "pump/u16").await;
    assert_eq!((seconds(&values), pages), (Vec::from_iter((0..350).rev()), 7));

    let null = ByteString::null();
    let both = [("pump/u16", &null), ("pump/f64", &null), ("pump", &null), ("pump/reset", &null)];
    let page = raw(Some(at(0)), Some(at(1000)), 10, false);
    let results = client.history(page.clone(), &both).await;
    assert_eq!((data(&results[0]).len(), data(&results[1]).len()), (10, 10));
    assert_eq!(data(&results[1])[7].status, Some(StatusCode::BadTimeout));
    assert_eq!(results[2].status_code, StatusCode::BadHistoryOperationUnsupported);
    assert_eq!(results[3].status_code, StatusCode::BadUserAccessDenied);
    let (first, second) = (results[0].continuation_point.clone(), results[1].continuation_point.clone());
    let results = client.history(page.clone(), &[("pump/u16", &first), ("pump/f64", &second)]).await;
    assert_eq!(seconds(&data(&results[1])), Vec::from_iter(10..20));
    // A point is good once, and not for another question.
    let again = client.history(page.clone(), &[("pump/u16", &first)]).await;
    assert_eq!(again[0].status_code, StatusCode::BadContinuationPointInvalid);
    let other = raw(Some(at(1)), Some(at(1000)), 10, false);
    let again = client.history(other, &[("pump/u16", &results[0].continuation_point)]).await;
    assert_eq!(again[0].status_code, StatusCode::BadContinuationPointInvalid);

    // Released.
    let point = &results[1].continuation_point;
    let node = HistoryReadValueId {
        node_id: client.id("pump/f64"),
        index_range: NumericRange::None,
        data_encoding: QualifiedName::null(),
        continuation_point: point.clone(),
    };
    let release = HistoryReadAction::ReadRawModifiedDetails(page.clone());
    client.session.history_read(release, TimestampsToReturn::Both, true, &[node]).await.unwrap();
    let again = client.history(page, &[("pump/f64", point)]).await;
    assert_eq!(again[0].status_code, StatusCode::BadContinuationPointInvalid);
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processed_history_has_the_four_aggregates() {
    let plant = Plant::with_history(tempfile::tempdir().unwrap()).await;
    for n in 0..60_i64 {
        plant.accept(vec![match n {
            5 => Sample::bad(TagId(U16), Bad::NoAnswer, at(5)),
            _ => Sample::good(TagId(U16), Value::U16(n as u16), at(n)),
        }]);
    }
    let client = plant.anonymous().await;
    let calculated = |status: StatusCode| Some(StatusCode::from(status.bits() | 0x401));
    let partial = |status: StatusCode| Some(StatusCode::from(status.bits() | 0x405));
    for (kind, expected) in [
        (ObjectId::AggregateFunction_Average, [Variant::Double(40.0 / 9.0), 14.5.into(), 22.0.into()]),
        (ObjectId::AggregateFunction_Minimum, [0_u16.into(), 10_u16.into(), 20_u16.into()]),
        (ObjectId::AggregateFunction_Maximum, [9_u16.into(), 19_u16.into(), 24_u16.into()]),
        (ObjectId::AggregateFunction_Count, [9_i32.into(), 10_i32.into(), 5_i32.into()]),
    ] {
        let result = client.one(averages(&[kind], 0, 25, 10_000.0), "pump/u16").await;
        assert!(result.status_code.is_good() && result.continuation_point.is_null_or_empty());
        let values = data(&result);
        assert_eq!(seconds(&values), [0, 10, 20], "{kind:?}");
        let found: Vec<_> = values.iter().map(|v| v.value.clone().unwrap()).collect();
        assert_eq!(found, expected, "{kind:?}");
        let status: Vec<_> = values.iter().map(|v| v.status).collect();
        let sub_normal = calculated(StatusCode::UncertainDataSubNormal);
        assert_eq!(status, [sub_normal, calculated(StatusCode::Good), partial(StatusCode::Good)]);
    }
    let back = averages(&[ObjectId::AggregateFunction_Count], 25, 0, 10_000.0);
    let values = data(&client.one(back, "pump/u16").await);
    assert_eq!(seconds(&values), [25, 15, 5]);
    let counts: Vec<_> = values.iter().map(|v| v.value.clone().unwrap()).collect();
    assert_eq!(counts, [10_i32.into(), 10_i32.into(), 4_i32.into()] as [Variant; 3]);

    // More intervals than one answer has.
    let (mut point, mut found) = (ByteString::null(), Vec::new());
    let many = averages(&[ObjectId::AggregateFunction_Count], -10_000, 5_000, 1000.0);
    loop {
        let result = client.history(many.clone(), &[("pump/u16", &point)]).await.remove(0);
        found.extend(data(&result));
        point = result.continuation_point;
        if point.is_null_or_empty() {
            break;
        }
    }
    assert_eq!(seconds(&found), Vec::from_iter(-10_000..5_000));
    assert_eq!(found[9_999].status, Some(StatusCode::BadNoData));
    assert_eq!(found[10_000].value, Some(Variant::Int32(1)));

    let refused = |result: HistoryReadResult| result.status_code;
    let median = averages(&[ObjectId::AggregateFunction_Interpolative], 0, 25, 1000.0);
    assert_eq!(refused(client.one(median, "pump/u16").await), StatusCode::BadAggregateNotSupported);
    let two =
        averages(&[ObjectId::AggregateFunction_Count, ObjectId::AggregateFunction_Count], 0, 25, 1000.0);
    assert_eq!(refused(client.one(two, "pump/u16").await), StatusCode::BadAggregateListMismatch);
    let empty = averages(&[ObjectId::AggregateFunction_Count], 0, 0, 1000.0);
    assert_eq!(refused(client.one(empty, "pump/u16").await), StatusCode::BadInvalidArgument);
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_says_whether_it_has_history_and_without_it_reading_is_refused() {
    const HISTORY: u8 = 4;
    let level = async |client: &Client, path: &str| match client
        .attribute(path, AttributeId::AccessLevel)
        .await
        .value
    {
        Some(Variant::Byte(level)) => level & HISTORY,
        other => panic!("{other:?}"),
    };
    let plant = five_values().await;
    let client = plant.anonymous().await;
    assert_eq!(level(&client, "pump/u16").await, HISTORY);
    assert_eq!(level(&client, "pump/reset").await, 0);
    let historizing = client.attribute("pump/u16", AttributeId::Historizing).await.value;
    assert_eq!(historizing, Some(Variant::Boolean(true)));
    for (details, status) in [
        (raw(None, None, 5, false), StatusCode::BadHistoryOperationInvalid),
        (raw(Some(at(0)), None, 0, false), StatusCode::BadHistoryOperationInvalid),
        (
            ReadRawModifiedDetails { is_read_modified: true, ..raw(Some(at(0)), Some(at(5)), 0, false) },
            StatusCode::BadHistoryOperationUnsupported,
        ),
    ] {
        assert_eq!(client.one(details, "pump/u16").await.status_code, status);
    }
    client.leave().await;

    let plant = Plant::start().await;
    let client = plant.anonymous().await;
    assert_eq!(level(&client, "pump/u16").await, 0);
    let historizing = client.attribute("pump/u16", AttributeId::Historizing).await.value;
    assert_eq!(historizing, Some(Variant::Boolean(false)));
    let result = client.one(raw(Some(at(0)), Some(at(5)), 0, false), "pump/u16").await;
    assert_eq!(result.status_code, StatusCode::BadHistoryOperationUnsupported);
    client.leave().await;
}
