//! Changes of the address space while clients are there, and how they are told (Part 3 §9.32.7).

use opcua::nodes::{BaseEventType, Event};
use opcua::server::SubscriptionCache;
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::types::event_field::EventField;
use opcua::types::{
    AttributeId, BrowseDirection, ByteString, DataValue, DateTime, ExtensionObject, LocalizedText,
    ModelChangeStructureDataType, NodeId, NumericRange, ObjectId, ObjectTypeId, QualifiedName,
    ReferenceTypeId, UAString, Variant, VariantScalarTypeId,
};

use super::grow;
use super::nodes::Tags;
use super::value;
use crate::publishers::opcua::change::{Change, verb};
use crate::publishers::opcua::status::Status;

/// Changes in one event: clients have limits to arrays, often a thousand.
const MOST_CHANGES: usize = 500;

/// Makes the nodes what they are now. A variable that stays keeps its value, also where it has other
/// properties; not where it has another type.
pub(super) fn apply(change: &Change<'_>, tags: &Tags, address_space: &mut AddressSpace) {
    let index = tags.index();
    for variable in &change.variables_gone {
        grow::remove_variable(variable, index, address_space);
    }
    for object in &change.objects_gone {
        grow::remove_object(object, index, address_space);
    }
    for object in &change.objects_new {
        tags.add_object(object, address_space);
    }
    for object in &change.objects_changed {
        let id = NodeId::new(index, object.id.as_str());
        if let Some(node) = address_space.find_mut(&id) {
            let text = object.description.as_deref().map_or_else(LocalizedText::null, LocalizedText::from);
            node.as_mut_node().set_description(text);
        }
    }
    for variable in &change.variables_new {
        tags.add_variable(variable, address_space);
    }
    for (before, now) in &change.variables_changed {
        let id = NodeId::new(index, now.id.as_str());
        let held = match address_space.find(&id) {
            Some(NodeType::Variable(node)) if before.kind == now.kind => Some(value::of(node)),
            _ => None,
        };
        grow::remove_variable(before, index, address_space);
        tags.add_variable(now, address_space);
        if let (Some(held), Some(NodeType::Variable(node))) = (held, address_space.find_mut(&id)) {
            node.set_data_value(held);
        }
    }
}

/// Tells who subscribed to what is gone, and who wants to know of changes.
pub(super) fn tell(
    change: &Change<'_>,
    tags: &Tags,
    address_space: &mut AddressSpace,
    subscriptions: &SubscriptionCache,
) {
    let index = tags.index();
    let gone = DataValue {
        value: None,
        status: Some(value::code(Status::BAD_NODE_ID_UNKNOWN)),
        source_timestamp: None,
        server_timestamp: Some(DateTime::now()),
        ..DataValue::default()
    };
    let mut notifier = subscriptions.data_notifier();
    for variable in &change.variables_gone {
        let node = NodeId::new(index, variable.id.as_str());
        for id in std::iter::once(node).chain(grow::value_as_text(variable, index)) {
            if let Some(mut items) = notifier.notify_for(&id, AttributeId::Value) {
                items.data_value(gone.clone());
            }
        }
    }
    let mut changes = Vec::new();
    for (id, verb) in change.told() {
        let affected = NodeId::new(index, id);
        let is_object = matches!(address_space.find(&affected), Some(NodeType::Object(_)));
        if verb & (verb::REFERENCE_ADDED | verb::REFERENCE_DELETED) != 0
            && is_object
            && let Some(version) = grow::count_version(id, index, address_space)
            && let Some(NodeType::Variable(node)) = address_space.find(&version)
            && let Some(mut items) = notifier.notify_for(&version, AttributeId::Value)
        {
            items.data_value(value::of(node));
        }
        let affected_type = type_of(&affected, address_space);
        changes.push(ModelChangeStructureDataType { affected, affected_type, verb });
    }
    drop(notifier);
    let server = NodeId::from(ObjectId::Server);
    for changes in changes.chunks(MOST_CHANGES) {
        let event = ModelChange::new(changes.to_vec());
        subscriptions.notify_events(std::iter::once((&event as &dyn Event, &server)));
    }
}

/// The type of a node; null where it is gone.
fn type_of(node: &NodeId, address_space: &AddressSpace) -> NodeId {
    let tree = opcua::nodes::DefaultTypeTree::new();
    let types = Some((ReferenceTypeId::HasTypeDefinition, false));
    let mut found = address_space.find_references(node, types, &tree, BrowseDirection::Forward);
    found.next().map_or_else(NodeId::null, |reference| reference.target_node.clone())
}

/// A GeneralModelChangeEvent. That of the library has one change only, and the specification wants an array.
struct ModelChange {
    base: BaseEventType,
    changes: Vec<ModelChangeStructureDataType>,
}

impl ModelChange {
    fn new(changes: Vec<ModelChangeStructureDataType>) -> ModelChange {
        let id = ByteString::from(opcua::types::Guid::new().to_bytes().to_vec());
        let base = BaseEventType::new_now(
            ObjectTypeId::GeneralModelChangeEventType,
            id,
            LocalizedText::from("The configuration was changed"),
        );
        let base = base.set_source_node(ObjectId::Server.into()).set_source_name(UAString::from("Server"));
        ModelChange { base: base.set_severity(100), changes }
    }
}

impl Event for ModelChange {
    fn get_field(
        &self,
        type_definition_id: &NodeId,
        attribute_id: AttributeId,
        index_range: &NumericRange,
        browse_path: &[QualifiedName],
    ) -> Variant {
        let own = [ObjectTypeId::GeneralModelChangeEventType, ObjectTypeId::BaseModelChangeEventType];
        if own.iter().any(|own| type_definition_id == own) {
            self.get_value(attribute_id, index_range, browse_path)
        } else {
            self.base.get_field(type_definition_id, attribute_id, index_range, browse_path)
        }
    }

    fn time(&self) -> &DateTime {
        self.base.time()
    }

    fn event_type_id(&self) -> &NodeId {
        self.base.event_type_id()
    }
}

impl EventField for ModelChange {
    fn get_value(
        &self,
        attribute_id: AttributeId,
        index_range: &NumericRange,
        remaining_path: &[QualifiedName],
    ) -> Variant {
        match remaining_path {
            [name] if name.namespace_index == 0 && name.name.as_ref() == "Changes" => {
                if attribute_id != AttributeId::Value {
                    return Variant::Empty;
                }
                let changes = self.changes.iter().cloned().map(ExtensionObject::from_message);
                let changes = changes.map(Variant::from).collect::<Vec<_>>();
                let all = Variant::from((VariantScalarTypeId::ExtensionObject, changes));
                all.range_of(index_range).unwrap_or(Variant::Empty)
            }
            _ => self.base.get_value(attribute_id, index_range, remaining_path),
        }
    }
}
