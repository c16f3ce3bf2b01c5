//! The drivers; this file is the registry: one line a driver in each enum.

pub mod driver;
pub mod modbus;
pub mod sim;
pub mod system;

use std::sync::Arc;

use self::driver::{Block, Driver, Point};
use crate::model::{Clock, Fault, Raw};
use crate::telemetry::Telemetry;

/// One match for all drivers, so that the data path has no dynamic dispatch.
macro_rules! registry {
    ($( $(#[$doc:meta])* $name:ident($spec:ty, $driver:ty) = |$telemetry:ident, $clock:ident| $new:expr; )*) => {
        /// What a link needs to run, of any driver.
        #[derive(Debug, Clone, PartialEq)]
        pub enum LinkSpec { $( $(#[$doc])* $name($spec), )* }

        /// A link of any driver.
        #[derive(Debug)]
        pub enum Link { $( $(#[$doc])* $name($driver), )* }

        impl Link {
            /// A link that this spec can be loaded into.
            pub fn new(spec: &LinkSpec, telemetry: &Arc<Telemetry>, clock: &Clock) -> Link {
                match spec {
                    $( LinkSpec::$name(_) => {
                        let ($telemetry, $clock) = (telemetry, clock);
                        let _ = ($telemetry, $clock);
                        Link::$name($new)
                    } )*
                }
            }

            /// See [`Driver::load`]; false also where the spec is of another driver.
            pub fn load(&mut self, spec: &LinkSpec) -> bool {
                match (self, spec) {
                    $( (Link::$name(link), LinkSpec::$name(spec)) => link.load(spec), )*
                    _ => false,
                }
            }

            /// See [`Driver::sibling`].
            pub fn sibling(&self) -> Option<Link> {
                match self { $( Link::$name(link) => link.sibling().map(Link::$name), )* }
            }

            /// See [`Driver::connect`].
            pub async fn connect(&mut self) -> Result<(), Fault> {
                match self { $( Link::$name(link) => link.connect().await, )* }
            }

            /// See [`Driver::read`].
            pub async fn read(&mut self, block: Block, into: &mut Raw) -> Result<(), Fault> {
                match self { $( Link::$name(link) => link.read(block, into).await, )* }
            }

            /// See [`Driver::probe`].
            pub async fn probe(&mut self, block: Block, hasty: bool) -> Result<(), Fault> {
                match self { $( Link::$name(link) => link.probe(block, hasty).await, )* }
            }

            /// See [`Driver::write`].
            pub async fn write(&mut self, point: Point, raw: &Raw) -> Result<(), Fault> {
                match self { $( Link::$name(link) => link.write(point, raw).await, )* }
            }

            /// See [`Driver::trouble`].
            pub fn trouble(&self) -> &str {
                match self { $( Link::$name(link) => link.trouble(), )* }
            }
        }
    };
}

registry! {
    /// Modbus TCP.
    ModbusTcp(modbus::TcpSpec, modbus::ModbusTcp) = |_telemetry, _clock| modbus::ModbusTcp::default();
    /// Modbus RTU on a serial line.
    ModbusRtu(modbus::RtuSpec, modbus::ModbusRtu) = |_telemetry, _clock| modbus::ModbusRtu::default();
    /// The example driver.
    Sim(sim::Spec, sim::Sim) = |_telemetry, _clock| sim::Sim::default();
    /// The gateway itself.
    System(system::Spec, system::System) = |telemetry, clock| system::System::new(telemetry.clone(), clock.clone());
}
