//! The file's tables to a plan: pure, and all mistakes of meaning at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Class, DeviceDraft, SYSTEM, TagDraft, duplicate, path, reserved};
use super::links::LinkTable;
use super::tags::{Inherited, asked, rule};
use super::{GatewayPlan, case, doors, labels, links, load, names, north, ranges, tests};
use crate::config::{self, ClockSource, Config, closest};
use crate::model::{
    Alarm, Class as Urgency, DataType, Device, DeviceId, Directory, Labels, Mistake, Spanned, Tag, TagId,
};

/// Compiles a file. `incomplete`: tables were left out because of mistakes of form, so a name that is
/// not there is no mistake of its own. `previous` gives tags and devices that stay their old numbers.
pub fn compile(
    config: &Config,
    incomplete: bool,
    previous: Option<&Directory>,
) -> Result<GatewayPlan, Vec<Mistake>> {
    let mut compiler = Compiler {
        config,
        incomplete,
        numbers: Numbers::new(previous),
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let plan = compiler.gateway();
    let mut mistakes = compiler.mistakes;
    // A tag of a profile is compiled once for each device that uses it.
    let mut seen = HashSet::new();
    mistakes.retain(|m| seen.insert((m.code, m.span.clone(), m.message.clone())));
    match plan {
        Some(plan) if mistakes.is_empty() => Ok(plan),
        _ => {
            mistakes.sort_by_key(|m| (m.span.start, m.span.end));
            Err(mistakes)
        }
    }
}

/// Numbers for devices and tags: those of before where the name stays.
pub(super) struct Numbers<'a> {
    previous: Option<&'a Directory>,
    next_device: u32,
    next_tag: u32,
}

