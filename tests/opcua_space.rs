//! The OPC UA address space as a client sees it: types, nameplates, changes while it is there, what
//! monitored items are told.
#![cfg(feature = "opcua")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/opcua.rs"]
mod ground;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::model::*;
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Security, Spec};
use fieldgate::publishers::publisher::{Context, Directories, PublishError, Publisher};
use fieldgate::store::{History, Options};
use opcua::client::{DataChangeCallback, EventCallback, IdentityToken, Session};
use opcua::crypto::SecurityPolicy;
use opcua::types::*;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use ground::{AT, connect, is_up, surroundings, until_value, url};

const DI: &str = "http://opcfoundation.org/UA/DI/";

fn after(millis: i64) -> Timestamp {
    Timestamp(AT.0 + millis * 1000)
}

/// A tag of the device `pump`, with a range where it is a float.
fn tag(id: u32, name: &str, kind: DataType) -> Tag {
    let range = kind == DataType::F64;
    Tag {
        low: range.then_some(0.0),
        high: range.then_some(200.0),
        ..Tag::plain(TagId(id), DeviceId(0), &format!("pump/{name}"), kind)
    }
}

fn directory(tags: Vec<Tag>) -> Directory {
    let device = Device::plain(DeviceId(0), "pump", "net");
    Directory::new("water", "gw-1", vec![device], tags)
}

/// A running server and the hands on its other ends.
struct Plant {
    cx: Context,
    configuration: watch::Sender<Arc<Directory>>,
    _task: JoinHandle<Result<(), PublishError>>,
    folder: tempfile::TempDir,
}

impl Plant {
    async fn start(directory: Directory) -> Plant {
        Plant::start_with(directory, |_| Options::default()).await
    }

    async fn start_with(directory: Directory, options: impl Fn(&std::path::Path) -> Options) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let (mut cx, _) = surroundings(&folder.path().join("opcua"), directory, options(folder.path()));
        let (configuration, directories) = Directories::following(cx.directory.now());
        cx.directory = directories;
        let spec = Spec {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            security: vec![Security::None],
            anonymous: true,
            users: Vec::new(),
            trust: fieldgate::publishers::opcua::config::Trust::Any,
            ..Spec::default()
        };
        let task = tokio::spawn(OpcUa::new(spec).run(cx.clone()));
        is_up(&cx).await;
        Plant { cx, configuration, _task: task, folder }
    }

    fn accept(&self, samples: Vec<Sample>) {
        self.cx.store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples });
    }

    fn configure(&self, directory: Directory) {
        self.configuration.send_replace(Arc::new(directory));
    }

    async fn connect(&self) -> Client {
        let url = url(&self.cx);
        let session =
            connect(self.folder.path(), &url, SecurityPolicy::None, IdentityToken::Anonymous).await.unwrap();
        let ns = session.get_namespace_index("urn:fieldgate:water:gw-1").await.unwrap();
        Client { session, ns }
    }
}

struct Client {
    session: Arc<Session>,
    ns: u16,
}

/// What a subscription tells: the item's number and the value.
type Told = mpsc::UnboundedReceiver<(u32, DataValue)>;

impl Client {
    fn id(&self, path: &str) -> NodeId {
        NodeId::new(self.ns, path)
    }

    async fn read(&self, node: NodeId) -> DataValue {
        let wanted = ReadValueId::new_value(node);
        self.session.read(&[wanted], TimestampsToReturn::Both, 0.0).await.unwrap().remove(0)
    }

    async fn value(&self, path: &str) -> DataValue {
        self.read(self.id(path)).await
    }

    async fn value_that(&self, path: &str, wished: impl Fn(&DataValue) -> bool) -> DataValue {
        until_value(path, async || self.value(path).await, wished).await
    }

    async fn references(&self, node: NodeId, of: ReferenceTypeId) -> Vec<ReferenceDescription> {
        let wanted = BrowseDescription {
            node_id: node,
            browse_direction: BrowseDirection::Forward,
            reference_type_id: of.into(),
            include_subtypes: true,
            node_class_mask: 0,
            result_mask: BrowseDescriptionResultMask::all().bits(),
        };
        let mut results = self.session.browse(&[wanted], 0, None).await.unwrap();
        results.remove(0).references.unwrap_or_default()
    }

