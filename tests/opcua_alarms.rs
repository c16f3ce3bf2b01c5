//! Alarms and audit events of the OPC UA server, over real sockets, with a client of the same library.
#![cfg(feature = "opcua")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/opcua.rs"]
mod ground;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::command::Write;
use fieldgate::model::*;
use fieldgate::normalize::{Normalizer, PlacedRule, Rule};
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Role, Security, Spec};
use fieldgate::publishers::publisher::{Context, Directories, PublishError, Publisher};
use fieldgate::store::Options;
use opcua::client::{EventCallback, IdentityToken, Session};
use opcua::crypto::SecurityPolicy;
use opcua::types::*;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use ground::{connect, is_up, rules, surroundings, token, until, until_value, url, user, watch_events};

const PRESSURE: u32 = 0;
const FAULT: u32 = 4;
const SET_POINT: u32 = 8;

fn alarm(source: u32, path: &str, trigger: Trigger, priority: Priority) -> Arc<Alarm> {
    Arc::new(Alarm {
        source: TagId(source),
        path: path.into(),
        state: TagId(source + 1),
        active: TagId(source + 2),
        acked: TagId(source + 3),
        trigger,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority,
        message: (source == FAULT).then(|| "The drive has a fault".into()),
    })
}

fn alarms() -> Vec<Arc<Alarm>> {
    let limits = Limits { hihi: Some(90.0), hi: Some(80.0), lo: Some(10.0), hysteresis: 2.0, lolo: None };
    vec![
        alarm(PRESSURE, "pump/pressure", Trigger::Limits(limits), Priority::High),
        alarm(FAULT, "pump/drive/fault", Trigger::NotNormal(vec![Value::U16(0)]), Priority::Critical),
    ]
}

fn directory() -> Directory {
    let device = Device::plain(DeviceId(0), "pump", "net");
    let tags = [
        ("pressure", DataType::U16),
        ("pressure/alarm", DataType::Text),
        ("pressure/alarm-active", DataType::Bool),
        ("pressure/alarm-acked", DataType::Bool),
        ("drive/fault", DataType::U16),
        ("drive/fault/alarm", DataType::Text),
        ("drive/fault/alarm-active", DataType::Bool),
        ("drive/fault/alarm-acked", DataType::Bool),
        ("set-point", DataType::U16),
    ];
    let tags = tags.iter().enumerate().map(|(id, (name, kind))| Tag {
        access: if id as u32 == SET_POINT { Access::ReadWrite } else { Access::Read },
        unit: (id == 0).then(|| "bar".into()),
        ..Tag::plain(TagId(id as u32), DeviceId(0), &format!("pump/{name}"), *kind)
    });
    Directory::new("water", "gw-1", vec![device], tags.collect()).with_alarms(alarms())
}

/// A running server; behind it a normalizer that is fed by hand and acknowledges what the gate brings.
struct Plant {
    cx: Context,
    configuration: watch::Sender<Arc<Directory>>,
    normalizer: Arc<Mutex<Normalizer>>,
    _folder: tempfile::TempDir,
    task: JoinHandle<Result<(), PublishError>>,
}

