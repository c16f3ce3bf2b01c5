//! `fieldgate simulate`: serves the devices of a configuration file on this machine, with faults where wished.

mod adapt;
mod flags;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::adapt::{Places, adapt};
use self::flags::{Delay, Exceptions, HowOften, Late, Percent, Silence};
use super::file::{compile_text, count};
use super::run::{Stop, block_on};
use super::{FAILED, GOOD, WRONG, show};
use crate::config::{self, Config, closest};
use crate::drivers::modbus::config::{Framing, SerialLink};
use crate::model::Period;
use crate::plan::GatewayPlan;
use crate::simulate::modbus::manner::{self, Manner, Tally};
use crate::simulate::modbus::noise::Noise;
use crate::simulate::plant::Endpoint;
use crate::simulate::replica::{Replica, ServedLink, Wish, seed};
use crate::telemetry;

/// The command line of `simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// Write a copy of the file whose links lead to the simulated devices, for `fieldgate run`, `read` or `watch`;
    /// without MQTT, OPC UA and store, so that no simulated value goes north
    #[arg(long, value_name = "FILE")]
    adapt: Option<PathBuf>,
    /// Keep the publishers and the store in the copy: simulated values go to its brokers
    #[arg(long, requires = "adapt")]
    keep_north: bool,
    /// Make a symbolic link to the pseudo-terminal of a serial link, as bus-a=/tmp/ttyA
    #[arg(long, value_name = "LINK=PATH", value_parser = named)]
    link: Vec<(String, PathBuf)>,
    /// Only this device has the faults below, may be given several times; all without
    #[arg(long, value_name = "NAME")]
    device: Vec<String>,
    /// Not a word for 20 s of every 60 s, as 20s/60s
    #[arg(long, value_name = "TIME/TIME")]
    silence: Option<Silence>,
    /// Time to answer, as 50ms or 50ms..80ms
    #[arg(long, value_name = "TIME")]
    delay: Option<Delay>,
    /// Answers that come so long after the time-out, as every=5,by=700ms or 10%,by=1s
    #[arg(long, value_name = "OFTEN,by=TIME")]
    late: Option<Late>,
    /// Answers that are exceptions, as 2% or every=50,code=6; code 4 without
    #[arg(long, value_name = "OFTEN")]
    exceptions: Option<Exceptions>,
    /// Bytes that are changed, lost or added, both ways, as 0.1%; on serial lines, and sockets with their frames
    #[arg(long, value_name = "SHARE")]
    noise: Option<Percent>,
    /// Answers that end in the middle, where TCP closes the connection, as 1% or every=100
    #[arg(long, value_name = "OFTEN")]
    drop: Option<HowOften>,
    /// Another seed has other faults at other moments; the same one repeats them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End by itself after this time; without it, with Ctrl-C
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Period>,
    /// Print JSON, for scripts: an object when all is served, another one at the end
    #[arg(long)]
    json: bool,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) =
        text.split_once('=').filter(|(n, p)| !n.is_empty() && !p.is_empty()).ok_or("write LINK=PATH")?;
    Ok((name.to_owned(), path.into()))
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let name = arguments.config.display().to_string();
    let text = match std::fs::read_to_string(&arguments.config) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read {name}: {error}");
            return WRONG;
        }
    };
    let mut compiled = compile_text(name, text.clone(), |_| {});
    let config = compiled.config.take();
    let (Some(plan), Some(config)) = (compiled.into_plan(), config) else { return WRONG };
    if let Err(wrong) = arguments.check(&config) {
        eprintln!("{wrong}");
        return WRONG;
    }
    telemetry::start_log("warn", false);
    match block_on(arguments.simulate(&plan, &config, &text)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cannot start: {error}");
            FAILED
        }
    }
}

