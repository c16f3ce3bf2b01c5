//! What the API says: status and tags as plain data, made from counters and image.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{DataType, DeviceState, Directory, Quality, Sample, Tag, Timestamp};
use crate::publishers::publisher::Context;
pub(super) use crate::publishers::words::{Shown, quality, reason};
use crate::telemetry::Connection;

/// `/api/v1/status`
#[derive(Debug, Serialize)]
pub(super) struct Status {
    node: Node,
    health: Health,
    devices: Vec<Device>,
    links: Vec<Link>,
    publishers: Vec<Publisher>,
    store: Store,
}

#[derive(Debug, Serialize)]
struct Node {
    group: String,
    name: String,
    version: &'static str,
    /// Milliseconds since 1970, UTC; so are all moments below.
    now: i64,
    started: i64,
}

/// `/healthz`: whether everything works, and what does not.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Health {
    /// `good` or `degraded`.
    status: &'static str,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Device {
    name: String,
    link: String,
    description: Option<String>,
    is_node: bool,
    /// `alive`, `dead`, `unknown`.
    state: &'static str,
    requests: u64,
    faults: u64,
    deaths: u64,
    last_answer: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Link {
    name: String,
    /// The port, or which of its addresses is in use.
    address: String,
    state: &'static str,
    trouble: Option<String>,
    /// Share of the time with a transaction under way, 0 to 1.
    load: f64,
    requests: u64,
    answers: u64,
    timeouts: u64,
    garbled: u64,
    refused: u64,
    /// Own requests heard again from the adapter.
    echoes: u64,
    /// Frames of another master, and of devices to it.
    foreign: u64,
    /// Bytes that are no frame.
    noise: u64,
    /// Answers that came too late.
    late: u64,
    overruns: u64,
    connects: u64,
    samples: u64,
    writes: u64,
    restarts: u64,
}

#[derive(Debug, Serialize)]
struct Publisher {
    name: String,
    kind: &'static str,
    address: String,
    state: &'static str,
    trouble: Option<String>,
    messages: u64,
    delivered: u64,
    history: u64,
    births: u64,
    deaths: u64,
    connects: u64,
    commands: u64,
    refused: u64,
    clients: i64,
    pending: i64,
    pending_age_ms: i64,
    dropped: u64,
    sent_bytes: u64,
    budget_left: Option<i64>,
    restarts: u64,
}

#[derive(Debug, Serialize)]
struct Store {
    accepted: u64,
    spooled: u64,
    spool_bytes: i64,
    spool_segments: i64,
    memory_bytes: i64,
    durable: bool,
    ballast_bytes: i64,
    disk_full: bool,
    quarantined: u64,
    damaged: u64,
    disk_errors: u64,
}

/// `/api/v1/tags`
#[derive(Debug, Serialize)]
pub(super) struct Tags<'a> {
    now: i64,
    tags: Vec<TagView<'a>>,
}

/// One tag: what it is and its latest sample.
#[derive(Debug, Serialize)]
pub(super) struct TagView<'a> {
    path: &'a str,
    device: &'a str,
    tag: &'a str,
    #[serde(rename = "type")]
    kind: DataType,
    unit: Option<&'a str>,
    description: Option<&'a str>,
    /// What its values are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    writable: bool,
    low: Option<f64>,
    high: Option<f64>,
    value: Option<Shown>,
    /// `good`, `uncertain`, `bad`.
    quality: &'static str,
    /// Why it is not good.
    reason: Option<String>,
    /// When the device said it; `null` before the first answer.
    at: Option<i64>,
    /// Whether `at` is from a synchronised clock.
    synchronised: bool,
}

/// All that is known of the gateway now.
pub(super) fn status(cx: &Context) -> Status {
    let telemetry = &cx.telemetry;
    let store = &telemetry.store;
    Status {
        node: Node {
            group: cx.directory.now().group.to_string(),
            name: cx.directory.now().node.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            now: cx.clock.now().millis(),
            started: telemetry.started().millis(),
        },
        health: health(cx),
        devices: devices(cx),
        links: links(cx),
        publishers: publishers(cx),
        store: Store {
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
        },
    }
}

