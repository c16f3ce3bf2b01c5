//! How a gateway stands, as plain data: for the page and its API, for `/healthz`, and for `fieldgate status`.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use crate::model::{DeviceState, Directory, Timestamp};
use crate::store::Store;
use crate::telemetry::{
    Connection, ConnectionState, DeviceStats, LinkStats, PublisherStats, StoreStats, Telemetry,
};

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Who and since when.
    pub node: Node,
    /// In words.
    pub health: Health,
    /// In the order of the file.
    pub devices: Vec<Device>,
    /// In the order of the file, the gateway's own last.
    pub links: Vec<Link>,
    /// In the order of the file.
    pub publishers: Vec<Publisher>,
    /// What is kept.
    pub store: Kept,
    /// What runs, and what was offered.
    pub config: Config,
}

/// The gateway.
#[derive(Debug, Serialize, Deserialize)]
pub struct Node {
    /// Sparkplug group.
    pub group: String,
    /// Sparkplug edge node.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// Milliseconds since 1970, UTC; so are all moments below.
    pub now: i64,
    /// When it started.
    pub started: i64,
    /// Whether the operating system's clock is synchronised.
    pub synchronised: bool,
}

/// Whether everything works, and what does not.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `good` or `degraded`.
    pub status: String,
    /// Empty where it is good.
    pub problems: Vec<String>,
}

/// One device.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // Its counters are those of `DeviceStats`.
pub struct Device {
    pub name: String,
    pub link: String,
    pub description: Option<String>,
    pub is_node: bool,
    /// `alive`, `dead`, `unknown`.
    pub state: String,
    pub requests: u64,
    pub faults: u64,
    pub deaths: u64,
    pub last_answer: Option<i64>,
}

/// One link.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // Its counters are those of `LinkStats`.
pub struct Link {
    pub name: String,
    /// The port, or which of its addresses is in use.
    pub address: String,
    pub state: String,
    pub trouble: Option<String>,
    /// Share of the time with a transaction under way, and the silence that each needs, 0 to 1.
    pub load: f64,
    pub requests: u64,
    pub answers: u64,
    pub timeouts: u64,
    pub garbled: u64,
    pub refused: u64,
    pub echoes: u64,
    pub foreign: u64,
    pub noise: u64,
    pub late: u64,
    pub overruns: u64,
    pub connects: u64,
    pub samples: u64,
    pub writes: u64,
    pub restarts: u64,
}

/// One publisher.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // Its counters are those of `PublisherStats`.
pub struct Publisher {
    pub name: String,
    pub kind: String,
    pub address: String,
    pub state: String,
    pub trouble: Option<String>,
    pub messages: u64,
    pub delivered: u64,
    pub history: u64,
    pub births: u64,
    pub deaths: u64,
    pub connects: u64,
    pub commands: u64,
    pub refused: u64,
    pub clients: i64,
    pub pending: i64,
    pub pending_age_ms: i64,
    pub dropped: u64,
    pub sent_bytes: u64,
    pub budget_left: Option<i64>,
    pub restarts: u64,
}

/// The store.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // Its counters are those of `StoreStats`.
pub struct Kept {
    pub accepted: u64,
    pub spooled: u64,
    pub spool_bytes: i64,
    pub spool_segments: i64,
    pub memory_bytes: i64,
    pub durable: bool,
    pub ballast_bytes: i64,
    pub disk_full: bool,
    pub quarantined: u64,
    pub damaged: u64,
    pub disk_errors: u64,
}

/// The configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Config {
    /// When what runs was taken on.
    pub loaded: i64,
    /// Times that another one was taken on since the start.
    pub reloads: u64,
    /// Times that one was refused.
    pub refused: u64,
    /// What was wrong with the last one that was offered.
    pub mistakes: Vec<String>,
    /// Seconds until the one on trial goes; known to who asks the gateway itself.
    pub trial: Option<u64>,
}

impl Status {
    /// As it is now.
    pub fn of(directory: &Directory, store: &Store, telemetry: &Telemetry, now: Timestamp) -> Status {
        let all = telemetry.devices();
        let device = |device: &crate::model::Device| {
            let stats = all.iter().find(|stats| *stats.name == *device.name);
            Device::of(device, store.device_state(device.id), stats.map(|stats| &**stats))
        };
        Status {
            node: Node {
                group: directory.group.to_string(),
                name: directory.node.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now: now.millis(),
                started: telemetry.started().millis(),
                synchronised: telemetry.clock.synchronised.get() == 1,
            },
            health: Health::of(directory, store, telemetry),
            devices: directory.devices().iter().map(device).collect(),
            links: telemetry.links().iter().map(|link| Link::of(link)).collect(),
            publishers: telemetry.publishers().iter().map(|publisher| Publisher::of(publisher)).collect(),
            store: Kept::of(&telemetry.store),
            config: Config {
                loaded: Timestamp(telemetry.config.loaded.get()).millis(),
                reloads: telemetry.config.reloads.get(),
                refused: telemetry.config.refused.get(),
                mistakes: telemetry.config.troubles(),
                trial: None,
            },
        }
    }
}

