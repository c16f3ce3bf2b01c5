//! Tags to requests: parsed, checked, and cut into reads by what these cost the line.

use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, Area};
use super::config::ModbusDevice;
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
    for (index, request) in requests.iter().enumerate() {
        let parsed = Address::parse(request.address, request.kind, request.length).and_then(|address| {
            if request.writable {
                address.check_writable(request.address)?;
            }
            let limit = limit(devices.get(request.device), address.area);
            if address.count() > limit {
                return Err(too_long(request, address, limit));
            }
            if request.writable && address.count() > pdu::MOST_WRITTEN_REGISTERS {
                return Err(too_long_to_write(request, address));
            }
            Ok(address)
        });
        match parsed {
            Ok(address) => {
                if request.writable {
                    let (device, area, start) = (request.device, address.area, address.start);
                    reads.points.push(PointSpec { device, area, start });
                    points.push(PointPlan { request: index, place: address.place(0) });
                }
                wanted.push((request.device, request.period, address, index));
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
        let gap = devices.get(device).map_or(0, |d| u32::from(d.max_gap));
        let limits = Limits {
            most: u32::from(limit(devices.get(device), area)),
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
        for span in planner::plan(&items, limits, |count| cost(&spec(0, count))) {
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

fn limit(device: Option<&ModbusDevice>, area: Area) -> u16 {
    if area.is_bits() {
        return pdu::MOST_BITS;
    }
    device.map_or(pdu::MOST_REGISTERS, |d| d.max_registers.clamp(1, pdu::MOST_REGISTERS))
}

fn too_long(request: &Request<'_>, address: Address, limit: u16) -> AddressError {
    let what = if request.kind == DataType::Text { "string" } else { request.kind.name() };
    AddressError {
        code: "too-long",
        message: format!("`{}`: this {what} takes {} registers, one read of the device has at most {limit}", request.address, address.count()),
        help: "a value is never split over two reads, whose halves would be of different moments; raise `max-registers` or shorten the value".into(),
    }
}

fn too_long_to_write(request: &Request<'_>, address: Address) -> AddressError {
    let (count, most) = (address.count(), pdu::MOST_WRITTEN_REGISTERS);
    AddressError {
        code: "too-long",
        message: format!(
            "`{}`: {count} registers can be read at once, but only {most} written",
            request.address
        ),
        help: format!("remove `access = \"read-write\"`, or shorten the string to {} bytes", 2 * most),
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
    pub(super) fn request(&self, raw: &crate::model::Raw, multiple: bool) -> Option<pdu::Request> {
        let at = self.start;
        if self.area.is_bits() {
            return match raw.bits.as_slice() {
                [on] if !multiple => Some(pdu::Request::WriteCoil { at, on: *on }),
                bits if (1..=usize::from(pdu::MOST_WRITTEN_BITS)).contains(&bits.len()) => {
                    Some(pdu::Request::WriteCoils { at, bits: bits.to_vec() })
                }
                _ => None,
            };
        }
        match raw.words.as_slice() {
            [word] if !multiple => Some(pdu::Request::WriteRegister { at, word: *word }),
            words if (1..=usize::from(pdu::MOST_WRITTEN_REGISTERS)).contains(&words.len()) => {
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
