//! Links of the file to the plans of their tasks, each through its driver's compile.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::draft::{Class, DeviceDraft, SYSTEM, TagDraft, duplicate, reserved};
use super::{doors, names, ranges};
use crate::config::{self, BitWrite, Config, WriteFunctions};
use crate::drivers::driver::{AddressError, Block, Compiled, Point, Request};
use crate::drivers::modbus::address::Address;
use crate::drivers::modbus::config::{Framing, ModbusDevice, SerialLink, TcpLink};
use crate::drivers::modbus::holes::{Hole, joined};
use crate::drivers::modbus::target::Target;
use crate::drivers::system::SystemTag;
use crate::drivers::{LinkSpec, modbus, system};
use crate::model::{Access, Device, DeviceId, Mistake, Plate, Tag, TagId};
use crate::normalize::{PlacedRule, Rule};
use crate::poll::{BlockTask, DevicePlan, LinkPlan, WriteTask};

/// A link of any driver.
pub(super) struct LinkTable<'a> {
    pub(super) name: &'a str,
    pub(super) span: Range<usize>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Tcp(&'a TcpLink),
    Rtu(&'a SerialLink),
    Ascii(&'a SerialLink),
}

/// All links in the order of the file, checked one by one.
pub(super) fn table<'a>(config: &'a Config, mistakes: &mut Vec<Mistake>) -> Vec<LinkTable<'a>> {
    let tcp = config.link.modbus_tcp.iter().map(|l| (&l.get_ref().name, Kind::Tcp(l.get_ref())));
    let rtu = config.link.modbus_rtu.iter().map(|l| (&l.get_ref().name, Kind::Rtu(l.get_ref())));
    let ascii = config.link.modbus_ascii.iter().map(|l| (&l.get_ref().name, Kind::Ascii(l.get_ref())));
    let mut links: Vec<_> = tcp.chain(rtu).chain(ascii).collect();
    links.sort_by_key(|(name, _)| name.span().start);
    let mut seen = HashMap::new();
    let check = |(name, kind): (&'a crate::model::Spanned<String>, Kind<'a>)| {
        names::check("link", name, mistakes);
        reserved("link", name, mistakes);
        duplicate("link", "duplicate-link", name, &mut seen, mistakes);
        match &kind {
            Kind::Tcp(link) => tcp_link(link, mistakes),
            Kind::Rtu(link) => rtu_link(link, mistakes),
            Kind::Ascii(link) => ascii_link(link, mistakes),
        }
        LinkTable { name: name.get_ref(), span: name.span(), kind }
    };
    links.into_iter().map(check).collect()
}

fn tcp_link(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    doors::tcp(link, mistakes);
    ranges::period("timeout", &link.timeout, mistakes);
    turnaround(&link.turnaround, mistakes);
    ranges::period("connect-timeout", &link.connect_timeout, mistakes);
    if let Some(echo) = link.echo_transaction_id.as_ref().filter(|_| link.framing != Framing::Tcp) {
        mistakes.push(Mistake::new(
            "key-of-another-framing",
            echo.span(),
            "frames of a serial line have no transaction identifier",
            "remove `echo-transaction-id`; it belongs to `framing = \"tcp\"`",
        ));
    }
    at_once(link, mistakes);
    if let Some(pause) = &link.pause {
        ranges::period("pause", pause, mistakes);
    }
}

/// How many transactions may be under way at once.
fn at_once(link: &TcpLink, mistakes: &mut Vec<Mistake>) {
    for (key, number) in [("connections", &link.connections), ("pipeline", &link.pipeline)] {
        let Some(number) = number else { continue };
        if ranges::number(key, number, 1..=16, mistakes) <= 1 {
            continue;
        }
        let mut no = |code, message: String, help: String| {
            mistakes.push(Mistake::new(code, number.span(), message, help));
        };
        if !link.is_numbered() {
            no(
                "key-of-another-framing",
                "answers that do not say which request they answer allow one request at a time".into(),
                format!(
                    "remove `{key}`; it belongs to `framing = \"tcp\"` with `echo-transaction-id = true`"
                ),
            );
        }
        if link.listen.is_some() {
            no(
                "not-with-listen",
                format!("`{key}` is for hosts that the gateway dials, but this link listens"),
                format!("leave `{key}` out"),
            );
        }
    }
    if let (Some(pipeline), Some(pause)) = (&link.pipeline, &link.pause)
        && *pipeline.get_ref() > 1
    {
        mistakes.push(Mistake::new(
            "pause-in-a-pipeline",
            pause.span(),
            "`pause` waits between an answer and the next request, `pipeline` does not wait for the answer",
            "remove one of the two",
        ));
    }
}

