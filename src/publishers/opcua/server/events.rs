//! Events as the library wants them: a type with its fields, and what a client's filter may ask for.

use opcua::server::address_space::{DefaultTypeTree, Event, EventField};
use opcua::types::{
    AttributeId, ByteString, DateTime, LocalizedText, NodeClass, NodeId, NumericRange, ObjectTypeId,
    QualifiedName, StatusCode, UAString, Variant,
};

use super::value;
use crate::model::{Alarm, Level, Limits, Timestamp, Trigger};
use crate::publishers::opcua::conditions::{Condition, EventId};
use crate::publishers::opcua::space;

/// A field: its path of browse names of namespace 0, and its value.
pub(super) type Field = (&'static [&'static str], Variant);

/// A type with the fields that it adds to those of its parent, and that parent.
struct Type(ObjectTypeId, ObjectTypeId, &'static [&'static [&'static str]]);

/// OPC 10000-5 §6.4 and OPC 10000-9 §5: what of each type this server fills.
const TYPES: &[Type] = &[
    Type(
        ObjectTypeId::BaseEventType,
        ObjectTypeId::BaseEventType,
        &[
            &["EventId"],
            &["EventType"],
            &["SourceNode"],
            &["SourceName"],
            &["Time"],
            &["ReceiveTime"],
            &["Message"],
            &["Severity"],
        ],
    ),
    Type(
        ObjectTypeId::ConditionType,
        ObjectTypeId::BaseEventType,
        &[
            &["ConditionClassId"],
            &["ConditionClassName"],
            &["ConditionName"],
            &["BranchId"],
            &["Retain"],
            &["EnabledState"],
            &["EnabledState", "Id"],
            &["Quality"],
            &["Quality", "SourceTimestamp"],
            &["LastSeverity"],
            &["LastSeverity", "SourceTimestamp"],
            &["Comment"],
            &["Comment", "SourceTimestamp"],
            &["ClientUserId"],
        ],
    ),
    Type(
        ObjectTypeId::AcknowledgeableConditionType,
        ObjectTypeId::ConditionType,
        &[&["AckedState"], &["AckedState", "Id"], &["AckedState", "TransitionTime"]],
    ),
    Type(
        ObjectTypeId::AlarmConditionType,
        ObjectTypeId::AcknowledgeableConditionType,
        &[
            &["ActiveState"],
            &["ActiveState", "Id"],
            &["ActiveState", "TransitionTime"],
            &["InputNode"],
            &["SuppressedOrShelved"],
        ],
    ),
    Type(
        ObjectTypeId::LimitAlarmType,
        ObjectTypeId::AlarmConditionType,
        &[&["HighHighLimit"], &["HighLimit"], &["LowLimit"], &["LowLowLimit"]],
    ),
    Type(
        ObjectTypeId::ExclusiveLimitAlarmType,
        ObjectTypeId::LimitAlarmType,
        &[&["LimitState", "CurrentState"], &["LimitState", "CurrentState", "Id"]],
    ),
    Type(ObjectTypeId::ExclusiveLevelAlarmType, ObjectTypeId::ExclusiveLimitAlarmType, &[]),
    Type(ObjectTypeId::DiscreteAlarmType, ObjectTypeId::AlarmConditionType, &[]),
    Type(ObjectTypeId::OffNormalAlarmType, ObjectTypeId::DiscreteAlarmType, &[&["NormalState"]]),
    Type(ObjectTypeId::SystemEventType, ObjectTypeId::BaseEventType, &[]),
    Type(ObjectTypeId::RefreshStartEventType, ObjectTypeId::SystemEventType, &[]),
    Type(ObjectTypeId::RefreshEndEventType, ObjectTypeId::SystemEventType, &[]),
    Type(
        ObjectTypeId::AuditEventType,
        ObjectTypeId::BaseEventType,
        &[&["ActionTimeStamp"], &["Status"], &["ServerId"], &["ClientAuditEntryId"], &["ClientUserId"]],
    ),
    Type(ObjectTypeId::AuditSecurityEventType, ObjectTypeId::AuditEventType, &[&["StatusCodeId"]]),
    Type(ObjectTypeId::AuditSessionEventType, ObjectTypeId::AuditSecurityEventType, &[&["SessionId"]]),
    Type(
        ObjectTypeId::AuditActivateSessionEventType,
        ObjectTypeId::AuditSessionEventType,
        &[&["ClientSoftwareCertificates"], &["UserIdentityToken"], &["SecureChannelId"]],
    ),
    Type(ObjectTypeId::AuditCertificateEventType, ObjectTypeId::AuditSecurityEventType, &[&["Certificate"]]),
    Type(
        ObjectTypeId::AuditCertificateDataMismatchEventType,
        ObjectTypeId::AuditCertificateEventType,
        &[&["InvalidHostname"], &["InvalidUri"]],
    ),
    Type(ObjectTypeId::AuditCertificateExpiredEventType, ObjectTypeId::AuditCertificateEventType, &[]),
    Type(ObjectTypeId::AuditCertificateInvalidEventType, ObjectTypeId::AuditCertificateEventType, &[]),
    Type(ObjectTypeId::AuditCertificateUntrustedEventType, ObjectTypeId::AuditCertificateEventType, &[]),
    Type(ObjectTypeId::AuditCertificateRevokedEventType, ObjectTypeId::AuditCertificateEventType, &[]),
    Type(ObjectTypeId::AuditCertificateMismatchEventType, ObjectTypeId::AuditCertificateEventType, &[]),
    Type(ObjectTypeId::AuditUpdateEventType, ObjectTypeId::AuditEventType, &[]),
    Type(
        ObjectTypeId::AuditWriteUpdateEventType,
        ObjectTypeId::AuditUpdateEventType,
        &[&["AttributeId"], &["IndexRange"], &["OldValue"], &["NewValue"]],
    ),
    Type(
        ObjectTypeId::AuditUpdateMethodEventType,
        ObjectTypeId::AuditEventType,
        &[&["MethodId"], &["InputArguments"]],
    ),
    Type(ObjectTypeId::AuditConditionEventType, ObjectTypeId::AuditUpdateMethodEventType, &[]),
    Type(
        ObjectTypeId::AuditConditionAcknowledgeEventType,
        ObjectTypeId::AuditConditionEventType,
        &[&["ConditionEventId"], &["Comment"]],
    ),
];

fn of(id: ObjectTypeId) -> Option<&'static Type> {
    TYPES.iter().find(|one| one.0 == id)
}

/// A type and all that it is a kind of, up to BaseEventType.
fn lineage(id: ObjectTypeId) -> impl Iterator<Item = &'static Type> {
    std::iter::successors(of(id), |one| if one.0 == one.1 { None } else { of(one.1) })
}

