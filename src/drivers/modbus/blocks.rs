//! Tags to requests: parsed, checked, and cut into reads by what these cost the line.

use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, Area};
use super::config::ModbusDevice;
use super::holes;
use super::learn::{Part, parts};
use super::pdu;
use super::planner::{self, Item, Limits};
use crate::drivers::driver::{AddressError, BlockPlan, Compiled, PointPlan, Request, Slot};
use crate::model::DataType;

/// One read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockSpec {
    /// Index of the device.
    pub device: usize,
    /// Table.
    pub area: Area,
    /// First address.
    pub start: u16,
    /// Bits or registers.
    pub count: u16,
    /// The values in it.
    pub parts: Arc<[Part]>,
}

/// One writable place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PointSpec {
    /// Index of the device.
    pub device: usize,
    /// Coil or holding register.
    pub area: Area,
    /// First address.
    pub start: u16,
    /// With which functions.
    pub how: How,
}

/// How a place is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Functions 6 and 5 for one register or coil, 16 and 15 for more.
    Single,
    /// Functions 16 and 15 always.
    Multiple,
    /// Function 23: the registers are read again in the same transaction.
    ReadBack,
    /// Function 22: these bits of a register.
    Mask(u16),
    /// The register is read, these bits of it are changed, and it is written.
    Modify {
        /// The bits.
        mask: u16,
        /// Written with function 16.
        multiple: bool,
    },
}

/// What both kinds of links load.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reads {
    /// `Block(i)` is `blocks[i]`.
    pub blocks: Vec<BlockSpec>,
    /// `Point(i)` is `points[i]`.
    pub points: Vec<PointSpec>,
}

/// What a device costs that does not answer.
pub(super) struct Miss {
    /// A read.
    pub(super) read: Duration,
    /// A hasty probe.
    pub(super) probe: Duration,
}

/// Where a block or a point lies, for whoever plays the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Unit identifier.
    pub unit: u8,
    /// Table.
    pub area: Area,
    /// First address.
    pub start: u16,
    /// Bits or registers.
    pub count: u16,
}

impl Reads {
    /// What each block asks of whom, and each point, in their order; a point says where it begins.
    pub(super) fn extents(&self, devices: &[ModbusDevice]) -> (Vec<Extent>, Vec<Extent>) {
        let extent = |device: usize, area: Area, start: u16, count: u16| {
            let unit = devices.get(device).map_or(1, |d| d.unit);
            Extent { unit, area, start, count }
        };
        let blocks = self.blocks.iter().map(|b| extent(b.device, b.area, b.start, b.count));
        let points = self.points.iter().map(|p| extent(p.device, p.area, p.start, 1));
        (blocks.collect(), points.collect())
    }
}

