//! What commands may name: devices and their parts, tags by name or alias, instances of templates.

use std::sync::Arc;

use crate::model::{DataType, Device, TagId};
use crate::publishers::sparkplug::commands::{Instance, Names};

use super::layout::Part;
use super::{Session, shapes};

impl Session {
    /// A device, or a part of one, by the name in its topics.
    fn owner(&self, name: &str) -> Option<(&Device, Part)> {
        let mut devices = self.directory.devices().iter().filter(|d| !d.is_node);
        let own = devices.find(|d| &*d.name == name).map(|device| (device, 0));
        own.or_else(|| {
            let mut splits = self.layout.splits(&self.directory);
            splits.find_map(|(device, names)| Some((device, Part::try_from(at(names, name)?).ok()?)))
        })
    }
}

fn at(names: &[Arc<str>], name: &str) -> Option<usize> {
    names.iter().position(|known| &**known == name)
}

impl Names for Session {
    fn by_name(&self, device: Option<&str>, name: &str) -> Option<(TagId, DataType)> {
        let (device, part) = match device {
            None => (self.directory.devices().iter().find(|d| d.is_node)?, 0),
            Some(device) => self.owner(device)?,
        };
        let tag = self.directory.find(&format!("{}/{name}", device.name))?;
        (tag.device == device.id && self.layout.part(tag.id) == part).then_some((tag.id, tag.kind))
    }

    fn by_alias(&self, device: Option<&str>, alias: u64) -> Option<(TagId, DataType)> {
        let id = TagId(u32::try_from(alias.checked_sub(1)?).ok()?);
        let tag = self.directory.tag(id)?;
        let owner = self.directory.device(tag.device)?;
        // Aliases are unique over node and devices (tck-id-payloads-alias-uniqueness), so an NCMD may use any.
        let part = self.layout.part(id);
        let ours = device.is_none_or(|name| !owner.is_node && &**self.layout.name(owner, part) == name);
        ours.then_some((tag.id, tag.kind))
    }

    fn instance(&self, device: Option<&str>, name: Option<&str>, alias: Option<u64>) -> Option<Instance> {
        let mut devices =
            self.directory.devices().iter().filter(|d| device.is_none_or(|name| &*d.name == name));
        let device = devices.find(|d| match name {
            Some(name) => device.is_some() && self.layout.template(d.id).is_some_and(|t| &*t.name == name),
            None => alias == Some(shapes::instance_alias(d.id)),
        })?;
        let template = self.layout.template(device.id)?;
        Some(Instance { device: device.name.clone(), template: template.name.clone() })
    }
}
