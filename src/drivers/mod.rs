//! The drivers; this file is the registry: one line a driver in each enum.

pub mod driver;
pub mod modbus;
pub mod sim;
pub mod system;

/// What a link needs to run, of any driver.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkSpec {
    /// Modbus TCP.
    ModbusTcp(modbus::TcpSpec),
    /// Modbus RTU on a serial line.
    ModbusRtu(modbus::RtuSpec),
    /// The example driver.
    Sim(sim::Spec),
    /// The gateway itself.
    System(system::Spec),
}
