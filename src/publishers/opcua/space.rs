//! Which nodes a directory makes: `Objects/<group>/<node>/<device>/<folder…>/<tag>`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::units::{self, Unit};
use crate::model::{Access, DataType, Device, Directory, Labels, Tag, TagId};

/// All nodes below Objects; a parent always comes before its children.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Space {
    /// URI of the namespace of all node ids and browse names.
    pub(super) namespace: String,
    /// Group, node, devices and the folders of tags.
    pub(super) objects: Vec<Object>,
    /// One a tag.
    pub(super) variables: Vec<Variable>,
}

/// What an object stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The gateway: the folder of its devices.
    Gateway,
    /// Group, node, or a folder within a device.
    Folder,
    /// A device.
    Device,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    /// String identifier.
    pub(super) id: String,
    /// Identifier of the parent; `None` is the Objects folder.
    pub(super) parent: Option<String>,
    /// Browse name and display name.
    pub(super) name: String,
    /// For people.
    pub(super) description: Option<String>,
    /// What it stands for.
    pub(super) kind: Kind,
}

/// How a variable says what its values are called (Part 8 §5.3.3).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum States {
    /// TwoStateDiscreteType: FalseState and TrueState.
    Two(Arc<str>, Arc<str>),
    /// MultiStateDiscreteType: EnumStrings, from 0 on. Its values are unsigned.
    List(Vec<Arc<str>>),
    /// MultiStateValueDiscreteType: EnumValues, and the name of the value as ValueAsText.
    Values(Arc<Labels>),
}

/// A variable.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variable {
    /// Whose values it shows.
    pub(super) tag: TagId,
    /// String identifier: the tag's path.
    pub(super) id: String,
    /// Identifier of the parent.
    pub(super) parent: String,
    /// Browse name and display name: the last part of the tag's name.
    pub(super) name: String,
    /// For people.
    pub(super) description: Option<String>,
    /// Type of the value.
    pub(super) kind: DataType,
    /// Whether users may read and write it.
    pub(super) access: Access,
    /// Engineering unit of a number.
    pub(super) unit: Option<Unit>,
    /// Limits of a number, both known.
    pub(super) range: Option<(f64, f64)>,
    /// What its values are called; then it has neither unit nor range.
    pub(super) states: Option<States>,
}

// Names have no `/` at an end and no `#` (plan/names.rs), so that these never meet the path of a tag.

/// The identifier of a property of a variable.
pub(super) fn property_id(variable: &str, property: &str) -> String {
    format!("{variable}#{property}")
}

fn folder_id(path: &str) -> String {
    format!("{path}/")
}

/// The URI of the gateway's own namespace; stays the same as long as group and node do.
pub(super) fn namespace(directory: &Directory) -> String {
    format!("urn:fieldgate:{}:{}", escaped(&directory.group), escaped(&directory.node))
}

/// Percent-encoded where RFC 3986 wants it, so that a URI stays ASCII.
pub(super) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// All nodes of a directory.
pub(super) fn space(directory: &Directory) -> Space {
    let (group, node) = (format!("/{}", directory.group), format!("/{}/{}", directory.group, directory.node));
    let mut objects = vec![
        folder(group.clone(), None, &directory.group),
        Object { kind: Kind::Gateway, ..folder(node.clone(), Some(group), &directory.node) },
    ];
    let mut variables = Vec::with_capacity(directory.tags().len());
    objects.extend(directory.devices().iter().map(|device| object(device, &node)));
    let mut folders = HashSet::new();
    // What shows an alarm is a part of the variable whose alarm it is.
    let alarms = directory
        .alarms()
        .iter()
        .flat_map(|alarm| [alarm.state, alarm.active, alarm.acked].map(|shown| (shown, alarm.path.clone())));
    let alarms: HashMap<TagId, Arc<str>> = alarms.collect();
    for tag in directory.tags() {
        if let Some(source) = alarms.get(&tag.id) {
            let name = tag.name.rsplit('/').next().unwrap_or_default();
            variables.push(variable(tag, directory.labels(tag.id), source.to_string(), name));
            continue;
        }
        let Some(device) = directory.device(tag.device) else { continue };
        let mut parent = device.name.to_string();
        let mut path = parent.clone();
        let mut parts = tag.name.split('/').peekable();
        while let Some(part) = parts.next() {
            path = format!("{path}/{part}");
            if parts.peek().is_none() {
                variables.push(variable(tag, directory.labels(tag.id), parent, part));
                break;
            }
            let id = folder_id(&path);
            if folders.insert(id.clone()) {
                objects.push(folder(id.clone(), Some(parent), part));
            }
            parent = id;
        }
    }
    Space { namespace: namespace(directory), objects, variables }
}

