//! The Modbus drivers against devices that others wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/plc.rs"]
mod plc;

use std::time::Duration;

use std::collections::BTreeSet;

use fieldgate::drivers::driver::{Block, Compiled, Driver, Point, Request};
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice};
use fieldgate::drivers::modbus::{
    ModbusLine, ModbusTcp, compile_ascii, compile_rtu, compile_socket, compile_tcp,
};
use fieldgate::model::{DataType, Fault, Place, Raw};
use plc::{OnCable, OnSocket, Plc};
use tokio_modbus::ExceptionCode;

fn devices() -> Vec<ModbusDevice> {
    let device = |unit, write_multiple| ModbusDevice {
        name: format!("unit-{unit}"),
        unit,
        write_multiple,
        ..ModbusDevice::default()
    };
    let read_back = ModbusDevice { read_back: true, read_modify_write: true, ..device(2, false) };
    vec![device(1, false), device(2, true), device(3, false), read_back]
}

/// Addresses of the largest reads and writes that there are, and of every function.
const ASKED: &[(usize, &str, DataType, u16, bool)] = &[
    (0, "input:10", DataType::Text, 250, false),
    (0, "holding:200", DataType::Text, 246, true),
    (0, "holding:500", DataType::U16, 0, true),
    (0, "holding:502", DataType::F64, 0, true),
    (0, "coil:4", DataType::Bool, 0, true),
    (0, "coil:19", DataType::Bool, 0, true),
    (1, "holding:600", DataType::U16, 0, true),
    (1, "coil:40", DataType::Bool, 0, true),
    (0, "holding:700.0", DataType::Bool, 0, true),
    (0, "holding:701.15", DataType::Bool, 0, true),
    (0, "holding:702.hi", DataType::U8, 0, true),
    (3, "holding:703.7", DataType::Bool, 0, true),
    (3, "holding:704.lo", DataType::I8, 0, true),
    (3, "holding:710", DataType::Text, 242, true),
];

fn requests(bits: &[String]) -> Vec<Request<'_>> {
    let asked = ASKED.iter().map(|(device, address, kind, length, writable)| Request {
        device: *device,
        address,
        kind: *kind,
        length: *length,
        writable: *writable,
        period: Duration::from_secs(1),
    });
    // Discrete inputs 0 to 1999 with gaps: one request of 2000 bits, the most there may be.
    let bits = bits.iter().map(|address| Request {
        device: 0,
        address,
        kind: DataType::Bool,
        length: 0,
        writable: false,
        period: Duration::from_secs(1),
    });
    asked.chain(bits).collect()
}

fn bits() -> Vec<String> {
    (0..=1900).step_by(100).chain([1999]).map(|at| format!("discrete:{at}")).collect()
}

/// What the memory of the device has at each request's address.
fn expected(plc: &Plc, address: &str, place: Place) -> Vec<u16> {
    let memory = plc.memory();
    let (area, at) = address.split_once(':').unwrap();
    let at: usize = at.split('.').next().unwrap().parse().unwrap();
    let count = match place {
        Place::Words { count, .. } | Place::Bits { count, .. } => count,
        _ => 1,
    };
    (at..at + count)
        .map(|at| match area {
            "coil" => u16::from(memory.coils[at]),
            "discrete" => u16::from(memory.discrete[at]),
            "input" => memory.input[at],
            _ => memory.holding[at],
        })
        .collect()
}

fn at_place(raw: &Raw, place: Place) -> Vec<u16> {
    match place {
        Place::Bit { at } => vec![u16::from(raw.bits[at])],
        Place::Bits { at, count } => raw.bits[at..at + count].iter().map(|bit| u16::from(*bit)).collect(),
        Place::Words { at, count } => raw.words[at..at + count].to_vec(),
        // The whole register: `expected` knows no parts.
        Place::WordBit { at, .. } | Place::HalfWord { at, .. } => vec![raw.words[at]],
    }
}

/// The bits of a register that are the value.
fn mask(place: Place) -> u16 {
    match place {
        Place::WordBit { bit, .. } => 1 << bit,
        Place::HalfWord { high, .. } => 0xFF << (u16::from(high) * 8),
        Place::Bit { .. } | Place::Bits { .. } | Place::Words { .. } => u16::MAX,
    }
}

