//! Counters that every room bumps and the page, /metrics and the `system` device read.

mod expiry;
mod journal;
mod log;
mod noise;
mod outbox;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::Timestamp;

pub use expiry::{Expiry, days_left};
pub use log::start_log;
pub use outbox::{LastLoss, LossReason, OutboxCounts};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn bump(&self) {
        self.add(1);
    }
    /// Some more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// The value from now on.
    pub fn set(&self, v: i64) {
        self.0.store(v, Relaxed);
    }
    /// Up or down.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Where a connection stands; the number is what `/metrics` and the system device show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Not tried yet or stopped.
    Stopped = 0,
    /// Trying.
    Connecting = 1,
    /// Open (a publisher: able to deliver).
    Up = 2,
    /// Failed; tried again later.
    Down = 3,
}

impl Connection {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Connection::Stopped => "stopped",
            Connection::Connecting => "connecting",
            Connection::Up => "up",
            Connection::Down => "down",
        }
    }
}

/// A [`Connection`] that changes, with the reason of the last failure.
#[derive(Debug, Default)]
pub struct ConnectionState {
    now: Gauge,
    trouble: Mutex<String>,
}

impl ConnectionState {
    /// Sets the state; true when it changed.
    pub fn set(&self, state: Connection) -> bool {
        self.now.0.swap(state as i64, Relaxed) != state as i64
    }
    /// Down, and why; true when it was not down before.
    pub fn down(&self, why: impl Into<String>) -> bool {
        *lock(&self.trouble) = why.into();
        self.set(Connection::Down)
    }
    /// The state now.
    pub fn get(&self) -> Connection {
        match self.now.get() {
            1 => Connection::Connecting,
            2 => Connection::Up,
            3 => Connection::Down,
            _ => Connection::Stopped,
        }
    }
    /// Why it was down last; empty when it never was.
    pub fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }
}

/// One link.
#[derive(Debug, Default)]
pub struct LinkStats {
    /// The link's name.
    pub name: String,
    /// Port or socket.
    pub state: ConnectionState,
    /// Where it leads: the port, or which of its addresses is in use; empty before it was open.
    pub address: Mutex<String>,
    /// Times that the port or socket was opened.
    pub connects: Counter,
    /// Requests sent.
    pub requests: Counter,
    /// Valid answers.
    pub answers: Counter,
    /// Requests without an answer in time.
    pub timeouts: Counter,
    /// Answers that failed their check.
    pub garbled: Counter,
    /// Exception answers.
    pub refused: Counter,
    /// Our own requests, heard again from an adapter that hears what it sends.
    pub echoes: Counter,
    /// Frames of another master, and of devices to it.
    pub foreign: Counter,
    /// Bytes that are no frame.
    pub noise: Counter,
    /// Answers that came too late and were dropped.
    pub late: Counter,
    /// Polls that started later than one period after they were due.
    pub overruns: Counter,
    /// Microseconds in which a transaction was under way.
    pub busy_us: Counter,
    /// Samples handed to the store.
    pub samples: Counter,
    /// Writes done.
    pub writes: Counter,
    /// Restarts by the supervisor.
    pub restarts: Counter,
    /// Times that its task came round without anything in it that hangs: a link that works beats once a second at least.
    pub beats: Counter,
    /// Times that it hung, and was ended and started again.
    pub hangs: Counter,
    /// Load over the last few seconds, in thousandths of the link's time.
    pub load_permille: Gauge,
    /// Load that the plan expects, in thousandths of the link's time; above 1000 not all can be held.
    pub planned_permille: Gauge,
}

/// One device.
#[derive(Debug, Default)]
pub struct DeviceStats {
    /// The device's name.
    pub name: String,
    /// Its link's name.
    pub link: String,
    /// 0 unknown, 1 alive, 2 dead.
    pub state: Gauge,
    /// Requests sent to it.
    pub requests: Counter,
    /// Faults of any kind.
    pub faults: Counter,
    /// Microseconds UTC of the last valid answer; 0 when there was none.
    pub last_answer: Gauge,
    /// Times that it died.
    pub deaths: Counter,
}

