//! How much of a serial line's time is useful: a saturated bus of eight devices at three speeds, and one
//! of the eight dead; whether a line is loaded as planned; how late fast devices on TCP are beside a slow one.
//!
//! The devices are a thread on a pseudo-terminal that keeps the time of a real line (8N1): the request's
//! characters, the silence that ends it, 5 ms of its own, the answer's characters. It counts every request that
//! comes before the 3.5 characters of silence are over. What the line allows is computed from the same figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fieldgate::drivers::modbus::config::Parity;
use fieldgate::drivers::modbus::rtu::{self, Pace};
use fieldgate::model::Clock;
use fieldgate::supervisor::Gateway;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEVICES: u8 = 8;
const REGISTERS: usize = 20;
const WAYS: usize = 4000;
const TURNAROUND: Duration = Duration::from_millis(5);

/// What the thread on the far end of the line is told and tells.
#[derive(Default)]
struct Line {
    /// The unit that does not answer; 0: all do.
    dead: AtomicU8,
    /// Requests that came too early.
    early: AtomicU64,
    answers: AtomicU64,
    /// How long after its silence each request came.
    late: Mutex<Vec<Duration>>,
    stop: AtomicBool,
}

/// Waits for a request. A line hears its first bit at once, where a thread that sleeps is late: around the moment
/// from which one may come, this one does not sleep, and leaves the processor to the kernel's thread that hands on bytes.
fn first_byte(port: &mut File, byte: &mut [u8], from: Instant) -> bool {
    std::thread::sleep(from.saturating_duration_since(Instant::now() + Duration::from_micros(300)));
    let blocking = rustix::fs::fcntl_getfl(&*port).unwrap();
    rustix::fs::fcntl_setfl(&*port, blocking | rustix::fs::OFlags::NONBLOCK).unwrap();
    let until = from + Duration::from_millis(1);
    let mut heard = false;
    while !heard && Instant::now() < until {
        std::thread::yield_now();
        heard = port.read(byte).is_ok_and(|bytes| bytes == 1);
    }
    rustix::fs::fcntl_setfl(&*port, blocking).unwrap();
    heard || port.read_exact(byte).is_ok()
}

/// `way`: what the pseudo-terminal takes to hand on bytes, to one who does not sleep. A line takes none beside its
/// characters, so it is taken off on both ways.
fn slaves(baud: u32, way: Duration, line: Arc<Line>) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let keep = File::options().read(true).write(true).open(&path).unwrap();
    let mut raw = tcgetattr(&keep).unwrap();
    raw.make_raw();
    tcsetattr(&keep, OptionalActions::Now, &raw).unwrap();
    let pace = Pace::new(baud, Parity::None, 1);
    std::thread::spawn(move || {
        let _keep = keep;
        let (mut port, mut silent_since) = (File::from(master), Instant::now());
        let mut request = [0; 8];
        while !line.stop.load(Relaxed)
            && first_byte(&mut port, &mut request[..1], silent_since + pace.silence())
        {
            let began = Instant::now() - way;
            if began < silent_since + pace.silence() {
                line.early.fetch_add(1, Relaxed);
            }
            line.late.lock().unwrap().push(began.saturating_duration_since(silent_since + pace.silence()));
            port.read_exact(&mut request[1..]).unwrap();
            assert!(rtu::decode(&request).is_some());
            let heard = began + pace.bytes(request.len());
            silent_since = heard;
            if request[0] == line.dead.load(Relaxed) {
                continue;
            }
            let asked = usize::from(request[5]);
            let mut answer = Vec::new();
            rtu::encode(request[0], &mut answer, |out| {
                out.extend_from_slice(&[3, request[5] * 2]);
                out.resize(out.len() + asked * 2, b'x');
            });
            // The answer is there when its last character is. A thread that sleeps is late by more than a line is.
            let end = heard + pace.silence() + TURNAROUND + pace.bytes(answer.len());
            std::thread::sleep(end.saturating_duration_since(Instant::now() + Duration::from_micros(300)));
            while Instant::now() + way < end {
                std::hint::spin_loop();
            }
            // Before the write: the other side may read it before this thread runs again.
            silent_since = Instant::now() + way;
            port.write_all(&answer).unwrap();
            line.answers.fetch_add(u64::from(asked == REGISTERS), Relaxed);
        }
    });
    path
}

