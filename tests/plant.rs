//! Simulated Modbus devices, asked by a Modbus client that others wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fieldgate::drivers::modbus::address::Area;
use fieldgate::drivers::modbus::config::Parity;
use fieldgate::drivers::modbus::rtu::Pace;
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use fieldgate::simulate::modbus::manner::{Manner, Silence};
use fieldgate::simulate::modbus::{RtuBus, Slave, Slaves, TcpServer};
use fieldgate::simulate::plant::{Endpoint, Plant, Site};
use tokio::time::timeout;
use tokio_modbus::client::{Context, rtu, tcp};
use tokio_modbus::prelude::{ExceptionCode, Reader, Slave as Unit, SlaveContext, Writer};
use tokio_serial::{SerialPortBuilderExt, SerialStream};

const LONG: Duration = Duration::from_secs(20);

fn bank() -> Bank {
    let mut bank = Bank::new(Sizes { coils: 16, discretes: 16, inputs: 130, holdings: 130 });
    for at in 0..130 {
        bank.put(Area::Input, at, &[1000 + at]);
    }
    bank.put_bit(Area::Discrete, 9, true);
    bank
}

fn silent() -> Manner {
    let hour = Duration::from_secs(3600);
    Manner { silence: Some(Silence { after: Duration::ZERO, lasts: hour, every: hour }), ..Manner::default() }
}