    async fn children(&self, path: &str) -> BTreeMap<String, ReferenceDescription> {
        let all = self.references(self.id(path), ReferenceTypeId::HierarchicalReferences).await;
        all.into_iter().map(|r| (r.browse_name.name.to_string(), r)).collect()
    }

    async fn subscribe(&self, every: u64) -> (u32, Told) {
        let (told, changes) = mpsc::unbounded_channel();
        let callback =
            DataChangeCallback::new(move |value, item| drop(told.send((item.client_handle(), value))));
        let every = Duration::from_millis(every);
        let id = self.session.create_subscription(every, 1000, 100, 0, 0, true, callback).await.unwrap();
        (id, changes)
    }

    async fn monitor(&self, subscription: u32, items: Vec<MonitoredItemCreateRequest>) -> Vec<StatusCode> {
        let made = self.session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await;
        made.unwrap().into_iter().map(|made| made.result.status_code).collect()
    }
}

fn item(number: u32, node: NodeId) -> MonitoredItemCreateRequest {
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::new_value(node),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: number,
            sampling_interval: 0.0,
            filter: ExtensionObject::null(),
            queue_size: 50,
            discard_oldest: true,
        },
    }
}

fn with(
    item: MonitoredItemCreateRequest,
    change: impl Fn(&mut MonitoringParameters),
) -> MonitoredItemCreateRequest {
    let mut item = item;
    change(&mut item.requested_parameters);
    item
}

async fn next(told: &mut Told) -> (u32, DataValue) {
    tokio::time::timeout(Duration::from_secs(20), told.recv()).await.expect("told within 20 s").unwrap()
}

/// The next value of an item that is wished; others are left out.
async fn next_that(told: &mut Told, wished: impl Fn(u32, &DataValue) -> bool) -> DataValue {
    loop {
        let (number, value) = next(told).await;
        if wished(number, &value) {
            return value;
        }
    }
}

fn micros(time: Option<DateTime>) -> Option<i64> {
    time.map(|time| time.as_chrono().timestamp_micros())
}

fn text(text: &str) -> Option<Variant> {
    Some(Variant::from(LocalizedText::from(text)))
}

