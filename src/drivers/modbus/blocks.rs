//! Tags to requests: neighbours of one device, area and scan class share one, within the protocol's limits.

use std::time::Duration;

use super::address::{Address, Area};
use super::config::ModbusDevice;
use super::pdu;
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

/// Blocks and points of all requests; all errors at once, each with the index of its request.
pub(super) fn compile(
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
    cost: impl Fn(&BlockSpec) -> Duration,
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
                wanted.push((request.device, request.class, address, index));
            }
            Err(error) => errors.push((index, error)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    wanted.sort_by_key(|(device, class, address, index)| {
        (*device, *class, address.area, address.start, *index)
    });
    let mut blocks: Vec<BlockPlan> = Vec::new();
    for (device, class, address, index) in wanted {
        let end = u32::from(address.start) + u32::from(address.count());
        let gap = devices.get(device).map_or(0, |d| u32::from(d.max_gap));
        // A gap of registers costs two bytes each, one of bits an eighth.
        let gap = if address.area.is_bits() { gap * 16 } else { gap };
        let most = u32::from(limit(devices.get(device), address.area));
        let joins = |spec: &BlockSpec, plan: &BlockPlan| {
            let spec_end = u32::from(spec.start) + u32::from(spec.count);
            spec.device == device
                && plan.class == class
                && spec.area == address.area
                && u32::from(address.start) <= spec_end + gap
                && end.max(spec_end) - u32::from(spec.start) <= most
        };
        let fits =
            matches!((reads.blocks.last(), blocks.last()), (Some(spec), Some(plan)) if joins(spec, plan));
        if !fits {
            let spec = BlockSpec { device, area: address.area, start: address.start, count: 0 };
            reads.blocks.push(spec);
            blocks.push(BlockPlan {
                device,
                class,
                slots: Vec::new(),
                label: String::new(),
                cost: Duration::ZERO,
            });
        }
        if let (Some(spec), Some(plan)) = (reads.blocks.last_mut(), blocks.last_mut()) {
            let count = end - u32::from(spec.start);
            spec.count = spec.count.max(u16::try_from(count).unwrap_or(u16::MAX));
            plan.slots
                .push(Slot { request: index, place: address.place(usize::from(address.start - spec.start)) });
        }
    }
    for (spec, plan) in reads.blocks.iter().zip(&mut blocks) {
        let last = u32::from(spec.start) + u32::from(spec.count) - 1;
        plan.label = format!("{} {}..{last}", spec.area.name(), spec.start);
        plan.cost = cost(spec);
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
        let count = usize::from(self.count);
        (5, 2 + if self.area.is_bits() { count.div_ceil(8) } else { count * 2 })
    }

    /// The request.
    pub(super) fn request(&self) -> pdu::Request {
        pdu::Request::Read { area: self.area, start: self.start, count: self.count }
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
