//! The supervisor: what falls is started again, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use fieldgate::drivers::sim::Bench;
use fieldgate::model::*;
use fieldgate::plan::GatewayPlan;
use fieldgate::store::{Next, Options, Reader, ReaderOptions};
use fieldgate::supervisor::Gateway;

async fn gateway(benches: &[Bench]) -> (Gateway, Reader) {
    let links: Vec<_> = benches
        .iter()
        .enumerate()
        .map(|(i, bench)| common::bench_plan(&format!("bench-{i}"), bench, i as u32 * 2))
        .collect();
    let devices =
        links.iter().flat_map(|l| &l.devices).map(|d| Device::plain(d.id, d.name.as_str(), "bench"));
    let tags = links.iter().flat_map(|l| &l.devices).map(|d| Tag {
        access: Access::ReadWrite,
        ..Tag::plain(d.tags[0], d.id, &format!("{}/tag", d.name), DataType::U16)
    });
    let directory = Directory::new("g", "n", devices.collect(), tags.collect());
    let plan = GatewayPlan {
        directory: Arc::new(directory),
        links,
        classes: Vec::new(),
        publishers: Vec::new(),
        store: Options { path: None, ..Options::default() },
        trusts_clock: false,
        resources: Vec::new(),
        tests: Vec::new(),
        warnings: Vec::new(),
    };
    let gateway = Gateway::start(plan, Clock::starting_at(Timestamp(1_700_000_000_000_000))).await;
    let reader = gateway.store().reader("test", ReaderOptions { durable: false, rules: None });
    (gateway, reader)
}

async fn until(reader: &mut Reader, wanted: impl Fn(&Batch) -> bool) -> Arc<Batch> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(120), reader.next()).await;
        let (Next::Live(_, batch) | Next::History(_, batch)) = next.expect("a batch within two minutes");
        if wanted(&batch) {
            return batch;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_link_restarts_that_one_and_its_tags_are_bad_meanwhile() {
    let benches = [Bench::default(), Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    let alive = |device| move |b: &Batch| b.device == DeviceId(device) && b.state == DeviceState::Alive;
    // The first samples may have come before the reader: a change comes after it for sure.
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, alive(0)).await;
    benches[0].panic_at_next_read();
    let orphaned = until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    let fell = tokio::time::Instant::now();
    assert_eq!(orphaned.samples[0].quality, Quality::Bad(Bad::Stopped));
    let back = until(&mut reader, alive(0)).await;
    assert!(fell.elapsed() <= Duration::from_secs(1), "back after {:?}", fell.elapsed());
    assert!(back.samples[0].quality.is_good());
    assert_eq!(gateway.telemetry().link("bench-0").restarts.get(), 1);
    assert_eq!(gateway.telemetry().link("bench-1").restarts.get(), 0);
    assert_eq!(benches[1].connects(), 1);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_works_again_after_its_link_fell() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    benches[0].panic_at_next_read();
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    let origin = fieldgate::command::Origin { publisher: "test".into(), who: String::new() };
    gateway.gate().write(TagId(0), Value::U16(5), &origin).await.unwrap();
    assert_eq!(benches[0].word(0, 10), 5);
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_gateway_polls_no_more() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    let start = tokio::time::Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    benches[0].take_reads();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(benches[0].take_reads().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_hangs_is_ended_and_started_again_and_nobody_else_notices() {
    let benches = [Bench::default(), Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    benches[0].hang_at_next_read();
    let start = tokio::time::Instant::now();
    let orphaned = until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    // A call of this driver may take 30 s, and no beat for 10 s more is a hang.
    assert!((39..45).contains(&start.elapsed().as_secs()), "after {:?}", start.elapsed());
    assert_eq!(orphaned.samples[0].quality, Quality::Bad(Bad::Stopped));
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    let (hung, other) = (gateway.telemetry().link("bench-0"), gateway.telemetry().link("bench-1"));
    assert_eq!((hung.hangs.get(), hung.restarts.get()), (1, 1));
    assert_eq!((other.hangs.get(), other.restarts.get(), benches[1].connects()), (0, 0, 1));
    gateway.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_waits_for_its_port_or_its_devices_beats_all_the_time() {
    let benches = [Bench::default(), Bench::default()];
    benches[0].unplug(true);
    benches[1].set_fault(0, Some(Fault::Timeout));
    benches[1].set_fault(1, Some(Fault::Timeout));
    benches[1].set_answer_time(Duration::from_secs(29));
    let (gateway, _reader) = gateway(&benches).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    for name in ["bench-0", "bench-1"] {
        let link = gateway.telemetry().link(name);
        assert_eq!((link.hangs.get(), link.restarts.get()), (0, 0), "{name}");
        assert!(link.beats.get() >= 3590, "{name} beat {} times in an hour", link.beats.get());
    }
    gateway.stop().await;
}

/// The service manager's end of a notify socket: what a program says to it, a line each.
struct Manager {
    socket: std::os::unix::net::UnixDatagram,
    waiting: std::collections::VecDeque<String>,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { socket, waiting: Default::default(), folder }
    }

    fn start(&self, program: &std::path::Path, arguments: &[&str], watchdog: Duration) -> Child {
        let mut command = std::process::Command::new(program);
        command.args(arguments).env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string()).env_remove("WATCHDOG_PID");
        Child(
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap(),
        )
    }

    /// A test of this file in a process of its own.
    fn start_inner(&self, test: &str, watchdog: Duration) -> Child {
        self.start(&std::env::current_exe().unwrap(), &["--exact", test, "--ignored"], watchdog)
    }

    /// The next line, or `None` where none comes in time.
    fn line(&mut self, within: Duration) -> Option<String> {
        if self.waiting.is_empty() {
            self.socket.set_read_timeout(Some(within)).unwrap();
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).ok()?;
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            self.waiting.extend(text.lines().map(str::to_owned));
        }
        self.waiting.pop_front()
    }

    /// All lines up to the one that is wanted.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while std::time::Instant::now() < end {
            lines.extend(self.line(Duration::from_secs(60)));
            if lines.last().is_some_and(|line| wanted(line)) {
                return lines;
            }
        }
        panic!("not in a minute: {lines:?}")
    }
}