async fn read_all<D: Driver>(
    driver: &mut D,
    compiled: &Compiled<D::Spec>,
    requests: &[Request<'_>],
    plc: &Plc,
) {
    let mut raw = Raw::default();
    for (at, block) in compiled.blocks.iter().enumerate() {
        driver.read(Block(at), &mut raw).await.unwrap_or_else(|e| panic!("{}: {e}", block.label));
        for slot in &block.slots {
            let address = requests[slot.request].address;
            assert_eq!(at_place(&raw, slot.place), expected(plc, address, slot.place), "{address}");
        }
    }
}

async fn every_function<D: Driver>(mut driver: D, compiled: Compiled<D::Spec>, plc: Plc) {
    let bits = bits();
    let requests = requests(&bits);
    assert!(compiled.blocks.iter().any(|b| b.label == "discrete 0..1999"), "{:?}", compiled.blocks);
    assert!(compiled.blocks.iter().any(|b| b.label == "input 10..134"));
    driver.load(&compiled.spec);
    let connected = driver.connect().await;
    assert_eq!(connected, Ok(()), "{}", driver.trouble());
    read_all(&mut driver, &compiled, &requests, &plc).await;
    for (at, point) in compiled.points.iter().enumerate() {
        let address = requests[point.request].address;
        for salt in [0_u16, 1] {
            let mut raw = Raw::default();
            match point.place {
                Place::Bit { .. } => raw.bits.push(salt == 1),
                Place::Bits { count, .. } => raw.bits.extend((0..count as u16).map(|i| i % 3 == salt)),
                Place::Words { count, .. } => raw.words.extend((0..count as u16).map(|i| i * 257 + salt)),
                Place::WordBit { .. } | Place::HalfWord { .. } => {
                    raw.words.push((0xA5A5 * salt) & mask(point.place));
                }
            }
            let before = expected(&plc, address, point.place);
            driver.write(Point(at), &raw).await.unwrap_or_else(|e| panic!("{address}: {e}"));
            let mask = mask(point.place);
            let wanted =
                before.iter().zip(at_place(&raw, point.place)).map(|(old, new)| old & !mask | new & mask);
            assert_eq!(expected(&plc, address, point.place), wanted.collect::<Vec<_>>(), "{address}");
        }
    }
    read_all(&mut driver, &compiled, &requests, &plc).await;
    let log: BTreeSet<(u8, u8)> = plc.memory().log.iter().copied().collect();
    let of_unit = |unit| log.iter().filter(|(u, _)| *u == unit).map(|(_, f)| *f).collect::<Vec<_>>();
    assert_eq!(of_unit(1), [1, 2, 3, 4, 5, 6, 16, 22]);
    // One device of this unit is written with several at once only, the other with function 23, and 3 and 6.
    assert_eq!(of_unit(2), [1, 3, 6, 15, 16, 23]);
}

async fn every_exception<D: Driver>(mut driver: D, compiled: Compiled<D::Spec>, plc: Plc) {
    driver.load(&compiled.spec);
    let connected = driver.connect().await;
    assert_eq!(connected, Ok(()), "{}", driver.trouble());
    let mut raw = Raw::default();
    for code in [
        ExceptionCode::IllegalFunction,
        ExceptionCode::IllegalDataAddress,
        ExceptionCode::IllegalDataValue,
        ExceptionCode::ServerDeviceFailure,
        ExceptionCode::Acknowledge,
        ExceptionCode::ServerDeviceBusy,
        ExceptionCode::MemoryParityError,
        ExceptionCode::GatewayPathUnavailable,
        ExceptionCode::GatewayTargetDevice,
        ExceptionCode::Custom(99),
    ] {
        plc.memory().refuse = Some(code);
        let number = u8::from(code);
        let fault = match number {
            5 | 6 => Fault::Busy,
            // A gateway's word for a unit that does not answer it.
            10 | 11 => Fault::Timeout,
            _ => Fault::Refused(number),
        };
        assert_eq!(driver.read(Block(0), &mut raw).await, Err(fault));
        assert_eq!(raw, Raw::default());
        let one = Raw { words: vec![1; 123], ..Raw::default() };
        assert_eq!(driver.write(Point(0), &one).await, Err(fault));
    }
    plc.memory().refuse = None;
    assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
}

/// A unit that nobody has does not answer, and its neighbours do as before.
async fn a_stranger<D: Driver>(mut driver: D, compiled: Compiled<D::Spec>) {
    driver.load(&compiled.spec);
    let connected = driver.connect().await;
    assert_eq!(connected, Ok(()), "{}", driver.trouble());
    let mut raw = Raw::default();
    for _ in 0..5 {
        assert_eq!(driver.read(Block(1), &mut raw).await, Err(Fault::Timeout));
        assert_eq!(raw, Raw::default());
        assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
    }
}

fn stranger_requests() -> Vec<Request<'static>> {
    let request = |device| Request {
        device,
        address: "holding:3",
        kind: DataType::U16,
        length: 0,
        writable: false,
        period: Duration::from_secs(1),
    };
    vec![request(0), request(2)]
}

