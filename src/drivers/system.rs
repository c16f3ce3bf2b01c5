//! The gateway itself as a device: its own counters, read like any other register.

use std::sync::Arc;
use std::time::Duration;

use super::driver::{AddressError, Block, BlockPlan, Compiled, Driver, Point, Request, Slot};
use crate::model::{DataType, Fault, Place, Raw};
use crate::telemetry::{LossReason, PublisherStats, Telemetry};

/// Which counters are read, in the order of the words of the one block.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    points: Vec<Counted>,
}

impl Spec {
    /// See [`super::LinkSpec::keeps_device`]: there is one gateway.
    pub(in crate::drivers) fn keeps_device(&self, at: usize, _later: &Spec, later_at: usize) -> bool {
        at == later_at
    }
}

/// One tag of the system device.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemTag {
    /// Name within the device, with `/` between folders: `links/bus-a/timeouts`.
    pub name: String,
    /// Address for `compile`; the same as the name.
    pub address: String,
    /// Type of the value.
    pub kind: DataType,
    /// Engineering unit.
    pub unit: Option<&'static str>,
    /// For people.
    pub description: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Counted {
    Gateway(GatewayPoint),
    Link(String, LinkPoint),
    Publisher(String, PublisherPoint),
}

/// Declares the counters of one kind of thing once: name, unit, description, and how it is read.
macro_rules! points {
    ($enum:ident, $stats:ty, $( $variant:ident $name:literal $unit:expr, $description:literal, $read:expr; )*) => {
        #[derive(Debug, Clone, Copy, PartialEq)]
        enum $enum { $($variant),* }
        impl $enum {
            const ALL: &'static [$enum] = &[$($enum::$variant),*];
            fn name(self) -> &'static str { match self { $($enum::$variant => $name),* } }
            fn unit(self) -> Option<&'static str> { match self { $($enum::$variant => $unit),* } }
            fn description(self) -> &'static str { match self { $($enum::$variant => $description),* } }
            fn read(self, stats: &$stats) -> u64 {
                match self { $($enum::$variant => { let read: fn(&$stats) -> u64 = $read; read(stats) }),* }
            }
        }
    };
}

points! { GatewayPoint, Telemetry,
    Uptime "uptime" Some("s"), "time since the gateway started",
        |g| g.uptime().as_secs();
    Samples "samples" None, "samples accepted by the store",
        |g| g.store.accepted.get();
    SpoolBytes "spool/bytes" Some("B"), "bytes of undelivered samples on disk",
        |g| unsigned(g.store.spool_bytes.get());
    SpoolDurable "spool/durable" None, "1: flushes were proven to reach the disk",
        |g| unsigned(g.store.durable.get());
    SpoolDamaged "spool/damaged" None, "blocks and segments set aside because they were damaged",
        |g| g.store.damaged.get() + g.store.quarantined.get();
    DiskErrors "spool/disk-errors" None, "errors of the disk",
        |g| g.store.disk_errors.get();
    DiskFull "spool/disk-full" None, "1: the disk was found full and has no room again yet",
        |g| unsigned(g.store.disk_full.get());
    ClockSynchronised "clock/synchronised" None, "1: the operating system's clock is synchronised",
        |g| unsigned(g.clock.synchronised.get());
    ClockSteps "clock/steps" None, "times that the wall clock was stepped",
        |g| g.clock.steps.get();
    ClockRestamped "clock/restamped" None, "samples whose time was put right after the first synchronisation",
        |g| g.store.restamped.get();
    ConfigReloads "config/reloads" None, "configurations taken on while the gateway ran",
        |g| g.config.reloads.get();
    ConfigRefused "config/refused" None, "configurations that were refused",
        |g| g.config.refused.get();
    ConfigMistakes "config/mistakes" None, "mistakes in the configuration that was offered last; 0: it runs",
        |g| unsigned(g.config.mistakes.get());
    DevicesAlive "devices/alive" None, "devices that answer",
        |g| count_devices(g, 1);
    DevicesDead "devices/dead" None, "devices that do not answer",
        |g| count_devices(g, 2);
}