impl Health {
    /// Whether every link, device and publisher works, in words.
    pub fn of(directory: &Directory, store: &Store, telemetry: &Telemetry) -> Health {
        let mut problems = Vec::new();
        for link in telemetry.links() {
            if link.state.get() == Connection::Down {
                problems.push(because(format!("link `{}` is down", link.name), link.state.trouble()));
            }
        }
        for device in directory.devices() {
            if store.device_state(device.id) == DeviceState::Dead {
                problems.push(format!("device `{}` does not answer", device.name));
            }
        }
        for publisher in telemetry.publishers() {
            if publisher.state.get() == Connection::Down {
                let what = format!("publisher `{}` is down", publisher.name);
                problems.push(because(what, publisher.state.trouble()));
            }
            if publisher.budget_short.get() >= 3 {
                problems.push(format!(
                    "publisher `{}` has used up its `budget`: only critical tags go north until it is refilled",
                    publisher.name
                ));
            }
            if publisher.dropped.get() > 0 {
                problems.push(format!(
                    "publisher `{}` lost {} samples",
                    publisher.name,
                    publisher.dropped.get()
                ));
            }
        }
        let store = &telemetry.store;
        if store.disk_errors.get() > 0 {
            problems.push(format!("the store met {} errors of the disk", store.disk_errors.get()));
        }
        if store.disk_full.get() == 1 {
            problems.push("the disk of the store is full".to_owned());
        }
        if store.damaged.get() + store.quarantined.get() > 0 {
            problems.push("the store set damaged data aside".to_owned());
        }
        let status = if problems.is_empty() { "good" } else { "degraded" };
        Health { status: status.to_owned(), problems }
    }
}

/// With the reason, where there is one.
pub fn because(what: String, trouble: String) -> String {
    if trouble.is_empty() { what } else { format!("{what}: {trouble}") }
}

impl Device {
    fn of(device: &crate::model::Device, state: DeviceState, stats: Option<&DeviceStats>) -> Device {
        let count = |read: fn(&DeviceStats) -> u64| stats.map_or(0, read);
        Device {
            name: device.name.to_string(),
            link: device.link.to_string(),
            description: device.description.as_deref().map(str::to_owned),
            is_node: device.is_node,
            state: state.name().to_owned(),
            requests: count(|s| s.requests.get()),
            faults: count(|s| s.faults.get()),
            deaths: count(|s| s.deaths.get()),
            last_answer: stats
                .map(|s| s.last_answer.get())
                .filter(|at| *at != 0)
                .map(|at| Timestamp(at).millis()),
        }
    }
}

impl Link {
    fn of(link: &LinkStats) -> Link {
        Link {
            name: link.name.clone(),
            address: link.address.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            state: link.state.get().name().to_owned(),
            trouble: trouble(&link.state),
            load: link.load_permille.get() as f64 / 1000.0,
            requests: link.requests.get(),
            answers: link.answers.get(),
            timeouts: link.timeouts.get(),
            garbled: link.garbled.get(),
            refused: link.refused.get(),
            echoes: link.echoes.get(),
            foreign: link.foreign.get(),
            noise: link.noise.get(),
            late: link.late.get(),
            overruns: link.overruns.get(),
            connects: link.connects.get(),
            samples: link.samples.get(),
            writes: link.writes.get(),
            restarts: link.restarts.get(),
        }
    }
}

impl Publisher {
    fn of(publisher: &PublisherStats) -> Publisher {
        Publisher {
            name: publisher.name.clone(),
            kind: publisher.kind.to_owned(),
            address: publisher.address.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            state: publisher.state.get().name().to_owned(),
            trouble: trouble(&publisher.state),
            messages: publisher.messages.get(),
            delivered: publisher.delivered.get(),
            history: publisher.history.get(),
            births: publisher.births.get(),
            deaths: publisher.deaths.get(),
            connects: publisher.connects.get(),
            commands: publisher.commands.get(),
            refused: publisher.refused.get(),
            clients: publisher.clients.get(),
            pending: publisher.pending.get(),
            pending_age_ms: publisher.pending_age_ms.get(),
            dropped: publisher.dropped.get(),
            sent_bytes: publisher.sent_bytes.get(),
            budget_left: Some(publisher.budget_left.get()).filter(|left| *left >= 0),
            restarts: publisher.restarts.get(),
        }
    }
}

impl Kept {
    fn of(store: &StoreStats) -> Kept {
        Kept {
            accepted: store.accepted.get(),
            spooled: store.spooled.get(),
            spool_bytes: store.spool_bytes.get(),
            spool_segments: store.spool_segments.get(),
            memory_bytes: store.memory_bytes.get(),
            durable: store.durable.get() == 1,
            ballast_bytes: store.ballast_bytes.get(),
            disk_full: store.disk_full.get() == 1,
            quarantined: store.quarantined.get(),
            damaged: store.damaged.get(),
            disk_errors: store.disk_errors.get(),
        }
    }
}

/// The reason of a failure that is not over.
fn trouble(state: &ConnectionState) -> Option<String> {
    (state.get() == Connection::Down).then(|| state.trouble()).filter(|why| !why.is_empty())
}
