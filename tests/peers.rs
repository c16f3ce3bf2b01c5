//! tokio-modbus both ways: its client asks simulated devices, and the program asks its server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/plc.rs"]
mod plc;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldgate::drivers::modbus::address::Area;
use fieldgate::drivers::modbus::config::Parity;
use fieldgate::drivers::modbus::rtu::Pace;
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use fieldgate::simulate::modbus::manner::Manner;
use fieldgate::simulate::modbus::{RtuBus, Slave, Slaves, TcpServer};
use plc::{OnCable, OnSocket, Plc};
use tokio::time::timeout;
use tokio_modbus::client::{Context, rtu, tcp};
use tokio_modbus::prelude::{Client, ExceptionCode, Reader, Request, Response, Slave as Unit, Writer};
use tokio_serial::SerialPortBuilderExt;

const LONG: Duration = Duration::from_secs(60);

fn slaves() -> Slaves {
    let mut bank = Bank::new(Sizes { coils: 2000, discretes: 2000, inputs: 125, holdings: 125 });
    for at in 0..125 {
        bank.put(Area::Input, at, &[at * 523]);
        bank.put(Area::Holding, at, &[0xFF00 | at]);
    }
    (0..2000).filter(|at| odd(*at)).for_each(|at| bank.put_bit(Area::Discrete, at, true));
    [(7, Slave::new(bank, Manner::default()))].into_iter().collect()
}

/// Bits without a period that a mistake could keep.
fn odd(at: u16) -> bool {
    u32::from(at) * u32::from(at) % 11 < 4
}

/// Every function that a client may ask, up to the protocol's limits, and what is past the end.
async fn every_function(client: &mut Context) {
    let inputs = client.read_input_registers(0, 125).await.unwrap().unwrap();
    assert_eq!(inputs, (0..125).map(|at| at * 523).collect::<Vec<u16>>());
    let discretes = client.read_discrete_inputs(0, 2000).await.unwrap().unwrap();
    assert_eq!(discretes, (0..2000).map(odd).collect::<Vec<_>>());

    let words: Vec<u16> = (0..123).map(|at| at * 257 + 3).collect();
    client.write_multiple_registers(0, &words).await.unwrap().unwrap();
    let mut holding = [&words[..], &[0xFF00 | 123, 0xFF00 | 124]].concat();
    assert_eq!(client.read_holding_registers(0, 125).await.unwrap().unwrap(), holding);
    client.write_single_register(5, 0xABCD).await.unwrap().unwrap();
    holding[5] = 0xABCD;
    // The numbers of the specification's example (Application Protocol V1.1b3, section 6.16).
    client.write_single_register(4, 0x12).await.unwrap().unwrap();
    client.masked_write_register(4, 0xF2, 0x25).await.unwrap().unwrap();
    holding[4] = 0x17;
    assert_eq!(client.read_holding_registers(0, 125).await.unwrap().unwrap(), holding);
    let words: Vec<u16> = (0..121).map(|at| at * 409 + 1).collect();
    holding[..121].copy_from_slice(&words);
    let read = client.read_write_multiple_registers(0, 125, 0, &words).await.unwrap().unwrap();
    assert_eq!(read, holding);

    let coils: Vec<bool> = (0..1968).map(odd).collect();
    client.write_multiple_coils(5, &coils).await.unwrap().unwrap();
    client.write_single_coil(1990, true).await.unwrap().unwrap();
    let mut wanted = [&[false; 5][..], &coils, &[false; 27]].concat();
    wanted[1990] = true;
    assert_eq!(client.read_coils(0, 2000).await.unwrap().unwrap(), wanted);

    let nothing = Err(ExceptionCode::IllegalDataAddress);
    assert_eq!(client.read_holding_registers(124, 2).await.unwrap(), nothing);
    assert_eq!(client.write_multiple_registers(124, &[1, 2]).await.unwrap(), nothing.clone().map(|_| ()));
    let masked = client.masked_write_register(125, 0, 0).await.unwrap();
    assert_eq!(masked, Err(ExceptionCode::IllegalDataAddress));
    let written = client.read_write_multiple_registers(0, 1, 125, &[1]).await.unwrap();
    assert_eq!(written, nothing);
    // More than the protocol allows.
    let too_many = client.call(Request::ReadHoldingRegisters(0, 126)).await.unwrap();
    assert_eq!(too_many.unwrap_err(), ExceptionCode::IllegalDataValue);
    let too_many = client.call(Request::ReadCoils(0, 2001)).await.unwrap();
    assert_eq!(too_many.unwrap_err(), ExceptionCode::IllegalDataValue);
    let Response::ReadHoldingRegisters(after) =
        client.call(Request::ReadHoldingRegisters(0, 125)).await.unwrap().unwrap()
    else {
        panic!("another answer");
    };
    assert_eq!(after, holding, "what is refused changes nothing");
}

