//! Links of the file to the plans of their tasks, each through its driver's compile.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::draft::{Class, DeviceDraft, SYSTEM, TagDraft, duplicate, reserved};
use super::{names, ranges};
use crate::config::{Config, WriteFunctions};
use crate::drivers::driver::{AddressError, Block, Compiled, Point, Request};
use crate::drivers::modbus::address::Address;
use crate::drivers::modbus::config::{ModbusDevice, RtuLink, TcpLink};
use crate::drivers::system::SystemTag;
use crate::drivers::{LinkSpec, modbus, system};
use crate::model::{Access, Device, DeviceId, Mistake, Tag, TagId};
use crate::normalize::{PlacedRule, Rule};
use crate::poll::{BlockTask, DevicePlan, LinkPlan, WriteTask};

/// A link of any driver.
pub(super) struct LinkTable<'a> {
    pub(super) name: &'a str,
    pub(super) span: Range<usize>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    ModbusTcp(&'a TcpLink),
    ModbusRtu(&'a RtuLink),
}

/// All links in the order of the file, checked one by one.
pub(super) fn table<'a>(config: &'a Config, mistakes: &mut Vec<Mistake>) -> Vec<LinkTable<'a>> {
    let tcp = config.link.modbus_tcp.iter().map(|l| (&l.get_ref().name, Kind::ModbusTcp(l.get_ref())));
    let rtu = config.link.modbus_rtu.iter().map(|l| (&l.get_ref().name, Kind::ModbusRtu(l.get_ref())));
    let mut links: Vec<_> = tcp.chain(rtu).collect();
    links.sort_by_key(|(name, _)| name.span().start);
    let mut seen = HashMap::new();
    let check = |(name, kind): (&'a toml::Spanned<String>, Kind<'a>)| {
        names::check("link", name, mistakes);
        reserved("link", name, mistakes);
        duplicate("link", "duplicate-link", name, &mut seen, mistakes);
        match &kind {
            Kind::ModbusTcp(link) => tcp_link(link, mistakes),
            Kind::ModbusRtu(link) => rtu_link(link, mistakes),
        }
        LinkTable { name: name.get_ref(), span: name.span(), kind }
    };
    links.into_iter().map(check).collect()
}

fn tcp_link(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    if link.host.get_ref().trim().is_empty() {
        mistakes.push(Mistake::new(
            "no-host",
            link.host.span(),
            "the host is empty",
            "write a host name or an IP address",
        ));
    }
    ranges::number("port", &link.port, 1..=u16::MAX, mistakes);
    ranges::period("timeout", &link.timeout, mistakes);
    turnaround(&link.turnaround, mistakes);
    ranges::period("connect-timeout", &link.connect_timeout, mistakes);
    if let Some(connections) = &link.connections {
        ranges::number("connections", connections, 1..=16, mistakes);
    }
    if let Some(pipeline) = &link.pipeline {
        let pipeline_length = ranges::number("pipeline", pipeline, 1..=16, mistakes);
        if let Some(pause) = &link.pause
            && pipeline_length > 1
        {
            mistakes.push(Mistake::new(
                "pause-in-a-pipeline",
                pause.span(),
                "`pause` waits between an answer and the next request, `pipeline` does not wait for the answer",
                "remove one of the two",
            ));
        }
    }
    if let Some(pause) = &link.pause {
        ranges::period("pause", pause, mistakes);
    }
}

fn rtu_link(link: &RtuLink, mistakes: &mut Vec<Mistake>) {
    if link.port.get_ref().trim().is_empty() {
        mistakes.push(Mistake::new(
            "no-port",
            link.port.span(),
            "the serial port is empty",
            "write its path, as `/dev/ttyAMA0`",
        ));
    }
    ranges::number("baud", &link.baud, 300..=4_000_000, mistakes);
    if let Some(stop_bits) = &link.stop_bits {
        ranges::number("stop-bits", stop_bits, 1..=2, mistakes);
    }
    ranges::period("timeout", &link.timeout, mistakes);
    turnaround(&link.turnaround, mistakes);
    if let Some(pause) = &link.pause {
        ranges::period("pause", pause, mistakes);
    }
}

fn turnaround(period: &toml::Spanned<crate::model::Period>, mistakes: &mut Vec<Mistake>) {
    ranges::period_within("turnaround", period, Duration::ZERO..=Duration::from_secs(60), mistakes);
}

