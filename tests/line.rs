//! What a line does beyond asking and being answered: echoes, other masters, ASCII as devices really send it,
//! pauses within a frame, and what all that costs in the plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/plc.rs"]
mod plc;

use std::time::Duration;

use fieldgate::drivers::driver::{Block, Compiled, Driver, Point, Request, Tally};
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice, SerialLink};
use fieldgate::drivers::modbus::{LineSpec, ModbusLine, compile_ascii, compile_rtu, compile_socket, rtu};
use fieldgate::model::{DataType, Fault, Raw};
use plc::{Cable, OnCable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::SerialStream;

const UNIT: u8 = 17;

fn requests() -> [Request<'static>; 2] {
    ["holding:10", "holding:500"].map(|address| Request {
        device: 0,
        address,
        kind: DataType::U16,
        length: 0,
        writable: true,
        period: Duration::from_secs(1),
    })
}

fn device(unit: u8) -> [ModbusDevice; 1] {
    [ModbusDevice { unit, ..ModbusDevice::default() }]
}

/// A driver on this end of a cable, and the other end.
async fn rtu(keys: &str) -> (ModbusLine, SerialStream, Cable) {
    let (cable, far) = Cable::new();
    let text = format!("name = \"bus\"\nport = \"{}\"\n{keys}", cable.path.display());
    let link: SerialLink = toml::from_str(&text).unwrap();
    let driver = open(compile_rtu(&link, &device(UNIT), &requests()).unwrap()).await;
    (driver, far, cable)
}

async fn open(compiled: Compiled<LineSpec>) -> ModbusLine {
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    assert_eq!(driver.connect().await, Ok(()), "{}", driver.trouble());
    driver
}

fn frame(pdu: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    rtu::encode(UNIT, &mut out, |out| out.extend_from_slice(pdu));
    out
}

async fn asked(far: &mut SerialStream) -> [u8; 8] {
    let mut request = [0; 8];
    far.read_exact(&mut request).await.unwrap();
    request
}

#[tokio::test]
async fn an_echo_is_never_taken_for_the_answer_to_a_write() {
    let peer = OnCable::echoing(Framing::Rtu);
    let compile = || peer.compile(&peer.link("60ms"), &device(1), &requests()).unwrap();
    let one = Raw { words: vec![7], ..Raw::default() };
    // Nothing is known of the adapter yet, and the device is silent: function 6 is answered by its own copy.
    peer.plc.memory().silent = true;
    let mut driver = open(compile()).await;
    assert_eq!(driver.write(Point(0), &one).await, Err(Fault::Timeout));
    assert!(peer.plc.memory().log.iter().all(|(_, function)| *function == 3), "nothing was written");
    // Known, and silent again.
    peer.plc.memory().silent = false;
    assert_eq!(driver.write(Point(0), &one).await, Ok(()));
    assert_eq!(peer.plc.memory().holding[10], 7);
    peer.plc.memory().silent = true;
    assert_eq!(driver.write(Point(0), &one).await, Err(Fault::Timeout));
    peer.plc.memory().silent = false;
    let mut raw = Raw::default();
    assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [7]);
    let requests = peer.plc.memory().log.len() as u64;
    assert_eq!(driver.tally(), Tally { echoes: requests, ..Tally::default() });
    assert_eq!(driver.tally(), Tally::default());
}

#[tokio::test]
async fn the_answer_to_another_master_is_counted_and_never_a_value() {
    let (mut driver, mut far, _cable) = rtu("timeout = \"300ms\"").await;
    let (heard, hear) = tokio::sync::oneshot::channel();
    let far = tokio::spawn(async move {
        assert_eq!(asked(&mut far).await[..], frame(&[3, 0, 10, 0, 1]));
        far.write_all(&frame(&[3, 2, 0, 1])).await.unwrap();
        // Another master asks the same of the same unit, which takes longer than any pause within a frame.
        tokio::time::sleep(Duration::from_millis(50)).await;
        far.write_all(&frame(&[3, 0, 10, 0, 1])).await.unwrap();
        heard.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(80)).await;
        far.write_all(&frame(&[3, 2, 0xDE, 0xAD])).await.unwrap();
        assert_eq!(asked(&mut far).await[..], frame(&[3, 0, 10, 0, 1]));
        far.write_all(&frame(&[3, 2, 0, 2])).await.unwrap();
        far
    });
    let mut raw = Raw::default();
    assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [1]);
    hear.await.unwrap();
    assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [2]);
    assert_eq!(driver.tally(), Tally { foreign: 2, ..Tally::default() });
    drop(far.await.unwrap());
}

#[tokio::test]
async fn noise_and_late_answers_are_counted() {
    let (mut driver, mut far, _cable) = rtu("timeout = \"60ms\"").await;
    let far = tokio::spawn(async move {
        asked(&mut far).await;
        far.write_all(&[0xFF, 0xFE, 0xFD]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
        far.write_all(&frame(&[3, 2, 0, 1])).await.unwrap();
        asked(&mut far).await;
        far.write_all(&frame(&[3, 2, 0, 2])).await.unwrap();
        far
    });
    let mut raw = Raw::default();
    assert_eq!(driver.read(Block(0), &mut raw).await, Err(Fault::Garbled));
    assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [2]);
    assert_eq!(driver.tally(), Tally { noise: 3, late: 1, ..Tally::default() });
    drop(far.await.unwrap());
}