/// One publisher.
#[derive(Debug, Default)]
pub struct PublisherStats {
    /// The publisher's name.
    pub name: String,
    /// `sparkplug`, `mqtt`, `opcua`, `http`.
    pub kind: &'static str,
    /// Broker connection or listener.
    pub state: ConnectionState,
    /// Where it is reached or delivers to; without secrets.
    pub address: Mutex<String>,
    /// Messages written (MQTT) or value changes pushed (OPC UA).
    pub messages: Counter,
    /// Samples delivered and settled.
    pub delivered: Counter,
    /// Samples delivered as history, part of `delivered`.
    pub history: Counter,
    /// Births of the node and of devices.
    pub births: Counter,
    /// Deaths of devices said to the north.
    pub deaths: Counter,
    /// Connections made.
    pub connects: Counter,
    /// Writes asked for by the north.
    pub commands: Counter,
    /// Writes and commands refused.
    pub refused: Counter,
    /// Clients connected (OPC UA sessions).
    pub clients: Gauge,
    /// Samples not delivered yet.
    pub pending: Gauge,
    /// Age of the oldest sample not delivered yet, in milliseconds.
    pub pending_age_ms: Gauge,
    /// Samples lost, for any reason.
    pub dropped: Counter,
    /// What became of the samples of its outbox; taken together, so that they balance.
    pub outbox: Mutex<OutboxCounts>,
    /// Bytes sent north: MQTT packets, without those of TCP and TLS around them.
    pub sent_bytes: Counter,
    /// Bytes of its budget that may go now; −1 where it has none.
    pub budget_left: Gauge,
    /// What waits for the budget: 0 nothing, 1 history, 2 diagnostic values too, 3 normal ones too.
    pub budget_short: Gauge,
    /// Restarts by the supervisor.
    pub restarts: Counter,
    /// Its own certificate.
    pub certificate: Expiry,
    /// The certificates and revocation lists that it trusts.
    pub trusted: Expiry,
    /// Certificates of others that were refused.
    pub certificates_refused: Counter,
}

/// The store.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Samples accepted.
    pub accepted: Counter,
    /// Samples written to the spool.
    pub spooled: Counter,
    /// Times that a cursor was on the disk: what was settled before the last two does not come again.
    pub cursors: Counter,
    /// Bytes in the spool.
    pub spool_bytes: Gauge,
    /// Segments in the spool.
    pub spool_segments: Gauge,
    /// Bytes in the memory head.
    pub memory_bytes: Gauge,
    /// 1 when flushes were proven durable at the start, 0 when not, when there is no spool, and while the
    /// disk fails.
    pub durable: Gauge,
    /// Bytes kept back for when the disk is full.
    pub ballast_bytes: Gauge,
    /// 1 from the moment the disk was found full until there is room again, for the ballast too.
    pub disk_full: Gauge,
    /// Segments and other files set aside because they were damaged.
    pub quarantined: Counter,
    /// Blocks that failed their check and were skipped.
    pub damaged: Counter,
    /// Errors of the disk.
    pub disk_errors: Counter,
    /// Samples that were stamped before the clock was synchronised and left with the right time.
    pub restamped: Counter,
    /// Bytes on disk that only history keeps.
    pub history_bytes: Gauge,
    /// The oldest sample that can be read back, microseconds since 1970; 0 when there is none.
    pub history_oldest: Gauge,
    /// Samples that history never got: memory was short while the disk did not do it.
    pub history_lost: Gauge,
}

/// The clock.
#[derive(Debug, Default)]
pub struct ClockStats {
    /// 1 while it is synchronised.
    pub synchronised: Gauge,
    /// Times that the wall clock was stepped, the first synchronisation among them.
    pub steps: Counter,
}

/// The configuration.
#[derive(Debug, Default)]
pub struct ConfigStats {
    /// Microseconds UTC since 1970 when what runs was taken on.
    pub loaded: Gauge,
    /// Configurations taken on while the gateway ran.
    pub reloads: Counter,
    /// Configurations that were refused.
    pub refused: Counter,
    /// Mistakes in the one that was offered last; 0: it runs.
    pub mistakes: Gauge,
    /// What was wrong with it, for people.
    pub trouble: Mutex<Vec<String>>,
}

/// All counters of one gateway.
#[derive(Debug)]
pub struct Telemetry {
    /// When the gateway started, in microseconds since 1970; moves with the clock.
    started: Gauge,
    /// The store's.
    pub store: Arc<StoreStats>,
    /// The clock's.
    pub clock: ClockStats,
    /// The configuration's.
    pub config: ConfigStats,
    /// The same moment as `started`, which no step of the clock moves.
    since: std::time::Instant,
    links: Mutex<Vec<Arc<LinkStats>>>,
    devices: Mutex<Vec<Arc<DeviceStats>>>,
    publishers: Mutex<Vec<Arc<PublisherStats>>>,
}

impl ConfigStats {
    /// What is wrong with the configuration that was offered last; empty: it runs.
    pub fn set_trouble(&self, mistakes: Vec<String>) {
        self.mistakes.set(i64::try_from(mistakes.len()).unwrap_or(i64::MAX));
        *lock(&self.trouble) = mistakes;
    }

