//! A copy of the devices of a plan: each link served on this machine, each tag with a value that moves.

mod course;
mod device;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::device::{Draft, Movement};
use super::modbus::dice::Dice;
use super::modbus::manner::{Manner, Tally};
use super::modbus::noise::Noise;
use super::modbus::{RtuBus, Slave, Slaves, TcpServer};
use super::plant::Endpoint;
use crate::drivers::LinkSpec;
use crate::drivers::modbus::framing::Framing;
use crate::model::Raw;
use crate::plan::GatewayPlan;

/// What is wished of one link.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Not at all: its devices would have to dial in.
    pub unserved: bool,
    /// Where its socket shall listen; without it on a free port of loopback.
    pub listen: Option<SocketAddr>,
    /// Noise on its line.
    pub noise: Option<Noise>,
    /// How its devices behave, by their names.
    pub manners: HashMap<String, Manner>,
}

/// One link that is served.
#[derive(Debug, Clone)]
pub struct ServedLink {
    /// Its name.
    pub name: String,
    /// Where its devices are now.
    pub endpoint: Endpoint,
    /// Names and units of its devices.
    pub devices: Vec<(String, u8)>,
}

/// The devices of a plan, running; gone when this is dropped.
#[derive(Debug)]
pub struct Replica {
    links: Vec<ServedLink>,
    slaves: Vec<Arc<Slave>>,
    _servers: Vec<TcpServer>,
    _buses: Vec<RtuBus>,
    _stop: DropGuard,
}

/// How often values move.
const STEP: Duration = Duration::from_millis(100);

impl Replica {
    /// Serves every link of the plan; an error says which cannot be.
    pub async fn start(plan: &GatewayPlan, wishes: &HashMap<String, Wish>) -> Result<Replica, String> {
        let (mut links, mut moving, mut servers, mut buses) = (vec![], vec![], vec![], vec![]);
        for link in &plan.links {
            let ((blocks, points), framing, pace) = match &link.spec {
                LinkSpec::ModbusTcp(spec) => (spec.extents(), Framing::Tcp, None),
                LinkSpec::ModbusLine(spec) => {
                    (spec.extents(), spec.framing(), (!spec.is_socket()).then(|| spec.pace()))
                }
                // It has no devices to be simulated.
                LinkSpec::System(_) | LinkSpec::Sim(_) => continue,
            };
            let mut wish = wishes.get(&link.name).cloned().unwrap_or_default();
            // Modbus TCP has no check sum: what carries it lets no noise through.
            wish.noise = wish.noise.filter(|_| framing != Framing::Tcp);
            if wish.unserved {
                continue;
            }
            let mut drafts: BTreeMap<u8, Draft> = BTreeMap::new();
            let mut devices: Vec<(String, u8)> = Vec::new();
            let mut manners: HashMap<u8, Manner> = HashMap::new();
            for (block, asked) in link.blocks.iter().zip(&blocks) {
                let name = link.devices.get(block.device).map_or("", |d| d.name.as_str());
                let draft = drafts.entry(asked.unit).or_default();
                if !devices.iter().any(|(known, _)| known == name) {
                    devices.push((name.to_owned(), asked.unit));
                    manners.extend(wish.manners.get(name).map(|manner| (asked.unit, *manner)));
                }
                for placed in &block.rules {
                    if let Some(tag) = plan.directory.tag(placed.rule.tag) {
                        draft.add(asked, placed, tag, seed(&tag.path));
                    }
                }
            }
            // What is only written is in no block.
            for write in link.writes.values() {
                match points.get(write.point.0) {
                    // A broadcast is obeyed by all, and nobody is unit 0.
                    Some(point) if framing != Framing::Tcp && point.unit == 0 => {
                        for draft in drafts.values_mut() {
                            draft.reach(point, write.place);
                        }
                    }
                    Some(point) => {
                        drafts.entry(point.unit).or_default().reach(point, write.place);
                    }
                    None => {}
                }
            }
            let mut slaves = Slaves::new();
            for (unit, draft) in drafts {
                let (mut bank, movement) = draft.finish();
                let name = devices.iter().find(|(_, of)| *of == unit).map_or("", |(name, _)| name);
                bank.introduce(card(name));
                let slave = Slave::new(bank, manners.get(&unit).copied().unwrap_or_default());
                moving.push((movement, slave.clone()));
                slaves.insert(unit, slave);
            }
            let cannot = |error| format!("link `{}` cannot be served: {error}", link.name);
            let endpoint = match pace {
                None => {
                    let address = wish.listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
                    let server = TcpServer::bind_framed(address, framing, wish.noise, slaves).await;
                    let server = server.map_err(|error| cannot(format!("{address}: {error}")))?;
                    let address = server.address();
                    servers.push(server);
                    Endpoint::Tcp(address)
                }
                Some(pace) => {
                    let bus = RtuBus::open_framed(pace, framing, wish.noise, slaves);
                    let bus = bus.map_err(|error| cannot(error.to_string()))?;
                    let path = bus.path().to_owned();
                    buses.push(bus);
                    Endpoint::Serial(path)
                }
            };
            links.push(ServedLink { name: link.name.clone(), endpoint, devices });
        }
        let slaves = moving.iter().map(|(_, slave)| slave.clone()).collect();
        let stop = CancellationToken::new();
        tokio::spawn(run(moving, stop.clone()));
        Ok(Replica { links, slaves, _servers: servers, _buses: buses, _stop: stop.drop_guard() })
    }

    /// Where the devices of each link are, in the order of the file.
    pub fn links(&self) -> &[ServedLink] {
        &self.links
    }

    /// What all devices together were asked, and how they answered.
    pub fn tally(&self) -> Tally {
        self.slaves.iter().map(|slave| slave.tally()).fold(Tally::default(), |sum, one| sum + one)
    }
}

/// What a simulated device answers when it is asked who it is.
fn card(name: &str) -> Vec<(u8, String)> {
    let text = |object, text: &str| (object, text.to_owned());
    vec![text(0, "Fieldgate"), text(1, "simulated"), text(2, env!("CARGO_PKG_VERSION")), text(4, name)]
}

/// A number of a name's own (FNV-1a, stirred: names that differ in their last letter only are far apart).
pub fn seed(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    Dice::new(name.bytes().fold(0xCBF2_9CE4_8422_2325, hash)).bits()
}

async fn run(moving: Vec<(Movement, Arc<Slave>)>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (start, mut raw) = (Instant::now(), Raw::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let seconds = start.elapsed().as_secs_f64();
        for (movement, slave) in &moving {
            movement.show(seconds, &mut slave.bank(), &mut raw);
        }
    }
}