/// Blocks and points of all requests; all errors at once, each with the index of its request.
pub(super) fn compile(
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
    cost: impl Fn(&BlockSpec) -> Duration,
    miss: impl Fn(&BlockSpec) -> Miss,
) -> Result<Compiled<Reads>, Vec<(usize, AddressError)>> {
    let mut errors = Vec::new();
    let mut wanted = Vec::new();
    let mut points = Vec::new();
    let mut reads = Reads::default();
    let nobody = ModbusDevice::default();
    for (index, request) in requests.iter().enumerate() {
        let keys = devices.get(request.device).unwrap_or(&nobody);
        let parsed = Address::parse(request.address, request.kind, request.length)
            .and_then(|address| check(keys, request, address).map(|()| address));
        match parsed {
            Ok(address) => {
                if request.writable {
                    reads.points.push(PointSpec {
                        device: request.device,
                        area: address.area,
                        start: address.start,
                        how: how(keys, address, request.is_read()),
                    });
                    points.push(PointPlan { request: index, place: address.place(0) });
                }
                if request.is_read() {
                    wanted.push((request.device, request.period, address, index));
                }
            }
            Err(error) => errors.push((index, error)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // One table of one device at a time: no read spans two.
    wanted.sort_by_key(|(device, _, address, index)| (*device, address.area, address.start, *index));
    let mut blocks: Vec<BlockPlan> = Vec::new();
    for table in wanted.chunk_by(|a, b| (a.0, a.2.area) == (b.0, b.2.area)) {
        let Some((device, _, Address { area, .. }, _)) = table.first().copied() else { continue };
        let item = |(at, (_, period, address, _)): (usize, &(usize, Duration, Address, usize))| Item {
            start: u32::from(address.start),
            end: u32::from(address.start) + u32::from(address.count()),
            period: *period,
            index: at,
        };
        let items: Vec<Item> = table.iter().enumerate().map(item).collect();
        let keys = devices.get(device).unwrap_or(&nobody);
        let gap = u32::from(keys.max_gap);
        let limits = Limits {
            most: u32::from(limit(keys, area)),
            // A gap of registers costs two bytes each, one of bits an eighth.
            gap: if area.is_bits() { gap * 16 } else { gap },
        };
        let spec = |start: u32, count: u32| BlockSpec {
            device,
            area,
            start: u16::try_from(start).unwrap_or(u16::MAX),
            count: u16::try_from(count).unwrap_or(u16::MAX),
            parts: Arc::default(),
        };
        let groups = holes::apart(items, devices.get(device).map_or(&[], |d| d.holes.as_slice()), area);
        let spans = groups.iter().flat_map(|g| planner::plan(g, limits, |count| cost(&spec(0, count))));
        for span in spans {
            let slot = |at: &usize| {
                let (_, _, address, request) = table.get(*at)?;
                let at = u32::from(address.start).saturating_sub(span.start) as usize;
                Some(Slot { request: *request, place: address.place(at) })
            };
            let place = |at: &usize| {
                let (_, _, address, _) = table.get(*at)?;
                let at = u32::from(address.start).saturating_sub(span.start);
                Some((u16::try_from(at).unwrap_or(u16::MAX), address.count()))
            };
            reads.blocks.push(BlockSpec {
                parts: parts(span.items.iter().filter_map(place)).into(),
                ..spec(span.start, span.end - span.start)
            });
            blocks.push(BlockPlan {
                device,
                period: span.period,
                slots: span.items.iter().filter_map(slot).collect(),
                label: String::new(),
                cost: Duration::ZERO,
                miss: Duration::ZERO,
                probe: Duration::ZERO,
            });
        }
    }
    for (spec, plan) in reads.blocks.iter().zip(&mut blocks) {
        let last = u32::from(spec.start) + u32::from(spec.count) - 1;
        plan.label = format!("{} {}..{last}", spec.area.name(), spec.start);
        plan.cost = cost(spec);
        let miss = miss(spec);
        (plan.miss, plan.probe) = (miss.read, miss.probe);
    }
    Ok(Compiled { spec: reads, blocks, points })
}

/// Most registers or bits in one read.
fn limit(device: &ModbusDevice, area: Area) -> u16 {
    match (device.single_register, area.is_bits()) {
        (true, _) => 1,
        (false, true) => device.max_bits.clamp(1, pdu::MOST_BITS),
        (false, false) => device.max_registers.clamp(1, pdu::MOST_REGISTERS),
    }
}

/// Whether what is asked for can be read, and written, in one request each.
fn check(device: &ModbusDevice, request: &Request<'_>, address: Address) -> Result<(), AddressError> {
    if request.is_read() {
        if device.broadcast {
            return Err(unanswered(request));
        }
        let limit = limit(device, address.area);
        if address.count() > limit {
            return Err(too_long(request, address, limit, device.single_register));
        }
    }
    if request.writable {
        address.check_writable(request.address)?;
        let read_back = device.read_back && request.is_read();
        let most = match address.area.is_bits() {
            true => pdu::MOST_WRITTEN_BITS,
            false if read_back => pdu::MOST_WRITTEN_AND_READ,
            false => pdu::MOST_WRITTEN_REGISTERS,
        };
        if address.count() > most {
            return Err(too_long_to_write(request, address, most));
        }
    }
    Ok(())
}

/// With which functions a place is written. What is never read is not read back either: the device may not
/// be able to.
fn how(device: &ModbusDevice, address: Address, is_read: bool) -> How {
    let multiple = device.write_multiple;
    match address.mask() {
        Some(mask) if device.read_modify_write => How::Modify { mask, multiple },
        Some(mask) => How::Mask(mask),
        None if device.read_back && is_read && !address.area.is_bits() => How::ReadBack,
        None if multiple => How::Multiple,
        None => How::Single,
    }
}

fn unanswered(request: &Request<'_>) -> AddressError {
    AddressError {
        code: "broadcast-read",
        message: format!("`{}`: nobody answers a broadcast, so it cannot be read", request.address),
        help: "write `access = \"write-only\"`".into(),
    }
}

fn too_long(request: &Request<'_>, address: Address, limit: u16, single: bool) -> AddressError {
    let (kind, units) = (request.kind, address.area.units());
    let (gives, change) = match (single, address.area.is_bits()) {
        (true, _) => {
            ("with `single-register` a read of the device has 1".to_owned(), "remove `single-register`")
        }
        (false, true) => (format!("one read of the device has at most {limit}"), "raise `max-bits`"),
        (false, false) => (format!("one read of the device has at most {limit}"), "raise `max-registers`"),
    };
    AddressError {
        code: "too-long",
        message: format!("`{}`: this {kind} takes {} {units}, {gives}", request.address, address.count()),
        help: format!(
            "a value is never split over two reads, whose halves would be of different moments; {change} or shorten the value"
        ),
    }
}

fn too_long_to_write(request: &Request<'_>, address: Address, most: u16) -> AddressError {
    AddressError {
        code: "too-long",
        message: format!(
            "`{}`: of {} {} only {most} can be written at once",
            request.address,
            address.count(),
            address.area.units()
        ),
        help: match request.kind {
            DataType::Text => format!("remove `access`, or shorten the string to {} bytes", 2 * most),
            _ => "remove `access`, or make two tags of the array".into(),
        },
    }
}

impl BlockSpec {
    /// Bytes of the PDUs of request and answer.
    pub(super) fn bytes(&self) -> (usize, usize) {
        (5, self.request().answer_bytes())
    }

    /// The request of the whole block.
    pub(super) fn request(&self) -> pdu::Request {
        self.request_of(Part { at: 0, count: self.count })
    }

    /// The request that shows with the shortest answer that the device is there: a refusal is a sign of life
    /// too. Where there is time for it (`whole`), a value that it gives, should it be silent on all else.
    pub(super) fn probe(&self, whole: bool) -> pdu::Request {
        let shortest = self.parts.iter().min_by_key(|part| part.count).copied();
        let Part { at, count } = shortest.unwrap_or(Part { at: 0, count: self.count });
        self.request_of(Part { at, count: if whole { count } else { 1 } })
    }

    /// The request of a part of it.
    pub(super) fn request_of(&self, part: Part) -> pdu::Request {
        pdu::Request::Read { area: self.area, start: self.start.saturating_add(part.at), count: part.count }
    }
}

impl PointSpec {
    /// The request that writes these bits or words; `None` where there are none or more than one write takes.
    /// For [`How::Modify`] it is the whole register, as changed.
    pub(super) fn request(&self, raw: &crate::model::Raw) -> Option<pdu::Request> {
        let (at, how) = (self.start, self.how);
        let multiple = matches!(how, How::Multiple | How::Modify { multiple: true, .. });
        if self.area.is_bits() {
            return match raw.bits.as_slice() {
                [on] if !multiple => Some(pdu::Request::WriteCoil { at, on: *on }),
                bits if (1..=usize::from(pdu::MOST_WRITTEN_BITS)).contains(&bits.len()) => {
                    Some(pdu::Request::WriteCoils { at, bits: bits.to_vec() })
                }
                _ => None,
            };
        }
        let fits = |most: u16| (1..=usize::from(most)).contains(&raw.words.len());
        match (how, raw.words.as_slice()) {
            (How::Mask(mask), [word]) => Some(pdu::Request::MaskRegister { at, and: !mask, or: word & mask }),
            (How::Mask(_), _) => None,
            (How::ReadBack, words) if fits(pdu::MOST_WRITTEN_AND_READ) => {
                let count = u16::try_from(words.len()).ok()?;
                Some(pdu::Request::WriteThenRead { start: at, count, at, words: words.to_vec() })
            }
            (How::ReadBack, _) => None,
            (_, [word]) if !multiple => Some(pdu::Request::WriteRegister { at, word: *word }),
            (_, words) if fits(pdu::MOST_WRITTEN_REGISTERS) => {
                Some(pdu::Request::WriteRegisters { at, words: words.to_vec() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_asks_for_one_register_and_a_patient_one_for_the_shortest_value() {
        let block = BlockSpec {
            device: 0,
            area: Area::Holding,
            start: 100,
            count: 30,
            parts: parts([(0, 20), (20, 2), (26, 4)].into_iter()).into(),
        };
        let read = |start, count| pdu::Request::Read { area: Area::Holding, start, count };
        assert_eq!(block.probe(false), read(120, 1));
        assert_eq!(block.probe(true), read(120, 2));
    }
}
