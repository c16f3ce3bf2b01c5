//! Makes nodes in the address space, and takes them away.

use std::sync::Arc;

use opcua::server::address_space::{AccessLevel, AddressSpace, NodeType, ObjectBuilder, VariableBuilder};
use opcua::types::{
    DataTypeId, EUInformation, EnumValueType, ExtensionObject, LocalizedText, NodeId, ObjectId, ObjectTypeId,
    QualifiedName, Range, ReferenceTypeId, VariableTypeId, Variant, VariantScalarTypeId,
};

use super::value;
use crate::model::{Access, Labels};
use crate::publishers::opcua::space::{self, Kind, Object, States, Variable};
use crate::publishers::opcua::status::Status;

/// All properties that a variable can have.
const PROPERTIES: [&str; 7] =
    ["EURange", "EngineeringUnits", "FalseState", "TrueState", "EnumStrings", "EnumValues", VALUE_AS_TEXT];
/// What the value is called, of a MultiStateValueDiscreteType.
pub(super) const VALUE_AS_TEXT: &str = "ValueAsText";
/// Counts the changes below an object (Part 3 §9.32.2).
const NODE_VERSION: &str = "NodeVersion";

/// Adds an object; its parent is there.
pub(super) fn object(object: &Object, index: u16, address_space: &mut AddressSpace) {
    let id = NodeId::new(index, object.id.as_str());
    let name = object.name.as_str();
    let builder = ObjectBuilder::new(&id, QualifiedName::new(index, name), name);
    let builder = match &object.description {
        Some(text) => builder.description(text.as_str()),
        None => builder,
    };
    let builder = match &object.parent {
        Some(parent) if object.id.ends_with('/') => builder.component_of(NodeId::new(index, parent.as_str())),
        Some(parent) => builder.organized_by(NodeId::new(index, parent.as_str())),
        None => builder.organized_by(ObjectId::ObjectsFolder),
    };
    let kind = match object.kind {
        Kind::Folder | Kind::Gateway => ObjectTypeId::FolderType,
        Kind::Device => ObjectTypeId::BaseObjectType,
    };
    builder.has_type_definition(kind).insert(address_space);
    let version = (NODE_VERSION, DataTypeId::String, Variant::from("1"));
    property(&object.id, version, 0, index, address_space);
}

/// One more change below an object.
pub(super) fn count_version(object: &str, index: u16, address_space: &mut AddressSpace) -> Option<NodeId> {
    let id = NodeId::new(index, space::property_id(object, NODE_VERSION));
    let Some(NodeType::Variable(version)) = address_space.find_mut(&id) else { return None };
    let now = match value::of(version).value {
        Some(Variant::String(text)) => text.as_ref().parse::<u64>().unwrap_or(0),
        _ => 0,
    };
    version.set_data_value(value::plain((now + 1).to_string()));
    Some(id)
}

/// Takes an object away; its children are gone.
pub(super) fn remove_object(object: &Object, index: u16, address_space: &mut AddressSpace) {
    let names = super::nameplate::NAMES.into_iter().chain([NODE_VERSION]);
    for name in names {
        address_space.delete(&NodeId::new(index, space::property_id(&object.id, name)), true);
    }
    address_space.delete(&NodeId::new(index, object.id.as_str()), true);
}

/// Takes a variable away.
pub(super) fn remove_variable(variable: &Variable, index: u16, address_space: &mut AddressSpace) {
    for name in PROPERTIES {
        address_space.delete(&NodeId::new(index, space::property_id(&variable.id, name)), true);
    }
    address_space.delete(&NodeId::new(index, variable.id.as_str()), true);
}