impl<'a> Numbers<'a> {
    fn new(previous: Option<&'a Directory>) -> Numbers<'a> {
        let (next_device, next_tag) = previous.map_or((0, 0), Directory::given);
        Numbers { previous, next_device, next_tag }
    }

    fn device(&mut self, name: &str) -> DeviceId {
        let old = self.previous.and_then(|p| p.devices().iter().find(|d| &*d.name == name));
        old.map(|d| d.id).unwrap_or_else(|| {
            self.next_device += 1;
            DeviceId(self.next_device - 1)
        })
    }

    /// Of another type it is another tag: what still waits of it is of the type before.
    pub(super) fn tag(&mut self, path: &str, kind: DataType) -> TagId {
        let same = self.previous.and_then(|p| p.find(path)).filter(|tag| tag.kind == kind);
        same.map(|tag| tag.id).unwrap_or_else(|| {
            self.next_tag += 1;
            TagId(self.next_tag - 1)
        })
    }
}

pub(super) struct Compiler<'a> {
    pub(super) config: &'a Config,
    incomplete: bool,
    pub(super) numbers: Numbers<'a>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl<'a> Compiler<'a> {
    fn gateway(&mut self) -> Option<GatewayPlan> {
        let node = self.config.node.get_ref();
        names::check("group", &node.group, &mut self.mistakes);
        names::check("node", &node.name, &mut self.mistakes);
        let classes = self.classes();
        let links = links::table(self.config, &mut self.mistakes);
        doors::between(self.config, &mut self.mistakes, &mut self.warnings);
        let devices = self.devices(&links, &classes);
        self.look_for_idle(&links, &devices);
        let mut plans = links::compile(&links, &devices, &classes, &mut self.mistakes, &mut self.warnings);
        load::overloaded(self.config, &plans, &mut self.warnings);
        case::alike(self.config, &mut self.warnings);
        let store = north::store(self.config, &mut self.mistakes);
        let publishers = north::publishers(self.config, &store, &mut self.mistakes);
        let (mut directory_devices, mut directory_tags) = directory(&links, &devices);
        let mut urgency = urgency(&devices);
        let link_names: Vec<String> = links.iter().map(|l| l.name.to_owned()).collect();
        if let Some((plan, device, tags)) =
            self.system(&link_names, &publishers.iter().map(|p| p.name.clone()).collect::<Vec<_>>())
        {
            plans.push(plan);
            directory_devices.push(device);
            // How the gateway does is of use to who looks for a fault.
            urgency.extend(tags.iter().map(|tag| (tag.id, Urgency::Diagnostic)));
            directory_tags.extend(tags);
        }
        let resources = north::resources(self.config, &publishers, &store, &mut self.mistakes);
        let tests = tests::compile(self.config, &devices, &plans, self.incomplete, &mut self.mistakes);
        // What was given to things that are in no plan, for a mistake of theirs, is given again.
        let given = self.numbers.previous.map_or((0, 0), Directory::given);
        let directory =
            Directory::new(node.group.get_ref(), node.name.get_ref(), directory_devices, directory_tags)
                .with_plates(links::plates(&links, &devices))
                .with_classes(urgency)
                .with_labels(named(&devices))
                .with_alarms(alarms(&devices))
                .with_shapes(self.templates(&devices), self.tables(&devices))
                .with_given(given);
        let directory = Arc::new(directory);
        self.splits(&directory, &publishers);
        north::topics(self.config, &publishers, &directory, &mut self.mistakes);
        Some(GatewayPlan {
            directory,
            links: plans,
            classes: classes.iter().map(|(name, period)| ((*name).to_owned(), *period)).collect(),
            publishers,
            store,
            trusts_clock: node.clock == ClockSource::Trusted,
            resources,
            tests,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    fn classes(&mut self) -> Vec<Class<'a>> {
        let mut classes: Vec<_> = self.config.scan.iter().collect();
        classes.sort_by_key(|(name, _)| name.span().start);
        let mut compiled = Vec::new();
        for (name, period) in classes {
            names::check("scan class", name, &mut self.mistakes);
            compiled
                .push((name.get_ref().as_str(), ranges::period(name.get_ref(), period, &mut self.mistakes)));
        }
        if compiled.is_empty() {
            compiled.push(("default", Duration::from_secs(1)));
        }
        compiled
    }

    /// The class of a name, or the default one.
    fn class(&mut self, name: Option<&Spanned<String>>, classes: &[Class<'_>]) -> Option<usize> {
        let Some(name) = name else {
            return Some(classes.iter().position(|(n, _)| *n == "default").unwrap_or(0));
        };
        let found = classes.iter().position(|(n, _)| n == name.get_ref());
        if found.is_none() {
            self.unknown("scan class", "unknown-scan-class", name, classes.iter().map(|(n, _)| *n));
        }
        found
    }

    /// A reference to a name that is not there.
    fn unknown<'n>(
        &mut self,
        what: &str,
        code: &'static str,
        name: &Spanned<String>,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        if self.incomplete {
            return;
        }
        let help = match closest(name.get_ref(), known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match known.collect::<Vec<_>>().as_slice() {
                [] => format!("there is no {what} in this file yet"),
                known => format!("known: {}", known.join(", ")),
            },
        };
        self.mistakes.push(Mistake::new(
            code,
            name.span(),
            format!("there is no {what} `{}`", name.get_ref()),
            help,
        ));
    }

    fn devices(&mut self, links: &[LinkTable<'a>], classes: &[Class<'a>]) -> Vec<DeviceDraft<'a>> {
        let mut seen = HashMap::new();
        let mut drafts = Vec::new();
        for table in &self.config.device {
            let table = table.get_ref();
            names::check("device", &table.name, &mut self.mistakes);
            reserved("device", &table.name, &mut self.mistakes);
            duplicate("device", "duplicate-device", &table.name, &mut seen, &mut self.mistakes);
            let id = self.numbers.device(table.name.get_ref());
            let profile = self.profile(table);
            let tags = self.tags(table, profile, classes, id);
            let Some(link) = links.iter().position(|l| l.name == table.link.get_ref()) else {
                self.unknown("link", "unknown-link", &table.link, links.iter().map(|l| l.name));
                links::addresses(&tags, &mut self.mistakes);
                continue;
            };
            drafts.push(DeviceDraft { table, profile, id, link, tags });
        }
        drafts
    }

    fn profile(&mut self, table: &'a config::Device) -> Option<&'a config::Profile> {
        let config = self.config;
        let name = table.profile.as_ref()?;
        let profile = config.profile(name.get_ref());
        if profile.is_none() {
            let known = config.profile.keys().map(|n| n.get_ref().as_str());
            self.unknown("profile", "unknown-profile", name, known);
        }
        profile
    }

    fn tags(
        &mut self,
        table: &'a config::Device,
        profile: Option<&'a config::Profile>,
        classes: &[Class<'a>],
        device: DeviceId,
    ) -> Vec<TagDraft<'a>> {
        let device_class = self.class(table.scan.as_ref(), classes);
        if let Some(silence) = &table.max_silence {
            ranges::period("max-silence", silence, &mut self.mistakes);
        }
        let inherited = Inherited {
            order: table.order.or(profile.and_then(|p| p.order)),
            max_silence: table.max_silence.as_ref().map(|p| p.get_ref().0),
        };
        let mut drafts = Vec::new();
        for (name, tag) in self.config.tags_of(table) {
            names::check_tag(name, &mut self.mistakes);
            let class = match &tag.scan {
                Some(scan) => self.class(Some(scan), classes),
                None => device_class,
            };
            let mut rule = rule(TagId(0), tag, inherited, &mut self.mistakes);
            let id = self.numbers.tag(&path(table.name.get_ref(), name.get_ref()), rule.value_type());
            rule.tag = id;
            let shown = self.alarm(table, name, tag, device, &mut rule);
            let labels = labels::labels(tag, rule.value_type(), self.incomplete, &mut self.mistakes);
            let Some(class) = class else { continue };
            let (name, asked) = (name.get_ref(), asked(tag));
            drafts.push(TagDraft { id, name, class, rule, labels, asked, table: tag, shown });
        }
        drafts
    }

    /// What is there and does nothing.
    fn look_for_idle(&mut self, links: &[LinkTable<'a>], devices: &[DeviceDraft<'a>]) {
        if self.incomplete {
            return;
        }
        for (at, link) in links.iter().enumerate() {
            if !devices.iter().any(|d| d.link == at) {
                let message = format!("the link `{}` has no device", link.name);
                self.warnings.push(Mistake::new(
                    "idle-link",
                    link.span.clone(),
                    message,
                    "add a `[[device]]`, or remove the link",
                ));
            }
        }
        for device in devices.iter().filter(|d| d.tags.is_empty()) {
            let message = format!("the device `{}` has no tag", device.table.name.get_ref());
            self.warnings.push(Mistake::new(
                "idle-device",
                device.table.name.span(),
                message,
                "add tags under `[device.tag]`, or a profile",
            ));
        }
    }

    fn system(
        &mut self,
        links: &[String],
        publishers: &[String],
    ) -> Option<(crate::poll::LinkPlan, Device, Vec<Tag>)> {
        let system = &self.config.system;
        let period = system.interval.as_ref().map(|p| ranges::period("interval", p, &mut self.mistakes));
        if !system.enabled {
            return None;
        }
        let id = self.numbers.device(SYSTEM);
        let tags = crate::drivers::system::tags(links, publishers);
        let tags: Vec<_> =
            tags.into_iter().map(|t| (self.numbers.tag(&path(SYSTEM, &t.name), t.kind), t)).collect();
        links::system(id, &tags, period.unwrap_or(Duration::from_secs(5)))
    }
}

/// All alarms, in the order of the file.
fn alarms(drafts: &[DeviceDraft<'_>]) -> Vec<Arc<Alarm>> {
    drafts.iter().flat_map(|draft| &draft.tags).filter_map(|tag| tag.rule.alarm.clone()).collect()
}

/// How urgent each tag is: as it says, or its device.
fn urgency(drafts: &[DeviceDraft<'_>]) -> HashMap<TagId, Urgency> {
    let of = |draft: &DeviceDraft<'_>, tag: &TagDraft<'_>| {
        (tag.id, tag.table.class.or(draft.table.class).unwrap_or_default())
    };
    let shown = drafts.iter().flat_map(|draft| &draft.tags).flat_map(|tag| &tag.shown);
    let alarms = shown.map(|tag| (tag.id, Urgency::Critical));
    drafts.iter().flat_map(|draft| draft.tags.iter().map(move |tag| of(draft, tag))).chain(alarms).collect()
}

/// What the values of tags are called.
fn named(drafts: &[DeviceDraft<'_>]) -> HashMap<TagId, Arc<Labels>> {
    let tags = drafts.iter().flat_map(|draft| &draft.tags);
    tags.filter_map(|tag| Some((tag.id, Arc::new(tag.labels.clone()?)))).collect()
}

/// The directory's lists, in the order of the file.
fn directory(links: &[LinkTable<'_>], drafts: &[DeviceDraft<'_>]) -> (Vec<Device>, Vec<Tag>) {
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    let mut devices = Vec::new();
    let mut tags = Vec::new();
    for draft in drafts {
        let name: Arc<str> = draft.table.name.get_ref().as_str().into();
        devices.push(Device {
            id: draft.id,
            link: links.get(draft.link).map_or("", |l| l.name).into(),
            description: text(&draft.table.description),
            is_node: false,
            name,
        });
        for tag in &draft.tags {
            tags.push(Tag {
                id: tag.id,
                device: draft.id,
                name: tag.name.into(),
                path: path(draft.table.name.get_ref(), tag.name).into(),
                kind: tag.rule.value_type(),
                access: tag.table.access,
                unit: text(&tag.table.unit),
                low: tag.rule.low,
                high: tag.rule.high,
                description: text(&tag.table.description),
            });
            tags.extend(tag.shown.iter().cloned());
        }
    }
    (devices, tags)
}