impl Plant {
    async fn start() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let (mut cx, mut writes) =
            surroundings(&folder.path().join("opcua"), directory(), Options::default());
        let (configuration, directories) = Directories::following(cx.directory.now());
        cx.directory = directories;
        // Acknowledgements come by the gate, too.
        let (mailbox, mut acknowledged) = mpsc::channel::<Write>(64);
        let acked = [PRESSURE + 3, FAULT + 3];
        let rules =
            rules(&cx.directory.now(), &mailbox).into_iter().filter(|(tag, _)| acked.contains(&tag.0));
        cx.gate.load_alarms(rules.collect());
        let placed = |at: usize, source: u32, alarm: &Arc<Alarm>| {
            let rule = Rule { alarm: Some(alarm.clone()), ..Rule::plain(TagId(source), DataType::U16) };
            PlacedRule::new(Place::Words { at, count: 1 }, rule)
        };
        let [pressure, fault] = &alarms()[..] else { panic!() };
        let rules = [placed(0, PRESSURE, pressure), placed(1, FAULT, fault)];
        let normalizer = Arc::new(Mutex::new(Normalizer::new([&rules[..]])));
        let spec = Spec {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            security: vec![Security::None, Security::Basic256Sha256],
            anonymous: true,
            users: [("operator", Role::Operator), ("viewer", Role::Observer)]
                .map(|(name, role)| user(folder.path(), name, role))
                .to_vec(),
            trust: fieldgate::publishers::opcua::config::Trust::Any,
            ..Spec::default()
        };
        let link = normalizer.clone();
        let (store, clock) = (cx.store.clone(), cx.clock.clone());
        tokio::spawn(async move {
            loop {
                let write = tokio::select! {
                    Some(write) = writes.recv() => write,
                    Some(write) = acknowledged.recv() => write,
                    else => return,
                };
                let done = link.lock().unwrap().acknowledge(write.tag, clock.stamp());
                if let Some((_, samples)) = done {
                    store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples });
                }
                write.reply.send(Ok(())).unwrap();
            }
        });
        let task = tokio::spawn(OpcUa::new(spec).run(cx.clone()));
        let plant = Plant { cx, configuration, normalizer, _folder: folder, task };
        is_up(&plant.cx).await;
        plant.poll(50, 0);
        plant
    }

    /// The device answers.
    fn poll(&self, pressure: u16, fault: u16) {
        let raw = Raw { words: vec![pressure, fault], ..Raw::default() };
        self.answer(Ok(&raw), DeviceState::Alive);
    }

    fn answer(&self, answer: Result<&Raw, Fault>, state: DeviceState) {
        let mut samples = Vec::new();
        self.normalizer.lock().unwrap().apply(0, answer, self.cx.clock.stamp(), &mut samples);
        self.cx.store.accept(Batch { device: DeviceId(0), state, samples });
    }

    async fn user(&self, name: &str) -> Client {
        self.connect(token(name)).await.unwrap()
    }

    async fn connect(&self, token: IdentityToken) -> Result<Client, String> {
        let policy = SecurityPolicy::Basic256Sha256;
        let session = connect(self._folder.path(), &url(&self.cx), policy, token).await?;
        let ns = session.get_namespace_index("urn:fieldgate:water:gw-1").await.unwrap();
        Ok(Client { session, ns })
    }

    async fn end(self) {
        self.cx.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

struct Client {
    session: Arc<Session>,
    ns: u16,
}

/// What a subscription asks for: type, path, attribute.
const ASKED: &[(ObjectTypeId, &str)] = &[
    (ObjectTypeId::BaseEventType, "EventId"),
    (ObjectTypeId::BaseEventType, "EventType"),
    (ObjectTypeId::BaseEventType, "SourceNode"),
    (ObjectTypeId::BaseEventType, "SourceName"),
    (ObjectTypeId::BaseEventType, "Message"),
    (ObjectTypeId::BaseEventType, "Severity"),
    (ObjectTypeId::ConditionType, ""),
    (ObjectTypeId::ConditionType, "ConditionName"),
    (ObjectTypeId::ConditionType, "BranchId"),
    (ObjectTypeId::ConditionType, "Retain"),
    (ObjectTypeId::ConditionType, "EnabledState/Id"),
    (ObjectTypeId::ConditionType, "Quality"),
    (ObjectTypeId::ConditionType, "LastSeverity"),
    (ObjectTypeId::ConditionType, "Comment"),
    (ObjectTypeId::ConditionType, "ClientUserId"),
    (ObjectTypeId::AlarmConditionType, "AckedState/Id"),
    (ObjectTypeId::AlarmConditionType, "ActiveState/Id"),
    (ObjectTypeId::ExclusiveLimitAlarmType, "LimitState/CurrentState"),
    (ObjectTypeId::ExclusiveLevelAlarmType, "HighHighLimit"),
    (ObjectTypeId::OffNormalAlarmType, "NormalState"),
    (ObjectTypeId::AuditEventType, "ClientUserId"),
    (ObjectTypeId::AuditEventType, "Status"),
    (ObjectTypeId::AuditWriteUpdateEventType, "OldValue"),
    (ObjectTypeId::AuditWriteUpdateEventType, "NewValue"),
    (ObjectTypeId::AuditConditionAcknowledgeEventType, "ConditionEventId"),
];

/// The fields of one event.
#[derive(Debug, Clone)]
struct Told(Vec<Variant>);

impl Told {
    fn get(&self, name: &str) -> Variant {
        let at = ASKED.iter().position(|(_, path)| *path == name).unwrap();
        self.0[at].clone()
    }

    fn of(&self, kind: ObjectTypeId, name: &str) -> Variant {
        let at = ASKED.iter().position(|(of, path)| *of == kind && *path == name).unwrap();
        self.0[at].clone()
    }

    fn is(&self, kind: ObjectTypeId) -> bool {
        self.get("EventType") == Variant::from(NodeId::from(kind))
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Variant::LocalizedText(text) => text.text.to_string(),
            Variant::String(text) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        }
    }
}