/// The plans of all links of the file.
pub(super) fn compile(
    links: &[LinkTable<'_>],
    devices: &[DeviceDraft<'_>],
    classes: &[Class<'_>],
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<Mistake>,
) -> Vec<LinkPlan> {
    let mut plans = Vec::new();
    for (at, link) in links.iter().enumerate() {
        let devices: Vec<_> = devices.iter().filter(|d| d.link == at).collect();
        let serial = matches!(link.kind, Kind::ModbusRtu(_));
        let specs: Vec<_> = devices.iter().map(|d| modbus_device(d, serial, mistakes)).collect();
        twins(link, &devices, &specs, warnings);
        let mut requests = Vec::new();
        let mut rules = Vec::new();
        for (device, draft) in devices.iter().enumerate() {
            for tag in &draft.tags {
                let asked = &tag.asked;
                requests.push(Request {
                    device,
                    address: asked.at.get_ref(),
                    kind: asked.kind,
                    length: asked.length,
                    writable: asked.writable,
                    period: classes.get(tag.class).map_or(Duration::from_secs(1), |(_, period)| *period),
                });
                rules.push((tag.rule.clone(), asked.at.span()));
            }
        }
        let compiled = match &link.kind {
            Kind::ModbusTcp(table) => {
                let number =
                    |n: &Option<toml::Spanned<u16>>| n.as_ref().map_or(1, |n| usize::from(*n.get_ref()));
                let (connections, pipeline) = (number(&table.connections), number(&table.pipeline));
                modbus::compile_tcp(table, &specs, &requests).map(|c| Layout {
                    connections,
                    pipeline,
                    ..layout(c, LinkSpec::ModbusTcp)
                })
            }
            Kind::ModbusRtu(table) => {
                modbus::compile_rtu(table, &specs, &requests).map(|c| layout(c, LinkSpec::ModbusRtu))
            }
        };
        match compiled {
            Ok(compiled) => {
                let devices = devices.iter().map(|d| DevicePlan {
                    id: d.id,
                    name: d.table.name.get_ref().clone(),
                    tags: d.tags.iter().map(|t| t.id).collect(),
                });
                let rules: Vec<Rule> = rules.into_iter().map(|(rule, _)| rule).collect();
                let periods: Vec<Duration> = requests.iter().map(|r| r.period).collect();
                plans.push(link_plan(link.name, devices.collect(), compiled, &rules, &periods));
            }
            Err(errors) => mistakes.extend(errors.into_iter().filter_map(|(index, error)| {
                let AddressError { code, message, help } = error;
                Some(Mistake::new(code, rules.get(index)?.1.clone(), message, help))
            })),
        }
    }
    plans
}

/// The Modbus keys of a device.
fn modbus_device(draft: &DeviceDraft<'_>, serial: bool, mistakes: &mut Vec<Mistake>) -> ModbusDevice {
    let (table, profile) = (draft.table, draft.profile);
    let unit = match &table.unit {
        None => 1,
        // Serial line guide V1.02 section 2.2: 0 is the broadcast, 248 to 255 are reserved.
        Some(unit) if serial => ranges::number("unit", unit, 1..=247, mistakes),
        Some(unit) => ranges::number("unit", unit, 0..=255, mistakes),
    };
    let defaults = ModbusDevice::default();
    ModbusDevice {
        name: table.name.get_ref().clone(),
        unit: u8::try_from(unit).unwrap_or(1),
        max_registers: (table.max_registers.as_ref())
            .or(profile.and_then(|p| p.max_registers.as_ref()))
            .map_or(defaults.max_registers, |n| ranges::number("max-registers", n, 1..=125, mistakes)),
        max_gap: (table.max_gap.as_ref())
            .or(profile.and_then(|p| p.max_gap.as_ref()))
            .map_or(defaults.max_gap, |n| ranges::number("max-gap", n, 0..=120, mistakes)),
        write_multiple: table.write == WriteFunctions::Multiple,
        timeout: table.timeout.as_ref().map(|t| ranges::period("timeout", t, mistakes)),
    }
}

/// Two devices that are one at the wire: allowed, one box may have two names, but seldom meant.
fn twins(
    link: &LinkTable<'_>,
    devices: &[&DeviceDraft<'_>],
    specs: &[ModbusDevice],
    warnings: &mut Vec<Mistake>,
) {
    let mut seen: HashMap<u8, &str> = HashMap::new();
    for (draft, spec) in devices.iter().zip(specs) {
        if let Some(first) = seen.insert(spec.unit, &spec.name) {
            let place = draft.table.unit.as_ref().map_or(draft.table.name.span(), toml::Spanned::span);
            warnings.push(Mistake::new(
                "same-unit",
                place,
                format!("`{first}` and `{}` have the same unit {} on `{}`", spec.name, spec.unit, link.name),
                "each device has a unit of its own, unless they are one box under two names",
            ));
        }
    }
}

/// The addresses of a device whose link is not there, so that no driver compiles them: whatever link it will
/// be, all that a file can name today speak Modbus.
pub(super) fn addresses(tags: &[TagDraft<'_>], mistakes: &mut Vec<Mistake>) {
    for asked in tags.iter().map(|tag| &tag.asked) {
        let at = asked.at.get_ref();
        let checked = Address::parse(at, asked.kind, asked.length)
            .and_then(|address| if asked.writable { address.check_writable(at) } else { Ok(()) });
        if let Err(AddressError { code, message, help }) = checked {
            mistakes.push(Mistake::new(code, asked.at.span(), message, help));
        }
    }
}

/// A driver's answer without its own spec type.
struct Layout {
    spec: LinkSpec,
    connections: usize,
    pipeline: usize,
    blocks: Vec<crate::drivers::driver::BlockPlan>,
    points: Vec<crate::drivers::driver::PointPlan>,
}

fn layout<S>(compiled: Compiled<S>, wrap: impl FnOnce(S) -> LinkSpec) -> Layout {
    Layout {
        spec: wrap(compiled.spec),
        connections: 1,
        pipeline: 1,
        blocks: compiled.blocks,
        points: compiled.points,
    }
}

fn link_plan(
    name: &str,
    devices: Vec<DevicePlan>,
    layout: Layout,
    rules: &[Rule],
    periods: &[Duration],
) -> LinkPlan {
    let mut read_in = HashMap::new();
    let blocks = layout.blocks.into_iter().enumerate().map(|(at, block)| {
        let placed = block.slots.iter().filter_map(|slot| {
            read_in.insert(slot.request, (at, block.device));
            let wanted = periods.get(slot.request).copied().unwrap_or(block.period);
            let every = wanted.as_nanos() / block.period.as_nanos().max(1);
            let every = u32::try_from(every).unwrap_or(u32::MAX).max(1);
            Some(PlacedRule { every, ..PlacedRule::new(slot.place, rules.get(slot.request)?.clone()) })
        });
        BlockTask {
            block: Block(at),
            device: block.device,
            rules: placed.collect(),
            period: block.period,
            label: block.label,
            cost: block.cost,
            miss: block.miss,
            probe: block.probe,
        }
    });
    let blocks = blocks.collect();
    let writes = layout.points.into_iter().enumerate().filter_map(|(at, point)| {
        let rule = rules.get(point.request)?.clone();
        let (read_back, device) = *read_in.get(&point.request)?;
        Some((rule.tag, WriteTask { point: Point(at), device, read_back, place: point.place, rule }))
    });
    LinkPlan {
        name: name.to_owned(),
        spec: layout.spec,
        connections: layout.connections,
        pipeline: layout.pipeline,
        devices,
        writes: writes.collect(),
        blocks,
    }
}

/// The gateway's own link, device and tags.
pub(super) fn system(
    id: DeviceId,
    tags: &[(TagId, SystemTag)],
    period: Duration,
) -> Option<(LinkPlan, Device, Vec<Tag>)> {
    let requests: Vec<_> = tags
        .iter()
        .map(|(_, tag)| Request {
            device: 0,
            address: &tag.address,
            kind: tag.kind,
            length: 0,
            writable: false,
            period,
        })
        .collect();
    let compiled = system::compile(&requests).ok()?;
    let rules: Vec<Rule> = tags.iter().map(|(id, tag)| Rule::plain(*id, tag.kind)).collect();
    let device = DevicePlan { id, name: SYSTEM.into(), tags: tags.iter().map(|(id, _)| *id).collect() };
    let plan = link_plan(
        SYSTEM,
        vec![device],
        layout(compiled, LinkSpec::System),
        &rules,
        &vec![period; requests.len()],
    );
    let described = tags.iter().map(|(tag_id, tag)| Tag {
        id: *tag_id,
        device: id,
        name: tag.name.as_str().into(),
        path: super::draft::path(SYSTEM, &tag.name).into(),
        kind: tag.kind,
        access: Access::Read,
        unit: tag.unit.map(Into::into),
        low: None,
        high: None,
        description: Some(tag.description.into()),
    });
    let device = Device {
        id,
        name: SYSTEM.into(),
        link: SYSTEM.into(),
        description: Some("the gateway itself".into()),
        is_node: true,
    };
    Some((plan, device, described.collect()))
}
