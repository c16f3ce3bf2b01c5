//! The fault suite: devices that answer late, wrongly or through noise, on sockets and on pseudo-terminals as
//! slow as a serial line, polled by a whole gateway. No wrong value ever becomes a good sample.
//!
//! Every value holds the address that it lies at, its device, the number of the request that it answers, and
//! that number's complement. So an answer to another request, of another device, of another moment, or with a
//! damaged byte is found in the sample itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::drivers::modbus::address::Area;
use fieldgate::drivers::modbus::config::Parity;
use fieldgate::drivers::modbus::framing::Framing;
use fieldgate::drivers::modbus::rtu::Pace;
use fieldgate::model::{Clock, TagId, Value};
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use fieldgate::simulate::modbus::manner::{Late, Manner, Often, Tally, Wrong, Wrongs};
use fieldgate::simulate::modbus::noise::Noise;
use fieldgate::simulate::modbus::{RtuBus, Slave, Slaves, TcpServer};
use fieldgate::store::{Next, Reader, ReaderOptions, Settled};
use fieldgate::supervisor::Gateway;

/// First registers of the blocks of each device, too far apart to be read at once.
const STARTS: [u16; 2] = [100, 400];
/// The devices of each link.
const UNITS: [u8; 2] = [17, 18];
/// No test waits longer.
const LONGEST: Duration = Duration::from_secs(300);

/// What is between a gateway and its devices.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A serial line of this speed.
    Rtu(u32),
    Ascii(u32),
    /// A socket.
    Tcp,
    /// A socket to a gateway that need not echo the transaction identifier.
    TcpWithoutEcho,
    RtuOverTcp,
    AsciiOverTcp,
}

impl Kind {
    fn framing(self) -> Framing {
        match self {
            Kind::Rtu(_) | Kind::RtuOverTcp => Framing::Rtu,
            Kind::Ascii(_) | Kind::AsciiOverTcp => Framing::Ascii,
            Kind::Tcp | Kind::TcpWithoutEcho => Framing::Tcp,
        }
    }

    /// Whether such an answer may be taken for the answer that it is: it comes in pieces, or is right in front of
    /// something else, or what is wrong does not exist in this framing.
    fn forgives(self, wrong: Wrong) -> bool {
        match wrong {
            Wrong::Bytewise | Wrong::Double | Wrong::Long => true,
            Wrong::Transaction => self != Kind::Tcp,
            Wrong::LengthNull | Wrong::LengthHuge => self.framing() != Framing::Tcp,
            _ => false,
        }
    }
}

/// What one link is like.
#[derive(Clone, Copy)]
struct Line {
    kind: Kind,
    timeout: Duration,
    manner: Manner,
    noise: f64,
}

/// A gateway and all devices that it polls back to back.
struct Bed {
    gateway: Gateway,
    reader: Reader,
    slaves: Vec<Arc<Slave>>,
    /// Of each tag: the address, the number of its device.
    tags: HashMap<TagId, (u16, usize)>,
    /// Of each device: the number of the last request whose answer became a sample.
    last: Vec<u16>,
    /// Of each device: numbers of requests whose answers became samples.
    good: Vec<Vec<u16>>,
    _servers: Vec<TcpServer>,
    _buses: Vec<RtuBus>,
}

