//! Conditions on the wire: their nodes, the events that tell of them, and what a client may do with them.

use std::sync::{Arc, Mutex, MutexGuard};

use opcua::server::SubscriptionCache;
use opcua::server::address_space::{
    AddressSpace, EventNotifier, NodeType, ObjectBuilder, ReferenceDirection, VariableBuilder,
};
use opcua::server::node_manager::{MethodCall, RequestContext};
use opcua::types::{
    AttributeId, DataTypeId, DataValue, DateTime, MethodId, NodeId, NumericRange, ObjectId, ObjectTypeId,
    QualifiedName, ReferenceTypeId, StatusCode, VariableTypeId, Variant,
};

use super::audit::Audit;
use super::auth::Users;
use super::events::{self, Base, Told};
use super::nodes::Manager;
use super::value;
use crate::command::{Gate, Origin};
use crate::model::{Clock, Directory, Sample, TagId};
use crate::publishers::opcua::conditions::{Comment, Conditions};
use crate::publishers::opcua::status;

/// All conditions, and what it takes to tell of them.
pub(super) struct Alarms {
    pub(super) conditions: Mutex<Conditions>,
    pub(super) publisher: String,
    pub(super) gate: Gate,
    pub(super) users: Arc<Users>,
    pub(super) clock: Clock,
    pub(super) audit: Arc<Audit>,
}

/// Methods of the types, called with a condition as object. OPC 10000-9 §5.7.3 and §5.5.6.
const METHODS: [MethodId; 2] =
    [MethodId::AcknowledgeableConditionType_Acknowledge, MethodId::ConditionType_AddComment];

impl Alarms {
    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes the objects of all conditions: an event comes from its device, whose events are the server's.
    pub(super) fn build(&self, index: u16, address_space: &mut AddressSpace) {
        for one in self.conditions().all() {
            let (id, device) = (events::condition_id(index, one), NodeId::new(index, &*one.device));
            let source = NodeId::new(index, &*one.alarm.path);
            let name = format!("{} alarm", one.name);
            ObjectBuilder::new(&id, QualifiedName::new(index, name.as_str()), name.as_str())
                .component_of(device.clone())
                .has_type_definition(events::kind(&one.alarm))
                .reference(source.clone(), ReferenceTypeId::HasCondition, ReferenceDirection::Inverse)
                .insert(address_space);
            if let Some(NodeType::Object(object)) = address_space.find_mut(&device)
                && object.event_notifier().is_empty()
            {
                object.set_event_notifier(EventNotifier::SUBSCRIBE_TO_EVENTS);
                let server = NodeId::from(ObjectId::Server);
                address_space.insert_reference(&server, &device, ReferenceTypeId::HasNotifier);
            }
            address_space.insert_reference(&device, &source, ReferenceTypeId::HasEventSource);
            for (path, value) in events::of_condition(index, one).fields() {
                add_field(&id, path, value, address_space);
            }
        }
    }

    /// The conditions of another configuration, in the place of those of before; what is gone is told once more, as over.
    pub(super) fn follow(
        &self,
        directory: &Directory,
        index: u16,
        address_space: &mut AddressSpace,
        subscriptions: &SubscriptionCache,
    ) {
        let (before, gone) = self.conditions().follow(directory);
        for one in &gone {
            let (event, device) = (events::of_condition(index, one), NodeId::new(index, &*one.device));
            subscriptions.notify_events(std::iter::once((&event as _, &device)));
        }
        for one in &before {
            let id = events::condition_id(index, one);
            for (path, _) in events::of_condition(index, one).fields() {
                address_space.delete(&field_id(&id, path), true);
                if let Some((_, parents @ [_, ..])) = path.split_last() {
                    address_space.delete(&field_id(&id, parents), true);
                }
            }
            address_space.delete(&id, true);
        }
        self.build(index, address_space);
    }

    /// Lets the methods of the types be called with each condition.
    pub(super) fn link_methods(&self, index: u16, core: &mut AddressSpace) {
        for one in self.conditions().all() {
            let id = events::condition_id(index, one);
            for method in METHODS {
                core.insert_reference(&id, &NodeId::from(method), ReferenceTypeId::HasComponent);
            }
        }
    }

