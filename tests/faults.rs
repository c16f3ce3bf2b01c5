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
const LONGEST: Duration = Duration::from_secs(150);

/// What one link is like.
#[derive(Clone, Copy)]
struct Line {
    /// A serial line of this speed; without it a socket.
    baud: Option<u32>,
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
                    "[[device]]\nname = \"d{device}\"\nlink = \"l{number}\"\nunit = {unit}\n[device.tag]"
                );
                for at in STARTS {
                    let _ = writeln!(text, "r{at} = {{ at = \"holding:{at}\", type = \"u64\" }}");
                }
            }
            let noise = (line.noise > 0.0).then(|| Noise::new(line.noise, number as u64));
            let timeout = line.timeout.as_millis();
            match line.baud {
                Some(baud) => {
                    let pace = Pace::new(baud, Parity::Even, 1);
                    let bus = RtuBus::open_framed(pace, Framing::Rtu, noise, on_line).unwrap();
                    let port = bus.path().display();
                    let _ = writeln!(
                        text,
                        "[[link.modbus-rtu]]\nname = \"l{number}\"\nport = \"{port}\"\nbaud = {baud}\ntimeout = \"{timeout}ms\""
                    );
                    buses.push(bus);
                }
                None => {
                    let server = TcpServer::bind((Ipv4Addr::LOCALHOST, 0).into(), on_line).await.unwrap();
                    let port = server.address().port();
                    let _ = writeln!(
                        text,
                        "[[link.modbus-tcp]]\nname = \"l{number}\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"{timeout}ms\""
                    );
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
        let reader = gateway.store().reader("suite", ReaderOptions { durable: false });
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

/// Every fifth answer comes after the time-out; none of those may become a sample.
async fn late_answers_are_never_values(lines: &[Line], what: &str) {
    let start = Instant::now();
    let mut bed = Bed::start(lines).await;
    let each = 10_000_u64.div_ceil(bed.slaves.len() as u64);
    bed.until(|tally, _| tally.requests >= each).await;
    let late: usize = bed.good.iter().flatten().filter(|number| *number % 5 == 0).count();
    let (tally, good) = bed.sums();
    println!("{what}: {} polls, {} late, {good} good, {:?}", tally.requests, tally.late, start.elapsed());
    assert_eq!(late, 0, "late answers that became values");
    assert!(tally.requests >= 10_000 && tally.late >= 1900, "{tally:?}");
    assert!(good as u64 * 10 >= tally.requests * 7, "{good} of {tally:?}");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_no_late_answer_of_ten_thousand_polls_becomes_a_value() {
    let line = |baud| Line {
        baud: Some(baud),
        timeout: Duration::from_millis(200),
        manner: late(Duration::from_millis(260)),
        noise: 0.0,
    };
    late_answers_are_never_values(&[[line(19_200); 20], [line(9600); 20]].concat(), "serial").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_no_late_answer_of_ten_thousand_polls_becomes_a_value() {
    let line = Line {
        baud: None,
        timeout: Duration::from_millis(60),
        manner: late(Duration::from_millis(75)),
        noise: 0.0,
    };
    late_answers_are_never_values(&[line; 20], "tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_noise_never_becomes_a_value_and_polling_goes_on() {
    let mut lines = Vec::new();
    for noise in [0.001, 0.005, 0.02] {
        for baud in [9600, 9600, 9600, 19_200, 19_200, 19_200] {
            let timeout = Duration::from_millis(100);
            lines.push(Line { baud: Some(baud), timeout, manner: Manner::default(), noise });
        }
    }
    let mut bed = Bed::start(&lines).await;
    bed.until(|_, good| good >= 25).await;
    let before: Vec<usize> = bed.good.iter().map(Vec::len).collect();
    // And it goes on: no device is lost for good.
    bed.until(|_, good| good >= 50).await;
    let (tally, good) = bed.sums();
    println!(
        "noise: {} requests heard, {good} good; by device after the first half {before:?}",
        tally.requests
    );
    bed.end().await;
}

/// Each kind of wrong answer, every 20th.
async fn wrong_answers_are_never_values(lines: &[Line], harmless: &[Wrong], what: &str) {
    let mut bed = Bed::start(lines).await;
    let rounds = Wrong::ALL.len() as u64;
    bed.until(|tally, _| tally.wrong >= rounds && tally.requests >= 20 * rounds).await;
    for (device, good) in bed.good.iter().enumerate() {
        for number in good.iter().filter(|number| *number % 20 == 0) {
            let kind = Wrong::ALL[(usize::from(*number) / 20 - 1) % Wrong::ALL.len()];
            assert!(harmless.contains(&kind), "{kind:?}: request {number} of device {device}");
        }
    }
    let (tally, _) = bed.sums();
    let right = tally.requests - tally.faulty();
    let good = bed.good.iter().flatten().filter(|number| *number % 20 != 0).count() as u64;
    println!("{what}: {} polls, {} wrong; of the other {right} {good} good", tally.requests, tally.wrong);
    assert!(good * 100 >= right * 95, "{good} of {right}");
    bed.end().await;
}

fn wrong() -> Manner {
    let wrong = Some(Wrongs { often: Often::Every(20), kinds: &Wrong::ALL });
    Manner { wrong, ..Manner::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_no_wrong_answer_becomes_a_value() {
    let line =
        |baud| Line { baud: Some(baud), timeout: Duration::from_millis(200), manner: wrong(), noise: 0.0 };
    // A serial line has neither transactions nor a length in its header: those answers are right. Of two frames
    // in a row, or one with bytes behind it, the first may be taken where it came alone.
    let harmless = [
        Wrong::Transaction,
        Wrong::LengthNull,
        Wrong::LengthHuge,
        Wrong::Bytewise,
        Wrong::Double,
        Wrong::Long,
    ];
    wrong_answers_are_never_values(&[[line(19_200); 6], [line(9600); 6]].concat(), &harmless, "serial").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_no_wrong_answer_becomes_a_value() {
    let line = Line { baud: None, timeout: Duration::from_millis(200), manner: wrong(), noise: 0.0 };
    let harmless = [Wrong::Bytewise, Wrong::Double, Wrong::Long];
    wrong_answers_are_never_values(&[line; 6], &harmless, "tcp").await;
}
