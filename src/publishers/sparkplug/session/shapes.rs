//! Templates and tables as metrics, and what is told of them as their tags change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{DeviceId, Directory, Plate, Sample, Table, TagId, Template, Timestamp};

use super::super::payload::{
    self, Cell, DATA_SET, DataSet, Metric, Parameter, Property, PropertySet, Raw, Row, STRING, Say, TEMPLATE,
    UINT32,
};
use super::group::Open;
use super::{Session, alias};

/// The alias of a definition: nothing is ever told by it, but births have one of each metric.
pub(super) fn definition_alias(place: usize) -> u64 {
    (1 << 41) + place as u64
}

/// Of the one instance that a device is.
pub(super) fn instance_alias(device: DeviceId) -> u64 {
    (1 << 40) + u64::from(device.0)
}

/// By the table's place in the file.
fn table_alias(place: usize) -> u64 {
    (1 << 42) + place as u64
}

/// The definition of a template, for the NBIRTH: members by name and type, parameters with their defaults.
pub(super) fn definition(template: &Template, plate: Option<&Plate>, alias: u64, now: Timestamp) -> Metric {
    let member = |(name, kind): &(Arc<str>, _)| Metric::own(name, payload::datatype(*kind), None, now);
    let value = payload::Template {
        version: Some(template.version()),
        metrics: template.members.iter().map(member).collect(),
        // A device's number is its own; the default is that of the configuration.
        parameters: parameters(&Plate { unit: Some(1), ..plate.cloned().unwrap_or_default() }),
        template_ref: None,
        is_definition: Some(true),
    };
    let metric = Metric::own(&template.name, TEMPLATE, Raw::Template(value), now);
    Metric { alias: Some(alias), ..metric }
}

/// An instance in a birth: all its members.
pub(super) fn birth_of_instance(
    template: &Template,
    plate: &Plate,
    device: DeviceId,
    members: Vec<Metric>,
    now: Timestamp,
) -> Metric {
    let at = members.iter().filter_map(|m| m.timestamp).max();
    let value = payload::Template {
        version: Some(template.version()),
        parameters: parameters(plate),
        ..partial(template, members)
    };
    let metric = Metric::own(&template.name, TEMPLATE, Raw::Template(value), now);
    Metric { alias: Some(instance_alias(device)), timestamp: at.or(metric.timestamp), ..metric }
}

/// An instance in data: the members that changed.
fn partial(template: &Template, members: Vec<Metric>) -> payload::Template {
    payload::Template {
        metrics: members,
        template_ref: Some(template.name.to_string()),
        is_definition: Some(false),
        ..payload::Template::default()
    }
}

/// What is told once of each device of the kind. All are known from the file.
fn parameters(plate: &Plate) -> Vec<Parameter> {
    let text = |text: &Option<String>| text.clone().map(Property::Text);
    // Not a UInt16: npm's sparkplug-payload takes a payload with one in a parameter for broken.
    let unit = plate.unit.map(|unit| Property::Long(unit.into()));
    let all = [
        ("Manufacturer", STRING, text(&plate.manufacturer)),
        ("Model", STRING, text(&plate.model)),
        ("Unit", UINT32, unit),
    ];
    let told = all.into_iter().filter(|(.., value)| value.is_some());
    told.map(|(name, kind, value)| Parameter { name: Some(name.to_owned()), kind: Some(kind), value })
        .collect()
}

/// A table of these samples. Its cells cannot be null: where one has no value the whole table has none.
pub(super) fn table(
    table: &Table,
    alias: u64,
    birth: bool,
    all: bool,
    latest: impl Fn(usize) -> Option<Sample>,
) -> Metric {
    let cells: Vec<_> = (0..table.cells.len()).map(latest).collect();
    let quality = cells.iter().map(|c| c.as_ref().map_or(0, |c| payload::quality(c.quality)));
    let is_null = cells.iter().any(|cell| cell.as_ref().is_none_or(|c| c.value.is_none()));
    // 0 where a cell is bad, else 500 where one is uncertain.
    let quality = if is_null { 0 } else { quality.max().unwrap_or(192) };
    let synchronised = cells.iter().flatten().all(|cell| cell.stamp.is_synchronised());
    let at = cells.iter().flatten().map(|cell| cell.at).max().unwrap_or_default();
    let values = cells.iter().flatten().filter_map(|cell| Cell::of(cell.value.as_ref()?.into()));
    let values: Vec<_> = values.collect();
    let row = |elements: &[Cell]| Row { elements: elements.to_vec() };
    let set = || DataSet {
        num_of_columns: Some(table.columns.len() as u64),
        columns: table.columns.iter().map(|(name, _)| name.to_string()).collect(),
        types: table.columns.iter().map(|(_, kind)| payload::datatype(*kind)).collect(),
        rows: values.chunks(table.columns.len().max(1)).map(row).collect(),
    };
    let value = (!is_null).then(|| Raw::Set(set()));
    let mut metric = Metric::own(&table.name, DATA_SET, value, at);
    let mut properties = PropertySet::default();
    if all || quality == 500 {
        properties.say_quality(quality);
    }
    if !synchronised {
        properties.say_clock(false);
    }
    metric.properties = Some(properties).filter(|set| !set.keys.is_empty());
    metric.alias = Some(alias);
    if !birth {
        (metric.name, metric.datatype) = (None, None);
    }
    metric
}

