//! `fieldgate status`: how a gateway that runs stands, in the terminal or as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::control::{Request, Socket, ask};
use super::running::in_words;
use super::{FAILED, GOOD};
use crate::supervisor::Gateway;
use crate::telemetry::Connection;

/// The command line of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: Socket,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Status {
    group: String,
    node: String,
    version: String,
    /// Seconds since the start.
    uptime: u64,
    /// Whether all that is configured works.
    good: bool,
    config: Config,
    links: Vec<Link>,
    devices: Devices,
    publishers: Vec<Publisher>,
    store: Store,
    clock_synchronised: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Config {
    /// Milliseconds since 1970.
    loaded: i64,
    reloads: u64,
    refused: u64,
    /// What was wrong with the last one that was offered.
    mistakes: Vec<String>,
    /// Seconds until the one on trial goes.
    trial: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Link {
    name: String,
    state: String,
    trouble: Option<String>,
    /// Share of its time with a transaction under way.
    load: f64,
    timeouts: u64,
    overruns: u64,
    restarts: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Devices {
    alive: usize,
    dead: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Publisher {
    name: String,
    kind: String,
    state: String,
    trouble: Option<String>,
    delivered: u64,
    pending: i64,
    pending_age_ms: i64,
    dropped: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Store {
    accepted: u64,
    spool_bytes: i64,
    durable: bool,
    disk_full: bool,
    disk_errors: u64,
}

/// How it stands; `trial`: how long a configuration that is tried still has.
pub(super) fn status(gateway: &Gateway, trial: Option<Duration>) -> serde_json::Value {
    let telemetry = gateway.telemetry();
    let trouble = |state: &crate::telemetry::ConnectionState| {
        Some(state.trouble()).filter(|why| state.get() == Connection::Down && !why.is_empty())
    };
    let link = |link: &crate::telemetry::LinkStats| Link {
        name: link.name.clone(),
        state: link.state.get().name().to_owned(),
        trouble: trouble(&link.state),
        load: link.load_permille.get() as f64 / 1000.0,
        timeouts: link.timeouts.get(),
        overruns: link.overruns.get(),
        restarts: link.restarts.get(),
    };
    let publisher = |p: &crate::telemetry::PublisherStats| Publisher {
        name: p.name.clone(),
        kind: p.kind.to_owned(),
        state: p.state.get().name().to_owned(),
        trouble: trouble(&p.state),
        delivered: p.delivered.get(),
        pending: p.pending.get(),
        pending_age_ms: p.pending_age_ms.get(),
        dropped: p.dropped.get(),
    };
    let devices = telemetry.devices();
    let in_state = |state: i64| {
        let names = devices.iter().filter(move |d| d.state.get() == state).map(|d| d.name.clone());
        names.collect::<Vec<_>>()
    };
    let links: Vec<Link> = telemetry.links().iter().map(|l| link(l)).collect();
    let publishers: Vec<Publisher> = telemetry.publishers().iter().map(|p| publisher(p)).collect();
    let config = Config {
        loaded: telemetry.config.loaded.get() / 1000,
        reloads: telemetry.config.reloads.get(),
        refused: telemetry.config.refused.get(),
        mistakes: telemetry.config.troubles(),
        trial: trial.map(|left| left.as_secs()),
    };
    let store = &telemetry.store;
    let store = Store {
        accepted: store.accepted.get(),
        spool_bytes: store.spool_bytes.get(),
        durable: store.durable.get() == 1,
        disk_full: store.disk_full.get() == 1,
        disk_errors: store.disk_errors.get(),
    };
    let devices = Devices { alive: in_state(1).len(), dead: in_state(2), unknown: in_state(0) };
    let up = Connection::Up.name();
    let status = Status {
        group: gateway.directory().group.to_string(),
        node: gateway.directory().node.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: telemetry.uptime().as_secs(),
        good: links.iter().all(|l| l.state == up)
            && publishers.iter().all(|p| p.state == up)
            && devices.dead.is_empty()
            && !store.disk_full,
        config,
        links,
        devices,
        publishers,
        store,
        clock_synchronised: telemetry.clock.synchronised.get() == 1,
    };
    serde_json::to_value(status).unwrap_or_default()
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let said = ask(&arguments.socket, &Request::Status {}).and_then(|answer| {
        let status = answer.status.ok_or_else(|| answer.lines.join("\n"))?;
        if arguments.json {
            return Ok(status.to_string());
        }
        serde_json::from_value(status).map(|status| words(&status)).map_err(|error| {
            format!("the gateway's answer is of another version of this program: {error}; use --json")
        })
    });
    match said {
        Ok(said) => {
            println!("{said}");
            GOOD
        }
        Err(why) => {
            eprintln!("{why}");
            FAILED
        }
    }
}

/// A line each; what is wrong stands out by its words.
fn words(status: &Status) -> String {
    let mut lines = vec![format!(
        "{}/{}: {}; Fieldgate {}, up {}",
        status.group,
        status.node,
        if status.good { "all good" } else { "not all good" },
        status.version,
        in_words(Duration::from_secs(status.uptime))
    )];
    let why = |trouble: &Option<String>| trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    for link in &status.links {
        lines.push(format!(
            "link {}: {}{}; load {:.0} %, {} timeouts, {} overruns",
            link.name,
            link.state,
            why(&link.trouble),
            link.load * 100.0,
            link.timeouts,
            link.overruns
        ));
    }
    let Devices { alive, dead, unknown } = &status.devices;
    lines.push(format!("devices: {alive} answer, {} do not, {} not asked yet", dead.len(), unknown.len()));
    if !dead.is_empty() {
        lines.push(format!("do not answer: {}", dead.join(", ")));
    }
    for publisher in &status.publishers {
        lines.push(format!(
            "publisher {} ({}): {}{}; {} delivered, {} wait, {} lost",
            publisher.name,
            publisher.kind,
            publisher.state,
            why(&publisher.trouble),
            publisher.delivered,
            publisher.pending,
            publisher.dropped
        ));
    }
    let Store { spool_bytes, durable, disk_full, disk_errors, .. } = &status.store;
    lines.push(format!(
        "store: {spool_bytes} bytes wait on the disk{}{}{}",
        if *durable { "" } else { "; a flush was not seen to reach it" },
        if *disk_full { "; the disk is full" } else { "" },
        if *disk_errors > 0 { format!("; {disk_errors} errors of the disk") } else { String::new() }
    ));
    if !status.clock_synchronised {
        lines.push("clock: not synchronised".to_owned());
    }
    let Config { reloads, refused, mistakes, trial, .. } = &status.config;
    lines.push(format!("configuration: {reloads} times taken on since the start, {refused} times refused"));
    lines.extend(mistakes.iter().map(|mistake| format!("refused: {mistake}")));
    if let Some(left) = trial {
        lines.push(format!(
            "on trial for {} more: `fieldgate confirm` keeps it",
            in_words(Duration::from_secs(*left))
        ));
    }
    lines.join("\n")
}
