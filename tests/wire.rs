//! Late, wrong, damaged and foreign answers never become values.
//!
//! The devices here are written by hand, so that they can do wrong. Every answer carries the address
//! asked for and the number of its request, so a value of another place or another moment is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/plc.rs"]
mod plc;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use fieldgate::drivers::driver::{Block, Compiled, Driver, Point, Request};
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice};
use fieldgate::drivers::modbus::{
    ModbusLine, ModbusTcp, compile_ascii, compile_rtu, compile_socket, compile_tcp, pdu, rtu, tcp,
};
use fieldgate::model::{DataType, Fault, Raw};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// The blocks: two registers each, far enough apart that none is merged.
const STARTS: [u16; 5] = [100, 300, 500, 700, 900];

fn compiled<S>(compile: impl Fn(&[ModbusDevice], &[Request<'_>]) -> Compiled<S>) -> Compiled<S> {
    let addresses = STARTS.map(|start| format!("holding:{start}"));
    let request = |address| Request {
        device: 0,
        address,
        kind: DataType::U32,
        length: 0,
        writable: true,
        period: Duration::from_secs(1),
    };
    let requests: Vec<_> = addresses.iter().map(|a| request(a.as_str())).collect();
    let compiled = compile(&[ModbusDevice { unit: 17, ..ModbusDevice::default() }], &requests);
    assert_eq!(compiled.blocks.len(), STARTS.len());
    compiled
}

/// What a device does instead of answering as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trick {
    Right,
    Bytewise,
    /// After the time-out.
    Late,
    /// Some noise, and then after the time-out the answer.
    NoiseThenLate,
    Silence,
    OtherTransaction,
    OtherUnit,
    OtherFunction,
    /// A byte count that is not that of the bytes, in a frame that is right otherwise.
    MoreCounted,
    LessCounted,
    /// More and fewer registers than asked for.
    MoreGiven,
    LessGiven,
    /// The frame ends early, or goes on.
    Short,
    Long,
    Double,
    Damaged,
    GarbageBefore,
    Noise,
    LengthNull,
    LengthHuge,
    OtherProtocol,
    Exception,
    Busy,
}

const TRICKS: [Trick; 20] = [
    Trick::Bytewise,
    Trick::OtherUnit,
    Trick::OtherTransaction,
    Trick::OtherFunction,
    Trick::Exception,
    Trick::MoreCounted,
    Trick::Short,
    Trick::LessCounted,
    Trick::NoiseThenLate,
    Trick::MoreGiven,
    Trick::Double,
    Trick::LessGiven,
    Trick::Long,
    Trick::Damaged,
    Trick::GarbageBefore,
    Trick::LengthNull,
    Trick::Noise,
    Trick::LengthHuge,
    Trick::Busy,
    Trick::OtherProtocol,
];

/// The trick of a request: every fifth answer is late, every third one wrong in one of all ways.
fn trick(number: u16) -> Trick {
    match number {
        n if n % 5 == 4 => Trick::Late,
        n if n % 3 == 1 => TRICKS[usize::from(n / 3) % TRICKS.len()],
        n if n % 37 == 0 => Trick::Silence,
        _ => Trick::Right,
    }
}

/// The PDU of the answer to the request of this number, as right as the trick has it.
fn answer_pdu(request: &[u8], number: u16, trick: Trick) -> Vec<u8> {
    let start = u16::from_be_bytes([request[1], request[2]]);
    let mut pdu = match request[0] {
        3 => {
            let mut pdu = vec![3, 4];
            pdu.extend_from_slice(&start.to_be_bytes());
            pdu.extend_from_slice(&number.to_be_bytes());
            pdu
        }
        _ => request[..5].to_vec(),
    };
    match trick {
        Trick::OtherFunction => pdu[0] = 4,
        Trick::MoreCounted => pdu[1] = pdu[1].wrapping_add(2),
        Trick::LessCounted => pdu[1] = pdu[1].wrapping_sub(2),
        Trick::MoreGiven => {
            pdu[1] += 2;
            pdu.extend_from_slice(&[0xAA, 0xBB]);
        }
        Trick::LessGiven => {
            pdu[1] -= 2;
            pdu.truncate(pdu.len() - 2);
        }
        Trick::Exception => pdu = vec![request[0] | 0x80, 4],
        Trick::Busy => pdu = vec![request[0] | 0x80, 6],
        _ => {}
    }
    pdu
}

/// Bytes that depend on the number, and are no frame of this unit.
fn noise(number: u16) -> Vec<u8> {
    (0..3 + number % 9)
        .map(|i| (u32::from(number).wrapping_mul(2_654_435_761) >> (i % 24)) as u8 | 0x80)
        .collect()
}

const UNIT: u8 = 17;
const PATIENCE: Duration = Duration::from_millis(60);

/// Asks the blocks one after the other and judges every value. Gives how often each trick was read well.
async fn ask<D: Driver>(driver: &mut D, seen: &AtomicU16, times: usize) -> HashMap<Trick, usize> {
    let mut well = HashMap::new();
    let mut raw = Raw::default();
    for at in 0..times {
        let block = at * 7 % STARTS.len();
        if driver.connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        raw.words.push(1);
        let answer = driver.read(Block(block), &mut raw).await;
        let number = seen.load(Ordering::SeqCst);
        match answer {
            Ok(()) => {
                assert_eq!(
                    raw.words,
                    [STARTS[block], number],
                    "the answer to another request: {:?}",
                    trick(number)
                );
                assert!(raw.bits.is_empty());
                *well.entry(trick(number)).or_insert(0) += 1;
            }
            Err(fault) => {
                assert_eq!(raw, Raw::default(), "{fault}");
                assert!(fault != Fault::NotConnected || !driver.trouble().is_empty());
            }
        }
    }
    well
}

/// A TCP device that plays its tricks; `seen` is the number of the last request.
async fn tcp_device(listener: TcpListener, seen: Arc<AtomicU16>, connections: Arc<AtomicUsize>) {
    let mut held: Option<Vec<u8>> = None;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let mut request = [0; 12];
        while stream.read_exact(&mut request).await.is_ok() {
            let number = seen.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            let trick = trick(number);
            let transaction = u16::from_be_bytes([request[0], request[1]]);
            let mut frame = Vec::new();
            let (id, unit) = match trick {
                Trick::OtherTransaction => (transaction.wrapping_add(1), UNIT),
                Trick::OtherUnit => (transaction, UNIT + 1),
                _ => (transaction, UNIT),
            };
            tcp::encode(id, unit, &mut frame, |out| out.extend(answer_pdu(&request[7..], number, trick)));
            match trick {
                Trick::Short | Trick::Damaged => frame.truncate(frame.len() - 3),
                Trick::Long => frame.extend_from_slice(&noise(number)),
                Trick::Double => frame.extend_from_within(..),
                Trick::GarbageBefore => frame = [noise(number), frame].concat(),
                Trick::Noise => frame = noise(number),
                Trick::LengthNull => frame[4..6].copy_from_slice(&[0, 0]),
                Trick::LengthHuge => frame[4..6].copy_from_slice(&[0xFF, 0xFF]),
                Trick::OtherProtocol => frame[3] = 1,
                _ => {}
            }
            let sent = match trick {
                Trick::Silence => Ok(()),
                // It comes with the next answer, before it.
                Trick::Late | Trick::NoiseThenLate => {
                    held = Some(frame);
                    Ok(())
                }
                Trick::Bytewise => {
                    let mut sent = Ok(());
                    for byte in frame {
                        sent = sent.and(stream.write_all(&[byte]).await);
                        tokio::task::yield_now().await;
                    }
                    sent
                }
                _ => {
                    let both = [held.take().unwrap_or_default(), frame].concat();
                    stream.write_all(&both).await
                }
            };
            if sent.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn tcp_no_late_or_wrong_answer_becomes_a_value() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, connections) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicUsize::new(0)));
    let device = tokio::spawn(tcp_device(listener, seen.clone(), connections.clone()));
    let text = format!(
        "name = \"n\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"{}ms\"",
        PATIENCE.as_millis()
    );
    let link = toml::from_str(&text).unwrap();
    let compiled = compiled(|devices, requests| compile_tcp(&link, devices, requests).unwrap());
    let mut driver = ModbusTcp::default();
    driver.load(&compiled.spec);
    let well = ask(&mut driver, &seen, 800).await;
    let count = |trick| well.get(&trick).copied().unwrap_or(0);
    assert!(count(Trick::Right) > 150, "{well:?}");
    assert!(count(Trick::Bytewise) > 0 && count(Trick::Double) > 0, "{well:?}");
    for never in TRICKS {
        if !matches!(never, Trick::Bytewise | Trick::Double | Trick::Long) {
            assert_eq!(count(never), 0, "{never:?}");
        }
    }
    // Where a frame starts is not known after noise: only a new connection is sure.
    assert!(connections.load(Ordering::SeqCst) > 10);
    device.abort();
}