    /// See [`Self::set_trouble`].
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.trouble).clone()
    }
}

impl LinkStats {
    fn of(name: &str) -> LinkStats {
        LinkStats { name: name.into(), ..Default::default() }
    }
}

impl DeviceStats {
    fn of(name: &str, link: &str) -> DeviceStats {
        DeviceStats { name: name.into(), link: link.into(), ..Default::default() }
    }
}

impl PublisherStats {
    fn of(name: &str, kind: &'static str) -> PublisherStats {
        PublisherStats { name: name.into(), kind, ..Default::default() }
    }

    /// What became of the samples of its outbox.
    pub fn outbox(&self) -> OutboxCounts {
        *lock(&self.outbox)
    }
}

impl Telemetry {
    /// Empty counters.
    pub fn new(started: Timestamp) -> Arc<Telemetry> {
        let of = |number| {
            let gauge = Gauge::default();
            gauge.set(number);
            gauge
        };
        Arc::new(Telemetry {
            started: of(started.0),
            store: Arc::default(),
            clock: ClockStats::default(),
            config: ConfigStats { loaded: of(started.0), ..ConfigStats::default() },
            since: std::time::Instant::now(),
            links: Mutex::default(),
            devices: Mutex::default(),
            publishers: Mutex::default(),
        })
    }

    /// When the gateway started, in the best time known.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.started.get())
    }

    /// The clock was put right: it is `now`, and the start was as long ago as it was.
    pub fn put_right(&self, now: Timestamp) {
        let ago = i64::try_from(self.uptime().as_micros()).unwrap_or(i64::MAX);
        self.started.set(now.0.saturating_sub(ago));
    }

    /// Time since the start, whatever became of the clock.
    pub fn uptime(&self) -> std::time::Duration {
        self.since.elapsed()
    }

    /// The counters of a link, made at the first call.
    pub fn link(&self, name: &str) -> Arc<LinkStats> {
        find_or_make(&self.links, |l| l.name == name, || LinkStats::of(name))
    }

    /// The counters of a device, made at the first call.
    pub fn device(&self, name: &str, link: &str) -> Arc<DeviceStats> {
        find_or_make(&self.devices, |d| d.name == name, || DeviceStats::of(name, link))
    }

    /// The counters of a publisher, made at the first call.
    pub fn publisher(&self, name: &str, kind: &'static str) -> Arc<PublisherStats> {
        find_or_make(&self.publishers, |p| p.name == name, || PublisherStats::of(name, kind))
    }

    /// The links, devices (with their links) and publishers (with their kinds) are these now: counters of others go,
    /// those that stay go on.
    pub fn arrange<'a>(
        &self,
        links: impl Iterator<Item = &'a str>,
        devices: impl Iterator<Item = (&'a str, &'a str)>,
        publishers: impl Iterator<Item = (&'a str, &'static str)>,
    ) {
        keep(&self.links, links, |l, name| l.name == *name, LinkStats::of);
        keep(
            &self.devices,
            devices,
            |d, (name, link)| d.name == *name && d.link == *link,
            |(name, link)| DeviceStats::of(name, link),
        );
        keep(
            &self.publishers,
            publishers,
            |p, (name, kind)| p.name == *name && p.kind == *kind,
            |(name, kind)| PublisherStats::of(name, kind),
        );
    }

    /// All links, in the order of the file.
    pub fn links(&self) -> Vec<Arc<LinkStats>> {
        lock(&self.links).clone()
    }

    /// All devices, in the order of the file.
    pub fn devices(&self) -> Vec<Arc<DeviceStats>> {
        lock(&self.devices).clone()
    }

    /// All publishers, in the order of the file.
    pub fn publishers(&self) -> Vec<Arc<PublisherStats>> {
        lock(&self.publishers).clone()
    }
}

fn find_or_make<T>(
    list: &Mutex<Vec<Arc<T>>>,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut list = lock(list);
    if let Some(found) = list.iter().find(|t| is_it(t)) {
        return found.clone();
    }
    let made = Arc::new(make());
    list.push(made.clone());
    made
}

/// The list is made up of these from now on: those that are in it already, and the others new.
fn keep<T, W>(
    list: &Mutex<Vec<Arc<T>>>,
    wanted: impl Iterator<Item = W>,
    is_it: impl Fn(&T, &W) -> bool,
    make: impl Fn(W) -> T,
) {
    let mut list = lock(list);
    let new = wanted.map(|wanted| match list.iter().find(|known| is_it(known, &wanted)) {
        Some(known) => known.clone(),
        None => Arc::new(make(wanted)),
    });
    *list = new.collect();
}

/// A lock that outlives a panic in another task: the counters stay right enough to be shown.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
