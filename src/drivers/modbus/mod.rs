//! Modbus over TCP and serial lines (RTU and ASCII); written from the Modbus specifications.

pub mod address;
pub mod ascii;
mod blocks;
mod carrier;
pub mod config;
pub mod facts;
pub mod framing;
mod heard;
pub(crate) mod holder;
pub mod holes;
pub mod identify;
pub mod identity;
mod learn;
mod lessons;
mod line;
mod listen;
mod mux;
mod pause;
pub mod pdu;
pub mod planner;
mod read;
mod rs485;
pub mod rtu;
mod serial;
mod settle;
mod socket;
mod stream;
mod suspects;
pub mod target;
pub mod tcp;
mod tcp_link;
#[cfg(feature = "tls")]
mod tls;
mod waiting;
mod who;
mod write;

pub use blocks::Extent;
pub use carrier::LineSpec;
pub use line::ModbusLine;
pub use tcp_link::{ModbusTcp, TcpSpec};

use std::time::Duration;

use self::config::{Framing, ModbusDevice, SerialLink, TcpLink};
use super::driver::{AddressError, Compiled, Request};

/// The longest call of a link whose configuration nobody checked.
const LONGEST_ELSE: Duration = Duration::from_secs(30);

/// The longest that a call may take, by far. Most is taken by a block that is read in parts, each of which a slow device
/// answers, and by an identification of several pages; a silence ends both.
fn longest_call(open: Duration, timeout: Duration, devices: &[ModbusDevice]) -> Duration {
    let slowest = devices.iter().filter_map(|device| device.timeout).fold(timeout, Duration::max);
    LONGEST_ELSE.saturating_add(open).saturating_add(slowest.saturating_mul(32))
}

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
    link: &SerialLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<LineSpec>, Vec<(usize, AddressError)>> {
    compile_line(LineSpec::serial(link, Framing::Rtu, devices), link.turnaround.get_ref().0, requests)
}

/// Compiles the requests of a Modbus ASCII link; an error names the index of its request.
pub fn compile_ascii(
    link: &SerialLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<LineSpec>, Vec<(usize, AddressError)>> {
    compile_line(LineSpec::serial(link, Framing::Ascii, devices), link.turnaround.get_ref().0, requests)
}

/// Compiles the requests of a socket whose answers have no number: serial frames over TCP, or Modbus TCP from
/// a gateway that does not echo transaction identifiers. An error names the index of its request.
pub fn compile_socket(
    link: &TcpLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<LineSpec>, Vec<(usize, AddressError)>> {
    compile_line(LineSpec::socket(link, devices), link.turnaround.get_ref().0, requests)
}

fn compile_line(
    line: LineSpec,
    turnaround: Duration,
    requests: &[Request<'_>],
) -> Result<Compiled<LineSpec>, Vec<(usize, AddressError)>> {
    let (framing, pace, silence, devices) = (line.framing, line.pace(), line.overhead(), &line.devices);
    // What a byte costs on Ethernet is nothing beside a round trip; it only breaks ties.
    let bytes = |count| pace.bytes(count).max(Duration::from_nanos(80) * count as u32);
    // Silence, the request, the device's own time, the answer.
    let cost = |block: &blocks::BlockSpec| {
        let (asked, answered) = block.bytes();
        silence + bytes(framing.length(asked) + framing.length(answered)) + turnaround
    };
    // After a time-out the line is kept quiet for as long again.
    let miss = |block: &blocks::BlockSpec| {
        let timeout = devices.get(block.device).and_then(|d| d.timeout).unwrap_or(line.timeout);
        let asked = silence + bytes(framing.length(block.bytes().0));
        let probe = line.patience(turnaround, &block.probe(false));
        blocks::Miss { read: asked + 2 * timeout, probe: asked + probe.min(timeout) }
    };
    let Compiled { spec, blocks, points } = blocks::compile(devices, requests, cost, miss)?;
    Ok(Compiled { spec: line.with(spec), blocks, points })
}