points! { LinkPoint, crate::telemetry::LinkStats,
    State "state" None, "0 stopped, 1 connecting, 2 up, 3 down", |l| l.state.get() as u64;
    Load "load" Some("permille"), "share of the time with a transaction under way",
        |l| unsigned(l.load_permille.get());
    Requests "requests" None, "requests sent", |l| l.requests.get();
    Timeouts "timeouts" None, "requests without an answer in time", |l| l.timeouts.get();
    Garbled "garbled" None, "answers that failed their check", |l| l.garbled.get();
    Refused "refused" None, "exception answers", |l| l.refused.get();
    Echoes "echoes" None, "own requests heard again from the adapter", |l| l.echoes.get();
    Foreign "foreign" None, "frames of another master, and of devices to it", |l| l.foreign.get();
    Noise "noise" Some("B"), "bytes that are no frame", |l| l.noise.get();
    Late "late" None, "answers that came too late and were dropped", |l| l.late.get();
    Overruns "overruns" None, "polls more than one period late", |l| l.overruns.get();
    Connects "connects" None, "times that the port or socket was opened", |l| l.connects.get();
    Restarts "restarts" None, "restarts of the link's task", |l| l.restarts.get();
    Hangs "hangs" None, "times that the link's task made no progress, and was ended and started again", |l| l.hangs.get();
}

points! { PublisherPoint, crate::telemetry::PublisherStats,
    State "state" None, "0 stopped, 1 connecting, 2 up, 3 down", |p| p.state.get() as u64;
    Delivered "delivered" None, "samples delivered", |p| p.delivered.get();
    Pending "pending" None, "samples not delivered yet", |p| unsigned(p.pending.get());
    PendingAge "pending-age" Some("ms"), "age of the oldest sample not delivered yet",
        |p| unsigned(p.pending_age_ms.get());
    Dropped "dropped" None, "samples lost, for any reason", |p| p.dropped.get();
    DroppedMemory "dropped-memory" None, "samples lost because the store's memory was full",
        |p| lost(p, LossReason::Memory);
    DroppedDiskFull "dropped-disk-full" None, "samples lost because the store's disk space was used up",
        |p| lost(p, LossReason::DiskFull);
    DroppedMaxBytes "dropped-max-bytes" None, "samples lost because the publisher's max-bytes was reached",
        |p| lost(p, LossReason::Full);
    DroppedNewest "dropped-newest" None, "samples not taken while the outbox was full",
        |p| lost(p, LossReason::Newest);
    DroppedMaxAge "dropped-max-age" None, "samples lost because they were older than max-age",
        |p| lost(p, LossReason::Age);
    DroppedDownsample "dropped-downsample" None, "samples thinned away because the outbox was full",
        |p| lost(p, LossReason::Thinned);
    DroppedDamage "dropped-damage" None, "samples lost because the spool was damaged",
        |p| lost(p, LossReason::Damage);
    DroppedUnknownTag "dropped-unknown-tag" None, "samples of tags that are no longer configured",
        |p| lost(p, LossReason::Unknown);
    DroppedRejected "dropped-rejected" None, "samples that the north does not take",
        |p| lost(p, LossReason::Rejected);
    LostReason "lost-reason" None,
        "why samples were lost last: 0 never, 1 memory, 2 disk-full, 3 max-bytes, 4 newest, 5 max-age, 6 downsample, 7 damage, 8 unknown-tag, 9 rejected",
        |p| p.outbox().last.map_or(0, |l| l.reason.number());
    LostFrom "lost-from" Some("ms"), "time of the oldest sample of the last loss, UTC since 1970",
        |p| p.outbox().last.map_or(0, |l| unsigned(l.from.0 / 1000));
    LostTo "lost-to" Some("ms"), "time of the newest sample of the last loss, UTC since 1970",
        |p| p.outbox().last.map_or(0, |l| unsigned(l.to.0 / 1000));
    LostTags "lost-tags" None, "tags of which samples were lost last; where only blocks went, at least so many",
        |p| p.outbox().last.map_or(0, |l| l.tags);
    Connects "connects" None, "connections made", |p| p.connects.get();
    Refused "refused" None, "writes and commands refused", |p| p.refused.get();
    CertificateEnds "certificate-ends" Some("ms"), "time at which its own certificate ends, UTC since 1970; 0: it has none",
        |p| unsigned(p.certificate.ends.get().saturating_mul(1000));
    CertificateWarning "certificate-warning" None, "0 none, 1 its own certificate ends within 30 days, 2 within 7, 3 within 1 or has ended",
        |p| unsigned(p.certificate.warning.get());
    TrustedEnds "trusted-ends" Some("ms"), "time at which the first of the certificates and lists that it trusts ends, UTC since 1970; 0: none",
        |p| unsigned(p.trusted.ends.get().saturating_mul(1000));
    TrustedWarning "trusted-warning" None, "0 none, 1 a trusted certificate or list ends within 30 days, 2 within 7, 3 within 1 or has ended",
        |p| unsigned(p.trusted.warning.get());
    CertificatesRefused "certificates-refused" None, "certificates of others that were refused", |p| p.certificates_refused.get();
}