impl Arguments {
    /// What the file must have for this command line.
    fn check(&self, config: &Config) -> Result<(), String> {
        let devices = || config.device.iter().map(|d| d.get_ref().name.get_ref().as_str());
        for name in &self.device {
            if !devices().any(|device| device == name) {
                return Err(unknown("--device", "device", name, devices()));
            }
        }
        let buses = || serial(config).map(|l| l.name.get_ref().as_str());
        for (name, _) in &self.link {
            if !buses().any(|bus| bus == name) {
                return Err(unknown("--link", "serial link", name, buses()));
            }
        }
        let same = |out: &PathBuf| {
            out.canonicalize().ok().is_some_and(|o| self.config.canonicalize().ok() == Some(o))
        };
        if self.adapt.as_ref().is_some_and(same) {
            return Err("--adapt: this is the file itself; name another one".into());
        }
        // Modbus TCP has no check sum, and nothing carries it that would let noise through.
        let headers =
            config.link.modbus_tcp.iter().map(|l| l.get_ref()).filter(|l| l.framing == Framing::Tcp);
        let headers: Vec<_> = headers.map(|link| link.name.get_ref()).collect();
        let mut meant = config.device.iter().map(|d| d.get_ref()).filter(|d| self.means(d));
        if self.noise.is_some() && meant.all(|device| headers.contains(&device.link.get_ref())) {
            return Err("--noise: no device that it is for is on a serial line".into());
        }
        Ok(())
    }

    fn means(&self, device: &config::Device) -> bool {
        self.device.is_empty() || self.device.contains(device.name.get_ref())
    }

    async fn simulate(&self, plan: &GatewayPlan, config: &Config, text: &str) -> io::Result<u8> {
        let mut stop = Stop::new()?;
        let replica = match Replica::start(plan, &self.wishes(config)).await {
            Ok(replica) => replica,
            Err(error) => {
                eprintln!("{error}");
                return Ok(FAILED);
            }
        };
        let mut links = replica.links().to_vec();
        let mut names = Names::default();
        for link in &mut links {
            let wished = self.link.iter().find(|(name, _)| *name == link.name);
            if let (Endpoint::Serial(port), Some((_, path))) = (&mut link.endpoint, wished) {
                names.make(port, path)?;
                port.clone_from(path);
            }
        }
        if let Some(out) = &self.adapt
            && let Err(error) = self.write_copy(out, text, config, &links)
        {
            eprintln!("--adapt: {error}");
            return Ok(FAILED);
        }
        let mut out = io::stdout();
        // Whoever closed it does not want to know.
        let _ = writeln!(
            out,
            "{}",
            if self.json { json(&links, self.adapt.as_deref()) } else { self.table(&links) }
        );
        let end = async {
            match self.time {
                Some(period) => tokio::time::sleep(period.0).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.wait() => {}
            () = end => {}
        }
        let last = replica.tally();
        let _ = writeln!(out, "{}", if self.json { tally_json(last) } else { tally(last) });
        Ok(GOOD)
    }

    /// Where each link shall be and how its devices shall behave.
    fn wishes(&self, config: &Config) -> HashMap<String, Wish> {
        let mut wishes: HashMap<String, Wish> = HashMap::new();
        let mut timeouts = HashMap::new();
        for link in config.link.modbus_tcp.iter().map(|l| l.get_ref()) {
            let name = link.name.get_ref();
            timeouts.insert(name.as_str(), link.timeout.get_ref().0);
            let port =
                link.port.as_ref().map_or(if link.tls.is_some() { 802 } else { 502 }, |p| *p.get_ref());
            let ip = link.host.as_ref().and_then(|host| loopback(host.get_ref()));
            let listen = ip.map(|ip| SocketAddr::new(ip, port));
            if link.listen.is_some() {
                eprintln!("link `{name}` waits until its device dials in; that is not simulated");
            }
            wishes.insert(name.clone(), Wish { listen, unserved: link.listen.is_some(), ..Wish::default() });
        }
        for link in serial(config) {
            timeouts.insert(link.name.get_ref().as_str(), link.timeout.get_ref().0);
            wishes.insert(link.name.get_ref().clone(), Wish::default());
        }
        for device in config.device.iter().map(|d| d.get_ref()).filter(|d| self.means(d)) {
            let link = device.link.get_ref();
            let Some(wish) = wishes.get_mut(link) else { continue };
            let own = device.timeout.as_ref().map(|t| t.get_ref().0);
            let timeout = own.or(timeouts.get(link.as_str()).copied()).unwrap_or_default();
            wish.manners.insert(device.name.get_ref().clone(), self.manner(device.name.get_ref(), timeout));
            if let Some(Percent(chance)) = self.noise {
                wish.noise = Some(Noise::new(chance, self.seed ^ seed(link)));
            }
        }
        wishes
    }

    /// How a device behaves whose master waits so long.
    fn manner(&self, device: &str, timeout: Duration) -> Manner {
        Manner {
            seed: self.seed ^ seed(device),
            delay: self.delay.map_or(Duration::ZERO, |d| d.least),
            jitter: self.delay.map_or(Duration::ZERO, |d| d.jitter),
            silence: self.silence.map(|s| s.0),
            drop: self.drop.map(|d| d.0),
            late: self.late.map(|l| manner::Late { often: l.often, after: timeout + l.by }),
            exceptions: self.exceptions.map(|e| e.0),
            wrong: None,
        }
    }

    fn write_copy(
        &self,
        out: &Path,
        text: &str,
        config: &Config,
        links: &[ServedLink],
    ) -> Result<(), String> {
        let folder = |file: &Path| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let said = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let canonical = |file: &Path| folder(file).canonicalize().map_err(|error| said(&folder(file), error));
        let (own, other) = (canonical(&self.config)?, canonical(out)?);
        let endpoint =
            |name: &str| links.iter().find(|link| link.name == name).map(|link| link.endpoint.clone());
        let places = Places {
            endpoint: &endpoint,
            folder: (own != other).then_some(own.as_path()),
            keep_north: self.keep_north,
        };
        let copy = adapt(text, config, &places)?;
        let first =
            format!("# A copy of {} for the devices of `fieldgate simulate`.\n", self.config.display());
        std::fs::write(out, first + &copy).map_err(|error| said(out, error))
    }

    /// What is where, for people.
    fn table(&self, links: &[ServedLink]) -> String {
        let mut rows = vec![["link", "address", "device", "unit"].map(str::to_owned).to_vec()];
        for link in links {
            let mut shown = (link.name.clone(), address(&link.endpoint));
            for (device, unit) in &link.devices {
                let (name, address) = std::mem::take(&mut shown);
                rows.push(vec![name, address, device.clone(), unit.to_string()]);
            }
        }
        let mut text = show::columns(&rows);
        if let Some(out) = &self.adapt {
            text.push_str(&format!("\n{} leads there: fieldgate run {0}\n", out.display()));
        }
        if self.time.is_none() {
            text.push_str("\nCtrl-C ends it.");
        }
        text.trim_end().to_owned()
    }
}

fn unknown<'a>(flag: &str, what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let help = match closest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the file has {}", known.collect::<Vec<_>>().join(", ")),
    };
    format!("{flag}: there is no {what} `{name}`; {help}")
}

