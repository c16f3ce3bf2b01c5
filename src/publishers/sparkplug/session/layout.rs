//! Where each metric goes: into which Sparkplug device, and whether as a member of an instance.
//!
//! A birth cannot be cut in two, so a device whose birth may become larger than a packet is published as several:
//! `plc`, `plc-2`, … The sizes are those of the widest values, so that the same file makes the same parts whatever the
//! values are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{
    Array, DataType, Device, DeviceId, Directory, Quality, Sample, Stamp, Table, Tag, TagId, Template,
    Timestamp, Uncertain, Value,
};

use super::super::form::Form;
use super::super::payload::Metric;
use super::super::topic::Topics;
use super::{ENVELOPE, births, shapes};

/// Which of the Sparkplug devices that a device is published as; nearly always the only one.
pub(super) type Part = u16;

/// Made anew for every birth, from the directory, the packet limit and the form alone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// What the NBIRTH defines, in the order of the first device that needs it.
    pub(super) definitions: Vec<Arc<Template>>,
    /// The devices that are instances.
    instances: HashMap<DeviceId, Arc<Template>>,
    members: HashSet<TagId>,
    /// Of the devices that are split: their names.
    names: HashMap<DeviceId, Vec<Arc<str>>>,
    /// Of the devices that are split: what is not in the first part.
    tags: HashMap<TagId, Part>,
    /// By the table's place in the directory.
    tables: HashMap<usize, Part>,
    identity: HashMap<DeviceId, Part>,
}

impl Layout {
    pub(super) fn of(directory: &Directory, limit: usize, form: Form) -> Layout {
        let mut layout = Layout::default();
        layout.devices(directory, limit, form);
        if layout.definitions.is_empty() {
            return layout;
        }
        // With definitions that the NBIRTH has no room for there are no instances.
        let own = directory.devices().iter().filter(|d| d.is_node).flat_map(|d| directory.tags_of(d.id));
        let own = own.map(|tag| widest(directory, tag, form).size()).sum::<usize>();
        let defined =
            layout.definitions.iter().map(|t| shapes::definition(t, None, 0, Timestamp::default()).size());
        if own + defined.sum::<usize>() + ENVELOPE * 4 > limit {
            layout = Layout::default();
            layout.devices(directory, limit, Form { templates: false, ..form });
        }
        layout
    }

    fn devices(&mut self, directory: &Directory, limit: usize, form: Form) {
        let topics = Topics::new(&directory.group, &directory.node);
        let mut taken: HashSet<Arc<str>> = directory.devices().iter().map(|d| d.name.clone()).collect();
        let mut by_device: HashMap<DeviceId, Vec<&Tag>> = HashMap::new();
        for tag in directory.tags() {
            by_device.entry(tag.device).or_default().push(tag);
        }
        for device in directory.devices().iter().filter(|d| !d.is_node) {
            let tags = by_device.remove(&device.id).unwrap_or_default();
            // The number of a part has up to five digits.
            let room = limit.saturating_sub(ENVELOPE + topics.device("DBIRTH", &device.name).len() + 6);
            let pieces = pieces(directory, device.id, &tags, form);
            let size: usize = pieces.iter().map(|piece| piece.1).sum();
            if size > room {
                self.split(device, pieces, room, &mut taken);
            } else if let Some(template) = directory.template(device.id).filter(|_| form.templates) {
                let plate = directory.plate(device.id).cloned().unwrap_or_default();
                let bare = shapes::birth_of_instance(template, &plate, device.id, Vec::new(), LATE);
                if size + bare.size() <= room {
                    self.instance(device.id, template, &tags);
                }
            }
        }
    }

    fn instance(&mut self, device: DeviceId, template: &Arc<Template>, tags: &[&Tag]) {
        let names: HashSet<&str> = template.members.iter().map(|(name, _)| &**name).collect();
        self.members.extend(tags.iter().filter(|tag| names.contains(&*tag.name)).map(|tag| tag.id));
        self.instances.insert(device, template.clone());
        if !self.definitions.iter().any(|known| known.name == template.name) {
            self.definitions.push(template.clone());
        }
    }

    /// Piece after piece into the first part that is not full.
    fn split(
        &mut self,
        device: &Device,
        pieces: Vec<(Piece, usize)>,
        room: usize,
        taken: &mut HashSet<Arc<str>>,
    ) {
        let (mut part, mut used) = (0, 0);
        for (piece, size) in pieces {
            if used + size > room && used > 0 && part < Part::MAX {
                (part, used) = (part + 1, 0);
            }
            used += size;
            match piece {
                Piece::Tag(tag) => drop(self.tags.insert(tag, part)),
                Piece::Table(table) => drop(self.tables.insert(table, part)),
                Piece::Identity => drop(self.identity.insert(device.id, part)),
            }
        }
        let mut names = vec![device.name.clone()];
        let mut number = 1_u32;
        while names.len() <= usize::from(part) {
            number += 1;
            let name: Arc<str> = format!("{}-{number}", device.name).into();
            // A device of the file may have the name.
            if taken.insert(name.clone()) {
                names.push(name);
            }
        }
        self.names.insert(device.id, names);
    }

