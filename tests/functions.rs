//! What lies beyond plain reads and writes, from the gate to simulated devices: bits of a register, values
//! read back in one request, tags that are only written, and broadcasts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/plc.rs"]
mod plc;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::command::{Origin, Refusal, WriteOutcome};
use fieldgate::drivers::modbus::address::Area;
use fieldgate::drivers::modbus::config::Parity;
use fieldgate::drivers::modbus::rtu::Pace;
use fieldgate::model::*;
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use fieldgate::simulate::modbus::manner::Manner;
use fieldgate::simulate::modbus::{RtuBus, Slave, Slaves, TcpServer};
use fieldgate::supervisor::Gateway;

fn slave() -> Arc<Slave> {
    let mut bank = Bank::new(Sizes { coils: 16, discretes: 16, inputs: 16, holdings: 16 });
    bank.put(Area::Holding, 4, &[0xA5A5, 0x1234]);
    Slave::new(bank, Manner::default())
}

fn slaves() -> Slaves {
    (1..=3).map(|unit| (unit, slave())).collect()
}

async fn start(link: &str, devices: &str) -> Gateway {
    let text = format!("node = {{ group = \"g\", name = \"n\" }}\nsystem.enabled = false\n{link}\n{devices}");
    let loaded = fieldgate::config::load(&text);
    assert!(loaded.mistakes.is_empty(), "{:?}", loaded.mistakes);
    let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
    Gateway::start(plan, Clock::system()).await
}

async fn on_socket(slaves: &Slaves, devices: &str) -> (TcpServer, Gateway) {
    let server = TcpServer::bind((Ipv4Addr::LOCALHOST, 0).into(), slaves.clone()).await.unwrap();
    let port = server.address().port();
    let link = format!("[[link.modbus-tcp]]\nname = \"l\"\nhost = \"127.0.0.1\"\nport = {port}\n");
    (server, start(&link, devices).await)
}

async fn on_bus(slaves: &Slaves, devices: &str) -> (RtuBus, Gateway) {
    let bus = RtuBus::open(Pace::new(115_200, Parity::Even, 1), slaves.clone()).unwrap();
    let port = bus.path().display();
    let link =
        format!("[[link.modbus-rtu]]\nname = \"l\"\nport = \"{port}\"\nbaud = 115200\ntimeout = \"2s\"\n");
    (bus, start(&link, devices).await)
}

fn latest(gateway: &Gateway, path: &str) -> Option<Sample> {
    gateway.store().latest(gateway.directory().find(path).unwrap().id)
}