struct Events {
    told: mpsc::UnboundedReceiver<Told>,
    subscription: u32,
}

impl Events {
    async fn next(&mut self) -> Told {
        tokio::time::timeout(Duration::from_secs(30), self.told.recv()).await.expect("an event").unwrap()
    }

    async fn next_of(&mut self, kind: ObjectTypeId) -> Told {
        loop {
            let told = self.next().await;
            if told.is(kind) {
                return told;
            }
        }
    }
}

impl Client {
    fn id(&self, path: &str) -> NodeId {
        NodeId::new(self.ns, path)
    }

    async fn watch(&self, node: NodeId) -> Events {
        let (tell, told) = mpsc::unbounded_channel();
        let callback = EventCallback::new(move |fields, _| drop(tell.send(Told(fields.unwrap()))));
        let subscription = self
            .session
            .create_subscription(Duration::from_millis(100), 100, 20, 0, 0, true, callback)
            .await
            .unwrap();
        let select = ASKED.iter().map(|(kind, path)| SimpleAttributeOperand {
            type_definition_id: NodeId::from(*kind),
            browse_path: Some(path.split('/').filter(|p| !p.is_empty()).map(QualifiedName::from).collect()),
            attribute_id: match *path {
                "" => AttributeId::NodeId as u32,
                _ => AttributeId::Value as u32,
            },
            index_range: NumericRange::None,
        });
        let said = watch_events(&self.session, subscription, node, select.collect()).await;
        let result = said.inner_as::<EventFilterResult>().unwrap();
        let clauses = result.select_clause_results.clone().unwrap();
        assert!(clauses.iter().all(|status| status.is_good()), "{clauses:?}");
        Events { told, subscription }
    }

    async fn call(&self, object: NodeId, method: MethodId, arguments: Vec<Variant>) -> StatusCode {
        let call = CallMethodRequest {
            object_id: object,
            method_id: NodeId::from(method),
            input_arguments: Some(arguments),
        };
        self.session.call_one(call).await.unwrap().status_code
    }

    async fn acknowledge(&self, told: &Told, comment: &str) -> StatusCode {
        let Variant::NodeId(condition) = told.get("") else { panic!("{told:?}") };
        let arguments = vec![told.get("EventId"), Variant::from(LocalizedText::new("en", comment))];
        self.call(*condition, MethodId::AcknowledgeableConditionType_Acknowledge, arguments).await
    }

    async fn value(&self, node: NodeId) -> Variant {
        let wanted = ReadValueId::new(node, AttributeId::Value);
        let mut values = self.session.read(&[wanted], TimestampsToReturn::Both, 0.0).await.unwrap();
        values.remove(0).value.unwrap_or(Variant::Empty)
    }
}