fn numbers(names: &[(i64, &str)]) -> Arc<Labels> {
    Arc::new(Labels::Numbers(names.iter().map(|(value, name)| (*value, (*name).into())).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_with_labels_are_discrete_variables_that_say_what_they_are_called() {
    let mut tags =
        vec![tag(0, "run", DataType::Bool), tag(1, "state", DataType::U16), tag(2, "mode", DataType::I16)];
    tags[1].low = Some(0.0);
    tags[1].high = Some(2.0);
    let labels = HashMap::from([
        (TagId(0), Arc::new(Labels::Switch { off: "Stopped".into(), on: "Running".into() })),
        (TagId(1), numbers(&[(0, "Idle"), (1, "Running")])),
        (TagId(2), numbers(&[(-1, "Reverse"), (1, "Forward")])),
    ]);
    let plant = Plant::start(directory(tags).with_labels(labels)).await;
    let client = plant.connect().await;
    let children = client.children("pump").await;
    let kinds = ["run", "state", "mode"].map(|name| children[name].type_definition.node_id.clone());
    assert_eq!(kinds[0], VariableTypeId::TwoStateDiscreteType);
    assert_eq!(kinds[1], VariableTypeId::MultiStateDiscreteType);
    assert_eq!(kinds[2], VariableTypeId::MultiStateValueDiscreteType);
    let properties = async |path: &str| client.children(path).await.into_keys().collect::<Vec<_>>();
    assert_eq!(properties("pump/run").await, ["FalseState", "TrueState"]);
    assert_eq!(properties("pump/state").await, ["EnumStrings"]);
    assert_eq!(properties("pump/mode").await, ["EnumValues", "ValueAsText"]);
    assert_eq!(client.value("pump/run#FalseState").await.value, text("Stopped"));
    assert_eq!(client.value("pump/run#TrueState").await.value, text("Running"));
    let names = client.value("pump/state#EnumStrings").await.value.unwrap();
    assert_eq!(names, Variant::from(vec![LocalizedText::from("Idle"), LocalizedText::from("Running")]));
    let Some(Variant::Array(values)) = client.value("pump/mode#EnumValues").await.value else { panic!() };
    let values = values.values.into_iter().map(|value| match value {
        Variant::ExtensionObject(value) => {
            let value = value.into_inner_as::<EnumValueType>().unwrap();
            (value.value, value.display_name.text.to_string())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(values.collect::<Vec<_>>(), [(-1, "Reverse".into()), (1, "Forward".into())]);

    let name = "pump/mode#ValueAsText";
    assert_eq!(client.value(name).await.status(), StatusCode::BadWaitingForInitialData);
    let (subscription, mut told) = client.subscribe(50).await;
    assert_eq!(client.monitor(subscription, vec![item(1, client.id(name))]).await, [StatusCode::Good]);
    plant.accept(vec![Sample::good(TagId(2), Value::I16(-1), AT)]);
    let reverse = next_that(&mut told, |_, value| value.status().is_good()).await;
    assert_eq!((reverse.value, micros(reverse.source_timestamp)), (text("Reverse"), Some(AT.0)));
    plant.accept(vec![Sample::good(TagId(2), Value::I16(5), after(1))]);
    let nameless = client.value_that(name, |value| value.value != text("Reverse")).await;
    assert_eq!(
        (nameless.value, nameless.status),
        (Some(LocalizedText::null().into()), Some(StatusCode::Good))
    );
    plant.accept(vec![Sample::bad(TagId(2), Bad::NoAnswer, after(2))]);
    client.value_that(name, |value| value.status() == StatusCode::BadTimeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nameplate_has_the_names_of_the_devices_model_and_the_gateway_has_one_too() {
    let plate = Plate { manufacturer: Some("Acme".into()), model: Some("P-1".into()), ..Plate::default() };
    let made = directory(vec![tag(0, "a", DataType::U16)]).with_plates(HashMap::from([(DeviceId(0), plate)]));
    let plant = Plant::start(made).await;
    let client = plant.connect().await;
    let di = client.session.get_namespace_index(DI).await.unwrap();
    client.value_that("pump#Manufacturer", |v| v.value == text("Acme")).await;
    client.value_that("pump#Model", |v| v.value == text("P-1")).await;
    let children = client.children("pump").await;
    assert_eq!(children["Model"].browse_name, QualifiedName::new(di, "Model"));
    assert!(!children.contains_key("SerialNumber"), "what is not known is not there");
    let interfaces = client.references(client.id("pump"), ReferenceTypeId::HasInterface).await;
    assert_eq!(interfaces[0].node_id.node_id, NodeId::new(di, 15035u32));

    let gateway = client.children("/water/gw-1").await;
    assert_eq!(gateway["Manufacturer"].browse_name, QualifiedName::new(di, "Manufacturer"));
    let version = client.value("/water/gw-1#SoftwareRevision").await.value;
    assert_eq!(version, Some(Variant::from(env!("CARGO_PKG_VERSION"))));
    let bases = client.references(ObjectTypeId::BaseInterfaceType.into(), ReferenceTypeId::HasSubtype).await;
    assert!(bases.iter().any(|b| b.node_id.node_id == NodeId::new(di, 15035u32)) || bases.is_empty());
}

/// Events of the server: source, message and the changes.
async fn model_changes(client: &Client) -> mpsc::UnboundedReceiver<Vec<ModelChangeStructureDataType>> {
    let (told, changes) = mpsc::unbounded_channel();
    let callback = EventCallback::new(move |fields, _| {
        let Variant::Array(all) = fields.unwrap().remove(0) else { panic!("no changes") };
        let all = all.values.into_iter().map(|one| match one {
            Variant::ExtensionObject(one) => *one.into_inner_as::<ModelChangeStructureDataType>().unwrap(),
            other => panic!("{other:?}"),
        });
        told.send(all.collect()).ok();
    });
    let session = &client.session;
    let every = Duration::from_millis(50);
    let subscription = session.create_subscription(every, 1000, 100, 0, 0, true, callback).await.unwrap();
    let changes_field = SimpleAttributeOperand::new(
        ObjectTypeId::GeneralModelChangeEventType,
        "Changes",
        AttributeId::Value,
        NumericRange::None,
    );
    let of_type = ContentFilterElement {
        filter_operator: FilterOperator::OfType,
        filter_operands: Some(vec![ExtensionObject::from_message(LiteralOperand {
            value: NodeId::from(ObjectTypeId::GeneralModelChangeEventType).into(),
        })]),
    };
    let filter = EventFilter {
        select_clauses: Some(vec![changes_field]),
        where_clause: ContentFilter { elements: Some(vec![of_type]) },
    };
    let mut wanted =
        with(item(1, ObjectId::Server.into()), |p| p.filter = ExtensionObject::from_message(filter.clone()));
    wanted.item_to_monitor.attribute_id = AttributeId::EventNotifier as u32;
    assert_eq!(client.monitor(subscription, vec![wanted]).await, [StatusCode::Good]);
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_through_ten_new_configurations() {
    let always = || tag(0, "always", DataType::U16);
    let plant = Plant::start(directory(vec![always(), tag(1, "motor/sometimes", DataType::U16)])).await;
    let client = plant.connect().await;
    let mut events = model_changes(&client).await;
    plant.accept(vec![
        Sample::good(TagId(0), Value::U16(0), AT),
        Sample::good(TagId(1), Value::U16(1000), AT),
    ]);
    client.value_that("pump/motor/sometimes", |value| value.status().is_good()).await;
    let (subscription, mut told) = client.subscribe(20).await;
    // The client library gives an item 0 another number.
    let items = vec![item(2, client.id("pump/always")), item(1, client.id("pump/motor/sometimes"))];
    assert_eq!(client.monitor(subscription, items).await, [StatusCode::Good; 2]);
    next_that(&mut told, |number, value| number == 1 && value.status().is_good()).await;
    let version = client.value("pump#NodeVersion").await.value;
    for round in 1..=10u16 {
        let there = round % 2 == 0;
        let mut tags = vec![always()];
        if there {
            tags.push(tag(1, "motor/sometimes", DataType::U16));
        }
        plant.configure(directory(tags));
        let changes = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
        let verbs: BTreeMap<_, _> =
            changes.iter().map(|change| (change.affected.to_string(), change.verb)).collect();
        let of = |path: &str| verbs.get(&client.id(path).to_string()).copied();
        // Added or deleted, the references of their parents likewise.
        let (node, reference) = if there { (1, 4) } else { (2, 8) };
        assert_eq!(of("pump/motor/sometimes"), Some(node), "{verbs:?}");
        assert_eq!(of("pump").map(|verb| verb & reference), Some(reference), "{verbs:?}");
        assert_eq!(of("pump/always"), None);
        let status = client.value("pump/motor/sometimes").await.status();
        assert_eq!(status == StatusCode::BadNodeIdUnknown, !there, "{status}");
        if there {
            let value = Sample::good(TagId(1), Value::U16(1000 + round), after(round.into()));
            plant.accept(vec![value]);
            // The item of before, which nobody made anew.
            let expected = Some(Variant::UInt16(1000 + round));
            next_that(&mut told, |number, value| number == 1 && value.value == expected).await;
        } else {
            let gone = StatusCode::BadNodeIdUnknown;
            next_that(&mut told, |number, value| number == 1 && value.status() == gone).await;
        }
        plant.accept(vec![Sample::good(TagId(0), Value::U16(round), after(round.into()))]);
        let value = next_that(&mut told, |number, _| number == 2).await;
        assert_eq!((value.value, value.status), (Some(Variant::UInt16(round)), Some(StatusCode::Good)));
    }
    assert_eq!(plant.cx.stats.connects.get(), 1, "one session all the time");
    let later = client.value("pump#NodeVersion").await.value;
    assert_eq!((version, later), (Some(Variant::from("1")), Some(Variant::from("11"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_becomes_something_else_keeps_its_id_and_where_it_can_its_value() {
    let plant = Plant::start(directory(vec![tag(0, "a", DataType::F64), tag(1, "b", DataType::U16)])).await;
    let client = plant.connect().await;
    plant
        .accept(vec![Sample::good(TagId(0), Value::F64(5.0), AT), Sample::good(TagId(1), Value::U16(7), AT)]);
    client.value_that("pump/b", |value| value.status().is_good()).await;
    let mut events = model_changes(&client).await;
    let renamed =
        Tag { unit: Some("bar".into()), description: Some("more".into()), ..tag(0, "a", DataType::F64) };
    // Another type under the same number, as a compiled file has it: the sample of before is of the old one.
    plant.configure(directory(vec![renamed, tag(1, "b", DataType::F32)]));
    let changes = events.recv().await.unwrap();
    let verb = |path| changes.iter().find(|c| c.affected == client.id(path)).map(|c| c.verb);
    assert_eq!((verb("pump/a"), verb("pump/b")), (Some(12), Some(16)));
    let value = client.value("pump/a").await;
    assert_eq!((value.value, micros(value.source_timestamp)), (Some(Variant::Double(5.0)), Some(AT.0)));
    assert!(client.children("pump/a").await.contains_key("EngineeringUnits"));
    assert_eq!(client.value("pump/b").await.status(), StatusCode::BadWaitingForInitialData);
    plant.accept(vec![Sample::good(TagId(1), Value::F32(1.5), after(1))]);
    client.value_that("pump/b", |value| value.value == Some(Variant::Float(1.5))).await;
    // Nothing changes for clients: nothing is told, and values go on.
    plant.configure(directory(vec![
        Tag { unit: Some("bar".into()), description: Some("more".into()), ..tag(3, "a", DataType::F64) },
        tag(9, "b", DataType::F32),
    ]));
    plant.accept(vec![Sample::good(TagId(9), Value::F32(2.5), after(2))]);
    client.value_that("pump/b", |value| value.value == Some(Variant::Float(2.5))).await;
    assert!(events.try_recv().is_err());
}

fn deadband(kind: DeadbandType, value: f64) -> ExtensionObject {
    ExtensionObject::from_message(DataChangeFilter {
        trigger: DataChangeTrigger::StatusValue,
        deadband_type: kind as u32,
        deadband_value: value,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_deadband_is_absolute_or_percent_of_the_range() {
    let plant =
        Plant::start(directory(vec![tag(0, "ranged", DataType::F64), tag(1, "plain", DataType::F32)])).await;
    let client = plant.connect().await;
    plant.accept(vec![Sample::good(TagId(0), Value::F64(100.0), AT)]);
    client.value_that("pump/ranged", |value| value.status().is_good()).await;
    let (subscription, mut told) = client.subscribe(20).await;
    let of =
        |number, path, kind, value| with(item(number, client.id(path)), |p| p.filter = deadband(kind, value));
    let made = client
        .monitor(
            subscription,
            vec![
                of(1, "pump/ranged", DeadbandType::Absolute, 5.0),
                // Of 0 to 200: more than 20.
                of(2, "pump/ranged", DeadbandType::Percent, 10.0),
                of(3, "pump/plain", DeadbandType::Percent, 10.0),
                of(4, "pump/ranged", DeadbandType::Percent, 101.0),
                of(5, "pump/ranged", DeadbandType::Absolute, -1.0),
            ],
        )
        .await;
    let refused = StatusCode::BadDeadbandFilterInvalid;
    assert_eq!(made, [StatusCode::Good, StatusCode::Good, refused, refused, refused]);
    let values = [105.0, 106.0, 120.0, 121.0, 100.0, 142.0, 99.0];
    let samples = values.into_iter().zip(1..);
    plant.accept(samples.map(|(v, n)| Sample::good(TagId(0), Value::F64(v), after(n))).collect());
    let mut seen: [Vec<f64>; 3] = Default::default();
    while seen[1].last() != Some(&99.0) || seen[2].last() != Some(&99.0) {
        let (number, value) = next(&mut told).await;
        let Some(Variant::Double(value)) = value.value else { panic!() };
        seen[number as usize].push(value);
    }
    assert_eq!(seen[1], [100.0, 106.0, 120.0, 100.0, 142.0, 99.0]);
    assert_eq!(seen[2], [100.0, 121.0, 100.0, 142.0, 99.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_keeps_what_the_client_wants_and_says_that_it_lost_some() {
    let plant = Plant::start(directory(vec![tag(0, "a", DataType::U16)])).await;
    let client = plant.connect().await;
    plant.accept(vec![Sample::good(TagId(0), Value::U16(0), AT)]);
    client.value_that("pump/a", |value| value.status().is_good()).await;
    // Published late enough for all values to lie in one interval.
    let (subscription, mut told) = client.subscribe(2000).await;
    let sized = |number, size, oldest| {
        with(item(number, client.id("pump/a")), |p| (p.queue_size, p.discard_oldest) = (size, oldest))
    };
    let items = vec![sized(1, 3, true), sized(2, 3, false), sized(3, 50, true)];
    assert_eq!(client.monitor(subscription, items).await, [StatusCode::Good; 3]);
    for _ in 0..3 {
        assert_eq!(next(&mut told).await.1.value, Some(Variant::UInt16(0)));
    }
    let samples = (1..=10u16).map(|n| Sample::good(TagId(0), Value::U16(n), after(n.into())));
    plant.accept(samples.collect());
    let mut seen: BTreeMap<u32, Vec<(u16, bool)>> = BTreeMap::new();
    for _ in 0..16 {
        let (number, value) = next(&mut told).await;
        let Some(Variant::UInt16(n)) = value.value else { panic!() };
        assert!(value.status().is_good());
        seen.entry(number).or_default().push((n, value.status().overflow()));
    }
    let values = |number| seen[&number].iter().map(|(n, _)| *n).collect::<Vec<_>>();
    assert_eq!((values(1), values(2)), (vec![8, 9, 10], vec![1, 2, 10]));
    assert_eq!(values(3), (1..=10).collect::<Vec<_>>());
    let lost = |number| seen[&number].iter().any(|(_, lost)| *lost);
    assert_eq!((lost(1), lost(2), lost(3)), (true, true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sampling_interval_makes_a_time_wrong() {
    let plant = Plant::start(directory(vec![tag(0, "a", DataType::U16)])).await;
    let client = plant.connect().await;
    plant.accept(vec![Sample::good(TagId(0), Value::U16(0), AT)]);
    client.value_that("pump/a", |value| value.status().is_good()).await;
    let (subscription, mut told) = client.subscribe(20).await;
    let every =
        |number, interval| with(item(number, client.id("pump/a")), |p| p.sampling_interval = interval);
    let items = vec![every(1, -1.0), every(2, 0.0), every(3, 1000.0), every(4, 0.0)];
    let made =
        client.session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await.unwrap();
    // What the library shifts when an interval is changed later.
    let change = MonitoredItemModifyRequest {
        monitored_item_id: made[3].result.monitored_item_id,
        requested_parameters: every(4, 5000.0).requested_parameters,
    };
    client.session.modify_monitored_items(subscription, TimestampsToReturn::Both, &[change]).await.unwrap();
    for _ in 0..4 {
        next(&mut told).await;
    }
    let samples = (1..=5u16).map(|n| Sample::good(TagId(0), Value::U16(n), after(n.into())));
    plant.accept(samples.collect());
    let mut seen: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for _ in 0..20 {
        let (number, value) = next(&mut told).await;
        let Some(Variant::UInt16(n)) = value.value else { panic!() };
        seen.entry(number).or_default().push(n);
        let at = Some(after(n.into()).0);
        match number {
            // No source time, and the server's own is that of the answer of the device.
            1 | 4 => {
                assert_eq!((micros(value.source_timestamp), micros(value.server_timestamp)), (None, at));
            }
            _ => assert_eq!(micros(value.source_timestamp), at),
        }
    }
    assert!(seen.values().all(|values| *values == [1, 2, 3, 4, 5]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_a_part_of_an_array_gets_that_part() {
    let plant = Plant::start(directory(vec![tag(0, "a", DataType::Array(&DataType::U16, 4))])).await;
    let client = plant.connect().await;
    let array = |values: [u16; 4]| Value::Array(fieldgate::model::Array::U16(values.into()));
    plant.accept(vec![Sample::good(TagId(0), array([1, 2, 3, 4]), AT)]);
    client.value_that("pump/a", |value| value.status().is_good()).await;
    let (subscription, mut told) = client.subscribe(20).await;
    let mut part = item(1, client.id("pump/a"));
    part.item_to_monitor.index_range = "2:3".parse().unwrap();
    assert_eq!(client.monitor(subscription, vec![part]).await, [StatusCode::Good]);
    assert_eq!(next(&mut told).await.1.value, Some(Variant::from(vec![3u16, 4])));
    // What changes beside it is not told.
    plant.accept(vec![Sample::good(TagId(0), array([9, 9, 3, 4]), after(1))]);
    plant.accept(vec![Sample::good(TagId(0), array([9, 9, 3, 5]), after(2))]);
    let (_, value) = next(&mut told).await;
    assert_eq!(
        (value.value, micros(value.source_timestamp)),
        (Some(Variant::from(vec![3u16, 5])), Some(after(2).0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_for_many_tags_and_many_subscribers() {
    const TAGS: u32 = 500;
    const CLIENTS: usize = 4;
    const ROUNDS: u16 = 8;
    let plant =
        Plant::start(directory((0..TAGS).map(|n| tag(n, &format!("t{n}"), DataType::U16)).collect())).await;
    let mut watchers = Vec::new();
    for _ in 0..CLIENTS {
        let client = plant.connect().await;
        let (subscription, told) = client.subscribe(100).await;
        let items = (0..TAGS).map(|n| item(n + 1, client.id(&format!("pump/t{n}")))).collect();
        let made = client.monitor(subscription, items).await;
        assert!(made.iter().all(|status| status.is_good()));
        watchers.push((client, told));
    }
    let feed = async {
        for round in 1..=ROUNDS {
            let samples = (0..TAGS).map(|n| Sample::good(TagId(n), Value::U16(round), after(round.into())));
            plant.accept(samples.collect());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let watch = async {
        for (_, told) in &mut watchers {
            let mut seen = vec![0u16; TAGS as usize];
            while seen.iter().any(|last| *last != ROUNDS) {
                let (number, value) = next(told).await;
                let Some(Variant::UInt16(n)) = value.value else { continue };
                let last = &mut seen[number as usize - 1];
                assert_eq!(n, *last + 1, "of tag {number}");
                assert!(!value.status().overflow());
                *last = n;
            }
        }
    };
    tokio::join!(feed, watch);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tags_are_changed_in_one_go() {
    let all = |from: u32| {
        directory((from..from + 10_000).map(|n| tag(n, &format!("t{n}"), DataType::U16)).collect())
    };
    let plant = Plant::start(all(0)).await;
    let client = plant.connect().await;
    let mut events = model_changes(&client).await;
    plant.configure(all(5000));
    let mut affected = 0;
    while affected < 10_001 {
        let changes = tokio::time::timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap();
        assert!(changes.len() <= 500);
        affected += changes.len();
    }
    assert_eq!(affected, 10_001, "those that come, those that go, and their device");
    assert_eq!(client.value("pump/t4999").await.status(), StatusCode::BadNodeIdUnknown);
    assert_eq!(client.value("pump/t14999").await.status(), StatusCode::BadWaitingForInitialData);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_history_it_has() {
    let kept = |folder: &std::path::Path| Options {
        path: Some(folder.join("store")),
        history: Some(History { keep: Duration::from_secs(86400), max_bytes: 64 << 20 }),
        ..Options::default()
    };
    let says = async |plant: &Plant| {
        let client = plant.connect().await;
        let value = async |id: VariableId| client.read(id.into()).await.value;
        let functions = ObjectId::HistoryServerCapabilities_AggregateFunctions.into();
        let functions = client.references(functions, ReferenceTypeId::HierarchicalReferences).await;
        (
            value(VariableId::HistoryServerCapabilities_AccessHistoryDataCapability).await,
            value(VariableId::HistoryServerCapabilities_AccessHistoryEventsCapability).await,
            value(VariableId::HistoryServerCapabilities_MaxReturnDataValues).await,
            functions.into_iter().map(|f| f.browse_name.name.to_string()).collect::<Vec<_>>(),
        )
    };
    let tags = || directory(vec![tag(0, "a", DataType::U16)]);
    let (yes, no) = (Some(Variant::Boolean(true)), Some(Variant::Boolean(false)));
    let with = says(&Plant::start_with(tags(), kept).await).await;
    assert_eq!((with.0, with.1, with.2), (yes, no.clone(), Some(Variant::UInt32(10_000))));
    let mut functions = with.3;
    functions.sort_unstable();
    assert_eq!(functions, ["Average", "Count", "Maximum", "Minimum"]);
    let without = says(&Plant::start(tags()).await).await;
    assert_eq!((without.0, without.1, without.3.len()), (no.clone(), no, 0));
}