/// Waits for the quality of a tag.
async fn until(gateway: &Gateway, path: &str, quality: Quality) {
    let patience = Instant::now() + Duration::from_secs(60);
    while latest(gateway, path).map(|s| s.quality) != Some(quality) {
        assert!(Instant::now() < patience, "{path}: {:?}", latest(gateway, path));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn write(gateway: &Gateway, path: &str, value: Value) -> WriteOutcome {
    let origin = Origin { publisher: "test".into(), who: String::new() };
    gateway.gate().write(gateway.directory().find(path).unwrap().id, value, &origin).await
}

#[tokio::test]
async fn an_array_is_read_and_written_as_a_whole() {
    let devices = "[[device]]\nname = \"d\"\nlink = \"l\"\nunit = 2\n\
                   tag.f = { at = \"holding:8\", type = \"f32[3]\", order = \"cdab\", access = \"read-write\" }\n\
                   tag.w = { at = \"holding:4\", type = \"u16[2]\", scale = 0.5 }\n\
                   tag.b = { at = \"coil:3\", type = \"bool[9]\", access = \"read-write\" }\n";
    let slaves = slaves();
    let (_server, gateway) = on_socket(&slaves, devices).await;
    for path in ["d/f", "d/w", "d/b"] {
        until(&gateway, path, Quality::Good).await;
    }
    let words = Value::Array(Array::F64([21_202.5, 2330.0].into()));
    assert_eq!(latest(&gateway, "d/w").unwrap().value, Some(words));
    let floats = Value::Array(Array::F32([1.5, -2.25, 1e30].into()));
    assert_eq!(write(&gateway, "d/f", floats.clone()).await, Ok(()));
    // It is read back before the answer.
    assert_eq!(latest(&gateway, "d/f").unwrap().value, Some(floats));
    assert_eq!(slaves[&2].bank().holding_f32(10, Order::Cdab), -2.25);
    let bits: Vec<bool> = (0..9).map(|at| at % 4 == 0).collect();
    let bits = Value::Array(Array::Bool(bits.into()));
    assert_eq!(write(&gateway, "d/b", bits.clone()).await, Ok(()));
    assert_eq!(latest(&gateway, "d/b").unwrap().value, Some(bits));
    assert_eq!([2, 3, 4, 7, 11].map(|at| slaves[&2].bank().coil(at)), [false, true, false, true, true]);
    // A number that fits is taken as every scalar's; another length, a scalar, or one element that does not fit is not.
    let doubles = |all: &[f64]| Value::Array(Array::F64(all.into()));
    assert_eq!(write(&gateway, "d/f", doubles(&[1.0, 2.0, 3.0])).await, Ok(()));
    assert_eq!(write(&gateway, "d/f", doubles(&[1.0, 2.0])).await, Err(Refusal::WrongType));
    assert_eq!(write(&gateway, "d/f", Value::F32(1.0)).await, Err(Refusal::WrongType));
    assert_eq!(write(&gateway, "d/f", doubles(&[1.0, 1e300, 3.0])).await, Err(Refusal::OutOfRange));
    assert_eq!(write(&gateway, "d/f", doubles(&[1.0, f64::NAN, 3.0])).await, Err(Refusal::OutOfRange));
    assert_eq!(write(&gateway, "d/b", doubles(&[1.0; 9])).await, Err(Refusal::WrongType));
    assert_eq!(slaves[&2].bank().holding_f32(12, Order::Cdab), 3.0);
    gateway.stop().await;
}

const PARTS: &str = r#"
[[device]]
name = "d"
link = "l"
unit = 2
KEYS
[device.tag]
low = { at = "holding:4.0", type = "bool", access = "read-write" }
bit = { at = "holding:4.6", type = "bool", access = "read-write" }
byte = { at = "holding:5.hi", type = "u8", access = "read-write" }
"#;

async fn parts_leave_the_rest_alone(slaves: &Slaves, gateway: &Gateway) {
    until(gateway, "d/byte", Quality::Good).await;
    let bank = || slaves[&2].bank();
    assert_eq!(write(gateway, "d/bit", Value::Bool(true)).await, Ok(()));
    assert_eq!(bank().holding(4), 0xA5E5);
    // It is read back before the answer.
    assert_eq!(latest(gateway, "d/bit").unwrap().value, Some(Value::Bool(true)));
    assert_eq!(write(gateway, "d/low", Value::Bool(false)).await, Ok(()));
    assert_eq!(bank().holding(4), 0xA5E4);
    assert_eq!(write(gateway, "d/bit", Value::Bool(false)).await, Ok(()));
    assert_eq!(bank().holding(4), 0xA5A4);
    assert_eq!(write(gateway, "d/byte", Value::U8(0xFE)).await, Ok(()));
    assert_eq!(bank().holding(5), 0xFE34);
    assert_eq!(slaves[&1].bank().holding(4), 0xA5A5);
}

#[tokio::test]
async fn a_bit_or_a_byte_of_a_register_is_written_and_its_neighbours_stay() {
    for keys in
        ["", "bit-write = \"read-modify-write\"", "bit-write = \"read-modify-write\"\nwrite = \"multiple\""]
    {
        let devices = PARTS.replace("KEYS", keys);
        let slaves = self::slaves();
        let (_server, gateway) = on_socket(&slaves, &devices).await;
        parts_leave_the_rest_alone(&slaves, &gateway).await;
        gateway.stop().await;
        let slaves = self::slaves();
        let (_bus, gateway) = on_bus(&slaves, &devices).await;
        parts_leave_the_rest_alone(&slaves, &gateway).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_is_read_back_in_the_same_request_is_what_was_written() {
    let devices = "[[device]]\nname = \"d\"\nlink = \"l\"\nunit = 2\nwrite = \"read-back\"\n\
                   tag.a = { at = \"holding:8\", type = \"f32\", order = \"cdab\", access = \"read-write\" }\n\
                   tag.b = { at = \"holding:40\", type = \"u16\", access = \"write-only\" }\n\
                   tag.c = { at = \"coil:3\", type = \"bool\", access = \"read-write\" }\n";
    let slaves = slaves();
    let (_bus, gateway) = on_bus(&slaves, devices).await;
    until(&gateway, "d/a", Quality::Good).await;
    assert_eq!(write(&gateway, "d/a", Value::F32(12.5)).await, Ok(()));
    assert_eq!(slaves[&2].bank().holding_f32(8, Order::Cdab), 12.5);
    assert_eq!(write(&gateway, "d/c", Value::Bool(true)).await, Ok(()));
    assert!(slaves[&2].bank().coil(3));
    // There is no such register.
    let refused = Err(Refusal::Fault(Fault::Refused(2)));
    assert_eq!(write(&gateway, "d/b", Value::U16(1)).await, refused);
    assert_eq!(latest(&gateway, "d/b").unwrap().quality, Quality::Bad(Bad::NeverRead));
    gateway.stop().await;
}

/// A device that others wrote, on a socket, as unit 2.
async fn on_plc(plc: &plc::OnSocket, devices: &str) -> Gateway {
    let link = format!("[[link.modbus-tcp]]\nname = \"l\"\nhost = \"127.0.0.1\"\nport = {}\n", plc.port);
    start(&link, devices).await
}

#[tokio::test]
async fn a_device_that_silently_limits_what_is_written_is_found_out_and_its_value_comes_home() {
    let plc = plc::OnSocket::new();
    let devices = "[[device]]\nname = \"d\"\nlink = \"l\"\nunit = 2\nwrite = \"read-back\"\nidentify = false\n\
                   tag.a = { at = \"holding:8\", type = \"u16\", access = \"read-write\" }\n";
    let gateway = on_plc(&plc, devices).await;
    until(&gateway, "d/a", Quality::Good).await;
    plc.plc.memory().most = 400;
    assert_eq!(write(&gateway, "d/a", Value::U16(400)).await, Ok(()));
    assert_eq!(write(&gateway, "d/a", Value::U16(500)).await, Err(Refusal::Fault(Fault::Altered)));
    assert_eq!(latest(&gateway, "d/a").unwrap().value, Some(Value::U16(400)));
    assert!(plc.plc.memory().log.iter().all(|(_, function)| matches!(function, 3 | 23)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_device_without_function_22_refuses_and_nothing_else_is_tried() {
    let plc = plc::OnSocket::new();
    let gateway = on_plc(&plc, &PARTS.replace("KEYS", "scan = \"default\"")).await;
    until(&gateway, "d/bit", Quality::Good).await;
    let before = plc.plc.memory().holding.clone();
    plc.plc.memory().refuse = Some(tokio_modbus::ExceptionCode::IllegalFunction);
    plc.plc.memory().log.clear();
    let refused = Err(Refusal::Fault(Fault::Refused(1)));
    assert_eq!(write(&gateway, "d/bit", Value::Bool(true)).await, refused);
    assert_eq!(plc.plc.memory().holding, before);
    let wrote: Vec<_> = plc.plc.memory().log.iter().map(|(_, f)| *f).filter(|f| *f != 3).collect();
    assert_eq!(wrote, [22]);
    gateway.stop().await;
}

const BUS: &str = r#"
[[device]]
name = "all"
link = "l"
unit = 0
broadcast = true
[device.tag]
time = { at = "holding:8", type = "u32", access = "write-only" }
run = { at = "coil:2", type = "bool", access = "write-only" }
bit = { at = "holding:4.6", type = "bool", access = "write-only" }

[[device]]
name = "one"
link = "l"
unit = 1
[device.tag]
time = { at = "holding:8", type = "u32" }
reset = { at = "holding:10", type = "u16", access = "write-only" }
"#;

#[tokio::test]
async fn a_broadcast_reaches_all_units_and_nobody_is_waited_for() {
    let slaves = slaves();
    let (_bus, gateway) = on_bus(&slaves, BUS).await;
    until(&gateway, "one/time", Quality::Good).await;
    let never = Quality::Bad(Bad::NeverRead);
    for path in ["all/time", "all/run", "all/bit", "one/reset"] {
        until(&gateway, path, never).await;
    }
    let device = |name: &str| gateway.directory().devices().iter().find(|d| &*d.name == name).unwrap().id;
    assert_eq!(gateway.store().device_state(device("all")), DeviceState::Alive);
    let started = Instant::now();
    assert_eq!(write(&gateway, "all/time", Value::U32(0x0102_0304)).await, Ok(()));
    // The turnaround delay is over, so all have done it, and the next request disturbs nobody.
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    for slave in slaves.values() {
        let bank = slave.bank();
        assert_eq!([bank.holding(8), bank.holding(9)], [0x0102, 0x0304]);
    }
    assert_eq!(write(&gateway, "all/run", Value::Bool(true)).await, Ok(()));
    assert_eq!(write(&gateway, "all/bit", Value::Bool(true)).await, Ok(()));
    assert_eq!(write(&gateway, "one/reset", Value::U16(7)).await, Ok(()));
    for (unit, slave) in &slaves {
        let bank = slave.bank();
        assert_eq!((bank.coil(2), bank.holding(4)), (true, 0xA5E5), "unit {unit}");
        assert_eq!(bank.holding(10), if *unit == 1 { 7 } else { 0 }, "unit {unit}");
    }
    let stats = gateway.telemetry().link("l");
    assert_eq!((stats.timeouts.get(), stats.garbled.get(), stats.writes.get()), (0, 0, 4));
    assert_eq!(latest(&gateway, "all/time").unwrap().quality, never);
    gateway.stop().await;
}

#[tokio::test]
async fn over_tcp_unit_0_is_a_device_like_any_other() {
    let slaves: Slaves = [(0, slave())].into_iter().collect();
    let devices =
        "[[device]]\nname = \"d\"\nlink = \"l\"\nunit = 0\ntag.a = { at = \"holding:4\", type = \"u16\" }\n";
    let (_server, gateway) = on_socket(&slaves, devices).await;
    until(&gateway, "d/a", Quality::Good).await;
    assert_eq!(latest(&gateway, "d/a").unwrap().value, Some(Value::U16(0xA5A5)));
    gateway.stop().await;
}
