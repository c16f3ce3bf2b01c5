//! The drivers; this file is the registry: one line a driver in each enum.

pub mod driver;
pub mod modbus;
pub mod sim;
pub mod system;

use std::sync::Arc;
use std::time::Duration;

use self::driver::{Block, Driver, Point, Tally};
use crate::model::{Fault, Identity, Raw};
use crate::telemetry::Telemetry;

/// One match for all drivers, so that the data path has no dynamic dispatch.
macro_rules! registry {
    ($( $(#[$doc:meta])* $name:ident($spec:ty, $driver:ty) = |$telemetry:ident| $new:expr; )*) => {
        /// What a link needs to run, of any driver.
        #[derive(Debug, Clone, PartialEq)]
        pub enum LinkSpec { $( $(#[$doc])* $name($spec), )* }

        impl LinkSpec {
            /// Whether the device at this place is the very same one at that place of a later spec: what is known
            /// of it, alive or not, holds on.
            pub fn keeps_device(&self, at: usize, later: &LinkSpec, later_at: usize) -> bool {
                match (self, later) {
                    $( (LinkSpec::$name(spec), LinkSpec::$name(later)) => spec.keeps_device(at, later, later_at), )*
                    _ => false,
                }
            }
        }

        /// A link of any driver. There are a few of them, each for as long as its task.
        #[allow(clippy::large_enum_variant)]
        #[derive(Debug)]
        pub enum Link { $( $(#[$doc])* $name($driver), )* }

        impl Link {
            /// A link that this spec can be loaded into.
            pub fn new(spec: &LinkSpec, telemetry: &Arc<Telemetry>) -> Link {
                match spec {
                    $( LinkSpec::$name(_) => {
                        let $telemetry = telemetry;
                        let _ = $telemetry;
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
            pub fn sibling(&self, same_connection: bool) -> Option<Link> {
                match self { $( Link::$name(link) => link.sibling(same_connection).map(Link::$name), )* }
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

            /// See [`Driver::identify`].
            pub async fn identify(&mut self, device: usize) -> Result<Identity, Fault> {
                match self { $( Link::$name(link) => link.identify(device).await, )* }
            }

            /// See [`Driver::longest_pause`].
            pub fn longest_pause(&self) -> Duration {
                match self { $( Link::$name(link) => link.longest_pause(), )* }
            }

            /// See [`Driver::longest_call`].
            pub fn longest_call(&self) -> Duration {
                match self { $( Link::$name(link) => link.longest_call(), )* }
            }

            /// See [`Driver::silence`].
            pub fn silence(&self) -> Duration {
                match self { $( Link::$name(link) => link.silence(), )* }
            }

            /// See [`Driver::tally`].
            pub fn tally(&mut self) -> Tally {
                match self { $( Link::$name(link) => link.tally(), )* }
            }

            /// See [`Driver::address`].
            pub fn address(&self) -> &str {
                match self { $( Link::$name(link) => link.address(), )* }
            }

            /// See [`Driver::trouble`].
            pub fn trouble(&self) -> &str {
                match self { $( Link::$name(link) => link.trouble(), )* }
            }

            /// See [`Driver::learned`].
            pub fn learned(&mut self) -> Option<(usize, String)> {
                match self { $( Link::$name(link) => link.learned(), )* }
            }

            /// See [`Driver::recall`].
            pub fn recall(&mut self, device: usize, text: &str) {
                match self { $( Link::$name(link) => link.recall(device, text), )* }
            }
        }
    };
}

registry! {
    /// Modbus TCP, each answer with the number of its request.
    ModbusTcp(modbus::TcpSpec, modbus::ModbusTcp) = |_telemetry| modbus::ModbusTcp::default();
    /// Modbus RTU or ASCII on a serial line or a socket, and Modbus TCP without those numbers.
    ModbusLine(modbus::LineSpec, modbus::ModbusLine) = |_telemetry| modbus::ModbusLine::default();
    /// The example driver.
    Sim(sim::Spec, sim::Sim) = |_telemetry| sim::Sim::default();
    /// The gateway itself.
    System(system::Spec, system::System) = |telemetry| system::System::new(telemetry.clone());
}
