//! Sparkplug at 10,000 tags that all change each second: the publisher on one core, a real mosquitto as receiver.
//!
//! ```sh
//! tests/interop/run.sh shapes          # once: makes the peer, npm's sparkplug-payload, under target/
//! cargo bench --bench sparkplug
//! ```
//!
//! `BENCH_TAGS` and `BENCH_SECONDS` are 10,000 and 20 without being set. For each compression there is a run at one
//! change of each tag a second, and one in which the outbox is never empty. The publisher, the session and the MQTT client
//! are on one thread; the feeder, which stands for drivers and `normalize`, has one of its own, and its CPU is told
//! apart (CPU is CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID). A sample counts when mosquitto has proven by an
//! answer that it has it. Without mosquitto the bench fails; a peer that is not there is said to be left out.
//! The peer encodes the same metrics and sends nothing. At the end follow the session's parts alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../tests/common/allocations.rs"]
mod counting;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use counting::{Counting, allocations, allocations_so_far};
use divan::counter::ItemsCount;
use fieldgate::command::Gate;
use fieldgate::model::*;
use fieldgate::publishers::publisher::{Context, Publisher};
use fieldgate::publishers::sparkplug::session::Session;
use fieldgate::publishers::sparkplug::{Sparkplug, config};
use fieldgate::store::{Options, Store};
use fieldgate::telemetry::{Connection, PublisherStats, Telemetry};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let (tags, seconds) = (number("BENCH_TAGS", 10_000), number("BENCH_SECONDS", 20));
    let broker = Mosquitto::start();
    println!("{tags} tags, {seconds} s a run; mosquitto on loopback receives");
    for compression in ["none", "gzip"] {
        for each_second in [true, false] {
            run(&broker, tags, u64::from(seconds), compression, each_second);
        }
    }
    alone(tags);
    peer(tags);
    drop(broker);
    divan::main();
}

fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect(name))
}

/// Seconds of CPU.
fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A child process; ends with its owner.
struct Mosquitto {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Mosquitto {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n"))
            .unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&file).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("FAIL mosquitto is missing: apt-get install mosquitto");
        let broker = Mosquitto { child, port, _folder: folder };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "FAIL mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        broker
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line of figures.
fn run(broker: &Mosquitto, tags: u32, seconds: u64, compression: &str, each_second: bool) {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "name = \"cloud\"\nbroker = \"mqtt://127.0.0.1:{}\"\ncompression = \"{compression}\"\nmax-packet = \"4MiB\"",
        broker.port
    );
    let spec = config::compile(&toml::from_str(&toml).unwrap()).unwrap();
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock.now());
    let (store, stop) = (Store::in_memory(), CancellationToken::new());
    store.accept(batch(tags, clock.now(), 0));
    let cx = Context {
        name: "cloud".into(),
        directory: directory(tags).into(),
        store: store.clone(),
        gate: Gate::default(),
        stats: telemetry.publisher("cloud", "sparkplug"),
        outbox: Options::default().reader_rules(),
        telemetry,
        clock: clock.clone(),
        folder: folder.path().into(),
        stop: stop.clone(),
    };
    let stats = cx.stats.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let task = tokio::spawn(Sparkplug::new(spec).run(cx));
        let end = Instant::now() + Duration::from_secs(20);
        while stats.state.get() != Connection::Up {
            assert!(Instant::now() < end, "FAIL not born within 20 s: {}", stats.state.trouble());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let over = Arc::new(AtomicBool::new(false));
        let feeder = feed(tags, each_second, store, stats.clone(), clock, over.clone());
        // The windows and buffers have their size by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (sent, bytes, messages) = (stats.delivered.get(), stats.sent_bytes.get(), stats.messages.get());
        let (used, counted, since) = (cpu(ClockId::ProcessCPUTime), allocations_so_far(), Instant::now());
        let fed = feeder.used();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let samples = (stats.delivered.get() - sent) as f64;
        assert!(samples > 0.0, "FAIL nothing was delivered");
        let fed = feeder.used() - fed;
        let used = cpu(ClockId::ProcessCPUTime) - used - fed;
        println!(
            "{:12} {compression:5} {:>9.0} samples/s  {:6.3} CPU s per million (feeder {:.3} beside)  {:6.2} bytes and \
             {:.4} allocations a sample  {:.0} samples a message",
            if each_second { "each second" } else { "full speed" },
            samples / since.elapsed().as_secs_f64(),
            used / samples * 1e6,
            fed / samples * 1e6,
            (stats.sent_bytes.get() - bytes) as f64 / samples,
            (allocations_so_far() - counted) as f64 / samples,
            samples / (stats.messages.get() - messages).max(1) as f64,
        );
        over.store(true, Ordering::Relaxed);
        stop.cancel();
        task.await.unwrap().unwrap();
        feeder.thread.join().unwrap();
        assert_eq!(stats.outbox().dropped.iter().sum::<u64>(), 0, "FAIL the outbox lost samples");
    });
}

struct Feeder {
    thread: std::thread::JoinHandle<()>,
    /// Microseconds of its CPU.
    used: Arc<std::sync::atomic::AtomicU64>,
}