/// Whether every link, device and publisher works, in words.
pub(super) fn health(cx: &Context) -> Health {
    let mut problems = Vec::new();
    for link in cx.telemetry.links() {
        if link.state.get() == Connection::Down {
            problems.push(because(format!("link `{}` is down", link.name), link.state.trouble()));
        }
    }
    for device in cx.directory.now().devices() {
        if cx.store.device_state(device.id) == DeviceState::Dead {
            problems.push(format!("device `{}` does not answer", device.name));
        }
    }
    for publisher in cx.telemetry.publishers() {
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
            problems.push(format!("publisher `{}` lost {} samples", publisher.name, publisher.dropped.get()));
        }
    }
    let store = &cx.telemetry.store;
    if store.disk_errors.get() > 0 {
        problems.push(format!("the store met {} errors of the disk", store.disk_errors.get()));
    }
    if store.disk_full.get() == 1 {
        problems.push("the disk of the store is full".to_owned());
    }
    if store.damaged.get() + store.quarantined.get() > 0 {
        problems.push("the store set damaged data aside".to_owned());
    }
    Health { status: if problems.is_empty() { "good" } else { "degraded" }, problems }
}

pub(super) fn because(what: String, trouble: String) -> String {
    if trouble.is_empty() { what } else { format!("{what}: {trouble}") }
}

fn devices(cx: &Context) -> Vec<Device> {
    let stats = cx.telemetry.devices();
    let view = |device: &crate::model::Device| {
        let stats = stats.iter().find(|s| *s.name == *device.name);
        let count = |read: fn(&crate::telemetry::DeviceStats) -> u64| stats.map_or(0, |s| read(s));
        Device {
            name: device.name.to_string(),
            link: device.link.to_string(),
            description: device.description.as_deref().map(str::to_owned),
            is_node: device.is_node,
            state: match cx.store.device_state(device.id) {
                DeviceState::Unknown => "unknown",
                DeviceState::Alive => "alive",
                DeviceState::Dead => "dead",
            },
            requests: count(|s| s.requests.get()),
            faults: count(|s| s.faults.get()),
            deaths: count(|s| s.deaths.get()),
            last_answer: stats
                .map(|s| s.last_answer.get())
                .filter(|at| *at != 0)
                .map(|at| Timestamp(at).millis()),
        }
    };
    cx.directory.now().devices().iter().map(view).collect()
}

fn links(cx: &Context) -> Vec<Link> {
    let view = |link: &std::sync::Arc<crate::telemetry::LinkStats>| Link {
        name: link.name.clone(),
        address: link.address.lock().unwrap_or_else(|e| e.into_inner()).clone(),
        state: link.state.get().name(),
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
    };
    cx.telemetry.links().iter().map(view).collect()
}

fn publishers(cx: &Context) -> Vec<Publisher> {
    let view = |publisher: &std::sync::Arc<crate::telemetry::PublisherStats>| Publisher {
        name: publisher.name.clone(),
        kind: publisher.kind,
        address: publisher.address.lock().unwrap_or_else(|e| e.into_inner()).clone(),
        state: publisher.state.get().name(),
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
    };
    cx.telemetry.publishers().iter().map(view).collect()
}

/// The reason of a failure that is not over.
fn trouble(state: &crate::telemetry::ConnectionState) -> Option<String> {
    (state.get() == Connection::Down).then(|| state.trouble()).filter(|why| !why.is_empty())
}

/// All tags with their latest samples.
pub(super) fn tags<'a>(cx: &Context, directory: &'a Directory) -> Tags<'a> {
    let tags = directory.tags().iter().map(|tag| view(cx, directory, tag)).collect();
    Tags { now: cx.clock.now().millis(), tags }
}

/// One tag by `device/tag`.
pub(super) fn tag<'a>(cx: &Context, directory: &'a Directory, path: &str) -> Option<TagView<'a>> {
    directory.find(path).map(|tag| view(cx, directory, tag))
}

fn view<'a>(cx: &Context, directory: &Directory, tag: &'a Tag) -> TagView<'a> {
    let sample = cx.store.latest(tag.id);
    let at = sample.as_ref().map(|s| s.at);
    let synchronised = sample.as_ref().is_some_and(|s| s.stamp.is_synchronised());
    let quality =
        sample.as_ref().map_or(Quality::Bad(crate::model::Bad::Waiting), |sample: &Sample| sample.quality);
    TagView {
        path: &tag.path,
        device: tag.path.strip_suffix(&*tag.name).map_or("", |device| device.trim_end_matches('/')),
        tag: &tag.name,
        kind: tag.kind,
        unit: tag.unit.as_deref(),
        description: tag.description.as_deref(),
        labels: directory.labels(tag.id).map(|l| l.iter().map(|(v, name)| (v, name.to_string())).collect()),
        writable: tag.access.is_writable(),
        low: tag.low.filter(|v| v.is_finite()),
        high: tag.high.filter(|v| v.is_finite()),
        value: sample.and_then(|s| s.value).map(Shown),
        quality: self::quality(quality),
        reason: reason(quality),
        at: at.map(Timestamp::millis),
        synchronised,
    }
}