#[tokio::test]
async fn a_client_gets_every_function_of_a_simulated_device_over_tcp() {
    let server = TcpServer::bind((Ipv4Addr::LOCALHOST, 0).into(), slaves()).await.unwrap();
    let mut client = tcp::connect_slave(server.address(), Unit(7)).await.unwrap();
    timeout(LONG, every_function(&mut client)).await.unwrap();
}

#[tokio::test]
async fn a_client_gets_every_function_of_a_simulated_device_on_a_serial_line() {
    let bus = RtuBus::open(Pace::new(115_200, Parity::Even, 1), slaves()).unwrap();
    let port = tokio_serial::new(bus.path().to_str().unwrap(), 115_200).open_native_async().unwrap();
    let mut client = rtu::attach_slave(port, Unit(7));
    timeout(LONG, every_function(&mut client)).await.unwrap();
}

/// The tags by which the program asks for every function; `Plc` has each register at its own value.
const TAGS: &str = r#"
[device.tag]
coil = { at = "coil:7", type = "bool", access = "read-write" }
discrete = { at = "discrete:8", type = "bool" }
input = { at = "input:9", type = "u16" }
word = { at = "holding:10", type = "u16", access = "read-write" }
bit = { at = "holding:12.3", type = "bool", access = "read-write" }
pair = { at = "holding:20", type = "u32", order = "cdab", access = "read-write" }
"#;

