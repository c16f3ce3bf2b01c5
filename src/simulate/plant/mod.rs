//! Simulated sites: process models, their registers, and the sockets and buses that they hang on.

mod conveyor;
mod dosing;
mod factory;
mod machine;
mod pump_station;
mod robot;
mod water;
mod weld_cell;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::machine::Machine;
use super::modbus::bank::Bank;
use super::modbus::manner::Manner;
use super::modbus::{RtuBus, Slave, Slaves, TcpServer};
use crate::drivers::modbus::rtu::Pace;

/// Which site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Three pump stations and a chemical-dosing station.
    Water,
    /// A body shop: welding cells, robots, a conveyor.
    Factory,
}

/// Where a link of the site's configuration finds its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Modbus TCP.
    Tcp(SocketAddr),
    /// Modbus RTU.
    Serial(PathBuf),
}

/// A running site; it is gone when it is dropped.
#[derive(Debug)]
pub struct Plant {
    endpoints: Vec<(&'static str, Endpoint)>,
    _servers: Vec<TcpServer>,
    _buses: Vec<RtuBus>,
    _stop: DropGuard,
}

/// One link of a site and all that hangs on it.
struct LinkDraft {
    name: &'static str,
    /// A serial bus of this pace; without one it is a socket.
    pace: Option<Pace>,
    devices: Vec<DeviceDraft>,
}

struct DeviceDraft {
    unit: u8,
    manner: Manner,
    machine: Box<dyn Machine>,
}

impl LinkDraft {
    /// A PLC with a socket of its own.
    fn plc(name: &'static str, machine: impl Machine + 'static) -> LinkDraft {
        // A PLC answers once a cycle.
        let manner = Manner { delay: Duration::from_millis(4), ..Manner::default() };
        LinkDraft {
            name,
            pace: None,
            devices: vec![DeviceDraft { unit: 1, manner, machine: Box::new(machine) }],
        }
    }
}

/// How often the models step.
const STEP: Duration = Duration::from_millis(100);

impl Plant {
    /// Starts all devices of a site on free ports of loopback and on new pseudo-terminals.
    pub async fn start(site: Site) -> io::Result<Plant> {
        // Minutes of a waterworks pass in seconds; a body shop is quick enough as it is.
        let (links, lapse) = match site {
            Site::Water => (water::links(), 60.0),
            Site::Factory => (factory::links(), 1.0),
        };
        let (mut endpoints, mut servers, mut buses, mut machines) = (vec![], vec![], vec![], vec![]);
        for link in links {
            let mut slaves = Slaves::new();
            for device in link.devices {
                let mut bank = Bank::new(device.machine.sizes());
                device.machine.begin(&mut bank);
                device.machine.show(&mut bank);
                let slave = Slave::new(bank, device.manner);
                slaves.insert(device.unit, slave.clone());
                machines.push((device.machine, slave));
            }
            let endpoint = match link.pace {
                None => {
                    let server = TcpServer::bind((Ipv4Addr::LOCALHOST, 0).into(), slaves).await?;
                    let address = server.address();
                    servers.push(server);
                    Endpoint::Tcp(address)
                }
                Some(pace) => {
                    let bus = RtuBus::open(pace, slaves)?;
                    let path = bus.path().to_owned();
                    buses.push(bus);
                    Endpoint::Serial(path)
                }
            };
            endpoints.push((link.name, endpoint));
        }
        let stop = CancellationToken::new();
        tokio::spawn(run(machines, lapse, stop.clone()));
        Ok(Plant { endpoints, _servers: servers, _buses: buses, _stop: stop.drop_guard() })
    }

    /// Where the devices of each link of the site's configuration are.
    pub fn endpoints(&self) -> &[(&'static str, Endpoint)] {
        &self.endpoints
    }

    /// Where the devices of this link are.
    pub fn endpoint(&self, link: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|(name, _)| *name == link).map(|(_, endpoint)| endpoint)
    }
}

/// Lets time pass in all models; `lapse` seconds of theirs in one of ours.
async fn run(mut machines: Vec<(Box<dyn Machine>, Arc<Slave>)>, lapse: f64, stop: CancellationToken) {
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        // After a pause of the whole machine the models go on from where they were.
        let dt = now.duration_since(last).min(10 * STEP).as_secs_f64() * lapse;
        last = now;
        for (machine, slave) in &mut machines {
            let mut bank = slave.bank();
            machine.obey(&mut bank);
            machine.step(dt);
            machine.show(&mut bank);
        }
    }
}