fn lost(publisher: &PublisherStats, reason: LossReason) -> u64 {
    publisher.outbox().dropped_by(reason)
}

fn unsigned(v: i64) -> u64 {
    u64::try_from(v).unwrap_or(0)
}

fn count_devices(telemetry: &Telemetry, state: i64) -> u64 {
    telemetry.devices().iter().filter(|d| d.state.get() == state).count() as u64
}

/// The tags that a gateway with these links and publishers has by itself.
pub fn tags(links: &[String], publishers: &[String]) -> Vec<SystemTag> {
    let tag = |name: String, unit, description| SystemTag {
        address: name.clone(),
        name,
        kind: DataType::U64,
        unit,
        description,
    };
    let gateway =
        GatewayPoint::ALL.iter().map(|p| tag(format!("gateway/{}", p.name()), p.unit(), p.description()));
    let links = links.iter().flat_map(|link| {
        LinkPoint::ALL
            .iter()
            .map(move |p| tag(format!("links/{link}/{}", p.name()), p.unit(), p.description()))
    });
    let publishers = publishers.iter().flat_map(|publisher| {
        PublisherPoint::ALL
            .iter()
            .map(move |p| tag(format!("publishers/{publisher}/{}", p.name()), p.unit(), p.description()))
    });
    gateway.chain(links).chain(publishers).collect()
}