fn folder(id: String, parent: Option<String>, name: &str) -> Object {
    Object { id, parent, name: name.to_owned(), description: None, kind: Kind::Folder }
}

fn object(device: &Device, node: &str) -> Object {
    Object {
        id: device.name.to_string(),
        parent: Some(node.to_owned()),
        name: device.name.to_string(),
        description: device.description.as_deref().map(str::to_owned),
        kind: Kind::Device,
    }
}

fn states(kind: DataType, labels: &Arc<Labels>) -> States {
    if let Labels::Switch { off, on } = &**labels {
        return States::Two(off.clone(), on.clone());
    }
    let unsigned = matches!(kind, DataType::U8 | DataType::U16 | DataType::U32 | DataType::U64);
    match labels.from_zero().filter(|_| unsigned) {
        Some(names) => States::List(names.into_iter().cloned().collect()),
        None => States::Values(labels.clone()),
    }
}

fn variable(tag: &Tag, labels: Option<&Arc<Labels>>, parent: String, name: &str) -> Variable {
    let number = tag.kind.is_number() && labels.is_none();
    Variable {
        tag: tag.id,
        id: tag.path.to_string(),
        parent,
        name: name.to_owned(),
        description: tag.description.as_deref().map(str::to_owned),
        kind: tag.kind,
        access: tag.access,
        unit: tag.unit.as_deref().filter(|_| number).map(units::unit),
        range: if number { tag.low.zip(tag.high) } else { None },
        states: labels.map(|labels| states(tag.kind, labels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeviceId;

    fn tag(id: u32, device: &str, name: &str, kind: DataType) -> Tag {
        Tag {
            unit: Some("bar".into()),
            low: Some(0.0),
            high: (id == 0).then_some(10.0),
            ..Tag::plain(TagId(id), DeviceId(0), &format!("{device}/{name}"), kind)
        }
    }

    fn made() -> Space {
        let device =
            Device { description: Some("in the cellar".into()), ..Device::plain(DeviceId(0), "pump", "net") };
        let tags = vec![
            tag(0, "pump", "pressure", DataType::F32),
            tag(1, "pump", "motor/current", DataType::U16),
            tag(2, "pump", "motor/name", DataType::Text),
            tag(3, "pump", "motor", DataType::Bool),
        ];
        space(&Directory::new("water works", "gw", vec![device], tags))
    }

    #[test]
    fn a_tag_lies_below_group_node_device_and_its_folders() {
        let space = made();
        assert_eq!(space.namespace, "urn:fieldgate:water%20works:gw");
        let objects: Vec<_> =
            space.objects.iter().map(|o| (o.id.as_str(), o.parent.as_deref(), o.name.as_str())).collect();
        assert_eq!(
            objects,
            [
                ("/water works", None, "water works"),
                ("/water works/gw", Some("/water works"), "gw"),
                ("pump", Some("/water works/gw"), "pump"),
                ("pump/motor/", Some("pump"), "motor"),
            ]
        );
        let variables: Vec<_> =
            space.variables.iter().map(|v| (v.id.as_str(), v.parent.as_str(), v.name.as_str())).collect();
        assert_eq!(
            variables,
            [
                ("pump/pressure", "pump", "pressure"),
                ("pump/motor/current", "pump/motor/", "current"),
                ("pump/motor/name", "pump/motor/", "name"),
                ("pump/motor", "pump", "motor"),
            ]
        );
    }

    #[test]
    fn no_two_nodes_have_one_identifier() {
        let space = made();
        let ids: HashSet<_> =
            space.objects.iter().map(|o| &o.id).chain(space.variables.iter().map(|v| &v.id)).collect();
        assert_eq!(ids.len(), space.objects.len() + space.variables.len());
    }

    #[test]
    fn only_numbers_have_units_and_only_two_limits_are_a_range() {
        let space = made();
        let [pressure, current, name, _] = space.variables.as_slice() else { panic!() };
        assert_eq!((pressure.range, current.range, name.range), (Some((0.0, 10.0)), None, None));
        assert!(pressure.unit.is_some() && current.unit.is_some() && name.unit.is_none());
    }
}
