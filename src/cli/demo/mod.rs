//! `fieldgate demo`: a gateway between a simulated site and a small broker, all on loopback.

mod adapt;
mod summary;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use self::adapt::Machine;
use self::summary::Summary;
use super::file::compile_text;
use super::run::{Stop, block_on};
use super::{FAILED, GOOD, WRONG};
use crate::model::{Clock, Period};
use crate::plan::GatewayPlan;
use crate::publishers::PublisherSpec;
use crate::simulate::broker::Broker;
use crate::simulate::plant::{self, Plant};
use crate::supervisor::Gateway;
use crate::telemetry;

/// The command line of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The site to simulate
    #[arg(long, value_enum, default_value_t = Site::Water)]
    site: Site,
    /// End by itself after this time, as `30s` or `5m`
    #[arg(long = "for", value_name = "TIME")]
    ends_after: Option<Period>,
    /// Your own broker instead of the built-in one, as `mqtt://127.0.0.1:1883`
    #[arg(long, value_name = "URL")]
    broker: Option<Url>,
    /// Log level, as `info` or `warn,fieldgate::poll=debug`; the environment variable FIELDGATE_LOG overrides it
    #[arg(long, default_value = "warn")]
    log: String,
}

/// A site and its configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Site {
    /// A water utility: three pump stations and a dosing station
    Water,
    /// A body shop: two welding cells, two robots and a conveyor
    Factory,
}

impl Site {
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Site::Water => {
                ("config/examples/water.toml", include_str!("../../../config/examples/water.toml"))
            }
            Site::Factory => {
                ("config/examples/factory.toml", include_str!("../../../config/examples/factory.toml"))
            }
        }
    }

    fn plant(self) -> plant::Site {
        match self {
            Site::Water => plant::Site::Water,
            Site::Factory => plant::Site::Factory,
        }
    }

    fn story(self) -> &'static str {
        match self {
            Site::Water => {
                "a water utility: three pump stations (Modbus TCP) and a dosing station on a serial bus \
                 (Modbus RTU);\none minute there passes in a second, and its turbidity meter is silent now and then"
            }
            Site::Factory => {
                "a body shop: two welding cells, two robots and a conveyor (Modbus TCP) that a MES reads \
                 through OPC UA"
            }
        }
    }
}

/// How often the summary is printed.
const EVERY: Duration = Duration::from_secs(3);

pub(super) fn main(arguments: &Arguments) -> u8 {
    if let Some(wrong) = arguments.broker.as_ref().and_then(wrong_broker) {
        eprintln!("--broker: {wrong}");
        return WRONG;
    }
    telemetry::start_log(&arguments.log, false);
    match block_on(demo(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the demo cannot start: {error}");
            FAILED
        }
    }
}

/// Why this cannot be a broker.
fn wrong_broker(url: &Url) -> Option<String> {
    if !matches!(url.scheme(), "mqtt" | "mqtts") || url.host_str().is_none_or(str::is_empty) {
        return Some(format!("`{url}` is no broker: write it as mqtt://host:1883 or mqtts://host:8883"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "the demo has no log-in at a broker: write a configuration file with `username` and \
                    `password = { env = … }`, and use `fieldgate run`";
        return Some(help.to_owned());
    }
    None
}

async fn demo(arguments: &Arguments) -> io::Result<u8> {
    let mut stop = Stop::new()?;
    let plant = Plant::start(arguments.site.plant()).await?;
    let (own_broker, broker) = match &arguments.broker {
        Some(url) => (None, url.to_string()),
        None => {
            let broker = bind_broker(1883).await?;
            let url = format!("mqtt://{}", broker.address());
            (Some(broker), url)
        }
    };
    let scratch = Scratch::new()?;
    let (opcua, http) = (Reserved::near(4840)?, Reserved::near(8080)?);
    let (name, text) = arguments.site.file();
    let machine =
        Machine { plant: &plant, broker: &broker, opcua: opcua.1, http: http.1, folder: scratch.path() };
    let compiled = compile_text(name.to_owned(), text.to_owned(), |config| adapt::adapt(config, &machine));
    let Some(plan) = compiled.into_plan() else { return Ok(FAILED) };
    // The gateway takes the ports over.
    drop((opcua.0, http.0));
    let addresses = addresses(&plan, own_broker.is_some());
    let gateway = Gateway::start(plan, Clock::system()).await;
    let mut out = io::stdout();
    let hello = format!("Fieldgate demo: {}\n\n{addresses}\n", arguments.site.story());
    // Nobody reads it any more (`demo | head`): then it is over.
    let mut watched = writeln!(out, "{hello}").is_ok();
    let mut summary = Summary::new(gateway.telemetry().clone());
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    let end = async {
        match arguments.ends_after {
            Some(period) => tokio::time::sleep(period.0).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let stopped = stop.wait();
    tokio::pin!(stopped);
    while watched {
        tokio::select! {
            () = &mut stopped => break,
            () = &mut end => break,
            _ = every.tick() => watched = writeln!(out, "{}", summary.next()).is_ok(),
        }
    }
    let last = summary.last();
    gateway.stop().await;
    if let Some(broker) = own_broker {
        broker.stop().await;
    }
    if watched {
        // The demo is over; a reader that leaves now misses nothing.
        let _ = writeln!(out, "{last}");
    }
    Ok(GOOD)
}

/// The broker at its usual port, or at a free one.
async fn bind_broker(usual: u16) -> io::Result<Broker> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match Broker::bind(at(usual)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Broker::bind(at(0)).await,
        result => result,
    }
}

/// A port that nobody else can take until the gateway does.
struct Reserved(TcpListener, SocketAddr);

impl Reserved {
    /// The usual port, or a free one.
    fn near(usual: u16) -> io::Result<Reserved> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, usual)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            }
            result => result?,
        };
        let address = listener.local_addr()?;
        Ok(Reserved(listener, address))
    }
}