impl Bed {
    async fn start(lines: &[Line]) -> Bed {
        let mut text = String::from(
            "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\ndefault = \"1ms\"\n[system]\nenabled = false\n",
        );
        let (mut slaves, mut servers, mut buses) = (Vec::new(), Vec::new(), Vec::new());
        for (number, line) in lines.iter().enumerate() {
            let mut on_line = Slaves::new();
            for unit in UNITS {
                let device = slaves.len();
                let mut bank = Bank::new(Sizes { holdings: 500, ..Sizes::default() });
                STARTS.iter().for_each(|at| bank.put(Area::Holding, *at, &[*at, code(device)]));
                let manner = Manner { seed: device as u64, ..line.manner };
                let counters = STARTS.map(|at| (Area::Holding, at + 2)).to_vec();
                let slave = Slave::counting(bank, manner, counters);
                slaves.push(slave.clone());
                on_line.insert(unit, slave);
                let _ = writeln!(
                    text,
                    "[[device]]\nname = \"d{device}\"\nlink = \"l{number}\"\nunit = {unit}\nidentify = false\n[device.tag]"
                );
                for at in STARTS {
                    let _ = writeln!(text, "r{at} = {{ at = \"holding:{at}\", type = \"u64\" }}");
                }
            }
            let noise = (line.noise > 0.0).then(|| Noise::new(line.noise, number as u64));
            let timeout = line.timeout.as_millis();
            let framing = line.kind.framing();
            match line.kind {
                Kind::Rtu(baud) | Kind::Ascii(baud) => {
                    let (table, pace) = match line.kind {
                        Kind::Ascii(_) => ("modbus-ascii", Pace::ascii(baud, 7, Parity::Even, 1)),
                        _ => ("modbus-rtu", Pace::new(baud, Parity::Even, 1)),
                    };
                    let bus = RtuBus::open_framed(pace, framing, noise, on_line).unwrap();
                    let port = bus.path().display();
                    let _ = writeln!(
                        text,
                        "[[link.{table}]]\nname = \"l{number}\"\nport = \"{port}\"\nbaud = {baud}\ntimeout = \"{timeout}ms\""
                    );
                    buses.push(bus);
                }
                _ => {
                    let address = (Ipv4Addr::LOCALHOST, 0).into();
                    let server = TcpServer::bind_framed(address, framing, noise, on_line).await.unwrap();
                    let port = server.address().port();
                    let _ = writeln!(
                        text,
                        "[[link.modbus-tcp]]\nname = \"l{number}\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"{timeout}ms\""
                    );
                    let _ = match line.kind {
                        Kind::Tcp => Ok(()),
                        Kind::TcpWithoutEcho => writeln!(text, "echo-transaction-id = false"),
                        _ => writeln!(
                            text,
                            "framing = \"{}\"",
                            if framing == Framing::Rtu { "rtu" } else { "ascii" }
                        ),
                    };
                    servers.push(server);
                }
            }
        }
        let loaded = fieldgate::config::load(&text);
        let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
        assert!(plan.links.iter().all(|link| link.blocks.len() == STARTS.len() * UNITS.len()));
        let tag = |tag: &fieldgate::model::Tag| {
            let (device, at) = tag.path.split_once("/r").unwrap();
            (tag.id, (at.parse().unwrap(), device[1..].parse().unwrap()))
        };
        let tags = plan.directory.tags().iter().map(tag).collect();
        let gateway = Gateway::start(plan, Clock::system()).await;
        let reader = gateway.store().reader("suite", ReaderOptions { durable: false, rules: None });
        let (last, good) = (vec![0; slaves.len()], vec![Vec::new(); slaves.len()]);
        Bed { gateway, reader, slaves, tags, last, good, _servers: servers, _buses: buses }
    }

    /// Looks at every sample until all devices are content with what they were asked and how much of it became
    /// samples.
    async fn until(&mut self, content: impl Fn(&Tally, usize) -> bool) {
        let end = Instant::now() + LONGEST;
        loop {
            let all = self.slaves.iter().zip(&self.good).all(|(s, good)| content(&s.tally(), good.len()));
            if all {
                return;
            }
            assert!(Instant::now() < end, "after {LONGEST:?}: {:?}", self.sums());
            if let Ok(next) = tokio::time::timeout(Duration::from_millis(200), self.reader.next()).await {
                let (Next::Live(seq, batch) | Next::History(seq, batch)) = next;
                batch.samples.iter().filter(|s| s.quality.is_good()).for_each(|s| {
                    let Some(Value::U64(value)) = s.value else { panic!("{s:?}") };
                    self.judge(s.tag, value);
                });
                self.reader.settle(seq, Settled::Sent);
            }
        }
    }

    /// A good sample: is it of this register, this device, and newer than the last?
    fn judge(&mut self, tag: TagId, value: u64) {
        let (address, device) = self.tags[&tag];
        let [at, who, number, complement] = [48, 32, 16, 0].map(|shift| (value >> shift) as u16);
        let wrong = || {
            format!(
                "a wrong value: {value:016x} at {address} of device {device}, last {:?}",
                self.last[device]
            )
        };
        assert_eq!((at, who, complement), (address, code(device), !number), "{}", wrong());
        assert!(number > self.last[device], "{}", wrong());
        self.last[device] = number;
        self.good[device].push(number);
    }

    /// What all devices were asked, and how many answers became samples.
    fn sums(&self) -> (Tally, usize) {
        let tally = self.slaves.iter().map(|s| s.tally()).fold(Tally::default(), |a, b| a + b);
        (tally, self.good.iter().map(Vec::len).sum())
    }

    async fn end(self) {
        self.gateway.stop().await;
    }
}

/// What a device has in its registers as its name.
fn code(device: usize) -> u16 {
    0xC0DE ^ (device as u16) << 3
}

fn late(after: Duration) -> Manner {
    Manner { late: Some(Late { often: Often::Every(5), after }), ..Manner::default() }
}

/// Every fifth answer comes after the time-out, when another request may be under way already.
async fn late_answers_are_never_values(lines: &[Line], what: &str) {
    let start = Instant::now();
    let mut bed = Bed::start(lines).await;
    let each = 10_000_u64.div_ceil(bed.slaves.len() as u64);
    bed.until(|tally, _| tally.requests >= each).await;
    let late: usize = bed.good.iter().flatten().filter(|number| *number % 5 == 0).count();
    let (tally, good) = bed.sums();
    println!(
        "{what}: {} polls, {} late ({late} taken), {good} good, {:?}",
        tally.requests,
        tally.late,
        start.elapsed()
    );
    // What became a sample is right, as `judge` has seen; a late answer may do so only where this machine was so
    // busy that the gateway looked at its clock after the answer had come.
    assert!(late as u64 * 100 <= tally.late, "{late} late answers became values");
    assert!(tally.requests >= 10_000 && tally.late >= 1900, "{tally:?}");
    assert!(good as u64 * 10 >= tally.requests * 7, "{good} of {tally:?}");
    bed.end().await;
}