#[tokio::test]
async fn tcp_every_function_reaches_the_right_place_up_to_the_protocols_limits() {
    let peer = OnSocket::new();
    let compiled = compile_tcp(&peer.link("5s"), &devices(), &requests(&bits())).unwrap();
    every_function(ModbusTcp::default(), compiled, peer.plc.clone()).await;
}

#[tokio::test]
async fn rtu_every_function_reaches_the_right_place_up_to_the_protocols_limits() {
    let peer = OnCable::new();
    let compiled = compile_rtu(&peer.link("2s"), &devices(), &requests(&bits())).unwrap();
    every_function(ModbusLine::default(), compiled, peer.plc.clone()).await;
}

#[tokio::test]
async fn tcp_every_exception_comes_through() {
    let peer = OnSocket::new();
    let compiled = compile_tcp(&peer.link("5s"), &devices(), &requests(&bits())).unwrap();
    every_exception(ModbusTcp::default(), compiled, peer.plc.clone()).await;
}

#[tokio::test]
async fn rtu_every_exception_comes_through() {
    let peer = OnCable::new();
    let compiled = compile_rtu(&peer.link("2s"), &devices(), &requests(&bits())).unwrap();
    every_exception(ModbusLine::default(), compiled, peer.plc.clone()).await;
}

#[tokio::test]
async fn tcp_a_unit_that_is_not_there_does_not_harm_its_neighbours() {
    let peer = OnSocket::new();
    let mut devices = devices();
    devices[2].timeout = Some(std::time::Duration::from_millis(50));
    let compiled = compile_tcp(&peer.link("5s"), &devices, &stranger_requests()).unwrap();
    a_stranger(ModbusTcp::default(), compiled).await;
}

#[tokio::test]
async fn rtu_a_unit_that_is_not_there_does_not_harm_its_neighbours() {
    let peer = OnCable::new();
    let mut devices = devices();
    devices[2].timeout = Some(std::time::Duration::from_millis(50));
    let compiled = compile_rtu(&peer.link("2s"), &devices, &stranger_requests()).unwrap();
    a_stranger(ModbusLine::default(), compiled).await;
}

#[test]
fn a_value_too_long_for_one_read_or_one_write_is_refused_before_anything_runs() {
    let peer = OnSocket::new();
    let compile = |length, writable, most| {
        let devices = [ModbusDevice { max_registers: most, ..ModbusDevice::default() }];
        let request = Request {
            device: 0,
            address: "holding:0",
            kind: DataType::Text,
            length,
            writable,
            period: Duration::from_secs(1),
        };
        compile_tcp(&peer.link("1s"), &devices, &[request]).map(|_| ()).map_err(|errors| errors[0].1.code)
    };
    assert_eq!(compile(250, false, 125), Ok(()));
    assert_eq!(compile(246, true, 125), Ok(()));
    assert_eq!(compile(248, true, 125), Err("too-long"));
    assert_eq!(compile(20, false, 9), Err("too-long"));
}

#[tokio::test]
async fn every_framing_over_a_socket_reaches_the_right_place_up_to_the_protocols_limits() {
    for framing in [Framing::Rtu, Framing::Ascii, Framing::Tcp] {
        let peer = OnSocket::with(framing);
        let compiled = compile_socket(&peer.link("500ms"), &devices(), &requests(&bits())).unwrap();
        every_function(ModbusLine::default(), compiled, peer.plc.clone()).await;
        let compiled = compile_socket(&peer.link("500ms"), &devices(), &requests(&bits())).unwrap();
        every_exception(ModbusLine::default(), compiled, peer.plc.clone()).await;
    }
}

#[tokio::test]
async fn ascii_every_function_reaches_the_right_place_up_to_the_protocols_limits() {
    let peer = OnCable::ascii();
    let compiled = compile_ascii(&peer.link("500ms"), &devices(), &requests(&bits())).unwrap();
    every_function(ModbusLine::default(), compiled, peer.plc.clone()).await;
    let compiled = compile_ascii(&peer.link("500ms"), &devices(), &requests(&bits())).unwrap();
    every_exception(ModbusLine::default(), compiled, peer.plc.clone()).await;
}

#[tokio::test]
async fn behind_an_adapter_that_hears_what_it_sends_every_function_reaches_the_right_place() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let peer = OnCable::echoing(framing);
        let compiled = peer.compile(&peer.link("500ms"), &devices(), &requests(&bits())).unwrap();
        every_function(ModbusLine::default(), compiled, peer.plc.clone()).await;
    }
}
