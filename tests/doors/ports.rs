//! Serial ports: pulled and plugged in again, held by another, RS-485.

use super::*;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use fieldgate::command::Gate;
use fieldgate::drivers::modbus::config::SerialLink;
use fieldgate::drivers::modbus::{ModbusLine, compile_rtu, rtu};
use fieldgate::model::{Clock, Quality, TagId, Timestamp, Value};
use fieldgate::store::Store;
use fieldgate::telemetry::Telemetry;
use fieldgate::{config, plan, poll};
use tokio::sync::{Mutex, mpsc};
use tokio_serial::SerialStream;
use tokio_util::sync::CancellationToken;

/// An adapter with a device at its bus. Dropped, it is pulled out.
struct Adapter {
    path: PathBuf,
    device: tokio::task::JoinHandle<()>,
    _keep: File,
}

impl Adapter {
    fn new(value: u16) -> Adapter {
        let (far, near) = SerialStream::pair().unwrap();
        let path = PathBuf::from(tokio_serial::SerialPort::name(&near).unwrap());
        // Else the far end would find nobody there whenever the gateway has closed.
        let keep = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Adapter { path, device: tokio::spawn(on_bus(far, value)), _keep: keep }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.device.abort();
    }
}

async fn on_bus(mut port: SerialStream, value: u16) {
    let mut request = [0; 8];
    while port.read_exact(&mut request).await.is_ok() {
        let mut answer = Vec::new();
        rtu::encode(request[0], &mut answer, |pdu| {
            pdu.extend_from_slice(&[3, 2]);
            pdu.extend_from_slice(&value.to_be_bytes());
        });
        if port.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn bus(port: &Path, keys: &str) -> ModbusLine {
    let text = format!("name = \"bus\"\nport = \"{}\"\nparity = \"none\"\n{keys}", port.display());
    let table: SerialLink = toml::from_str(&text).unwrap();
    let compiled = compile_rtu(&table, &[ModbusDevice::default()], &[request()]).unwrap();
    let mut bus = ModbusLine::default();
    bus.load(&compiled.spec);
    bus
}

async fn trouble(mut bus: ModbusLine) -> String {
    assert_eq!(bus.connect().await, Err(Fault::NotConnected));
    bus.trouble().to_owned()
}

#[tokio::test]
async fn an_adapter_that_comes_back_under_another_name_is_good_again_within_three_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("usb-adapter");
    let adapter = Adapter::new(1);
    symlink(&adapter.path, &name).unwrap();
    let text = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\ndefault = \"200ms\"\n\
         [[link.modbus-rtu]]\nname = \"bus\"\nport = \"{}\"\nparity = \"none\"\n\
         [[device]]\nname = \"pump\"\nlink = \"bus\"\ntag.flow = {{ at = \"holding:0\", type = \"u16\" }}\n",
        name.display()
    );
    let plan = plan::compile(&config::load(&text).config.unwrap(), false, None).unwrap();
    let tag = plan.directory.find("pump/flow").unwrap().id;
    let clock = Clock::starting_at(Timestamp(1_700_000_000_000_000));
    let store = Store::in_memory();
    let (mailbox, inbox) = mpsc::channel(1);
    let gate = Gate::default();
    gate.load(HashMap::new());
    let stop = CancellationToken::new();
    let cx = poll::Context {
        store: store.clone(),
        telemetry: Telemetry::new(clock.now()),
        clock,
        inbox: Arc::new(Mutex::new(inbox)),
        stop: stop.clone(),
    };
    let task = tokio::spawn(poll::run(tokio::sync::watch::channel(Arc::new(plan.links[0].clone())).1, cx));
    assert_eq!(seen(&store, tag, true).await, Some(Value::U16(1)));

    // The new one is made before the old one goes, so that it cannot get its name.
    let next = Adapter::new(2);
    assert_ne!(adapter.path, next.path);
    std::fs::remove_file(&name).unwrap();
    drop(adapter);
    assert_eq!(seen(&store, tag, false).await, None);
    // Long enough for the pauses between two tries to have grown as long as they get.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!store.latest(tag).unwrap().quality.is_good());

    let back = Instant::now();
    symlink(&next.path, &name).unwrap();
    assert_eq!(seen(&store, tag, true).await, Some(Value::U16(2)));
    assert!(back.elapsed() <= Duration::from_secs(3), "{:?}", back.elapsed());
    stop.cancel();
    task.await.unwrap();
    drop(mailbox);
}

/// Waits until the tag is good, or bad, and gives its value.
async fn seen(store: &Store, tag: TagId, good: bool) -> Option<Value> {
    for _ in 0..6000 {
        if let Some(sample) = store.latest(tag)
            && sample.quality.is_good() == good
            && (good || matches!(sample.quality, Quality::Bad(_)))
        {
            return sample.value;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the tag never became {}", if good { "good" } else { "bad" });
}

#[tokio::test]
async fn a_port_that_another_program_holds_is_told_with_its_name_and_taken_when_it_is_free() {
    let adapter = Adapter::new(3);
    let mut holder = Command::new("flock")
        .args(["--no-fork", "--exclusive"])
        .args([adapter.path.as_os_str(), "cat".as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // When it says something back it has the lock.
    std::io::Write::write_all(holder.stdin.as_mut().unwrap(), b"there?\n").unwrap();
    let mut answer = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    let mut driver = bus(&adapter.path, "");
    assert_eq!(driver.connect().await, Err(Fault::NotConnected));
    let expected = format!("is held by another program: `cat`, process {}", holder.id());
    assert!(driver.trouble().contains(&expected), "{}", driver.trouble());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(value_at_last(&mut driver).await, 3);
}

#[tokio::test]
async fn two_links_that_reach_one_port_by_two_names_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = Adapter::new(4);
    let (one, two) = (folder.path().join("by-id"), folder.path().join("by-path"));
    symlink(&adapter.path, &one).unwrap();
    symlink(&adapter.path, &two).unwrap();
    let mut first = bus(&one, "");
    first.connect().await.unwrap();
    let second = trouble(bus(&two, "")).await;
    assert!(second.contains("by another link"), "{second}");
    assert_eq!(value(&mut first).await, Ok(4), "the first is not disturbed");
}

#[tokio::test]
async fn a_port_that_is_not_there_or_is_none_is_told() {
    let missing = trouble(bus(Path::new("/dev/no-such-port"), "")).await;
    assert!(missing.contains("plug the adapter in or correct the path"), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let none = trouble(bus(file.path(), "")).await;
    assert!(none.contains("check that this is a serial port"), "{none}");
}

#[tokio::test]
async fn a_port_that_cannot_switch_rs485_says_what_to_choose() {
    let adapter = Adapter::new(5);
    for rts in ["rs485", "rs485-inverted"] {
        let kernel = trouble(bus(&adapter.path, &format!("rts = \"{rts}\""))).await;
        assert!(kernel.contains("the driver of this port does not switch RS-485 by itself"), "{kernel}");
    }
    for rts in ["up", "down"] {
        let manual = trouble(bus(&adapter.path, &format!("rts = \"{rts}\""))).await;
        assert!(manual.contains("no RTS line to switch"), "{manual}");
    }
    // What was tried leaves nothing behind.
    assert_eq!(value(&mut bus(&adapter.path, "")).await, Ok(5));
}
