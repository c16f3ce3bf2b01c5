//! Modbus over TCP and serial lines (RTU); written from the Modbus specifications.

pub mod address;
mod blocks;
pub mod config;
pub mod identify;
mod learn;
mod mux;
mod pause;
pub mod pdu;
pub mod planner;
mod read;
pub mod rtu;
mod rtu_link;
mod serial;
mod socket;
mod stream;
pub mod tcp;
mod tcp_link;
mod waiting;

pub use rtu_link::{ModbusRtu, RtuSpec};
pub use tcp_link::{ModbusTcp, TcpSpec};

use std::time::Duration;

use self::config::{ModbusDevice, RtuLink, TcpLink};
use super::driver::{AddressError, Compiled, Request};

/// Compiles the requests of a Modbus TCP link; an error names the index of its request.
pub fn compile_tcp(
    link: &TcpLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<TcpSpec>, Vec<(usize, AddressError)>> {
    let pause = link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0);
    let round_trip = link.turnaround.get_ref().0 + pause;
    // What a register costs on Ethernet is nothing beside a round trip; it only breaks ties.
    let cost = |block: &blocks::BlockSpec| round_trip + Duration::from_nanos(160) * block.bytes().1 as u32;
    let timeout = link.timeout.get_ref().0;
    let miss = |block: &blocks::BlockSpec| blocks::Miss {
        read: devices.get(block.device).and_then(|d| d.timeout).unwrap_or(timeout),
        probe: tcp_link::patience(link.turnaround.get_ref().0).min(timeout),
    };
    let Compiled { spec, blocks, points } = blocks::compile(devices, requests, cost, miss)?;
    Ok(Compiled { spec: TcpSpec::new(link, devices, spec), blocks, points })
}

/// Compiles the requests of a Modbus RTU link; an error names the index of its request.
pub fn compile_rtu(
    link: &RtuLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<RtuSpec>, Vec<(usize, AddressError)>> {
    let pace = RtuSpec::new(link, devices, blocks::Reads::default()).pace();
    let silence = pace.silence().max(link.pause.as_ref().map_or(Duration::ZERO, |p| p.get_ref().0));
    // Silence, the request, the device's own time, the answer; unit and CRC around each PDU.
    let cost = |block: &blocks::BlockSpec| {
        let (asked, answered) = block.bytes();
        silence + pace.bytes(asked + answered + 6) + link.turnaround.get_ref().0
    };
    let timeout = link.timeout.get_ref().0;
    // After a time-out the line is kept quiet for as long again.
    let miss = |block: &blocks::BlockSpec| {
        let timeout = devices.get(block.device).and_then(|d| d.timeout).unwrap_or(timeout);
        let asked = silence + pace.bytes(block.bytes().0 + 3);
        let probe = rtu_link::patience(link.turnaround.get_ref().0, &block.probe(false), pace);
        blocks::Miss { read: asked + 2 * timeout, probe: asked + probe.min(timeout) }
    };
    let Compiled { spec, blocks, points } = blocks::compile(devices, requests, cost, miss)?;
    Ok(Compiled { spec: RtuSpec::new(link, devices, spec), blocks, points })
}
