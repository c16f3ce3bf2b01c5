//! Tags, devices and the directory of both.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Alarm, Batch, Class, DataType, Labels, Table, Template};

/// A tag's number: small, stable while the process runs, also over a change of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TagId(pub u32);

/// A device's number: small, stable while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct DeviceId(pub u32);

/// Whether the north may write a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Access {
    /// Nobody may.
    #[default]
    Read,
    /// Every north may.
    ReadWrite,
    /// Every north may, and it is never read: a command register, a broadcast.
    WriteOnly,
}

impl Access {
    /// The word in a configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::ReadWrite => "read-write",
            Access::WriteOnly => "write-only",
        }
    }

    /// Whether it is polled.
    pub fn is_readable(self) -> bool {
        self != Access::WriteOnly
    }

    /// Whether the gate lets writes through.
    pub fn is_writable(self) -> bool {
        self != Access::Read
    }
}

/// What the north needs to know of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Its number.
    pub id: TagId,
    /// Its device.
    pub device: DeviceId,
    /// Its name within the device.
    pub name: Arc<str>,
    /// `device/tag`.
    pub path: Arc<str>,
    /// The type of its values as they go north (after scaling).
    pub kind: DataType,
    /// Who may write it.
    pub access: Access,
    /// Engineering unit, as `m3/h`.
    pub unit: Option<Arc<str>>,
    /// Lower limit in engineering units.
    pub low: Option<f64>,
    /// Upper limit in engineering units.
    pub high: Option<f64>,
    /// For people.
    pub description: Option<Arc<str>>,
}

impl Tag {
    /// One that is read, of which nothing else is said; its name is what follows the device's in the path.
    pub fn plain(id: TagId, device: DeviceId, path: &str, kind: DataType) -> Tag {
        let name = path.split_once('/').map_or(path, |(_, name)| name);
        Tag {
            id,
            device,
            name: name.into(),
            path: path.into(),
            kind,
            access: Access::Read,
            unit: None,
            low: None,
            high: None,
            description: None,
        }
    }
}

/// What the north needs to know of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its number.
    pub id: DeviceId,
    /// Its name, unique in the gateway.
    pub name: Arc<str>,
    /// The name of its link.
    pub link: Arc<str>,
    /// For people.
    pub description: Option<Arc<str>>,
    /// The gateway itself: its tags are the node's own metrics.
    pub is_node: bool,
}

impl Device {
    /// One in the field, of which nothing else is said.
    pub fn plain(id: DeviceId, name: &str, link: &str) -> Device {
        Device { id, name: name.into(), link: link.into(), description: None, is_node: false }
    }
}

/// What the configuration says of a device as a thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plate {
    /// The protocol that it is reached by, `modbus-tcp`.
    pub protocol: &'static str,
    /// The host or port of its link.
    pub address: String,
    /// Its number on the link.
    pub unit: Option<u16>,
    /// It is asked who it is.
    pub is_asked: bool,
    /// Who makes it, by its profile.
    pub manufacturer: Option<String>,
    /// What they call it, by its profile.
    pub model: Option<String>,
}

/// All devices and tags of one configuration, ready to be looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directory {
    /// Sparkplug group.
    pub group: Arc<str>,
    /// Sparkplug edge node, the gateway's name.
    pub node: Arc<str>,
    devices: Vec<Device>,
    tags: Vec<Tag>,
    device_index: HashMap<DeviceId, usize>,
    tag_index: HashMap<TagId, usize>,
    by_path: HashMap<Arc<str>, usize>,
    /// Devices and tags: from here on numbers are free.
    given: (u32, u32),
    plates: HashMap<DeviceId, Plate>,
    /// Only those that are not normal.
    classes: HashMap<TagId, Class>,
    /// Of the devices that have such tags.
    leads: HashMap<DeviceId, Lead>,
    templates: HashMap<DeviceId, Arc<Template>>,
    tables: Vec<Table>,
    labels: HashMap<TagId, Arc<Labels>>,
    alarms: Vec<Arc<Alarm>>,
}

/// What classes the tags of one device have.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lead {
    most_urgent: Class,
    is_mixed: bool,
}

impl Directory {
    /// Builds the directory; both lists keep their order (that of the file).
    pub fn new(group: &str, node: &str, devices: Vec<Device>, tags: Vec<Tag>) -> Directory {
        Directory {
            group: group.into(),
            node: node.into(),
            device_index: devices.iter().enumerate().map(|(i, d)| (d.id, i)).collect(),
            tag_index: tags.iter().enumerate().map(|(i, t)| (t.id, i)).collect(),
            given: (
                devices.iter().map(|d| d.id.0.saturating_add(1)).max().unwrap_or(0),
                tags.iter().map(|t| t.id.0.saturating_add(1)).max().unwrap_or(0),
            ),
            by_path: tags.iter().enumerate().map(|(i, t)| (t.path.clone(), i)).collect(),
            devices,
            tags,
            plates: HashMap::new(),
            classes: HashMap::new(),
            leads: HashMap::new(),
            templates: HashMap::new(),
            tables: Vec::new(),
            labels: HashMap::new(),
            alarms: Vec::new(),
        }
    }