/// All serial links, whatever their framing.
fn serial(config: &Config) -> impl Iterator<Item = &SerialLink> + Clone {
    config.link.modbus_rtu.iter().chain(&config.link.modbus_ascii).map(|link| link.get_ref())
}

/// The address of a host on this machine.
fn loopback(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback)
}

fn address(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Serial(path) => path.display().to_string(),
    }
}

fn json(links: &[ServedLink], copy: Option<&Path>) -> String {
    let device = |(name, unit): &(String, u8)| serde_json::json!({ "device": name, "unit": unit });
    let links: Vec<_> = links
        .iter()
        .map(|link| {
            let devices: Vec<_> = link.devices.iter().map(device).collect();
            serde_json::json!({ "link": link.name, "address": address(&link.endpoint), "devices": devices })
        })
        .collect();
    serde_json::json!({ "links": links, "config": copy.map(|c| c.display().to_string()) }).to_string()
}

fn tally(tally: Tally) -> String {
    let faults = [
        (tally.silent, "not answered"),
        (tally.late, "answered late"),
        (tally.exceptions, "answered by an exception"),
        (tally.cut, "cut"),
    ];
    let faults = faults.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}"));
    format!(
        "{}{}",
        count(usize::try_from(tally.requests).unwrap_or(usize::MAX), "request"),
        faults.collect::<String>()
    )
}

fn tally_json(tally: Tally) -> String {
    serde_json::json!({
        "requests": tally.requests,
        "silent": tally.silent,
        "late": tally.late,
        "exceptions": tally.exceptions,
        "cut": tally.cut,
    })
    .to_string()
}

/// Symbolic links that are gone with this value.
#[derive(Default)]
struct Names(Vec<PathBuf>);

impl Names {
    fn make(&mut self, port: &Path, path: &Path) -> io::Result<()> {
        // One of a simulation that was killed is in the way; anything else is somebody's.
        if std::fs::read_link(path).is_ok_and(|old| old.starts_with("/dev/pts")) {
            std::fs::remove_file(path)?;
        }
        let made = std::os::unix::fs::symlink(port, path);
        made.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        self.0.push(path.to_owned());
        Ok(())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
