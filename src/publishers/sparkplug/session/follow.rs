//! Other devices and tags while the node is born: what changed is born again, once; what went is buried.

use std::sync::Arc;

use crate::model::{
    Device as Named, DeviceId, DeviceState, Directory, Labels, Plate, Table, Tag, Template, Timestamp,
};
use crate::store::Store;

use super::layout::Layout;
use super::shapes::Cells;
use super::{Device, Kind, Message, Session, Status};

/// All that a birth tells of a device but values: where this differs the hosts must be told anew.
#[derive(PartialEq)]
struct Outline<'a> {
    device: &'a Named,
    names: Vec<Arc<str>>,
    tags: Vec<&'a Tag>,
    labels: Vec<Option<&'a Arc<Labels>>>,
    /// With their places, which their aliases are made of.
    tables: Vec<(usize, &'a Table)>,
    plate: Option<&'a Plate>,
    template: Option<&'a Arc<Template>>,
}

impl<'a> Outline<'a> {
    fn of(directory: &'a Directory, layout: &'a Layout, id: DeviceId) -> Option<Outline<'a>> {
        let device = directory.device(id)?;
        let tags: Vec<_> = directory.tags_of(id).collect();
        Some(Outline {
            device,
            names: layout.names(device),
            labels: tags.iter().map(|tag| directory.labels(tag.id)).collect(),
            tags,
            tables: directory.tables().iter().enumerate().filter(|(_, table)| table.device == id).collect(),
            plate: directory.plate(id),
            template: layout.template(id),
        })
    }
}

impl Session {
    /// Goes on with other devices and tags. False: what the NBIRTH tells is another, so that all births are to be
    /// made again.
    pub fn follow(
        &mut self,
        directory: Arc<Directory>,
        image: &Store,
        now: Timestamp,
        out: &mut Vec<Message>,
    ) -> bool {
        self.flush(now, out);
        let old = std::mem::replace(&mut self.directory, directory.clone());
        let layout = std::mem::take(&mut self.layout);
        self.lay_out();
        let mut before = std::mem::take(&mut self.devices);
        for device in directory.devices() {
            let known = before.remove(&device.id).unwrap_or_else(|| Device::unborn(&self.topics, device));
            self.devices.insert(device.id, known);
        }
        let mut metrics = std::mem::take(&mut self.metrics);
        self.metrics =
            directory.tags().iter().map(|t| (t.id, metrics.remove(&t.id).unwrap_or_default())).collect();
        self.cells = Cells::of(&directory);
        for cell in directory.tables().iter().flat_map(|table| &table.cells) {
            image.latest(*cell).iter().for_each(|sample| self.cells.heard(sample));
        }
        self.cells.forget();
        let mut own_is_same = layout.definitions == self.layout.definitions;
        // The old names of what is another or gone, and whether it is still there.
        let mut others: Vec<(DeviceId, Vec<Arc<str>>, bool)> = Vec::new();
        for device in old.devices() {
            let was = Outline::of(&old, &layout, device.id);
            let is = Outline::of(&directory, &self.layout, device.id);
            if was == is {
                continue;
            }
            own_is_same &= !device.is_node && is.as_ref().is_none_or(|is| !is.device.is_node);
            if !device.is_node {
                others.push((device.id, was.map(|was| was.names).unwrap_or_default(), is.is_some()));
            }
        }
        own_is_same &= directory.devices().iter().filter(|d| d.is_node).all(|d| old.device(d.id).is_some());
        let mut again = Vec::new();
        for (device, names, stays) in others {
            let status = before.get(&device).or(self.devices.get(&device)).map(|d| d.status);
            self.set(device, Status::Unborn);
            if status != Some(Status::Born) {
                continue;
            }
            // No birth is repeated without a death between.
            for name in names {
                let topic = self.topics.device("DDEATH", &name);
                let message = self.message(topic, Vec::new(), Kind::Death, now);
                out.push(message);
            }
            again.extend(stays.then_some(device));
        }
        if own_is_same {
            // Before the first sample of what is new: the birth says that it waits for a value.
            again.retain(|device| image.device_state(*device) == DeviceState::Alive);
            again.into_iter().for_each(|device| self.bear(device, image, now, out));
        }
        own_is_same
    }
}