/// How long bytes take at least from one end of a pseudo-terminal to a thread at the other that asks without a pause:
/// what is taken off must not be what something else took, nor hide a request that came too early.
fn own_way() -> Duration {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let mut near = File::options().read(true).write(true).open(&path).unwrap();
    let mut raw = tcgetattr(&near).unwrap();
    raw.make_raw();
    tcsetattr(&near, OptionalActions::Now, &raw).unwrap();
    let flags = rustix::fs::fcntl_getfl(&near).unwrap();
    rustix::fs::fcntl_setfl(&near, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let reader = std::thread::spawn(move || {
        let mut at = Vec::new();
        while at.len() < WAYS {
            std::thread::yield_now();
            if near.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {
                at.push(Instant::now());
                count.store(at.len() as u64, Relaxed);
            }
        }
        at
    });
    let mut far = File::from(master);
    let mut sent = Vec::new();
    for at in 0..WAYS as u64 {
        while seen.load(Relaxed) < at {
            std::thread::yield_now();
        }
        sent.push(Instant::now());
        far.write_all(b"x").unwrap();
    }
    reader.join().unwrap().iter().zip(&sent).map(|(seen, sent)| *seen - *sent).min().unwrap()
}

async fn gateway(port: &str, baud: u32, period: &str) -> Gateway {
    // What the line has before the answer begins: the silence that ends the request, and the device.
    let turnaround = (Pace::new(baud, Parity::None, 1).silence() + TURNAROUND).as_micros();
    let mut text = format!(
        "node = {{ group = \"bench\", name = \"bus\" }}\nscan = {{ all = \"{period}\" }}\n\
         [[link.modbus-rtu]]\nname = \"bus\"\nport = \"{port}\"\nbaud = {baud}\nparity = \"none\"\nstop-bits = 1\ntimeout = \"200ms\"\nturnaround = \"{turnaround}us\"\n"
    );
    for unit in 1..=DEVICES {
        text += &format!(
            "[[device]]\nname = \"device-{unit}\"\nlink = \"bus\"\nunit = {unit}\nidentify = false\n[device.tag]\n\
             all = {{ at = \"holding:0\", type = \"string\", length = {} }}\n",
            REGISTERS * 2
        );
    }
    let loaded = fieldgate::config::load(&text);
    let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
    Gateway::start(plan, Clock::system()).await
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds: u64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(20);
    let way = own_way();
    println!("a pseudo-terminal's own way: at least {way:.0?}");
    for baud in [19_200, 9600, 115_200] {
        let line = Arc::new(Line::default());
        let gateway = gateway(&slaves(baud, way, line.clone()), baud, "5ms").await;
        while (1..=DEVICES).any(|unit| polls(&gateway, unit) < 3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pace = Pace::new(baud, Parity::None, 1);
        // Silence, request, silence, the device's own time, answer (serial line guide section 2.5.1.1).
        let transaction = pace.bytes(8 + 5 + REGISTERS * 2) + TURNAROUND + 2 * pace.silence();
        let (rate, span) = rate(&line, seconds).await;
        let efficiency = rate * transaction.as_secs_f64() * 100.0;
        println!(
            "{baud} baud, 8 devices: {:.2} polls/s of {:.2} that the line allows, {efficiency:.1} %, {} requests in {span:.0} s too early",
            rate,
            1.0 / transaction.as_secs_f64(),
            line.early.load(Relaxed)
        );
        if baud == 19_200 {
            one_dead(&gateway, &line, transaction, seconds).await;
        }
        line.stop.store(true, Relaxed);
        gateway.stop().await;
        if baud <= 19_200 {
            load(baud, way, seconds).await;
        }
    }
    for connections in [1, 2] {
        slow_among_fast(connections, seconds).await;
    }
}

/// A line that is not full: the load that the plan expects and the one that is measured.
async fn load(baud: u32, way: Duration, seconds: u64) {
    let line = Arc::new(Line::default());
    let gateway = gateway(&slaves(baud, way, line.clone()), baud, "1s").await;
    while (1..=DEVICES).any(|unit| polls(&gateway, unit) < 4) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = gateway.telemetry().link("bus");
    let (began, busy) = (Instant::now(), stats.busy_us.get());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let measured = (stats.busy_us.get() - busy) as f64 / began.elapsed().as_micros() as f64;
    let planned = stats.planned_permille.get() as f64 / 1000.0;
    println!(
        "{baud} baud, every second: load {:.1} % measured, {:.1} % planned, ratio {:.3}",
        measured * 100.0,
        planned * 100.0,
        measured / planned
    );
    line.stop.store(true, Relaxed);
    gateway.stop().await;
}

/// Eight units on TCP that answer at once, and one that takes three seconds: how late the eight are asked.
async fn slow_among_fast(connections: u16, seconds: u64) {
    const PERIOD: Duration = Duration::from_millis(200);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(vec![Vec::<Instant>::new(); 10]));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut request = [0; 12];
                while stream.read_exact(&mut request).await.is_ok() {
                    let unit = usize::from(request[6]);
                    seen.lock().unwrap()[unit].push(Instant::now());
                    if unit == 9 {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                    }
                    let mut frame = request[..9].to_vec();
                    frame[5] = 3 + request[11] * 2;
                    frame[8] = request[11] * 2;
                    frame.resize(9 + usize::from(frame[8]), 0);
                    let _ = stream.write_all(&frame).await;
                }
            });
        }
    });
    let mut text = format!(
        "node = {{ group = \"bench\", name = \"slow\" }}\nscan = {{ all = \"200ms\" }}\n[[link.modbus-tcp]]\n\
         name = \"net\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"10s\"\nconnections = {connections}\n"
    );
    for unit in 1..=9 {
        text += &format!(
            "[[device]]\nname = \"device-{unit}\"\nlink = \"net\"\nunit = {unit}\nidentify = false\n[device.tag]\n\
             all = {{ at = \"holding:0\", type = \"string\", length = {} }}\n",
            REGISTERS * 2
        );
    }
    let plan =
        fieldgate::plan::compile(&fieldgate::config::load(&text).config.unwrap(), false, None).unwrap();
    let gateway = Gateway::start(plan, Clock::system()).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    asked.lock().unwrap().iter_mut().for_each(Vec::clear);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let mut late = Vec::new();
    for times in &asked.lock().unwrap()[1..9] {
        // From the beat that fits all of them: the earliest within a period.
        let since: Vec<f64> = times.iter().map(|at| (*at - times[0]).as_secs_f64() + 10.0).collect();
        let off = |at: f64| at - (at / PERIOD.as_secs_f64()).round() * PERIOD.as_secs_f64();
        let first = since.iter().map(|at| off(*at)).fold(f64::MAX, f64::min);
        late.extend(since.iter().map(|at| off(*at) - first));
    }
    late.sort_by(f64::total_cmp);
    let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or(f64::NAN);
    println!(
        "TCP, one of nine takes 3 s, {connections} connection(s): the others {:.2} polls/s each of 5, p99 {:.1} ms late, {:.1} % of the period",
        late.len() as f64 / 8.0 / seconds as f64,
        p99 * 1e3,
        p99 / PERIOD.as_secs_f64() * 100.0
    );
    gateway.stop().await;
}