    /// The same with the alarms of its tags.
    pub fn with_alarms(self, alarms: Vec<Arc<Alarm>>) -> Directory {
        Directory { alarms, ..self }
    }

    /// All alarms, in the order of the file.
    pub fn alarms(&self) -> &[Arc<Alarm>] {
        &self.alarms
    }

    /// The same, where these numbers of devices and tags were given before and belong to nobody else.
    pub fn with_given(self, (devices, tags): (u32, u32)) -> Directory {
        let given = (self.given.0.max(devices), self.given.1.max(tags));
        Directory { given, ..self }
    }

    /// From which numbers on devices and tags are free: a removed one's may still wait in an outbox.
    pub fn given(&self) -> (u32, u32) {
        self.given
    }

    /// The same with what tags form together.
    pub fn with_shapes(self, templates: HashMap<DeviceId, Arc<Template>>, tables: Vec<Table>) -> Directory {
        Directory { templates, tables, ..self }
    }

    /// The same with what the values of tags are called.
    pub fn with_labels(self, labels: HashMap<TagId, Arc<Labels>>) -> Directory {
        Directory { labels, ..self }
    }

    /// What the values of a tag are called, where they have names.
    pub fn labels(&self, tag: TagId) -> Option<&Arc<Labels>> {
        self.labels.get(&tag)
    }

    /// The kind of a device, where it has all the members that the kind has.
    pub fn template(&self, device: DeviceId) -> Option<&Arc<Template>> {
        self.templates.get(&device)
    }

    /// All tables, in the order of the file.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The same with what is configured of the devices as things.
    pub fn with_plates(self, plates: HashMap<DeviceId, Plate>) -> Directory {
        Directory { plates, ..self }
    }

    /// The same with the classes of tags; those that are not named are normal.
    pub fn with_classes(self, mut classes: HashMap<TagId, Class>) -> Directory {
        classes.retain(|_, class| *class != Class::Normal);
        let mut leads: HashMap<DeviceId, Lead> = HashMap::new();
        for tag in &self.tags {
            let class = classes.get(&tag.id).copied().unwrap_or_default();
            let lead = leads.entry(tag.device).or_insert(Lead { most_urgent: class, is_mixed: false });
            lead.is_mixed |= class != lead.most_urgent;
            lead.most_urgent = lead.most_urgent.min(class);
        }
        leads.retain(|_, lead| lead.is_mixed || lead.most_urgent != Class::Normal);
        Directory { classes, leads, ..self }
    }

    /// The class of a tag.
    pub fn class(&self, tag: TagId) -> Class {
        self.classes.get(&tag).copied().unwrap_or_default()
    }

    /// The most urgent class that a device has a tag of.
    pub fn lead(&self, device: DeviceId) -> Class {
        self.leads.get(&device).map_or(Class::Normal, |lead| lead.most_urgent)
    }

    /// Whether a device has tags of several classes.
    pub fn is_mixed(&self, device: DeviceId) -> bool {
        self.leads.get(&device).is_some_and(|lead| lead.is_mixed)
    }

    /// The class of a batch whose samples all have one; without samples that of its device.
    pub fn class_of(&self, batch: &Batch) -> Class {
        if !self.is_mixed(batch.device) {
            return self.lead(batch.device);
        }
        batch.samples.first().map_or_else(|| self.lead(batch.device), |sample| self.class(sample.tag))
    }

    /// What is configured of a device as a thing.
    pub fn plate(&self, device: DeviceId) -> Option<&Plate> {
        self.plates.get(&device)
    }

    /// All devices, in the order of the file.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// All tags, in the order of the file.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The tags of one device, in the order of the file.
    pub fn tags_of(&self, device: DeviceId) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(move |t| t.device == device)
    }

    /// A device by number.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(*self.device_index.get(&id)?)
    }

    /// A tag by number.
    pub fn tag(&self, id: TagId) -> Option<&Tag> {
        self.tags.get(*self.tag_index.get(&id)?)
    }

    /// A tag by `device/tag`.
    pub fn find(&self, path: &str) -> Option<&Tag> {
        self.tags.get(*self.by_path.get(path)?)
    }
}
