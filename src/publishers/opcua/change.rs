//! What a new configuration makes of the nodes: which go, which come, which stay as they are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::space::{Object, Space, Variable};

/// From one space to the next. A node whose name stays keeps its id.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Change<'a> {
    /// Objects that go; a child comes before its parent.
    pub(super) objects_gone: Vec<&'a Object>,
    /// Variables that go.
    pub(super) variables_gone: Vec<&'a Variable>,
    /// Objects that come; a parent comes before its children.
    pub(super) objects_new: Vec<&'a Object>,
    /// Objects of which people read something else now.
    pub(super) objects_changed: Vec<&'a Object>,
    /// Variables that come.
    pub(super) variables_new: Vec<&'a Variable>,
    /// Variables that are something else under the same id: before and now.
    pub(super) variables_changed: Vec<(&'a Variable, &'a Variable)>,
}

/// What is told of a node (Part 3 §9.32.7): bits of ModelChangeStructureVerbMask.
pub(super) mod verb {
    pub(in super::super) const NODE_ADDED: u8 = 1;
    pub(in super::super) const NODE_DELETED: u8 = 2;
    pub(in super::super) const REFERENCE_ADDED: u8 = 4;
    pub(in super::super) const REFERENCE_DELETED: u8 = 8;
    pub(in super::super) const DATA_TYPE_CHANGED: u8 = 16;
}

impl<'a> Change<'a> {
    /// Whether nothing changes for clients.
    pub(super) fn is_empty(&self) -> bool {
        *self == Change::default()
    }

    /// Each node and what becomes of it, the parents of what comes and goes too.
    pub(super) fn told(&self) -> BTreeMap<&'a str, u8> {
        let mut told: BTreeMap<&str, u8> = BTreeMap::new();
        let mut tell = |id: &'a str, verb: u8| *told.entry(id).or_default() |= verb;
        let gone: HashSet<&str> = self.objects_gone.iter().map(|o| o.id.as_str()).collect();
        for object in &self.objects_new {
            tell(&object.id, verb::NODE_ADDED);
            object.parent.iter().for_each(|parent| tell(parent, verb::REFERENCE_ADDED));
        }
        for variable in &self.variables_new {
            tell(&variable.id, verb::NODE_ADDED);
            tell(&variable.parent, verb::REFERENCE_ADDED);
        }
        for object in &self.objects_gone {
            tell(&object.id, verb::NODE_DELETED);
            let parent = object.parent.iter().filter(|parent| !gone.contains(parent.as_str()));
            parent.for_each(|parent| tell(parent, verb::REFERENCE_DELETED));
        }
        for variable in &self.variables_gone {
            tell(&variable.id, verb::NODE_DELETED);
            if !gone.contains(variable.parent.as_str()) {
                tell(&variable.parent, verb::REFERENCE_DELETED);
            }
        }
        for (before, now) in &self.variables_changed {
            if before.kind != now.kind {
                tell(&now.id, verb::DATA_TYPE_CHANGED);
            }
            if before.range != now.range || before.unit != now.unit || before.states != now.states {
                tell(&now.id, verb::REFERENCE_ADDED | verb::REFERENCE_DELETED);
            }
        }
        told
    }
}

/// What changes.
pub(super) fn between<'a>(old: &'a Space, new: &'a Space) -> Change<'a> {
    let old_objects: HashMap<_, _> = old.objects.iter().map(|o| (o.id.as_str(), o)).collect();
    let new_objects: HashSet<_> = new.objects.iter().map(|o| o.id.as_str()).collect();
    let old_variables: HashMap<_, _> = old.variables.iter().map(|v| (v.id.as_str(), v)).collect();
    let new_variables: HashSet<_> = new.variables.iter().map(|v| v.id.as_str()).collect();
    let mut change = Change {
        objects_gone: old.objects.iter().rev().filter(|o| !new_objects.contains(o.id.as_str())).collect(),
        variables_gone: old.variables.iter().filter(|v| !new_variables.contains(v.id.as_str())).collect(),
        ..Change::default()
    };
    for object in &new.objects {
        match old_objects.get(object.id.as_str()) {
            None => change.objects_new.push(object),
            Some(before) if **before != *object => change.objects_changed.push(object),
            Some(_) => {}
        }
    }
    for variable in &new.variables {
        match old_variables.get(variable.id.as_str()) {
            None => change.variables_new.push(variable),
            // The tag's number is none of the client's business.
            Some(before) if Variable { tag: variable.tag, ..(*before).clone() } != *variable => {
                change.variables_changed.push((before, variable));
            }
            Some(_) => {}
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DataType, Device, DeviceId, Directory, Tag, TagId};
    use crate::publishers::opcua::space::space;

    fn made(tags: &[(u32, &str, DataType)]) -> Space {
        let device = Device::plain(DeviceId(0), "pump", "net");
        let tags = tags
            .iter()
            .map(|(id, name, kind)| Tag::plain(TagId(*id), DeviceId(0), &format!("pump/{name}"), *kind));
        space(&Directory::new("g", "n", vec![device], tags.collect()))
    }

    #[test]
    fn what_stays_is_not_touched_also_when_its_number_is_another() {
        let old = made(&[(0, "a", DataType::U16), (1, "b", DataType::U16)]);
        let new = made(&[(7, "b", DataType::U16), (0, "a", DataType::U16)]);
        assert!(between(&old, &new).is_empty());
    }

    #[test]
    fn nodes_and_their_parents_are_told() {
        let old = made(&[(0, "a", DataType::U16), (1, "motor/speed", DataType::U16)]);
        let new = made(&[(0, "a", DataType::F32), (2, "valve/open", DataType::Bool)]);
        let change = between(&old, &new);
        assert_eq!(
            change.told().into_iter().collect::<Vec<_>>(),
            [
                ("pump", verb::REFERENCE_ADDED | verb::REFERENCE_DELETED),
                ("pump/a", verb::DATA_TYPE_CHANGED),
                ("pump/motor/", verb::NODE_DELETED),
                ("pump/motor/speed", verb::NODE_DELETED),
                ("pump/valve/", verb::NODE_ADDED | verb::REFERENCE_ADDED),
                ("pump/valve/open", verb::NODE_ADDED),
            ]
        );
    }
}