const SERVER: NodeId = NodeId { namespace: 0, identifier: Identifier::Numeric(2253) };

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_told_with_all_its_fields_acknowledged_by_its_event_and_told_when_it_is_over() {
    let plant = Plant::start().await;
    let operator = plant.user("operator").await;
    let mut events = operator.watch(SERVER).await;
    plant.poll(85, 0);
    let raised = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(raised.get(""), Variant::from(operator.id("pump/pressure#Alarm")));
    assert_eq!(raised.get("SourceNode"), Variant::from(operator.id("pump/pressure")));
    assert_eq!(raised.text("SourceName"), "pump/pressure");
    assert_eq!(raised.text("ConditionName"), "pressure");
    assert_eq!(raised.text("Message"), "pump/pressure: hi (85 bar)");
    assert_eq!(raised.get("Severity"), Variant::from(700_u16));
    assert_eq!(raised.get("BranchId"), Variant::from(NodeId::null()));
    for (field, is) in
        [("Retain", true), ("EnabledState/Id", true), ("AckedState/Id", false), ("ActiveState/Id", true)]
    {
        assert_eq!(raised.get(field), Variant::from(is), "{field}");
    }
    assert_eq!(raised.text("LimitState/CurrentState"), "High");
    assert_eq!(raised.get("HighHighLimit"), Variant::from(90.0));
    assert_eq!(raised.get("Quality"), Variant::from(StatusCode::Good));
    assert_eq!(raised.get("NormalState"), Variant::Empty, "a field of another type");

    assert_eq!(operator.acknowledge(&raised, "on my way").await, StatusCode::Good);
    let acked = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(acked.get("AckedState/Id"), Variant::from(true));
    assert_ne!(acked.get("EventId"), raised.get("EventId"));
    assert_eq!((acked.text("Comment"), acked.text("ClientUserId")), ("on my way".into(), "operator".into()));
    let again = operator.acknowledge(&raised, "").await;
    assert_eq!(again.bits(), 0x80CF_0000, "already acknowledged: {again}");

    plant.poll(95, 0);
    let worse = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(worse.text("LimitState/CurrentState"), "HighHigh");
    assert_eq!((worse.get("Severity"), worse.get("LastSeverity")), (800_u16.into(), 700_u16.into()));
    assert_eq!(worse.get("AckedState/Id"), Variant::from(false), "what is worse wants to be seen again");
    assert_eq!(operator.acknowledge(&raised, "").await, StatusCode::BadEventIdUnknown);
    plant.poll(50, 0);
    let over = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!((over.get("ActiveState/Id"), over.get("Retain")), (false.into(), true.into()));
    assert_eq!(operator.acknowledge(&over, "seen").await, StatusCode::Good);
    let done = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(done.get("Retain"), Variant::from(false));
    plant.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_tells_the_events_of_its_own_alarms_and_a_dead_one_keeps_them_with_a_bad_quality() {
    let plant = Plant::start().await;
    let viewer = plant.user("viewer").await;
    let mut events = viewer.watch(viewer.id("pump")).await;
    plant.poll(50, 7);
    let raised = events.next().await;
    assert!(raised.is(ObjectTypeId::OffNormalAlarmType), "{raised:?}");
    assert_eq!(raised.text("Message"), "The drive has a fault: active (7)");
    assert_eq!(raised.get("NormalState"), Variant::from(NodeId::null()));
    plant.answer(Err(Fault::Timeout), DeviceState::Dead);
    let kept = events.next().await;
    assert_eq!(kept.get("ActiveState/Id"), Variant::from(true));
    assert_eq!(kept.get("Quality"), Variant::from(StatusCode::BadTimeout));
    let shown = viewer.value(viewer.id("pump/drive/fault/alarm")).await;
    assert_eq!(shown, Variant::from("active"), "the other norths see the same");
    plant.poll(50, 7);
    assert_eq!(events.next().await.get("Quality"), Variant::from(StatusCode::Good));
    plant.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_may_not_acknowledge_and_nobody_acknowledges_what_is_not_there() {
    let plant = Plant::start().await;
    let (viewer, operator) = (plant.user("viewer").await, plant.user("operator").await);
    let mut events = viewer.watch(SERVER).await;
    plant.poll(85, 0);
    let raised = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(viewer.acknowledge(&raised, "").await, StatusCode::BadUserAccessDenied);
    assert_eq!(viewer.value(viewer.id("pump/pressure/alarm-acked")).await, Variant::from(false));
    let refused = events.next_of(ObjectTypeId::AuditConditionAcknowledgeEventType).await;
    assert_eq!(refused.of(ObjectTypeId::AuditEventType, "ClientUserId"), Variant::from("viewer"));
    assert_eq!(refused.get("Status"), Variant::from(false));
    assert_eq!(refused.get("ConditionEventId"), raised.get("EventId"));
    let method = MethodId::AcknowledgeableConditionType_Acknowledge;
    let made_up = vec![Variant::from(ByteString::from(&[1, 2, 3])), Variant::from(LocalizedText::null())];
    let condition = operator.id("pump/pressure#Alarm");
    assert_eq!(
        operator.call(condition.clone(), method, made_up.clone()).await,
        StatusCode::BadEventIdUnknown
    );
    for nowhere in ["pump/pressure", "pump/none#Alarm"] {
        let status = operator.call(operator.id(nowhere), method, made_up.clone()).await;
        assert_eq!(status, StatusCode::BadMethodInvalid, "{nowhere}");
    }
    let few = operator.call(condition, method, vec![]).await;
    assert_eq!(few, StatusCode::BadArgumentsMissing);
    plant.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_an_event_of_its_own_and_a_refresh_tells_what_is_so_to_who_asks_only() {
    let plant = Plant::start().await;
    let operator = plant.user("operator").await;
    plant.poll(5, 3);
    until("the alarms are there", || {
        plant.cx.store.latest(TagId(FAULT + 2)).is_some_and(|s| s.value == Some(Value::Bool(true)))
    })
    .await;
    let mut late = operator.watch(SERVER).await;
    let mut other = operator.watch(SERVER).await;
    let refresh = async |id: u32| {
        let method = MethodId::ConditionType_ConditionRefresh;
        operator.call(NodeId::from(ObjectTypeId::ConditionType), method, vec![Variant::from(id)]).await
    };
    assert_eq!(refresh(late.subscription).await, StatusCode::Good);
    assert!(late.next().await.is(ObjectTypeId::RefreshStartEventType));
    let mut told = [late.next().await, late.next().await];
    told.sort_by_key(|told| told.text("SourceName"));
    assert_eq!(told[0].text("SourceName"), "pump/drive/fault");
    assert_eq!(told[1].text("LimitState/CurrentState"), "Low");
    assert!(late.next().await.is(ObjectTypeId::RefreshEndEventType));
    assert_eq!(refresh(late.subscription + 1000).await, StatusCode::BadSubscriptionIdInvalid);

    let Variant::NodeId(condition) = told[1].get("") else { panic!() };
    let arguments = vec![told[1].get("EventId"), Variant::from(LocalizedText::new("de", "Rohr zu"))];
    let status = operator.call(*condition, MethodId::ConditionType_AddComment, arguments).await;
    assert_eq!(status, StatusCode::Good);
    let first = other.next().await;
    assert_eq!(first.text("Comment"), "Rohr zu", "nothing of the refresh came here");
    assert_eq!(first.get("AckedState/Id"), Variant::from(false));
    // The event that was told before the comment still acknowledges it.
    assert_eq!(operator.acknowledge(&told[1], "").await, StatusCode::Good);
    let node = operator.id("pump/pressure#Alarm/AckedState/Id");
    until_is(&operator, node, Variant::from(true)).await;
    assert_eq!(operator.value(operator.id("pump/pressure#Alarm/Comment")).await, {
        Variant::from(LocalizedText::new("de", "Rohr zu"))
    });
    plant.end().await;
}

async fn until_is(client: &Client, node: NodeId, wished: Variant) {
    let read = async || DataValue::value_only(client.value(node.clone()).await);
    until_value(&node.to_string(), read, |value| value.value.as_ref() == Some(&wished)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_log_ins_are_told_with_who_did_what_and_how_it_went() {
    let plant = Plant::start().await;
    let operator = plant.user("operator").await;
    let mut events = operator.watch(SERVER).await;
    let at = plant.cx.clock.now();
    let sample = Sample::good(TagId(SET_POINT), Value::U16(4), at);
    plant.cx.store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] });
    until_is(&operator, operator.id("pump/set-point"), Variant::from(4_u16)).await;
    let write = |client: &Client, path: &str| WriteValue {
        node_id: client.id(path),
        attribute_id: AttributeId::Value as u32,
        index_range: NumericRange::None,
        value: DataValue::value_only(5_u16),
    };
    operator.session.write(&[write(&operator, "pump/set-point")]).await.unwrap();
    let written = events.next_of(ObjectTypeId::AuditWriteUpdateEventType).await;
    assert_eq!(written.of(ObjectTypeId::AuditEventType, "ClientUserId"), Variant::from("operator"));
    assert_eq!((written.get("OldValue"), written.get("NewValue")), (4_u16.into(), 5_u16.into()));
    assert_eq!(written.get("Status"), Variant::from(true));
    operator.session.write(&[write(&operator, "pump/pressure")]).await.unwrap();
    let refused = events.next_of(ObjectTypeId::AuditWriteUpdateEventType).await;
    assert_eq!(refused.get("Status"), Variant::from(false));
    assert!(refused.text("Message").contains("BadNotWritable"), "{}", refused.text("Message"));

    let viewer = plant.user("viewer").await;
    let came = events.next_of(ObjectTypeId::AuditActivateSessionEventType).await;
    assert_eq!(came.text("Message"), "viewer logged in");
    assert!(plant.connect(IdentityToken::UserName("viewer".into(), "wrong".into())).await.is_err());
    let refused = events.next_of(ObjectTypeId::AuditActivateSessionEventType).await;
    assert_eq!(refused.of(ObjectTypeId::AuditEventType, "ClientUserId"), Variant::from("viewer"));
    assert_eq!(refused.get("Status"), Variant::from(false));
    assert_eq!(viewer.value(NodeId::from(VariableId::Server_Auditing)).await, Variant::from(true));
    plant.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_an_object_of_its_device_with_its_methods_and_a_source_has_it() {
    let plant = Plant::start().await;
    let client = plant.user("viewer").await;
    let browse = async |node: NodeId, kind: ReferenceTypeId| {
        let wanted = BrowseDescription {
            node_id: node,
            browse_direction: BrowseDirection::Forward,
            reference_type_id: kind.into(),
            include_subtypes: true,
            node_class_mask: 0,
            result_mask: BrowseDescriptionResultMask::all().bits(),
        };
        let mut results = client.session.browse(&[wanted], 0, None).await.unwrap();
        let references = results.remove(0).references.unwrap_or_default();
        references
            .into_iter()
            .map(|r| (r.browse_name.name.to_string(), r.node_id.node_id))
            .collect::<Vec<_>>()
    };
    let condition = client.id("pump/pressure#Alarm");
    let of_device = browse(client.id("pump"), ReferenceTypeId::HasComponent).await;
    assert!(of_device.contains(&("pressure alarm".into(), condition.clone())), "{of_device:?}");
    let of_source = browse(client.id("pump/pressure"), ReferenceTypeId::HasCondition).await;
    assert_eq!(of_source, [("pressure alarm".into(), condition.clone())]);
    let below = browse(client.id("pump"), ReferenceTypeId::HasEventSource).await;
    assert!(below.iter().any(|(_, id)| *id == client.id("pump/drive/fault")), "{below:?}");
    let notifiers = browse(SERVER, ReferenceTypeId::HasNotifier).await;
    assert!(notifiers.iter().any(|(_, id)| *id == client.id("pump")), "{notifiers:?}");
    let parts: Vec<String> =
        browse(condition, ReferenceTypeId::HasComponent).await.into_iter().map(|p| p.0).collect();
    for part in ["Acknowledge", "AddComment", "AckedState", "ActiveState", "LimitState", "Quality"] {
        assert!(parts.iter().any(|p| p == part), "{part} is not in {parts:?}");
    }
    let shown = browse(client.id("pump/pressure"), ReferenceTypeId::HasComponent).await;
    let mut shown: Vec<_> = shown.into_iter().map(|(name, _)| name).collect();
    shown.sort();
    assert_eq!(shown, ["alarm", "alarm-acked", "alarm-active"]);
    plant.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_another_configuration_come_stay_and_go_in_the_session_that_is_there() {
    let plant = Plant::start().await;
    let operator = plant.user("operator").await;
    let mut events = operator.watch(SERVER).await;
    plant.poll(85, 0);
    let raised = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    let fault = operator.id("pump/drive/fault#Alarm/ActiveState/Id");
    let [pressure, drive] = &alarms()[..] else { panic!() };
    // Without the alarm of the drive: its condition is gone, the other one stands as it stood.
    plant.configuration.send_replace(Arc::new(directory().with_alarms(vec![pressure.clone()])));
    let gone = Variant::Empty;
    until_is(&operator, fault.clone(), gone.clone()).await;
    assert_eq!(operator.acknowledge(&raised, "seen").await, StatusCode::Good);
    let acked = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!(acked.get("AckedState/Id"), Variant::from(true));
    // With it again: it is told as before, and with its methods.
    plant
        .configuration
        .send_replace(Arc::new(directory().with_alarms(vec![pressure.clone(), drive.clone()])));
    until_is(&operator, fault.clone(), Variant::from(false)).await;
    plant.poll(85, 7);
    let raised = events.next_of(ObjectTypeId::OffNormalAlarmType).await;
    assert_eq!(raised.get("Retain"), Variant::from(true));
    assert_eq!(operator.acknowledge(&raised, "").await, StatusCode::Good);
    // What is gone while it is raised is told once more, so that no list keeps it for ever.
    plant.configuration.send_replace(Arc::new(directory().with_alarms(vec![drive.clone()])));
    let last = events.next_of(ObjectTypeId::ExclusiveLevelAlarmType).await;
    assert_eq!((last.get("Retain"), last.get("ActiveState/Id")), (false.into(), false.into()));
    assert!(last.text("Message").ends_with("no longer configured"), "{}", last.text("Message"));
    until_is(&operator, operator.id("pump/pressure#Alarm/ActiveState/Id"), gone).await;
    plant.end().await;
}