#[tokio::test]
async fn a_pause_within_a_frame_spoils_it_only_where_timing_is_strict() {
    for (keys, expected) in
        [("timeout = \"500ms\"", Ok(())), ("timeout = \"500ms\"\nstrict-timing = true", Err(Fault::Garbled))]
    {
        let (mut driver, mut far, _cable) = rtu(keys).await;
        let far = tokio::spawn(async move {
            asked(&mut far).await;
            let answer = frame(&[3, 2, 0, 1]);
            far.write_all(&answer[..3]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(12)).await;
            far.write_all(&answer[3..]).await.unwrap();
            // And one without a pause.
            asked(&mut far).await;
            far.write_all(&answer).await.unwrap();
            far
        });
        let mut raw = Raw::default();
        assert_eq!(driver.read(Block(0), &mut raw).await, expected, "{keys}");
        assert_eq!(driver.read(Block(0), &mut raw).await, Ok(()), "{keys}");
        drop(far.await.unwrap());
    }
}

#[tokio::test]
async fn ascii_is_read_as_devices_really_send_it() {
    let (cable, mut far) = Cable::new();
    let link = plc::rtu_link(&cable.path, "60ms");
    let mut driver = open(compile_ascii(&link, &device(UNIT), &requests()).unwrap()).await;
    // Unit 17, function 3, two bytes: 0x11 + 3 + 2 + 0x12 + 0xAB = 0xD3, so the LRC is 0x2D.
    let cases: [(&[u8], Result<(), Fault>); 7] = [
        (b":11030212AB2D\r\n", Ok(())),
        (b":11030212ab2d\r\n", Ok(())),
        (b"\0\xFFnoise:11030212AB2D\r\n", Ok(())),
        (b":110302:11030212AB2D\r\n", Ok(())),
        (b":11030212AB2E\r\n", Err(Fault::Garbled)),
        (b":12030212AB2C\r\n", Err(Fault::Garbled)),
        (b"11030212AB2D\r\n", Err(Fault::Timeout)),
    ];
    let answers = cases.map(|(answer, _)| answer);
    let far = tokio::spawn(async move {
        for answer in answers {
            let mut request = [0; 17];
            far.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b":1103000A0001E1\r\n");
            far.write_all(answer).await.unwrap();
        }
        far
    });
    for (answer, expected) in cases {
        let mut raw = Raw::default();
        let came = driver.read(Block(0), &mut raw).await;
        assert_eq!(came, expected, "{}", String::from_utf8_lossy(answer));
        assert_eq!(raw.words, if came.is_ok() { vec![0x12AB] } else { Vec::new() });
    }
    drop(far.await.unwrap());
}

#[tokio::test]
async fn what_the_driver_counts_is_in_the_counters_of_its_link() {
    let peer = OnCable::echoing(Framing::Rtu);
    let text = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\nfast = \"20ms\"\n\
         [[link.modbus-rtu]]\nname = \"bus\"\nport = \"{}\"\nbaud = 115200\ntimeout = \"50ms\"\n\
         [[device]]\nname = \"d\"\nlink = \"bus\"\nidentify = false\n[device.tag]\nlevel = {{ at = \"holding:10\", type = \"u16\" }}\n",
        peer.port.display()
    );
    let config = fieldgate::config::load(&text).config.unwrap();
    let plan = fieldgate::plan::compile(&config, false, None).unwrap();
    let link = plan.links.into_iter().find(|link| link.name == "bus").unwrap();
    let clock = fieldgate::model::Clock::system();
    let telemetry = fieldgate::telemetry::Telemetry::new(clock.now());
    let (_mailbox, inbox) = tokio::sync::mpsc::channel(1);
    let stop = tokio_util::sync::CancellationToken::new();
    let cx = fieldgate::poll::Context {
        store: fieldgate::store::Store::in_memory(),
        telemetry: telemetry.clone(),
        clock,
        inbox: std::sync::Arc::new(tokio::sync::Mutex::new(inbox)),
        stop: stop.clone(),
    };
    let task =
        tokio::spawn(fieldgate::poll::run(tokio::sync::watch::channel(std::sync::Arc::new(link)).1, cx));
    let stats = telemetry.link("bus");
    while stats.answers.get() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    task.await.unwrap();
    assert_eq!(stats.echoes.get(), stats.requests.get());
}

#[test]
fn the_plan_knows_what_each_framing_costs() {
    let serial = |keys: &str| -> SerialLink {
        toml::from_str(&format!(
            "name = \"bus\"\nport = \"/dev/ttyS0\"\nbaud = 9600\nturnaround = \"5ms\"\n{keys}"
        ))
        .unwrap()
    };
    let micros = |compiled: Compiled<LineSpec>| compiled.blocks[0].cost.as_micros();
    // 8 + 7 characters and 3.5 of silence, eleven bits each.
    assert_eq!(micros(compile_rtu(&serial(""), &device(1), &requests()).unwrap()), 26_197);
    // 17 + 15 characters of ten bits, and no silence.
    assert_eq!(micros(compile_ascii(&serial(""), &device(1), &requests()).unwrap()), 38_333);
    let eight = serial("data-bits = 8");
    assert_eq!(micros(compile_ascii(&eight, &device(1), &requests()).unwrap()), 41_666);
    let socket =
        toml::from_str("name = \"n\"\nhost = \"h\"\nframing = \"rtu\"\nturnaround = \"5ms\"").unwrap();
    assert_eq!(micros(compile_socket(&socket, &device(1), &requests()).unwrap()), 5_001);
}