/// A process that does not outlive its test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const FED: &str = "WATCHDOG=1";

#[test]
fn the_watchdog_is_fed_while_a_link_that_hangs_is_started_again() {
    let mut manager = Manager::new();
    let _child = manager.start_inner("inner_a_link_hangs", Duration::from_secs(30));
    manager.until(|line| line == "STATUS=test: hangs");
    let meanwhile = manager.until(|line| line == "STATUS=test: is back");
    let fed = meanwhile.iter().filter(|line| *line == FED).count();
    assert!(fed >= 30, "fed {fed} times: {meanwhile:?}");
    assert!(!meanwhile.iter().any(|line| line.contains("cannot be ended")), "{meanwhile:?}");
}

#[tokio::test(start_paused = true)]
#[ignore = "runs in a process of its own, under the test above"]
async fn inner_a_link_hangs() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    fieldgate::notify::status("test: hangs");
    benches[0].hang_at_next_read();
    until(&mut reader, |b| b.state == DeviceState::Dead).await;
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    fieldgate::notify::status("test: is back");
    gateway.stop().await;
}

#[test]
fn the_watchdog_is_fed_no_more_where_a_link_holds_its_thread() {
    let mut manager = Manager::new();
    let mut child = manager.start_inner("inner_a_link_holds_its_thread", Duration::from_secs(6));
    manager.until(|line| line == "STATUS=test: holds");
    manager.until(|line| line == "STATUS=hangs and cannot be ended: bench-0");
    let end = std::time::Instant::now() + Duration::from_secs(3);
    while let left = end.saturating_duration_since(std::time::Instant::now())
        && !left.is_zero()
    {
        // One may have been on its way.
        let line = manager.line(left);
        assert_ne!(line.as_deref(), Some(FED));
    }
    assert_eq!(child.0.try_wait().unwrap(), None, "the process waits to be started again");
    // What was held lets go after all: the link is started again, and all is well.
    std::fs::write(manager.folder.path().join("free"), "").unwrap();
    manager.until(|line| line == "STATUS=test: is back");
    manager.until(|line| line == FED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a process of its own, under the test above"]
async fn inner_a_link_holds_its_thread() {
    let benches = [Bench::default(), Bench::default()];
    let (_gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    let (free, held) = std::sync::mpsc::channel();
    benches[0].hold_thread_at_next_read(held);
    fieldgate::notify::status("test: holds");
    // The others are polled meanwhile, and the watch looks.
    benches[1].take_reads();
    let socket = std::path::PathBuf::from(std::env::var_os("NOTIFY_SOCKET").unwrap());
    let sign = socket.with_file_name("free");
    while !sign.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(benches[1].take_reads().len() > 20, "the other link was polled");
    drop(free);
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Dead).await;
    until(&mut reader, |b| b.device == DeviceId(0) && b.state == DeviceState::Alive).await;
    fieldgate::notify::status("test: is back");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_holds_its_thread_does_not_hold_up_an_orderly_stop() {
    let benches = [Bench::default()];
    let (gateway, mut reader) = gateway(&benches).await;
    benches[0].set_words(0, 10, &[1]);
    until(&mut reader, |b| b.state == DeviceState::Alive).await;
    let (free, held) = std::sync::mpsc::channel();
    benches[0].hold_thread_at_next_read(held);
    benches[0].take_reads();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = std::time::Instant::now();
    gateway.stop().await;
    let took = start.elapsed();
    assert!(benches[0].take_reads().len() < 4, "it was held");
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    drop(free);
}

#[test]
fn the_program_tells_that_it_is_ready_and_comes_on_and_stops() {
    let mut manager = Manager::new();
    let config = manager.folder.path().join("gateway.toml");
    // The port is closed: ready all the same.
    let text = "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\nfast = \"1s\"\n\
        [[link.modbus-tcp]]\nname = \"net\"\nhost = \"127.0.0.1\"\nport = 9\n\
        [[device]]\nname = \"d\"\nlink = \"net\"\nscan = \"fast\"\n\
        [device.tag]\nt = { at = \"holding:0\", type = \"u16\" }\n";
    std::fs::write(&config, text).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_fieldgate"));
    let mut child = manager.start(program, &["run", config.to_str().unwrap()], Duration::from_secs(2));
    let mut told = manager.until(|line| line == "READY=1");
    // The first look at the links may come before that.
    let status = |line: &str| line.starts_with("STATUS=0 of 1 links up");
    if !told.iter().any(|line| status(line)) {
        told = manager.until(status);
    }
    assert!(told.len() < 10, "{told:?}");
    (0..3).for_each(|_| drop(manager.until(|line| line == FED)));
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    manager.until(|line| line == "STOPPING=1");
    assert!(child.0.wait().unwrap().success());
}