#[tokio::test]
async fn tcp_time_outs_in_a_row_make_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let device = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let text = format!("name = \"n\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"10ms\"");
    let link = toml::from_str(&text).unwrap();
    let compiled = compiled(|devices, requests| compile_tcp(&link, devices, requests).unwrap());
    let mut driver = ModbusTcp::default();
    driver.load(&compiled.spec);
    for _ in 0..9 {
        assert_eq!(driver.read(Block(0), &mut Raw::default()).await, Err(Fault::Timeout));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
    device.abort();
}

/// A device whose answers have no number, that plays its tricks.
async fn line_device(
    mut port: impl AsyncRead + AsyncWrite + Unpin,
    framing: Framing,
    seen: Arc<AtomicU16>,
) -> std::io::Result<()> {
    loop {
        let mut request = vec![0; framing.length(5)];
        port.read_exact(&mut request).await?;
        let mut scratch = Vec::new();
        let (_, request) = framing.decode(&request, &mut scratch).expect("a whole request");
        let number = seen.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        // As a device does; an answer that is late is then alone on the line, not run into the next one.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let trick = trick(number);
        let mut frame = Vec::new();
        let unit = if trick == Trick::OtherUnit { UNIT + 1 } else { UNIT };
        framing.encode(0, unit, &mut frame, |out| out.extend(answer_pdu(request, number, trick)));
        match trick {
            Trick::Short => frame.truncate(frame.len() - 3),
            Trick::Long => frame.extend_from_slice(&noise(number)),
            Trick::Double => frame.extend_from_within(..),
            Trick::Damaged | Trick::OtherTransaction | Trick::OtherProtocol => frame[4] ^= 0x10,
            Trick::GarbageBefore => frame = [noise(number), frame].concat(),
            Trick::Noise | Trick::LengthHuge => frame = noise(number),
            Trick::LengthNull => frame = vec![UNIT, 3, 0],
            Trick::Silence => frame.clear(),
            _ => {}
        }
        match trick {
            Trick::Late => tokio::time::sleep(PATIENCE + Duration::from_millis(6)).await,
            Trick::NoiseThenLate => {
                tokio::time::sleep(PATIENCE + Duration::from_millis(2)).await;
                port.write_all(&noise(number)).await?;
                // Longer than any pause within a frame.
                tokio::time::sleep(Duration::from_millis(42)).await;
            }
            _ => {}
        }
        if trick == Trick::Bytewise {
            for byte in frame {
                port.write_all(&[byte]).await?;
                tokio::task::yield_now().await;
            }
        } else {
            port.write_all(&frame).await?;
        }
    }
}