/// Four words a value: whole numbers as u64, big-endian.
pub fn compile(requests: &[Request<'_>]) -> Result<Compiled<Spec>, Vec<(usize, AddressError)>> {
    let mut points = Vec::new();
    let mut errors = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        match parse(request.address) {
            Some(point) => points.push(point),
            None => errors.push((
                index,
                AddressError {
                    code: "bad-address",
                    message: format!("the gateway has no counter `{}`", request.address),
                    help: "its tags are made by themselves; remove this one".into(),
                },
            )),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let slots = (0..requests.len())
        .map(|request| Slot { request, place: Place::Words { at: request * 4, count: 4 } })
        .collect();
    let period = requests.iter().map(|r| r.period).min().unwrap_or(Duration::from_secs(1));
    let block = BlockPlan {
        device: 0,
        period,
        slots,
        label: "counters".into(),
        cost: Duration::ZERO,
        miss: Duration::ZERO,
        probe: Duration::ZERO,
    };
    Ok(Compiled { spec: Spec { points }, blocks: vec![block], points: Vec::new() })
}

fn parse(address: &str) -> Option<Counted> {
    let (folder, rest) = address.split_once('/')?;
    if folder == "gateway" {
        return GatewayPoint::ALL.iter().find(|p| p.name() == rest).map(|p| Counted::Gateway(*p));
    }
    let (name, point) = rest.rsplit_once('/')?;
    match folder {
        "links" => {
            LinkPoint::ALL.iter().find(|p| p.name() == point).map(|p| Counted::Link(name.to_owned(), *p))
        }
        "publishers" => PublisherPoint::ALL
            .iter()
            .find(|p| p.name() == point)
            .map(|p| Counted::Publisher(name.to_owned(), *p)),
        _ => None,
    }
}

/// The driver.
#[derive(Debug)]
pub struct System {
    spec: Spec,
    telemetry: Arc<Telemetry>,
}

impl System {
    /// Reads these counters.
    pub fn new(telemetry: Arc<Telemetry>) -> System {
        System { spec: Spec { points: Vec::new() }, telemetry }
    }
}

impl Driver for System {
    type Spec = Spec;

    fn load(&mut self, spec: &Spec) -> bool {
        self.spec = spec.clone();
        true
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn read(&mut self, _block: Block, into: &mut Raw) -> Result<(), Fault> {
        into.clear();
        let (links, publishers) = (self.telemetry.links(), self.telemetry.publishers());
        for point in &self.spec.points {
            let value = match point {
                Counted::Gateway(point) => point.read(&self.telemetry),
                Counted::Link(name, point) => {
                    links.iter().find(|l| l.name == *name).map_or(0, |l| point.read(l))
                }
                Counted::Publisher(name, point) => {
                    publishers.iter().find(|p| p.name == *name).map_or(0, |p| point.read(p))
                }
            };
            for at in (0..4).rev() {
                into.words.push((value >> (16 * at)) as u16);
            }
        }
        Ok(())
    }

    async fn write(&mut self, _point: Point, _raw: &Raw) -> Result<(), Fault> {
        Err(Fault::Unsupported)
    }

    fn trouble(&self) -> &str {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::telemetry::LastLoss;

    #[tokio::test]
    async fn every_tag_of_the_gateway_reads_its_own_counter() {
        let telemetry = Telemetry::new(Timestamp(0));
        telemetry.clock.synchronised.set(1);
        telemetry.clock.steps.add(2);
        telemetry.store.restamped.add(9);
        telemetry.link("bus-a").timeouts.add(3);
        telemetry.link("bus-a").echoes.add(4);
        telemetry.link("bus-a").foreign.add(5);
        telemetry.link("bus-a").noise.add(6);
        telemetry.link("bus-a").late.add(8);
        telemetry.link("bus-a").hangs.add(9);
        telemetry.publisher("cloud", "sparkplug").pending.set(7);
        telemetry.device("pump", "bus-a").state.set(2);
        {
            let now = 1_700_000_000;
            let cloud = telemetry.publisher("cloud", "sparkplug");
            cloud.certificate.set(Some(now + 86_400), now);
            cloud.trusted.set(Some(now + 20 * 86_400), now);
        }
        {
            let cloud = telemetry.publisher("cloud", "sparkplug");
            let mut counts = cloud.outbox.lock().unwrap();
            LossReason::ALL.into_iter().for_each(|reason| counts.drop_by(reason, 10 + reason.number()));
            let (from, to) = (Timestamp(1_700_000_000_000_000), Timestamp(1_700_000_060_000_000));
            counts.last = Some(LastLoss { from, to, tags: 5, reason: LossReason::Thinned });
        }
        let tags = tags(&["bus-a".into()], &["cloud".into()]);
        let requests: Vec<_> = tags
            .iter()
            .map(|tag| Request {
                device: 0,
                address: &tag.address,
                kind: tag.kind,
                length: 0,
                writable: false,
                period: Duration::from_secs(1),
            })
            .collect();
        let compiled = compile(&requests).unwrap();
        let mut system = System::new(telemetry);
        system.load(&compiled.spec);
        let mut raw = Raw::default();
        system.read(Block(0), &mut raw).await.unwrap();
        let value = |name: &str| {
            let at = tags.iter().position(|t| t.name == name).unwrap() * 4;
            raw.words[at..at + 4].iter().fold(0_u64, |v, w| v << 16 | u64::from(*w))
        };
        assert_eq!(value("links/bus-a/timeouts"), 3);
        assert_eq!(value("links/bus-a/echoes"), 4);
        assert_eq!(value("publishers/cloud/certificate-ends"), 1_700_086_400_000);
        assert_eq!(value("publishers/cloud/certificate-warning"), 3);
        assert_eq!(value("publishers/cloud/trusted-warning"), 1);
        assert_eq!(value("links/bus-a/foreign"), 5);
        assert_eq!(value("links/bus-a/noise"), 6);
        assert_eq!(value("links/bus-a/late"), 8);
        assert_eq!(value("links/bus-a/hangs"), 9);
        assert_eq!(value("publishers/cloud/pending"), 7);
        assert_eq!(value("gateway/clock/synchronised"), 1);
        assert_eq!(value("gateway/clock/steps"), 2);
        assert_eq!(value("gateway/clock/restamped"), 9);
        for reason in LossReason::ALL {
            let name = format!("publishers/cloud/dropped-{}", reason.name());
            assert_eq!(value(&name), 10 + reason.number(), "{name}");
        }
        let last = ["lost-reason", "lost-from", "lost-to", "lost-tags"]
            .map(|n| value(&format!("publishers/cloud/{n}")));
        assert_eq!(last, [6, 1_700_000_000_000, 1_700_000_060_000, 5]);
        assert_eq!(value("gateway/devices/dead"), 1);
        assert_eq!(value("gateway/devices/alive"), 0);
    }

    fn reference() -> String {
        let mut out = String::from(
            "# Health tags\n\n<!-- Made from src/drivers/system.rs: FIELDGATE_WRITE_DOCS=1 cargo test reference -->\n\n\
             The tags of the device `system`, which every gateway has by itself; LINK and PUBLISHER are the names in the\n\
             configuration file.\n\n| tag | type | unit | meaning |\n|---|---|---|---|\n",
        );
        for tag in tags(&["LINK".into()], &["PUBLISHER".into()]) {
            let unit = tag.unit.unwrap_or("");
            out += &format!("| `{}` | {} | {unit} | {} |\n", tag.name, tag.kind, tag.description);
        }
        out
    }

    #[test]
    fn the_reference_of_health_tags_is_what_the_code_says() {
        crate::reference::says("health-tags.md", &reference());
    }
}