    /// Takes the samples of alarms among these, and tells what became of them. `latest` gives the image.
    pub(super) fn take<'a>(
        &self,
        samples: impl Iterator<Item = &'a Sample>,
        latest: impl Fn(TagId) -> Option<Sample>,
        manager: &Manager,
        subscriptions: &SubscriptionCache,
    ) {
        let mut all = self.conditions();
        let mut turned: Vec<usize> = samples.filter_map(|sample| all.take(sample)).collect();
        turned.sort_unstable();
        turned.dedup();
        for at in turned {
            let source = all.get(at).and_then(|one| latest(one.alarm.source));
            let is_due = all.turn(at, source.as_ref());
            self.show(&all, at, is_due, manager, subscriptions);
        }
    }

    /// Sets the nodes of a condition, and tells an event where one is due.
    fn show(
        &self,
        all: &Conditions,
        at: usize,
        is_due: bool,
        manager: &Manager,
        subscriptions: &SubscriptionCache,
    ) {
        let index = manager.inner().index();
        let Some(one) = all.get(at) else { return };
        let (id, event) = (events::condition_id(index, one), events::of_condition(index, one));
        let (now, time) = (DateTime::now(), value::date_time(one.time));
        let values = event.fields().iter().map(|(path, value)| {
            let mut value = DataValue::new_at(value.clone(), time);
            value.server_timestamp = Some(now);
            (field_id(&id, path), value)
        });
        let values: Vec<_> = values.collect();
        let values = values.iter().map(|(id, value)| (id, None::<&NumericRange>, value.clone()));
        if let Err(status) = manager.set_values(subscriptions, values) {
            tracing::error!(publisher = self.publisher, condition = %id, %status, "a condition was not shown");
        }
        if is_due {
            // To its device's items and the server's.
            let device = NodeId::new(index, &*one.device);
            subscriptions.notify_events(std::iter::once((&event as _, &device)));
        }
    }

    /// A method of a condition or of their type.
    pub(super) async fn call(
        &self,
        context: &RequestContext,
        method: MethodId,
        call: &mut MethodCall,
        manager: &Manager,
    ) {
        let status = match method {
            MethodId::AcknowledgeableConditionType_Acknowledge => {
                self.acknowledge(context, call, manager).await
            }
            MethodId::ConditionType_AddComment => self.add_comment(context, call, manager),
            MethodId::ConditionType_ConditionRefresh | MethodId::ConditionType_ConditionRefresh2 => {
                self.refresh(context, call, manager)
            }
            _ => StatusCode::BadNotSupported,
        };
        call.set_status(status);
    }

    /// Who may acknowledge and comment: an operator.
    fn may_acknowledge(&self, context: &RequestContext) -> bool {
        self.users.is_operator(&context.token)
    }

    /// What a method of a condition was given: the condition, the event and the comment.
    fn asked(
        &self,
        context: &RequestContext,
        call: &MethodCall,
        index: u16,
    ) -> Result<(usize, Vec<u8>, Comment), StatusCode> {
        if !self.may_acknowledge(context) {
            return Err(StatusCode::BadUserAccessDenied);
        }
        let (event, said) = match call.arguments() {
            [Variant::ByteString(event), said] => (event, said),
            [] | [_] => return Err(StatusCode::BadArgumentsMissing),
            _ => return Err(StatusCode::BadInvalidArgument),
        };
        let (text, locale) = match said {
            Variant::LocalizedText(said) => (said.text.as_ref(), said.locale.as_ref()),
            Variant::Empty => ("", ""),
            _ => return Err(StatusCode::BadInvalidArgument),
        };
        let all = self.conditions();
        let mut places = all.all().iter();
        let place = places.position(|one| events::condition_id(index, one) == *call.object_id());
        let place = place.ok_or(StatusCode::BadNodeIdUnknown)?;
        let event = event.value.clone().unwrap_or_default();
        Ok((place, event, Comment::new(text, locale, &context.token.0, self.clock.now())))
    }

    async fn acknowledge(
        &self,
        context: &RequestContext,
        call: &MethodCall,
        manager: &Manager,
    ) -> StatusCode {
        let index = manager.inner().index();
        let (place, event, comment) = match self.asked(context, call, index) {
            Ok(asked) => asked,
            Err(status) => {
                self.audit.condition(call, &context.token.0, status);
                return status;
            }
        };
        let checked = {
            let all = self.conditions();
            let one = all.get(place).map(|one| (one.may_acknowledge(&event), one.alarm.acked));
            one.map_or(Err(StatusCode::BadNodeIdUnknown), |(may, tag)| may.map(|()| tag).map_err(value::code))
        };
        let status = match checked {
            Err(status) => status,
            Ok(tag) => {
                let (publisher, who) = (self.publisher.clone(), context.token.0.clone());
                // Before: the event that tells of it comes with its sample.
                let before = self.conditions().get(place).map(|one| one.comment.clone());
                self.conditions().comment(place, comment, false);
                match self.gate.acknowledge(tag, &Origin { publisher, who }).await {
                    Ok(()) => StatusCode::Good,
                    Err(refusal) => {
                        if let Some(before) = before {
                            self.conditions().take_back(place, before);
                        }
                        value::code(status::of_refusal(refusal))
                    }
                }
            }
        };
        self.audit.condition(call, &context.token.0, status);
        status
    }

    fn add_comment(&self, context: &RequestContext, call: &MethodCall, manager: &Manager) -> StatusCode {
        let (place, event, comment) = match self.asked(context, call, manager.inner().index()) {
            Ok(asked) => asked,
            Err(status) => return status,
        };
        let mut all = self.conditions();
        if !all.get(place).is_some_and(|one| one.knows(&event)) {
            return StatusCode::BadEventIdUnknown;
        }
        tracing::info!(
            target: "audit", publisher = self.publisher, who = comment.by, condition = %call.object_id(),
            comment = ?comment.text, "comment on an alarm"
        );
        all.comment(place, comment, true);
        self.show(&all, place, true, manager, &context.subscriptions);
        StatusCode::Good
    }

    /// OPC 10000-9 §5.5.7: what is of interest now, between two marks, to one subscription of the caller, or to one
    /// item of it.
    fn refresh(&self, context: &RequestContext, call: &MethodCall, manager: &Manager) -> StatusCode {
        let (id, only) = match call.arguments() {
            [Variant::UInt32(id)] => (*id, None),
            [Variant::UInt32(id), Variant::UInt32(item)] => (*id, Some(*item)),
            _ => return StatusCode::BadInvalidArgument,
        };
        let index = manager.inner().index();
        let (told, marks) = {
            let mut all = self.conditions();
            let retained = all.all().iter().filter(|one| one.is_retained());
            let told: Vec<_> = retained
                .map(|one| (NodeId::new(index, &*one.device), events::of_condition(index, one)))
                .collect();
            let mut mark = |kind, message| {
                let base = Base {
                    kind,
                    id: all.next_event(),
                    source: NodeId::from(ObjectId::Server),
                    source_name: "Server",
                    time: DateTime::now(),
                    message,
                    severity: 1,
                };
                Told::new(base, None, Vec::new())
            };
            let start = mark(ObjectTypeId::RefreshStartEventType, "the alarms of now follow");
            let end = mark(ObjectTypeId::RefreshEndEventType, "these were the alarms of now");
            (told, (start, end))
        };
        let Some(subscriptions) = context.subscriptions.get_session_subscriptions(context.session_id) else {
            return StatusCode::BadSubscriptionIdInvalid;
        };
        let mut subscriptions = subscriptions.lock();
        let Some(subscription) = subscriptions.get_mut(id) else {
            return StatusCode::BadSubscriptionIdInvalid;
        };
        let server = NodeId::from(ObjectId::Server);
        let items = subscription.items().filter(|item| {
            item.item_to_monitor().attribute_id == AttributeId::EventNotifier
                && only.is_none_or(|only| only == item.id())
        });
        let items: Vec<_> = items
            .map(|item| (item.id(), item.item_to_monitor().node_id.clone(), item.queue_size()))
            .collect();
        // What its queue does not hold would be lost, and nothing would say so.
        if items.iter().any(|(.., room)| *room < told.len() + 2) {
            return StatusCode::BadTooManyOperations;
        }
        if items.is_empty() && only.is_some() {
            return StatusCode::BadMonitoredItemIdInvalid;
        }
        let type_tree = context.type_tree.read();
        for (item, node, _) in &items {
            subscription.notify_event(item, &marks.0, &*type_tree);
            for (_, event) in told.iter().filter(|(device, _)| *node == server || node == device) {
                subscription.notify_event(item, event, &*type_tree);
            }
            subscription.notify_event(item, &marks.1, &*type_tree);
        }
        StatusCode::Good
    }
}