/// Lets filters ask each type for what it has from its parents, and for the ConditionId: the library knows a type
/// by its own fields only, and leaves a clause that it does not know out of the answer, so that those behind it
/// would stand in the wrong places.
pub(super) fn teach(type_tree: &mut DefaultTypeTree) {
    for one in TYPES {
        let id = NodeId::from(one.0);
        for path in lineage(one.0).flat_map(|one| one.2) {
            let names: Vec<QualifiedName> = path.iter().map(|name| QualifiedName::new(0, *name)).collect();
            let names: Vec<&QualifiedName> = names.iter().collect();
            type_tree.add_type_property(&NodeId::null(), &id, &names, NodeClass::Variable);
        }
        if lineage(one.0).any(|one| one.0 == ObjectTypeId::ConditionType) {
            // OPC 10000-9 §5.5.2.13: the ConditionId is the attribute NodeId of no path.
            type_tree.add_type_property(&NodeId::null(), &id, &[], NodeClass::Object);
        }
    }
}

/// One event.
pub(super) struct Told {
    kind: ObjectTypeId,
    kind_id: NodeId,
    time: DateTime,
    /// The condition that it is of.
    condition: Option<NodeId>,
    fields: Vec<Field>,
}

/// What every event has.
pub(super) struct Base<'a> {
    pub(super) kind: ObjectTypeId,
    pub(super) id: EventId,
    pub(super) source: NodeId,
    pub(super) source_name: &'a str,
    pub(super) time: DateTime,
    pub(super) message: &'a str,
    pub(super) severity: u16,
}