/// A folder that is gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        use std::os::unix::fs::DirBuilderExt;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        // A demo that was killed left its folder, and its number may come again.
        for attempt in 0..100 {
            let name = format!("fieldgate-demo-{}-{attempt}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // Never a folder that somebody else prepared.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) => {
                    let why = format!("cannot make the folder {}: {error}", path.display());
                    last = io::Error::new(error.kind(), why);
                }
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        Err(last)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the demo's folder cannot be removed");
        }
    }
}

/// What listens where, and what to try with it.
fn addresses(plan: &GatewayPlan, own_broker: bool) -> String {
    let taken = |usual: u16, port: u16| {
        if port == usual { String::new() } else { format!("   (port {usual} is taken)") }
    };
    let mut lines = Vec::new();
    for publisher in &plan.publishers {
        match &publisher.spec {
            PublisherSpec::Sparkplug(spec) => {
                let Some(broker) = spec.mqtt.brokers.first() else { continue };
                let note = if own_broker { taken(1883, broker.port) } else { "   (your broker)".to_owned() };
                lines.push(format!("  MQTT     {broker}{note}"));
                if !broker.tls {
                    lines.push(format!(
                        "           mosquitto_sub -h {} -p {} -t 'spBv1.0/#' -F '%t  %l bytes'",
                        broker.host, broker.port
                    ));
                }
            }
            PublisherSpec::Mqtt(spec) => {
                let Some(broker) = spec.mqtt.brokers.first() else { continue };
                lines.push(format!("  MQTT     {broker} (plain, `{}`)", publisher.name));
            }
            PublisherSpec::OpcUa(spec) => {
                let note = taken(4840, spec.listen.port());
                lines.push(format!("  OPC UA   opc.tcp://{}/{note}", spec.listen));
                lines.push("           UaExpert or asyncua; security None, anonymous".to_owned());
            }
            PublisherSpec::Http(spec) => {
                let note = taken(8080, spec.listen.port());
                lines.push(format!("  page     http://{}/{note}", spec.listen));
                lines.push(format!("           curl http://{}/api/v1/tags", spec.listen));
            }
        }
    }
    lines.push("\nCtrl-C ends it.".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_an_mqtt_address_without_a_log_in() {
        let wrong = |url: &str| wrong_broker(&url.parse().unwrap());
        for good in ["mqtt://127.0.0.1:1883", "mqtts://broker.example", "mqtt://[::1]:1883"] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in ["http://broker:1883", "mqtt:", "localhost:1883", "mqtt://me:secret@broker"] {
            assert!(wrong(bad).is_some(), "{bad}");
            assert!(!wrong(bad).unwrap().contains("secret"));
        }
    }

    #[test]
    fn a_taken_port_gives_way_to_a_free_one() {
        let first = Reserved::near(0).unwrap();
        let second = Reserved::near(first.1.port()).unwrap();
        assert_ne!(first.1, second.1);
        assert!(second.1.ip().is_loopback());
    }
}
