//! The gateway itself as a device: reads its own counters.

use std::time::Duration;

use crate::drivers::driver::{AddressError, BlockPlan, Compiled, Request, Slot};
use crate::model::{DataType, Place};

/// Which counters are read, in the order of the words of the one block.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Addresses as `gateway.uptime`, `link.bus-a.timeouts`.
    pub points: Vec<String>,
}

/// The tags that a gateway with these links and publishers has by itself: name, address, type,
/// engineering unit, description.
pub fn tags(_links: &[String], _publishers: &[String]) -> Vec<SystemTag> {
    Vec::new()
}

/// One tag of the system device.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemTag {
    /// Name within the device, with `/` between folders: `links/bus-a/timeouts`.
    pub name: String,
    /// Address for `compile`.
    pub address: String,
    /// Type of the value.
    pub kind: DataType,
    /// Engineering unit.
    pub unit: Option<&'static str>,
    /// For people.
    pub description: &'static str,
}

/// Four words a value: whole numbers as u64, big-endian.
pub fn compile(requests: &[Request<'_>]) -> Result<Compiled<Spec>, Vec<(usize, AddressError)>> {
    let slots = (0..requests.len())
        .map(|i| Slot { request: i, place: Place::Words { at: i * 4, count: 4 } })
        .collect();
    let block = BlockPlan { device: 0, class: 0, slots, label: "counters".into(), cost: Duration::ZERO };
    let points = requests.iter().map(|r| r.address.to_owned()).collect();
    Ok(Compiled { spec: Spec { points }, blocks: vec![block], points: Vec::new() })
}