impl Told {
    pub(super) fn new(base: Base<'_>, condition: Option<NodeId>, more: Vec<Field>) -> Told {
        let kind_id = NodeId::from(base.kind);
        let mut fields: Vec<Field> = vec![
            (&["EventId"], Variant::from(ByteString::from(&base.id))),
            (&["EventType"], Variant::from(kind_id.clone())),
            (&["SourceNode"], Variant::from(base.source)),
            (&["SourceName"], text(base.source_name)),
            (&["Time"], Variant::from(base.time)),
            (&["ReceiveTime"], Variant::from(DateTime::now())),
            (&["Message"], localized(base.message)),
            (&["Severity"], Variant::from(base.severity)),
        ];
        fields.extend(more);
        Told { kind: base.kind, kind_id, time: base.time, condition, fields }
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }
}

impl EventField for Told {
    fn get_value(&self, attribute: AttributeId, range: &NumericRange, path: &[QualifiedName]) -> Variant {
        if path.is_empty() {
            let id = self.condition.clone().filter(|_| attribute == AttributeId::NodeId);
            return id.map_or(Variant::Empty, Variant::from);
        }
        let is = |field: &&Field| {
            field.0.len() == path.len()
                && field
                    .0
                    .iter()
                    .zip(path)
                    .all(|(name, asked)| asked.namespace_index == 0 && asked.name.as_ref() == *name)
        };
        match (attribute, self.fields.iter().find(is)) {
            (AttributeId::Value, Some((_, value))) => match range {
                NumericRange::None => value.clone(),
                range => value.range_of(range).unwrap_or(Variant::Empty),
            },
            _ => Variant::Empty,
        }
    }
}

impl Event for Told {
    fn get_field(
        &self,
        kind: &NodeId,
        attribute: AttributeId,
        range: &NumericRange,
        path: &[QualifiedName],
    ) -> Variant {
        // OPC 10000-4 §7.7.4.5: null where the event is not of that type.
        if lineage(self.kind).any(|one| *kind == one.0) {
            self.get_value(attribute, range, path)
        } else {
            Variant::Empty
        }
    }

    fn time(&self) -> &DateTime {
        &self.time
    }

    fn event_type_id(&self) -> &NodeId {
        &self.kind_id
    }
}

/// The type of a condition.
pub(super) fn kind(alarm: &Alarm) -> ObjectTypeId {
    match &alarm.trigger {
        Trigger::Limits(_) => ObjectTypeId::ExclusiveLevelAlarmType,
        Trigger::When(_) => ObjectTypeId::DiscreteAlarmType,
        Trigger::NotNormal(_) => ObjectTypeId::OffNormalAlarmType,
    }
}

/// The identifier of a condition's object.
pub(super) fn condition_id(index: u16, condition: &Condition) -> NodeId {
    NodeId::new(index, space::property_id(&condition.alarm.path, "Alarm"))
}