/// Adds a variable, `kept` where it has history; its parent is there.
pub(super) fn variable(
    variable: &Variable,
    kept: bool,
    index: u16,
    address_space: &mut AddressSpace,
) -> NodeId {
    let id = NodeId::new(index, variable.id.as_str());
    let name = variable.name.as_str();
    let access = match variable.access {
        Access::Read => AccessLevel::CURRENT_READ,
        Access::ReadWrite => AccessLevel::CURRENT_READ | AccessLevel::CURRENT_WRITE,
        Access::WriteOnly => AccessLevel::CURRENT_WRITE,
    };
    let kept = kept && variable.access.is_readable();
    let access = if kept { access | AccessLevel::HISTORY_READ } else { access };
    // Without CurrentRead for the user the library refuses every attribute, the data type too: `levels.rs` takes it
    // out of the answers, and the value of such a tag is BadNotReadable.
    let user_access = access | AccessLevel::CURRENT_READ;
    let kind = match &variable.states {
        Some(States::Two(..)) => VariableTypeId::TwoStateDiscreteType,
        Some(States::List(_)) => VariableTypeId::MultiStateDiscreteType,
        Some(States::Values(_)) => VariableTypeId::MultiStateValueDiscreteType,
        None => value::variable_type(variable.unit.is_some(), variable.range.is_some()),
    };
    let builder = VariableBuilder::new(&id, QualifiedName::new(index, name), name)
        .data_type(value::data_type(variable.kind))
        .access_level(access)
        .user_access_level(user_access)
        .historizing(kept)
        // Part 3 §5.6.2: 0 says that the server tells every change.
        .minimum_sampling_interval(0.0)
        .component_of(NodeId::new(index, variable.parent.as_str()))
        .has_type_definition(kind);
    let builder = match &variable.description {
        Some(text) => builder.description(text.as_str()),
        None => builder,
    };
    // Part 3 §5.6.2: rank 1 is one dimension; a scalar, the builder's own rank -1, has no dimensions.
    let builder = match variable.kind.length() {
        Some(length) => builder.value_rank(1).array_dimensions(&[length.into()]),
        None => builder,
    };
    builder.insert(address_space);
    if let Some(NodeType::Variable(node)) = address_space.find_mut(&id) {
        node.set_data_value(value::empty(Status::BAD_WAITING_FOR_INITIAL_DATA));
    }
    let mut add = |name, kind, value| property(&variable.id, (name, kind, value), 0, index, address_space);
    if let Some((low, high)) = variable.range {
        let range = ExtensionObject::from_message(Range { low, high });
        add("EURange", DataTypeId::Range, range.into());
    }
    if let Some(unit) = &variable.unit {
        let unit = EUInformation {
            namespace_uri: unit.namespace.into(),
            unit_id: unit.id,
            display_name: LocalizedText::from(unit.text.as_str()),
            description: LocalizedText::from(unit.text.as_str()),
        };
        add("EngineeringUnits", DataTypeId::EUInformation, ExtensionObject::from_message(unit).into());
    }
    match &variable.states {
        Some(States::Two(off, on)) => {
            add("FalseState", DataTypeId::LocalizedText, localized(off).into());
            add("TrueState", DataTypeId::LocalizedText, localized(on).into());
        }
        Some(States::List(names)) => {
            let names: Vec<_> = names.iter().map(|name| Variant::from(localized(name))).collect();
            let names = Variant::from((VariantScalarTypeId::LocalizedText, names));
            add("EnumStrings", DataTypeId::LocalizedText, names);
        }
        Some(States::Values(labels)) => {
            add("EnumValues", DataTypeId::EnumValueType, enum_values(labels));
            add(VALUE_AS_TEXT, DataTypeId::LocalizedText, Variant::Empty);
        }
        None => {}
    }
    if let Some(id) = value_as_text(variable, index)
        && let Some(NodeType::Variable(node)) = address_space.find_mut(&id)
    {
        node.set_data_value(value::empty(Status::BAD_WAITING_FOR_INITIAL_DATA));
    }
    id
}

/// The node that says what the value is called, where there is one.
pub(super) fn value_as_text(variable: &Variable, index: u16) -> Option<NodeId> {
    matches!(variable.states, Some(States::Values(_)))
        .then(|| NodeId::new(index, space::property_id(&variable.id, VALUE_AS_TEXT)))
}

fn enum_values(labels: &Labels) -> Variant {
    let Labels::Numbers(names) = labels else { return Variant::Empty };
    let one = |(value, name): (&i64, &Arc<str>)| {
        let (display_name, description) = (localized(name), LocalizedText::null());
        let one = EnumValueType { value: *value, display_name, description };
        Variant::from(ExtensionObject::from_message(one))
    };
    Variant::from((VariantScalarTypeId::ExtensionObject, names.iter().map(one).collect::<Vec<_>>()))
}

fn localized(text: &Arc<str>) -> LocalizedText {
    LocalizedText::from(&**text)
}

/// Adds a property, its browse name in the namespace `names`.
pub(super) fn property(
    owner: &str,
    (name, kind, value): (&str, DataTypeId, Variant),
    names: u16,
    index: u16,
    address_space: &mut AddressSpace,
) {
    let id = NodeId::new(index, space::property_id(owner, name));
    let builder = VariableBuilder::new(&id, QualifiedName::new(names, name), name)
        .data_type(kind)
        .property_of(NodeId::new(index, owner))
        .has_type_definition(VariableTypeId::PropertyType);
    let builder = match &value {
        Variant::Array(array) => {
            builder.value_rank(1).array_dimensions(&[u32::try_from(array.values.len()).unwrap_or(0)])
        }
        _ => builder,
    };
    builder.value(value).insert(address_space);
}

/// Says that an object has the interface of a type (Part 3 §4.10).
pub(super) fn has_interface(object: &str, interface: NodeId, index: u16, address_space: &mut AddressSpace) {
    let object = NodeId::new(index, object);
    address_space.insert_reference(&object, &interface, ReferenceTypeId::HasInterface);
}