/// Reads and writes with the program, and gives the functions that the server was asked.
fn program(link: &str, plc: &Plc) -> BTreeSet<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = |write: &str| {
        let path = folder.path().join(format!("{write}.toml"));
        let text = format!(
            "node = {{ group = \"g\", name = \"n\" }}\nsystem.enabled = false\n{link}\n[[device]]\n\
             name = \"d\"\nlink = \"l\"\nunit = 1\nwrite = \"{write}\"\n{TAGS}"
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let write = |how: &str, tag: &str, value: &str| {
        let output = run(&["write", &file(how), &format!("d/{tag}"), value, "--json"]);
        assert_eq!(output["written"], true, "{tag} = {value}, {how}: {output}");
    };
    plc.memory().holding[12] = 0xA5A5;
    write("single", "coil", "true");
    write("single", "word", "4711");
    write("single", "bit", "true");
    write("multiple", "coil", "false");
    write("multiple", "pair", "16909060");
    assert!(!plc.memory().coils[7]);
    assert_eq!(plc.memory().holding[20..22], [0x0304, 0x0102]);
    assert_eq!(plc.memory().holding[10], 4711);
    assert_eq!(plc.memory().holding[12], 0xA5AD);
    write("read-back", "pair", "4294967295");
    let discrete = plc.memory().discrete[8];
    let input = plc.memory().input[9];
    let read = run(&["read", &file("single"), "--json"]);
    let value = |tag: &str| {
        let mut tags = read["tags"].as_array().unwrap().iter();
        tags.find(|t| t["tag"] == format!("d/{tag}")).unwrap_or_else(|| panic!("{tag}: {read}"))["value"]
            .clone()
    };
    assert_eq!(value("coil"), false);
    assert_eq!(value("discrete"), discrete);
    assert_eq!(value("input"), input);
    assert_eq!(value("word"), 4711);
    assert_eq!(value("bit"), true);
    assert_eq!(value("pair"), u32::MAX);
    plc.memory().log.iter().map(|(_, function)| *function).collect()
}

fn run(arguments: &[&str]) -> serde_json::Value {
    let program = env!("CARGO_BIN_EXE_fieldgate");
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_program_asks_a_server_for_every_function_over_tcp() {
    let peer = OnSocket::new();
    let link = format!(
        "[[link.modbus-tcp]]\nname = \"l\"\nhost = \"127.0.0.1\"\nport = {}\ntimeout = \"5s\"",
        peer.port
    );
    let asked = program(&link, &peer.plc);
    assert!(asked.is_superset(&BTreeSet::from([1, 2, 3, 4, 5, 6, 15, 16, 22, 23])), "{asked:?}");
}

#[test]
fn the_program_asks_a_server_for_every_function_on_a_serial_line() {
    let peer = OnCable::new();
    let link = format!(
        "[[link.modbus-rtu]]\nname = \"l\"\nport = \"{}\"\nbaud = 115200\nparity = \"none\"\ntimeout = \"1s\"",
        peer.port.display()
    );
    let asked = program(&link, &peer.plc);
    assert!(asked.is_superset(&BTreeSet::from([1, 2, 3, 4, 5, 6, 15, 16, 22, 23])), "{asked:?}");
}

/// Registers of a number: the most significant byte is A, and the order says where it lies.
fn words(bytes: &[u8], order: &str) -> Vec<u16> {
    let mut words: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    if matches!(order, "cdab" | "dcba") {
        words.reverse();
    }
    if matches!(order, "badc" | "dcba") {
        words.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
    words
}

#[test]
fn the_program_reads_every_type_in_every_order_from_a_server() {
    let peer = OnSocket::new();
    let (mut tags, mut wanted, mut at) = (String::from("[device.tag]\n"), Vec::new(), 100);
    for order in ["abcd", "badc", "cdab", "dcba"] {
        let numbers: [(&str, Vec<u8>, serde_json::Value); 9] = [
            ("i16", (-12_345_i16).to_be_bytes().into(), (-12_345).into()),
            ("u16", 0xFE01_u16.to_be_bytes().into(), 0xFE01.into()),
            ("i32", (-123_456_789_i32).to_be_bytes().into(), (-123_456_789).into()),
            ("u32", 0xFE01_0203_u32.to_be_bytes().into(), 0xFE01_0203_u32.into()),
            ("i64", (-4_503_599_627_370_495_i64).to_be_bytes().into(), (-4_503_599_627_370_495_i64).into()),
            ("u64", 4_503_599_627_370_497_u64.to_be_bytes().into(), 4_503_599_627_370_497_u64.into()),
            ("f32", (-0.375_f32).to_be_bytes().into(), (-0.375).into()),
            ("f64", 1.0e-300_f64.to_be_bytes().into(), 1.0e-300.into()),
            ("string", b"Pump 7".to_vec(), "Pump 7".into()),
        ];
        for (kind, bytes, value) in numbers {
            // A text keeps its words in their order.
            let order_of = match (kind, order) {
                ("string", "cdab") => "abcd",
                ("string", "dcba") => "badc",
                _ => order,
            };
            let registers = words(&bytes, order_of);
            let length = if kind == "string" { ", length = 6" } else { "" };
            tags += &format!(
                "{kind}-{order} = {{ at = \"holding:{at}\", type = \"{kind}\", order = \"{order}\"{length} }}\n"
            );
            wanted.push((format!("d/{kind}-{order}"), value));
            peer.plc.memory().holding[at..at + registers.len()].copy_from_slice(&registers);
            at += registers.len();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("types.toml");
    let text = format!(
        "node = {{ group = \"g\", name = \"n\" }}\nsystem.enabled = false\n[[link.modbus-tcp]]\nname = \"l\"\n\
         host = \"127.0.0.1\"\nport = {}\ntimeout = \"5s\"\n[[device]]\nname = \"d\"\nlink = \"l\"\n{tags}",
        peer.port
    );
    std::fs::write(&file, text).unwrap();
    let read = run(&["read", file.to_str().unwrap(), "--json"]);
    for (tag, value) in wanted {
        let mut tags = read["tags"].as_array().unwrap().iter();
        let got = tags.find(|t| t["tag"] == tag).unwrap_or_else(|| panic!("{tag}: {read}"));
        assert_eq!((&got["value"], &got["quality"]), (&value, &"good".into()), "{tag}");
    }
}