/// What is told of a condition now.
pub(super) fn of_condition(index: u16, one: &Condition) -> Told {
    let alarm = &one.alarm;
    let source = NodeId::new(index, &*alarm.path);
    let state = |is: bool, yes: &str, no: &str| localized(if is { yes } else { no });
    let time = |at: Timestamp| Variant::from(value::date_time(at));
    let is_active = one.level.is_active();
    let mut fields: Vec<Field> = vec![
        (&["ConditionClassId"], Variant::from(NodeId::from(ObjectTypeId::ProcessConditionClassType))),
        (&["ConditionClassName"], localized("ProcessConditionClassType")),
        (&["ConditionName"], text(&one.name)),
        (&["BranchId"], Variant::from(NodeId::null())),
        (&["Retain"], Variant::from(one.is_retained())),
        (&["EnabledState"], localized("Enabled")),
        (&["EnabledState", "Id"], Variant::from(true)),
        (&["Quality"], Variant::from(value::code(one.status))),
        (&["Quality", "SourceTimestamp"], time(one.status_at)),
        (&["LastSeverity"], Variant::from(one.last_severity.0)),
        (&["LastSeverity", "SourceTimestamp"], time(one.last_severity.1)),
        (&["Comment"], Variant::from(LocalizedText::new(&one.comment.locale, &one.comment.text))),
        (&["Comment", "SourceTimestamp"], time(one.comment.at)),
        (&["ClientUserId"], text(&one.comment.by)),
        (&["AckedState"], state(one.acked, "Acknowledged", "Unacknowledged")),
        (&["AckedState", "Id"], Variant::from(one.acked)),
        (&["AckedState", "TransitionTime"], time(one.acked_at)),
        (&["ActiveState"], state(is_active, "Active", "Inactive")),
        (&["ActiveState", "Id"], Variant::from(is_active)),
        (&["ActiveState", "TransitionTime"], time(one.turned)),
        (&["InputNode"], Variant::from(source.clone())),
        (&["SuppressedOrShelved"], Variant::from(false)),
    ];
    match &alarm.trigger {
        Trigger::Limits(limits) => fields.extend(of_limits(limits, one.level)),
        Trigger::NotNormal(_) => fields.push((&["NormalState"], Variant::from(NodeId::null()))),
        Trigger::When(_) => {}
    }
    let base = Base {
        kind: kind(alarm),
        id: one.event,
        source,
        source_name: &alarm.path,
        time: value::date_time(one.time),
        message: &one.message,
        severity: one.severity.0,
    };
    Told::new(base, Some(condition_id(index, one)), fields)
}

fn of_limits(limits: &Limits, level: Level) -> Vec<Field> {
    let named: [(&'static [&'static str], Option<f64>); 4] = [
        (&["HighHighLimit"], limits.hihi),
        (&["HighLimit"], limits.hi),
        (&["LowLimit"], limits.lo),
        (&["LowLowLimit"], limits.lolo),
    ];
    let mut fields: Vec<Field> =
        named.into_iter().filter_map(|(name, limit)| Some((name, Variant::from(limit?)))).collect();
    // OPC 10000-9 §5.8.19.2: the states of ExclusiveLimitStateMachineType.
    let state = match level {
        Level::HiHi => Some(("HighHigh", 9329)),
        Level::Hi => Some(("High", 9331)),
        Level::Lo => Some(("Low", 9333)),
        Level::LoLo => Some(("LowLow", 9335)),
        Level::Normal | Level::Active => None,
    };
    let (name, id) = match state {
        Some((name, id)) => (localized(name), Variant::from(NodeId::new(0, id as u32))),
        None => (Variant::from(LocalizedText::null()), Variant::from(NodeId::null())),
    };
    fields.push((&["LimitState", "CurrentState"], name));
    fields.push((&["LimitState", "CurrentState", "Id"], id));
    fields
}

pub(super) fn localized(text: &str) -> Variant {
    Variant::from(LocalizedText::new("en", text))
}

pub(super) fn text(text: &str) -> Variant {
    Variant::from(UAString::from(text))
}

/// What an audit event says of how it went.
pub(super) fn audit_fields(server: &str, who: &str, status: StatusCode) -> Vec<Field> {
    vec![
        (&["ActionTimeStamp"], Variant::from(DateTime::now())),
        (&["Status"], Variant::from(status.is_good())),
        (&["ServerId"], text(server)),
        (&["ClientAuditEntryId"], text("")),
        (&["ClientUserId"], text(who)),
    ]
}