/// The node of a field: `pump/pressure#Alarm/AckedState/Id`.
fn field_id(condition: &NodeId, path: &[&str]) -> NodeId {
    NodeId::new(
        condition.namespace,
        format!("{}/{}", condition.identifier, path.join("/")).trim_start_matches("s="),
    )
}

/// A variable for a field of a condition, below that of the field that it is a part of.
fn add_field(condition: &NodeId, path: &[&str], value: &Variant, address_space: &mut AddressSpace) {
    let Some((name, parents)) = path.split_last() else { return };
    let id = field_id(condition, path);
    let parent = if parents.is_empty() { condition.clone() } else { field_id(condition, parents) };
    if !parents.is_empty() && !address_space.node_exists(&parent) {
        // The one object within a condition.
        ObjectBuilder::new(&parent, QualifiedName::new(0, "LimitState"), "LimitState")
            .component_of(condition.clone())
            .has_type_definition(ObjectTypeId::ExclusiveLimitStateMachineType)
            .insert(address_space);
    }
    let data_type = match value {
        Variant::Boolean(_) => DataTypeId::Boolean,
        Variant::UInt16(_) => DataTypeId::UInt16,
        Variant::Double(_) => DataTypeId::Double,
        Variant::String(_) => DataTypeId::String,
        Variant::ByteString(_) => DataTypeId::ByteString,
        Variant::NodeId(_) => DataTypeId::NodeId,
        Variant::StatusCode(_) => DataTypeId::StatusCode,
        Variant::DateTime(_) => DataTypeId::UtcTime,
        _ => DataTypeId::LocalizedText,
    };
    let kind = match *name {
        "EnabledState" | "AckedState" | "ActiveState" => VariableTypeId::TwoStateVariableType,
        "Quality" | "LastSeverity" | "Comment" => VariableTypeId::ConditionVariableType,
        "CurrentState" => VariableTypeId::FiniteStateVariableType,
        _ => VariableTypeId::PropertyType,
    };
    let builder = VariableBuilder::new(&id, QualifiedName::new(0, *name), *name)
        .data_type(data_type)
        .value(value.clone())
        .has_type_definition(kind);
    match kind {
        VariableTypeId::PropertyType => builder.property_of(parent),
        _ => builder.component_of(parent),
    }
    .insert(address_space);
}