fn rtu_link(link: &SerialLink, mistakes: &mut Vec<Mistake>) {
    serial_link(link, mistakes);
    if let Some(data_bits) = link.data_bits.as_ref().filter(|bits| *bits.get_ref() != 8) {
        mistakes.push(Mistake::new(
            "key-of-another-framing",
            data_bits.span(),
            "RTU always has 8 data bits",
            "remove `data-bits`; a device with 7 data bits speaks ASCII: `[[link.modbus-ascii]]`",
        ));
    }
}

fn ascii_link(link: &SerialLink, mistakes: &mut Vec<Mistake>) {
    serial_link(link, mistakes);
    if let Some(data_bits) = &link.data_bits {
        ranges::number("data-bits", data_bits, 7..=8, mistakes);
    }
    if let Some(strict) = &link.strict_timing {
        mistakes.push(Mistake::new(
            "key-of-another-framing",
            strict.span(),
            "ASCII allows a second between two characters",
            "remove `strict-timing`; it belongs to `[[link.modbus-rtu]]`",
        ));
    }
}

fn serial_link(link: &SerialLink, mistakes: &mut Vec<Mistake>) {
    if link.port.get_ref().trim().is_empty() {
        mistakes.push(Mistake::new(
            "no-port",
            link.port.span(),
            "the serial port is empty",
            "write its path, as `/dev/ttyAMA0`",
        ));
    }
    doors::serial(link, mistakes);
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

fn turnaround(period: &crate::model::Spanned<crate::model::Period>, mistakes: &mut Vec<Mistake>) {
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
        // Frames of a serial line come from one, also over a socket.
        let serial = !matches!(link.kind, Kind::Tcp(table) if table.framing == Framing::Tcp);
        let specs: Vec<_> = devices.iter().map(|d| modbus_device(d, serial, mistakes)).collect();
        twins(link, &devices, &specs, warnings);
        in_holes(&devices, &specs, warnings);
        let mut requests = Vec::new();
        let mut rules = Vec::new();
        for (device, draft) in devices.iter().enumerate() {
            for tag in &draft.tags {
                let asked = &tag.asked;
                let period = classes.get(tag.class).map_or(Duration::from_secs(1), |(_, period)| *period);
                requests.push(Request {
                    device,
                    address: asked.at.get_ref(),
                    kind: asked.kind,
                    length: asked.length,
                    writable: asked.access.is_writable(),
                    period: if asked.access.is_readable() { period } else { Request::NEVER },
                });
                rules.push((tag.rule.clone(), asked.at.span()));
            }
        }
        let compiled = match &link.kind {
            Kind::Tcp(table) if table.is_numbered() => {
                let number = |n: &Option<crate::model::Spanned<u16>>| {
                    n.as_ref().map_or(1, |n| usize::from(*n.get_ref()))
                };
                let (connections, pipeline) = (number(&table.connections), number(&table.pipeline));
                modbus::compile_tcp(table, &specs, &requests).map(|c| Layout {
                    connections,
                    pipeline,
                    ..layout(c, LinkSpec::ModbusTcp)
                })
            }
            Kind::Tcp(table) => {
                modbus::compile_socket(table, &specs, &requests).map(|c| layout(c, LinkSpec::ModbusLine))
            }
            Kind::Rtu(table) => {
                modbus::compile_rtu(table, &specs, &requests).map(|c| layout(c, LinkSpec::ModbusLine))
            }
            Kind::Ascii(table) => {
                modbus::compile_ascii(table, &specs, &requests).map(|c| layout(c, LinkSpec::ModbusLine))
            }
        };
        match compiled {
            Ok(compiled) => {
                let devices = devices.iter().map(|d| DevicePlan {
                    id: d.id,
                    name: d.table.name.get_ref().clone(),
                    tags: d.tags.iter().flat_map(|t| t.shown.iter().map(|s| s.id).chain([t.id])).collect(),
                });
                let rules: Vec<Rule> = rules.into_iter().map(|(rule, _)| rule).collect();
                let periods: Vec<Duration> = requests.iter().map(|r| r.period).collect();
                let device_of: Vec<usize> = requests.iter().map(|r| r.device).collect();
                plans.push(link_plan(link.name, devices.collect(), compiled, &rules, &periods, &device_of));
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
    let unit = unit(table, serial, mistakes);
    let write = table.write.or(profile.and_then(|p| p.write)).unwrap_or_default();
    let bit_write = table.bit_write.or(profile.and_then(|p| p.bit_write)).unwrap_or_default();
    let broadcast = table.broadcast.as_ref().filter(|key| *key.get_ref());
    if let Some(key) = broadcast {
        broadcast_reads_nothing(key, write, bit_write, mistakes);
    }
    let timeout = table.timeout.as_ref().map(|t| ranges::period("timeout", t, mistakes));
    let defaults = ModbusDevice::default();
    ModbusDevice {
        name: table.name.get_ref().clone(),
        unit: u8::try_from(unit).unwrap_or(1),
        broadcast: broadcast.is_some(),
        max_registers: (table.max_registers.as_ref())
            .or(profile.and_then(|p| p.max_registers.as_ref()))
            .map_or(defaults.max_registers, |n| ranges::number("max-registers", n, 1..=125, mistakes)),
        max_bits: (table.max_bits.as_ref())
            .or(profile.and_then(|p| p.max_bits.as_ref()))
            .map_or(defaults.max_bits, |n| ranges::number("max-bits", n, 1..=2000, mistakes)),
        single_register: table.single_register.or(profile.and_then(|p| p.single_register)).unwrap_or(false),
        max_gap: (table.max_gap.as_ref())
            .or(profile.and_then(|p| p.max_gap.as_ref()))
            .map_or(defaults.max_gap, |n| ranges::number("max-gap", n, 0..=120, mistakes)),
        write_multiple: write == WriteFunctions::Multiple,
        read_back: write == WriteFunctions::ReadBack,
        read_modify_write: bit_write == BitWrite::ReadModifyWrite,
        timeout: timeout.or(broadcast.map(|_| BROADCAST_DELAY)),
        holes: holes(draft, mistakes),
        identify: identifies(draft),
    }
}

/// What the file says of each device as a thing.
pub(super) fn plates(links: &[LinkTable<'_>], drafts: &[DeviceDraft<'_>]) -> HashMap<DeviceId, Plate> {
    let plate = |draft: &DeviceDraft<'_>| {
        let (protocol, address) = match &links.get(draft.link)?.kind {
            Kind::Tcp(link) => tcp_plate(link),
            Kind::Rtu(link) => ("modbus-rtu", link.port.get_ref().clone()),
            Kind::Ascii(link) => ("modbus-ascii", link.port.get_ref().clone()),
        };
        let plate = Plate {
            protocol,
            address,
            unit: Some(
                draft.table.unit.as_ref().map_or(u16::from(!is_broadcast(draft)), |unit| *unit.get_ref()),
            ),
            is_asked: identifies(draft) && !is_broadcast(draft),
            manufacturer: draft.profile.and_then(|p| p.manufacturer.clone()),
            model: draft.profile.and_then(|p| p.model.clone()),
        };
        Some((draft.id, plate))
    };
    drafts.iter().filter_map(plate).collect()
}

/// Whether a device is to be asked who it is.
fn identifies(draft: &DeviceDraft<'_>) -> bool {
    draft.table.identify.or(draft.profile.and_then(|p| p.identify)).unwrap_or(true)
}

fn is_broadcast(draft: &DeviceDraft<'_>) -> bool {
    draft.table.broadcast.as_ref().is_some_and(|key| *key.get_ref())
}

fn tcp_plate(link: &TcpLink) -> (&'static str, String) {
    let protocol = match link.framing {
        Framing::Tcp => "modbus-tcp",
        Framing::Rtu => "modbus-rtu-over-tcp",
        Framing::Ascii => "modbus-ascii-over-tcp",
    };
    let port = link.port.as_ref().map_or(if link.tls.is_some() { 802 } else { 502 }, |port| *port.get_ref());
    let address = match (&link.host, &link.listen) {
        (Some(host), _) => Target { host: host.get_ref().clone(), port }.to_string(),
        (None, Some(listen)) => listen.get_ref().clone(),
        (None, None) => String::new(),
    };
    (protocol, address)
}

/// The holes of a device and of its profile.
fn holes(draft: &DeviceDraft<'_>, mistakes: &mut Vec<Mistake>) -> Vec<Hole> {
    let profile = draft.profile.and_then(|p| p.holes.as_ref());
    let all = draft.table.holes.iter().chain(profile).flatten();
    let parsed = all.filter_map(|text| match Hole::parse(text.get_ref()) {
        Ok(hole) => Some(hole),
        Err(AddressError { code, message, help }) => {
            mistakes.push(Mistake::new(code, text.span(), message, help));
            None
        }
    });
    joined(parsed.collect())
}

/// A tag where the file says that there is nothing. Only a warning: the file was right once, and a hole that
/// was learned must not keep a gateway from starting.
fn in_holes(devices: &[&DeviceDraft<'_>], specs: &[ModbusDevice], warnings: &mut Vec<Mistake>) {
    for (draft, spec) in devices.iter().zip(specs).filter(|(_, spec)| !spec.holes.is_empty()) {
        for tag in draft.tags.iter().filter(|tag| tag.asked.access.is_readable()) {
            let asked = &tag.asked;
            let Ok(address) = Address::parse(asked.at.get_ref(), asked.kind, asked.length) else { continue };
            let meets = |hole: &&Hole| hole.meets(address.area, address.start, address.count());
            let Some(hole) = spec.holes.iter().find(meets) else { continue };
            warnings.push(Mistake::new(
                "tag-in-hole",
                asked.at.span(),
                format!("`{}/{}` lies in the hole `{hole}` of its device", spec.name, tag.name),
                "remove the tag, or the hole; until then it is asked for by itself",
            ));
        }
    }
}

/// What devices on a serial line get to obey a broadcast; the serial line guide V1.02, section 2.4.1, has
/// 100 to 200 ms.
const BROADCAST_DELAY: Duration = Duration::from_millis(100);

/// Serial line guide V1.02 section 2.2: 0 is the broadcast, 248 to 255 are reserved. On TCP unit 0 is the
/// device itself (Messaging on TCP/IP V1.0b, on the unit identifier).
fn unit(table: &config::Device, serial: bool, mistakes: &mut Vec<Mistake>) -> u16 {
    let broadcast = table.broadcast.as_ref().filter(|key| *key.get_ref());
    match (broadcast, &table.unit) {
        (Some(key), _) if !serial => {
            mistakes.push(Mistake::new(
                "broadcast-over-tcp",
                key.span(),
                "Modbus TCP has no broadcast: unit 0 is the device at that address itself",
                "remove `broadcast`; unit 0 is read and written like any other",
            ));
            0
        }
        (Some(_), Some(unit)) if *unit.get_ref() != 0 => {
            mistakes.push(Mistake::new(
                "broadcast-unit",
                unit.span(),
                format!("a broadcast goes to unit 0, not to unit {}", unit.get_ref()),
                "write `unit = 0`, or remove `broadcast`",
            ));
            0
        }
        (Some(_), _) => 0,
        (None, Some(unit)) if serial && *unit.get_ref() == 0 => {
            mistakes.push(Mistake::new(
                "broadcast-unit",
                unit.span(),
                "unit 0 of a serial line is the broadcast: all devices obey it and none answers",
                "write the device's own unit, 1 to 247; to write to all at once, add `broadcast = true`",
            ));
            0
        }
        (None, Some(unit)) if serial => ranges::number("unit", unit, 1..=247, mistakes),
        (None, Some(unit)) => ranges::number("unit", unit, 0..=255, mistakes),
        (None, None) => 1,
    }
}

/// Ways to write that need an answer.
fn broadcast_reads_nothing(
    key: &crate::model::Spanned<bool>,
    write: WriteFunctions,
    bit_write: BitWrite,
    mistakes: &mut Vec<Mistake>,
) {
    let read_back = (write == WriteFunctions::ReadBack).then_some("write = \"read-back\"");
    let modify = (bit_write == BitWrite::ReadModifyWrite).then_some("bit-write = \"read-modify-write\"");
    for way in [read_back, modify].into_iter().flatten() {
        mistakes.push(Mistake::new(
            "broadcast-read",
            key.span(),
            format!("`{way}` reads, and nobody answers a broadcast"),
            format!("remove `{way}`"),
        ));
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
            let place =
                draft.table.unit.as_ref().map_or(draft.table.name.span(), crate::model::Spanned::span);
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
            .and_then(|address| if asked.access.is_writable() { address.check_writable(at) } else { Ok(()) });
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
    device_of: &[usize],
) -> LinkPlan {
    let mut read_in = HashMap::new();
    let blocks = layout.blocks.into_iter().enumerate().map(|(at, block)| {
        let placed = block.slots.iter().filter_map(|slot| {
            read_in.insert(slot.request, at);
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
        let read_back = read_in.get(&point.request).copied();
        let device = *device_of.get(point.request)?;
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
        &vec![0; requests.len()],
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