    /// The names that a device is published under: its own and, where it is split, more.
    pub(super) fn names(&self, device: &Device) -> Vec<Arc<str>> {
        self.names.get(&device.id).cloned().unwrap_or_else(|| vec![device.name.clone()])
    }

    /// The name of a part.
    pub(super) fn name<'a>(&'a self, device: &'a Device, part: Part) -> &'a Arc<str> {
        self.names.get(&device.id).and_then(|names| names.get(usize::from(part))).unwrap_or(&device.name)
    }

    /// The devices that are split.
    pub(super) fn splits<'a>(
        &'a self,
        directory: &'a Directory,
    ) -> impl Iterator<Item = (&'a Device, &'a [Arc<str>])> {
        let names = |device: &'a Device| Some((device, self.names.get(&device.id)?.as_slice()));
        directory.devices().iter().filter_map(names)
    }

    pub(super) fn part(&self, tag: TagId) -> Part {
        self.tags.get(&tag).copied().unwrap_or(0)
    }

    pub(super) fn table_part(&self, table: usize) -> Part {
        self.tables.get(&table).copied().unwrap_or(0)
    }

    pub(super) fn identity_part(&self, device: DeviceId) -> Part {
        self.identity.get(&device).copied().unwrap_or(0)
    }

    /// The definition that a device is an instance of.
    pub(super) fn template(&self, device: DeviceId) -> Option<&Arc<Template>> {
        self.instances.get(&device)
    }

    /// Whether a tag is told as a member of its device's instance.
    pub(super) fn is_member(&self, tag: TagId) -> bool {
        self.members.contains(&tag)
    }
}

/// The devices that are published as several for want of room in a packet, and under which names.
pub fn published_as(directory: &Directory, limit: usize, form: Form) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
    let layout = Layout::of(directory, limit, form);
    layout.splits(directory).map(|(device, names)| (device.name.clone(), names.to_vec())).collect()
}

/// What has to stay in one part.
enum Piece {
    Tag(TagId),
    Table(usize),
    Identity,
}

/// All of a device's birth, with the largest size of each.
fn pieces(directory: &Directory, device: DeviceId, tags: &[&Tag], form: Form) -> Vec<(Piece, usize)> {
    let piece = |tag: &&Tag| (Piece::Tag(tag.id), widest(directory, tag, form).size());
    let mut pieces: Vec<_> = tags.iter().map(piece).collect();
    let tables = directory.tables().iter().enumerate().filter(|(_, table)| table.device == device);
    pieces.extend(tables.map(|(at, table)| (Piece::Table(at), widest_table(table))));
    if directory.plate(device).is_some_and(|plate| plate.is_asked) {
        pieces.push((Piece::Identity, births::IDENTITY_BYTES));
    }
    pieces
}

/// A birth metric of the largest value.
fn widest(directory: &Directory, tag: &Tag, form: Form) -> Metric {
    let sample = Sample {
        tag: tag.id,
        value: Some(widest_value(tag.kind)),
        quality: Quality::Uncertain(Uncertain::OutOfLimits),
        at: LATE,
        stamp: Stamp::Unknown,
    };
    Metric::birth(tag, super::alias(tag.id), &sample, form.properties)
        .labelled(directory.labels(tag.id).map(|labels| &**labels), form.properties)
}

fn widest_table(table: &Table) -> usize {
    let row = Table { cells: vec![TagId(0); table.columns.len()], ..table.clone() };
    let cell = |at: usize| {
        let (_, kind) = table.columns.get(at)?;
        Some(Sample { stamp: Stamp::Unknown, ..Sample::good(TagId(0), widest_value(*kind), LATE) })
    };
    // Each further row as large as the first, head included.
    shapes::table(&row, u64::MAX, true, true, cell).size() * table.rows().count().max(1)
}

/// Its milliseconds take as many bytes as those of the next four thousand years.
const LATE: Timestamp = Timestamp(4_000_000_000_000_000_000);

/// The value of a type that takes most bytes on the wire. A text has up to 250 bytes at the device, each of which may
/// become a character of three.
fn widest_value(kind: DataType) -> Value {
    match kind {
        DataType::Bool => Value::Bool(true),
        DataType::I8 => Value::I8(-1),
        DataType::U8 => Value::U8(u8::MAX),
        DataType::I16 => Value::I16(-1),
        DataType::U16 => Value::U16(u16::MAX),
        DataType::I32 => Value::I32(-1),
        DataType::U32 => Value::U32(u32::MAX),
        DataType::I64 => Value::I64(-1),
        DataType::U64 => Value::U64(u64::MAX),
        DataType::F32 => Value::F32(1.0),
        DataType::F64 => Value::F64(1.0),
        DataType::Text => Value::Text("~".repeat(750).into()),
        DataType::Array(of, length) => {
            let elements = std::iter::repeat_n(widest_value(*of), length.into());
            Array::collect(*of, elements).map_or(Value::Bool(true), Value::Array)
        }
    }
}