#[tokio::test]
async fn rtu_no_late_or_wrong_answer_becomes_a_value() {
    let (cable, device) = plc::Cable::new();
    let seen = Arc::new(AtomicU16::new(0));
    let device = tokio::spawn(line_device(device, Framing::Rtu, seen.clone()));
    let link = plc::rtu_link(&cable.path, &format!("{}ms", PATIENCE.as_millis()));
    let compiled = compiled(|devices, requests| compile_rtu(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    let well = ask(&mut driver, &seen, 200).await;
    let count = |trick| well.get(&trick).copied().unwrap_or(0);
    assert!(count(Trick::Right) > 50, "{well:?}");
    assert!(count(Trick::Bytewise) > 0, "{well:?}");
    for never in TRICKS {
        if !matches!(never, Trick::Bytewise | Trick::Double | Trick::Long) {
            assert_eq!(count(never), 0, "{never:?}");
        }
    }
    assert!(!device.is_finished(), "the device met a damaged request");
    device.abort();
}

/// The same over a socket, or with ASCII on a cable.
async fn no_late_or_wrong_answer(mut driver: ModbusLine, seen: &AtomicU16, framing: Framing) {
    let well = ask(&mut driver, seen, 120).await;
    let count = |trick| well.get(&trick).copied().unwrap_or(0);
    assert!(count(Trick::Right) > 25, "{well:?}");
    assert!(count(Trick::Bytewise) > 0, "{well:?}");
    for never in TRICKS {
        let harmless = match never {
            Trick::Bytewise | Trick::Double | Trick::Long => true,
            // A colon begins a frame whatever was before it.
            Trick::GarbageBefore => framing == Framing::Ascii,
            // There is none.
            Trick::OtherTransaction => framing == Framing::Tcp,
            _ => false,
        };
        assert!(harmless || count(never) == 0, "{never:?}");
    }
    assert!(driver.tally().late > 5);
}

async fn no_late_or_wrong_answer_over_a_socket(framing: Framing, keys: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicU16::new(0));
    let counted = seen.clone();
    let device = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let _ = line_device(stream, framing, counted.clone()).await;
        }
    });
    let text = format!(
        "name = \"n\"\nhost = \"127.0.0.1\"\nport = {port}\ntimeout = \"{}ms\"\n{keys}",
        PATIENCE.as_millis()
    );
    let link = toml::from_str(&text).unwrap();
    let compiled = compiled(|devices, requests| compile_socket(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    no_late_or_wrong_answer(driver, &seen, framing).await;
    assert!(!device.is_finished(), "the device met a damaged request");
    device.abort();
}

#[tokio::test]
async fn rtu_over_tcp_no_late_or_wrong_answer_becomes_a_value() {
    no_late_or_wrong_answer_over_a_socket(Framing::Rtu, "framing = \"rtu\"").await;
}

#[tokio::test]
async fn ascii_over_tcp_no_late_or_wrong_answer_becomes_a_value() {
    no_late_or_wrong_answer_over_a_socket(Framing::Ascii, "framing = \"ascii\"").await;
}

#[tokio::test]
async fn tcp_without_transaction_identifiers_no_late_or_wrong_answer_becomes_a_value() {
    no_late_or_wrong_answer_over_a_socket(Framing::Tcp, "echo-transaction-id = false").await;
}

#[tokio::test]
async fn ascii_no_late_or_wrong_answer_becomes_a_value() {
    let (cable, device) = plc::Cable::new();
    let seen = Arc::new(AtomicU16::new(0));
    let device = tokio::spawn(line_device(device, Framing::Ascii, seen.clone()));
    let link = plc::rtu_link(&cable.path, &format!("{}ms", PATIENCE.as_millis()));
    let compiled = compiled(|devices, requests| compile_ascii(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    no_late_or_wrong_answer(driver, &seen, Framing::Ascii).await;
    assert!(!device.is_finished(), "the device met a damaged request");
    device.abort();
}

#[tokio::test]
async fn rtu_after_a_time_out_nothing_is_sent_until_a_late_answer_is_not_to_be_expected() {
    let (cable, mut device) = plc::Cable::new();
    let link = plc::rtu_link(&cable.path, "60ms");
    let compiled = compiled(|devices, requests| compile_rtu(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    driver.connect().await.unwrap();
    let times = tokio::spawn(async move {
        let mut times = Vec::new();
        for _ in 0..3 {
            let mut request = [0; 8];
            device.read_exact(&mut request).await.unwrap();
            times.push(tokio::time::Instant::now());
        }
        (times, device)
    });
    for _ in 0..3 {
        assert_eq!(driver.read(Block(0), &mut Raw::default()).await, Err(Fault::Timeout));
    }
    let (times, _device) = times.await.unwrap();
    for pair in times.windows(2) {
        // The time-out, and as long again; a little less, because a request is seen late, not early.
        let apart = pair[1] - pair[0];
        assert!(apart >= Duration::from_millis(110), "{apart:?}");
    }
}

#[tokio::test]
async fn rtu_noise_does_not_end_the_wait_for_a_late_answer() {
    let (cable, mut device) = plc::Cable::new();
    let link = plc::rtu_link(&cable.path, "100ms");
    let compiled = compiled(|devices, requests| compile_rtu(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    driver.connect().await.unwrap();
    let device = tokio::spawn(async move {
        let mut request = [0; 8];
        let mut frame = Vec::new();
        device.read_exact(&mut request).await.unwrap();
        rtu::encode(UNIT, &mut frame, |out| out.extend(answer_pdu(&request[1..6], 1, Trick::Right)));
        tokio::time::sleep(Duration::from_millis(105)).await;
        device.write_all(&[0xFF]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        device.write_all(&frame).await.unwrap();
        device.read_exact(&mut request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        frame.clear();
        rtu::encode(UNIT, &mut frame, |out| out.extend(answer_pdu(&request[1..6], 2, Trick::Right)));
        device.write_all(&frame).await.unwrap();
        device
    });
    let mut raw = Raw::default();
    assert_eq!(driver.read(Block(0), &mut raw).await, Err(Fault::Timeout));
    assert_eq!(driver.read(Block(1), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [STARTS[1], 2]);
    drop(device.await.unwrap());
}

#[tokio::test]
async fn rtu_a_late_answer_finds_nobody_after_the_port_was_opened_anew_either() {
    let (cable, mut device) = plc::Cable::new();
    let link = plc::rtu_link(&cable.path, "50ms");
    let compiled = compiled(|devices, requests| compile_rtu(&link, devices, requests).unwrap());
    let answer = |start: u16| {
        let mut frame = Vec::new();
        rtu::encode(UNIT, &mut frame, |out| {
            out.extend_from_slice(&[3, 4, 0, 0]);
            out.extend_from_slice(&start.to_be_bytes());
        });
        frame
    };
    // The gateway of before asked for the first block and was killed.
    let mut before = ModbusLine::default();
    before.load(&compiled.spec);
    before.connect().await.unwrap();
    assert_eq!(before.read(Block(0), &mut Raw::default()).await, Err(Fault::Timeout));
    drop(before);
    let mut request = [0; 8];
    device.read_exact(&mut request).await.unwrap();
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    driver.connect().await.unwrap();
    let device = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        device.write_all(&answer(STARTS[0])).await.unwrap();
        device.read_exact(&mut request).await.unwrap();
        device.write_all(&answer(STARTS[1])).await.unwrap();
        device
    });
    let mut raw = Raw::default();
    assert_eq!(driver.read(Block(1), &mut raw).await, Ok(()));
    assert_eq!(raw.words, [0, STARTS[1]]);
    drop(device.await.unwrap());
}

#[tokio::test]
async fn a_write_is_done_only_when_its_own_echo_came() {
    let (cable, mut device) = plc::Cable::new();
    let link = plc::rtu_link(&cable.path, "50ms");
    let compiled = compiled(|devices, requests| compile_rtu(&link, devices, requests).unwrap());
    let mut driver = ModbusLine::default();
    driver.load(&compiled.spec);
    driver.connect().await.unwrap();
    let device = tokio::spawn(async move {
        // A read first: it tells whether the adapter hears what it sends.
        let mut request = [0; 8];
        device.read_exact(&mut request).await.unwrap();
        let mut frame = Vec::new();
        rtu::encode(UNIT, &mut frame, |out| out.extend(answer_pdu(&request[1..6], 1, Trick::Right)));
        device.write_all(&frame).await.unwrap();
        for damage in [None, Some(2), Some(3), Some(5)] {
            let mut request = [0; 13];
            device.read_exact(&mut request).await.unwrap();
            let mut frame = Vec::new();
            let mut pdu = request[1..6].to_vec();
            if let Some(at) = damage {
                pdu[at - 1] ^= 1;
            }
            rtu::encode(UNIT, &mut frame, |out| out.extend(pdu));
            device.write_all(&frame).await.unwrap();
        }
        device
    });
    let raw = Raw { words: vec![1, 2], ..Raw::default() };
    assert_eq!(driver.write(Point(0), &raw).await, Ok(()));
    for _ in 0..3 {
        assert_eq!(driver.write(Point(0), &raw).await, Err(Fault::Garbled));
    }
    drop(device.await.unwrap());
    assert_eq!(pdu::MOST_WRITTEN_REGISTERS, 123);
}
