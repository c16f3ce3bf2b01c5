//! Modbus over TCP and serial lines (RTU); written from the Modbus specifications.

pub mod address;
mod blocks;
pub mod config;
mod pause;
pub mod pdu;
pub mod planner;
pub mod rtu;
mod rtu_link;
pub mod tcp;
mod tcp_link;

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
    // A round trip in a quiet local network; what is really taken is measured.
    let Compiled { spec, blocks, points } = blocks::compile(devices, requests, |_| Duration::from_millis(2))?;
    Ok(Compiled { spec: TcpSpec::new(link, devices, spec), blocks, points })
}

/// Compiles the requests of a Modbus RTU link; an error names the index of its request.
pub fn compile_rtu(
    link: &RtuLink,
    devices: &[ModbusDevice],
    requests: &[Request<'_>],
) -> Result<Compiled<RtuSpec>, Vec<(usize, AddressError)>> {
    let pace = RtuSpec::new(link, devices, blocks::Reads::default()).pace();
    // Two frames of unit and CRC around their PDUs, and the silence before each.
    let cost = |block: &blocks::BlockSpec| {
        let (asked, answered) = block.bytes();
        pace.bytes(asked + answered + 6) + 2 * pace.silence()
    };
    let Compiled { spec, blocks, points } = blocks::compile(devices, requests, cost)?;
    Ok(Compiled { spec: RtuSpec::new(link, devices, spec), blocks, points })
}