/// What the hosts know of the tags that are cells, and which tables they have not heard of since.
#[derive(Debug, Default)]
pub(super) struct Cells {
    latest: HashMap<TagId, (Option<Sample>, Vec<usize>)>,
    due: BTreeSet<usize>,
}

impl Cells {
    pub(super) fn of(directory: &Directory) -> Cells {
        let mut cells = Cells::default();
        for (place, table) in directory.tables().iter().enumerate() {
            for tag in &table.cells {
                let (_, tables) = cells.latest.entry(*tag).or_default();
                if !tables.contains(&place) {
                    tables.push(place);
                }
            }
        }
        cells
    }

    /// A live sample was told, or is in a birth.
    pub(super) fn heard(&mut self, sample: &Sample) {
        if let Some((latest, tables)) = self.latest.get_mut(&sample.tag) {
            *latest = Some(sample.clone());
            self.due.extend(tables.iter());
        }
    }

    /// Nothing of what waited comes.
    pub(super) fn forget(&mut self) {
        self.due.clear();
    }
}

impl Session {
    /// Puts a tag's sample into the next payload: as a metric, or as a member of its device's instance.
    pub(super) fn tell(&mut self, device: DeviceId, sample: &Sample, history: bool, say: Say) {
        let alias = alias(sample.tag);
        if self.layout.is_member(sample.tag) {
            self.tell_member(device, sample, history, Metric::data(alias, sample, history, say));
        } else {
            let part = self.layout.part(sample.tag);
            let group = self.spare.group(&mut self.pending, device, part, history);
            group.write(|bytes| self.writer.data(alias, sample, history, say, bytes));
        }
        if !history {
            self.cells.heard(sample);
        }
    }

    fn tell_member(&mut self, device: DeviceId, sample: &Sample, history: bool, metric: Metric) {
        let Some(template) = self.layout.template(device).cloned() else { return };
        let Some(name) = self.directory.tag(sample.tag).map(|tag| tag.name.to_string()) else { return };
        let member = Metric { name: Some(name), alias: None, ..metric };
        let (bytes, most) = (member.size(), self.most_bytes().saturating_sub(super::ENVELOPE * 4));
        let Some(told_in) = self.metrics.get_mut(&sample.tag).map(|state| &mut state.told_in) else { return };
        let group = self.spare.group(&mut self.pending, device, 0, history);
        // One time, each member once, and not more than a payload may have.
        let open = group
            .open
            .as_mut()
            .filter(|open| open.at == sample.at && open.number != *told_in && open.bytes + bytes <= most);
        if let Some(open) = open
            && let Some(Metric { value: Some(Raw::Template(instance)), .. }) = group.made.get_mut(open.metric)
        {
            (open.bytes, *told_in) = (open.bytes + bytes, open.number);
            instance.metrics.push(member);
            return;
        }
        self.instances += 1;
        *told_in = self.instances;
        let open = Open { metric: group.made.len(), number: self.instances, at: sample.at, bytes };
        group.open = Some(open);
        group.push(Metric {
            alias: Some(instance_alias(device)),
            timestamp: member.timestamp,
            is_historical: member.is_historical,
            value: Some(Raw::Template(partial(&template, vec![member]))),
            ..Metric::default()
        });
    }

    /// The tables of which a cell was told, once each, behind their cells.
    pub(super) fn tell_tables(&mut self) {
        let directory = self.directory.clone();
        for place in std::mem::take(&mut self.cells.due) {
            let Some(table) = directory.tables().get(place) else { continue };
            let metric = self.table_metric(place, table, false);
            self.queue(table.device, self.layout.table_part(place), false, [metric]);
        }
    }

    pub(super) fn table_metric(&mut self, place: usize, of: &Table, birth: bool) -> Metric {
        if birth {
            self.cells.due.remove(&place);
        }
        let latest = |at: usize| self.cells.latest.get(of.cells.get(at)?)?.0.clone();
        table(of, table_alias(place), birth, !birth || self.form.properties, latest)
    }

    /// The definitions, for the NBIRTH.
    pub(super) fn definitions(&self, now: Timestamp) -> Vec<Metric> {
        let define = |(place, template): (usize, &Arc<Template>)| {
            let of_kind = |d: &&crate::model::Device| {
                self.layout.template(d.id).is_some_and(|t| t.name == template.name)
            };
            let device = self.directory.devices().iter().find(of_kind);
            let plate = device.and_then(|device| self.directory.plate(device.id));
            definition(template, plate, definition_alias(place), now)
        };
        self.layout.definitions.iter().enumerate().map(define).collect()
    }
}