fn line(kind: Kind, timeout: u64, manner: Manner) -> Line {
    Line { kind, timeout: Duration::from_millis(timeout), manner, noise: 0.0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_no_late_answer_of_ten_thousand_polls_becomes_a_value() {
    let line = |kind| line(kind, 200, late(Duration::from_millis(320)));
    let (rtu, ascii) = ([line(Kind::Rtu(19_200)); 16], [line(Kind::Ascii(19_200)); 4]);
    let (slow_rtu, slow_ascii) = ([line(Kind::Rtu(9600)); 16], [line(Kind::Ascii(9600)); 4]);
    late_answers_are_never_values(&[&rtu[..], &ascii, &slow_rtu, &slow_ascii].concat(), "serial").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_no_late_answer_of_ten_thousand_polls_becomes_a_value() {
    let line = line(Kind::Tcp, 60, late(Duration::from_millis(300)));
    late_answers_are_never_values(&[line; 20], "tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_no_late_answer_without_a_number_of_ten_thousand_polls_becomes_a_value() {
    let line = |kind| line(kind, 200, late(Duration::from_millis(320)));
    let kinds = [Kind::RtuOverTcp, Kind::AsciiOverTcp, Kind::TcpWithoutEcho].map(line);
    late_answers_are_never_values(&kinds.repeat(10), "sockets without numbers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_noise_never_becomes_a_value_and_polling_goes_on() {
    let rtu = [Kind::Rtu(9600), Kind::Rtu(9600), Kind::Rtu(19_200), Kind::Rtu(19_200), Kind::RtuOverTcp];
    let ascii = [Kind::Ascii(9600), Kind::Ascii(19_200)];
    let mut lines = Vec::new();
    // The check sum of RTU lets one of 65536 frames through that are damaged at random, that of ASCII one of
    // 256 whose damage is digits again: too many at 2 % for a test that must always end well.
    for (noise, kinds) in [(0.001, &rtu[..]), (0.005, &rtu), (0.02, &rtu), (0.001, &ascii), (0.005, &ascii)] {
        lines.extend(kinds.iter().map(|kind| Line { noise, ..line(*kind, 100, Manner::default()) }));
    }
    let mut bed = Bed::start(&lines).await;
    bed.until(|_, good| good >= 5).await;
    // And it goes on: no device is lost for good.
    let before: Vec<usize> = bed.good.iter().map(Vec::len).collect();
    bed.until(|_, good| good >= 10).await;
    let (tally, good) = bed.sums();
    println!(
        "noise: {} requests heard, {good} good; by device after the first half {before:?}",
        tally.requests
    );
    bed.end().await;
}

/// Each kind of wrong answer, every 20th.
async fn wrong_answers_are_never_values(kinds: &[Kind], what: &str) {
    let wrong = Some(Wrongs { often: Often::Every(20), kinds: &Wrong::ALL });
    let manner = Manner { wrong, ..Manner::default() };
    let lines: Vec<_> = kinds.iter().map(|kind| line(*kind, 200, manner)).collect();
    let mut bed = Bed::start(&lines).await;
    let rounds = Wrong::ALL.len() as u64;
    bed.until(|tally, _| tally.wrong > rounds).await;
    for (device, good) in bed.good.iter().enumerate() {
        let kind = kinds[device / UNITS.len()];
        for number in good.iter().filter(|number| *number % 20 == 0) {
            let wrong = Wrong::ALL[(usize::from(*number) / 20 - 1) % Wrong::ALL.len()];
            assert!(kind.forgives(wrong), "{wrong:?} on {kind:?}: request {number} of device {device}");
        }
    }
    let (tally, _) = bed.sums();
    let right = tally.requests - tally.faulty();
    let good = bed.good.iter().flatten().filter(|number| *number % 20 != 0).count() as u64;
    println!("{what}: {} polls, {} wrong; of the other {right} {good} good", tally.requests, tally.wrong);
    assert!(good * 100 >= right * 95, "{good} of {right}");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_no_wrong_answer_becomes_a_value() {
    let kinds = [Kind::Rtu(19_200), Kind::Rtu(9600), Kind::Ascii(19_200), Kind::Ascii(9600)];
    wrong_answers_are_never_values(&kinds.repeat(3), "serial").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_no_wrong_answer_becomes_a_value() {
    wrong_answers_are_never_values(&[Kind::Tcp; 6], "tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_no_wrong_answer_without_a_number_becomes_a_value() {
    let kinds = [Kind::RtuOverTcp, Kind::AsciiOverTcp, Kind::TcpWithoutEcho];
    wrong_answers_are_never_values(&kinds.repeat(2), "sockets without numbers").await;
}