impl Feeder {
    fn used(&self) -> f64 {
        self.used.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// All tags at once: each second, or as soon as the publisher is about to run dry.
fn feed(
    tags: u32,
    each_second: bool,
    store: Arc<Store>,
    stats: Arc<PublisherStats>,
    clock: Clock,
    over: Arc<AtomicBool>,
) -> Feeder {
    let used = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let told = used.clone();
    let thread = std::thread::spawn(move || {
        let (mut fed, mut round, mut due) = (stats.delivered.get(), 0, Instant::now());
        while !over.load(Ordering::Relaxed) {
            let ahead = fed.saturating_sub(stats.delivered.get());
            let wait = if each_second {
                due.saturating_duration_since(Instant::now())
            } else if ahead > (u64::from(tags) * 4).max(100_000) {
                Duration::from_millis(1)
            } else {
                Duration::ZERO
            };
            if wait > Duration::ZERO {
                std::thread::sleep(wait.min(Duration::from_millis(100)));
                continue;
            }
            (round, due) = (round + 1, due + Duration::from_secs(1));
            store.accept(batch(tags, clock.now(), round));
            fed += u64::from(tags);
            told.store((cpu(ClockId::ThreadCPUTime) * 1e6) as u64, Ordering::Relaxed);
        }
    });
    Feeder { thread, used }
}

/// From batch to bytes, without a store, a client and a broker.
fn alone(tags: u32) {
    let store = Store::in_memory();
    let at = |round: i64| Timestamp(1_700_000_000_000_000 + round * 1_000_000);
    store.accept(batch(tags, at(0), 0));
    let mut session = Session::new(directory(tags), 0, 64 << 20);
    let mut out = Vec::new();
    session.births(&store, at(0), &mut out);
    let (mut count, mut used, mut samples) = (0, 0.0, 0);
    for round in 1..=50 {
        let batch = batch(tags, at(i64::from(round)), round);
        out.clear();
        let before = cpu(ClockId::ThreadCPUTime);
        let (new, ()) = allocations(|| {
            session.take(&batch, false, &store, at(0), &mut out);
            session.flush(at(0), &mut out);
        });
        if round > 5 {
            (count, used, samples) =
                (count + new, used + cpu(ClockId::ThreadCPUTime) - before, samples + tags);
        }
    }
    let samples = f64::from(samples);
    let bytes = out.iter().map(|m| m.payload.len()).sum::<usize>() as f64 / f64::from(tags);
    println!(
        "encode only: fieldgate        {:6.3} CPU s per million  {bytes:6.2} bytes and {:.5} allocations a sample",
        used / samples * 1e6,
        count as f64 / samples,
    );
}

const PEER: &str = r#"
const { encodePayload } = require("sparkplug-payload").get("spBv1.0");
const tags = Number(process.argv[2]);
const made = (round) => ({
  timestamp: 1700000000000 + round, seq: round % 256,
  metrics: Array.from({ length: tags }, (_, i) =>
    ({ alias: i + 1, timestamp: 1700000000000 + round, type: "Float", value: i + round })),
});
let bytes = 0, micros = 0, rounds = 0;
for (let round = 0; round < 30; round++) {
  const payload = made(round), before = process.cpuUsage();
  bytes = encodePayload(payload).length;
  const used = process.cpuUsage(before);
  if (round >= 5) { micros += used.user + used.system; rounds++; }
}
console.log(`${(micros / (rounds * tags)).toFixed(3)} ${(bytes / tags).toFixed(2)}`);
"#;

/// The same metrics by npm's sparkplug-payload.
fn peer(tags: u32) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let mut command = Command::new(format!("{root}/interop-venv/bin/node"));
    command.args(["-", &tags.to_string()]).env("NODE_PATH", format!("{root}/interop-node/node_modules"));
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let said = started.and_then(|mut child| {
        child.stdin.take().unwrap().write_all(PEER.as_bytes())?;
        child.wait_with_output()
    });
    let said = said.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    match said.split_once(' ') {
        Some((cpu, bytes)) => {
            println!(
                "encode only: sparkplug-payload {cpu:>6} CPU s per million  {bytes:>6} bytes a sample (npm, in node)"
            );
        }
        None => println!("encode only: sparkplug-payload is left out: tests/interop/run.sh makes it"),
    }
}

const TAGS: u32 = 1000;

fn directory(tags: u32) -> Arc<Directory> {
    let device = Device::plain(DeviceId(0), "plc", "net");
    let tag = |i| Tag {
        unit: Some("m3/h".into()),
        low: Some(0.0),
        high: Some(1e6),
        ..Tag::plain(TagId(i), DeviceId(0), &format!("plc/tag-{i}"), DataType::F32)
    };
    Arc::new(Directory::new("g", "n", vec![device], (0..tags).map(tag).collect()))
}

fn batch(tags: u32, at: Timestamp, round: u32) -> Batch {
    let sample = |i: u32| Sample::good(TagId(i), Value::F32((i + round) as f32), at);
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: (0..tags).map(sample).collect() }
}

const START: Timestamp = Timestamp(1_700_000_000_000_000);

#[divan::bench]
fn ddata_of_1000_metrics(bencher: divan::Bencher<'_, '_>) {
    let store = Store::in_memory();
    store.accept(batch(TAGS, START, 0));
    let mut session = Session::new(directory(TAGS), 0, 1 << 20);
    let mut out = Vec::new();
    let now = Timestamp(1_700_000_001_000_000);
    session.births(&store, now, &mut out);
    let batch = batch(TAGS, Timestamp(1_700_000_001_000_000), 1);
    bencher.counter(ItemsCount::new(TAGS)).bench_local(|| {
        out.clear();
        session.take(&batch, false, &store, now, &mut out);
        session.flush(now, &mut out);
        divan::black_box(out.len())
    });
}

#[divan::bench]
fn dbirth_of_1000_metrics(bencher: divan::Bencher<'_, '_>) {
    let store = Store::in_memory();
    store.accept(batch(TAGS, START, 0));
    let mut session = Session::new(directory(TAGS), 0, 1 << 20);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(TAGS)).bench_local(|| {
        out.clear();
        session.births(&store, Timestamp(1_700_000_001_000_000), &mut out);
        divan::black_box(out.len())
    });
}
