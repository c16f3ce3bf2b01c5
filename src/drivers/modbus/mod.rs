//! Modbus over TCP and serial lines (RTU); written from the Modbus specifications.

pub mod config;

use crate::drivers::driver::{AddressError, Compiled, Request};

/// What a Modbus TCP link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpSpec {}

/// What a Modbus RTU link needs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct RtuSpec {}

/// Compiles the requests of a Modbus TCP link; an error names the index of its request.
pub fn compile_tcp(
    _link: &config::TcpLink,
    _devices: &[config::ModbusDevice],
    _requests: &[Request<'_>],
) -> Result<Compiled<TcpSpec>, Vec<(usize, AddressError)>> {
    Ok(Compiled { spec: TcpSpec {}, blocks: Vec::new(), points: Vec::new() })
}

/// Compiles the requests of a Modbus RTU link; an error names the index of its request.
pub fn compile_rtu(
    _link: &config::RtuLink,
    _devices: &[config::ModbusDevice],
    _requests: &[Request<'_>],
) -> Result<Compiled<RtuSpec>, Vec<(usize, AddressError)>> {
    Ok(Compiled { spec: RtuSpec {}, blocks: Vec::new(), points: Vec::new() })
}