/// Unit 3 answers, unit 4 never does.
fn slaves() -> Slaves {
    [(3, Slave::new(bank(), Manner::default())), (4, Slave::new(bank(), silent()))].into_iter().collect()
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn serial(bus: &RtuBus) -> SerialStream {
    tokio_serial::new(bus.path().to_str().unwrap(), 19_200).open_native_async().unwrap()
}

/// All kinds of requests, over any wire.
async fn keeps_the_protocol(client: &mut Context) {
    client.set_slave(Unit(3));
    let words = client.read_input_registers(0, 125).await.unwrap().unwrap();
    assert_eq!(words, (1000..1125).collect::<Vec<u16>>());
    assert_eq!(client.read_discrete_inputs(8, 3).await.unwrap().unwrap(), [false, true, false]);
    client.write_multiple_registers(7, &[1, 2, 3]).await.unwrap().unwrap();
    client.write_single_register(8, 77).await.unwrap().unwrap();
    assert_eq!(client.read_holding_registers(6, 5).await.unwrap().unwrap(), [0, 1, 77, 3, 0]);
    client.write_multiple_coils(0, &[true; 9]).await.unwrap().unwrap();
    client.write_single_coil(4, false).await.unwrap().unwrap();
    let coils = client.read_coils(0, 10).await.unwrap().unwrap();
    assert_eq!(coils, (0..10).map(|at| at != 4 && at < 9).collect::<Vec<_>>());
    let past_the_end = client.read_holding_registers(129, 2).await.unwrap();
    assert_eq!(past_the_end, Err(ExceptionCode::IllegalDataAddress));
    let read_only = client.write_multiple_registers(129, &[1, 2]).await.unwrap();
    assert_eq!(read_only, Err(ExceptionCode::IllegalDataAddress));
}

#[tokio::test]
async fn a_tcp_device_keeps_the_protocol() {
    let server = TcpServer::bind(loopback(), slaves()).await.unwrap();
    let mut client = tcp::connect(server.address()).await.unwrap();
    timeout(LONG, keeps_the_protocol(&mut client)).await.unwrap();
    client.set_slave(Unit(9));
    let nobody = timeout(LONG, client.read_coils(0, 1)).await.unwrap().unwrap();
    assert_eq!(nobody, Err(ExceptionCode::GatewayTargetDevice));
}

#[tokio::test]
async fn a_serial_bus_keeps_the_protocol() {
    let bus = RtuBus::open(Pace::new(19_200, Parity::Even, 1), slaves()).unwrap();
    let mut client = rtu::attach_slave(serial(&bus), Unit(3));
    timeout(LONG, keeps_the_protocol(&mut client)).await.unwrap();
}

#[tokio::test]
async fn who_is_silent_or_not_there_does_not_answer_on_the_bus() {
    let bus = RtuBus::open(Pace::new(19_200, Parity::Even, 1), slaves()).unwrap();
    for unit in [4, 9] {
        let mut client = rtu::attach_slave(serial(&bus), Unit(unit));
        let answer = timeout(Duration::from_millis(300), client.read_input_registers(0, 1)).await;
        assert!(answer.is_err(), "unit {unit}: {answer:?}");
    }
    // The port was closed and opened again: the bus is still there.
    let mut client = rtu::attach_slave(serial(&bus), Unit(3));
    let words = timeout(LONG, client.read_input_registers(0, 1)).await.unwrap().unwrap().unwrap();
    assert_eq!(words, [1000]);
}

#[tokio::test]
async fn a_silent_unit_does_not_hold_up_others_of_its_socket() {
    let server = TcpServer::bind(loopback(), slaves()).await.unwrap();
    let mut waiting = tcp::connect_slave(server.address(), Unit(4)).await.unwrap();
    assert!(timeout(Duration::from_millis(200), waiting.read_coils(0, 1)).await.is_err());
    let mut other = tcp::connect_slave(server.address(), Unit(3)).await.unwrap();
    assert_eq!(timeout(LONG, other.read_coils(0, 1)).await.unwrap().unwrap().unwrap(), [false]);
}

#[tokio::test]
async fn an_answer_takes_the_time_of_its_bytes_at_the_baud_rate() {
    let pace = Pace::new(1200, Parity::Even, 1);
    let bus = RtuBus::open(pace, slaves()).unwrap();
    let mut client = rtu::attach_slave(serial(&bus), Unit(3));
    let started = Instant::now();
    timeout(LONG, client.read_input_registers(0, 20)).await.unwrap().unwrap().unwrap();
    // 8 bytes of request and 45 of answer, at eleven bits each: 486 ms.
    assert!(started.elapsed() >= pace.bytes(8 + 45), "{:?}", started.elapsed());
}

#[tokio::test]
async fn noise_on_the_bus_is_passed_over() {
    use tokio::io::AsyncWriteExt;
    let bus = RtuBus::open(Pace::new(19_200, Parity::Even, 1), slaves()).unwrap();
    let mut port = serial(&bus);
    port.write_all(&[0xFF, 0x99, 0x00, 3, 3, 0]).await.unwrap();
    let mut client = rtu::attach_slave(port, Unit(3));
    let answered = async {
        // The first requests may drown in what came before.
        loop {
            let asked = client.read_input_registers(5, 1);
            if let Ok(Ok(words)) = timeout(Duration::from_millis(300), asked).await {
                return words;
            }
        }
    };
    assert_eq!(timeout(LONG, answered).await.unwrap().unwrap(), [1005]);
}

#[tokio::test]
async fn no_modbus_ends_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TcpServer::bind(loopback(), slaves()).await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset where bytes were left unread, an end where not.
    let _ = timeout(LONG, socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
}

fn float(words: &[u16]) -> f32 {
    f32::from_bits(u32::from(words[1]) << 16 | u32::from(words[0]))
}

#[tokio::test]
async fn a_pump_station_starts_its_second_pump_by_hand_and_the_level_follows() {
    let plant = Plant::start(Site::Water).await.unwrap();
    let Some(Endpoint::Tcp(address)) = plant.endpoint("plc-north") else { panic!("no plc-north") };
    let mut plc = tcp::connect_slave(*address, Unit(1)).await.unwrap();
    let level = float(&plc.read_input_registers(0, 2).await.unwrap().unwrap());
    assert!((0.5..5.0).contains(&level), "{level}");
    // By hand first: otherwise the switches follow the pumps.
    plc.write_single_register(2, 2).await.unwrap().unwrap();
    plc.write_multiple_coils(0, &[true, true]).await.unwrap().unwrap();
    let follows = async {
        loop {
            let words = plc.read_input_registers(0, 20).await.unwrap().unwrap();
            // Both run, at more than what one can do, and the tank fills.
            if words[18] & 3 == 3 && float(&words[2..]) > 120.0 && float(&words) > level + 0.03 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, follows).await.unwrap();
}

#[tokio::test]
async fn all_three_units_answer_on_the_dosing_bus() {
    let plant = Plant::start(Site::Water).await.unwrap();
    let Some(Endpoint::Serial(path)) = plant.endpoint("dosing-bus") else { panic!("no dosing-bus") };
    let port = tokio_serial::new(path.to_str().unwrap(), 19_200).open_native_async().unwrap();
    let mut bus = rtu::attach_slave(port, Unit(11));
    let mut read = async |unit, count| {
        bus.set_slave(Unit(unit));
        timeout(LONG, bus.read_input_registers(0, count)).await.unwrap().unwrap().unwrap()
    };
    let residual = float(&read(11, 2).await);
    assert!((0.2..1.0).contains(&residual), "{residual} mg/l");
    let ph = read(12, 1).await[0];
    assert!((650..850).contains(&ph), "pH {ph} / 100");
    let turbidity = read(13, 2).await;
    let turbidity = f32::from_bits(u32::from(turbidity[0]) << 16 | u32::from(turbidity[1]));
    assert!((0.1..0.6).contains(&turbidity), "{turbidity} NTU");
}