/// One of eight does not answer; then it does again.
async fn one_dead(gateway: &Gateway, line: &Line, transaction: Duration, seconds: u64) {
    line.dead.store(3, Relaxed);
    while gateway.telemetry().device("device-3", "bus").deaths.get() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let tries = polls(gateway, 3);
    let (rate, _) = rate(line, seconds).await;
    let tries = polls(gateway, 3) - tries;
    let each = rate / f64::from(DEVICES - 1);
    let most = 1.0 / transaction.as_secs_f64() / f64::from(DEVICES - 1);
    line.dead.store(0, Relaxed);
    let returned = Instant::now();
    while gateway.telemetry().device("device-3", "bus").state.get() != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let back = returned.elapsed().as_secs_f64();
    println!(
        "  one of them dead: {each:.3} polls/s for each living one of {most:.3}, {tries} tries of the dead one in {seconds} s; back {back:.1} s after its return"
    );
}

fn polls(gateway: &Gateway, unit: u8) -> u64 {
    gateway.telemetry().device(&format!("device-{unit}"), "bus").requests.get()
}

async fn rate(line: &Line, seconds: u64) -> (f64, f64) {
    let (began, before) = (Instant::now(), line.answers.load(Relaxed));
    line.early.store(0, Relaxed);
    line.late.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let span = began.elapsed().as_secs_f64();
    let mut late = std::mem::take(&mut *line.late.lock().unwrap());
    late.sort();
    let part = |share: usize| late.get(late.len() * share / 100).copied().unwrap_or_default();
    let mean = late.iter().sum::<Duration>() / u32::try_from(late.len()).unwrap();
    println!(
        "  requests after their silence: {mean:.0?} in the mean, 10 % within {:.0?}, half {:.0?}, 90 % {:.0?}, 99 % {:.0?}",
        part(10),
        part(50),
        part(90),
        part(99)
    );
    ((line.answers.load(Relaxed) - before) as f64 / span, span)
}
