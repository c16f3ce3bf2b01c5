//! What every driver must do, whatever its wire: one suite, a bench per driver.

use std::time::Duration;

use fieldgate::drivers::driver::{Block, Compiled, Driver, Point, Request};
use fieldgate::model::{DataType, Fault, Raw};

/// A driver and the device at the other end of its wire.
pub(crate) trait Bench {
    type Driver: Driver;

    /// A driver as it is made for a link.
    fn driver(&self) -> Self::Driver;
    /// The requests compiled; the address of register 10, and of another one.
    fn compile(&self) -> Compiled<<Self::Driver as Driver>::Spec>;
    /// The same for another place: another host, another port.
    fn elsewhere(&self) -> Compiled<<Self::Driver as Driver>::Spec>;
    /// Sets register 10 of the device.
    fn set(&self, word: u16);
    /// What register 10 of the device has.
    fn word(&self) -> u16;
    /// The device does not answer.
    fn silence(&self, on: bool);
    /// The device answers with exception 2.
    fn refuse(&self, on: bool);
    /// The cable is pulled.
    fn unplug(&mut self);
    /// And put back.
    fn plug(&mut self);
}

/// Two requests of one device, registers 10 and 60, in two blocks; the first one writable.
pub(crate) fn requests(area: &str) -> [(String, bool); 2] {
    [(format!("{area}:10"), true), (format!("{area}:60"), false)]
}

pub(crate) fn request((address, writable): &(String, bool)) -> Request<'_> {
    Request {
        device: 0,
        address,
        kind: DataType::U16,
        length: 0,
        writable: *writable,
        period: std::time::Duration::from_secs(1),
    }
}

async fn reads<D: Driver>(driver: &mut D, word: u16) {
    // What was in the buffer before is not seen again.
    let mut raw = Raw { words: vec![1, 2, 3], bits: vec![true], ..Raw::default() };
    let answer = driver.read(Block(0), &mut raw).await;
    assert_eq!(answer, Ok(()), "{}", driver.trouble());
    assert_eq!(raw, Raw { words: vec![word], ..Raw::default() });
}

async fn fails<D: Driver>(driver: &mut D, block: usize) -> Fault {
    let mut raw = Raw { words: vec![1, 2, 3], bits: vec![true], ..Raw::default() };
    let fault = driver.read(Block(block), &mut raw).await.expect_err("a fault");
    assert_eq!(raw, Raw::default(), "a fault leaves nothing in the buffer: {fault}");
    if fault == Fault::NotConnected {
        assert!(!driver.trouble().is_empty(), "who cannot connect says why");
    }
    fault
}

/// The whole contract.
pub(crate) async fn suite<B: Bench>(mut bench: B) {
    let mut driver = bench.driver();
    let compiled = bench.compile();
    assert_eq!((compiled.blocks.len(), compiled.points.len()), (2, 1));

    // Without a spec nothing works, and nothing panics.
    assert!(driver.connect().await.is_err());
    fails(&mut driver, 0).await;
    assert!(driver.write(Point(0), &Raw::default()).await.is_err());

    // The first spec opens the link; connecting twice is connecting once.
    assert!(!driver.load(&compiled.spec));
    for _ in 0..2 {
        assert_eq!(driver.connect().await, Ok(()), "{}", driver.trouble());
    }
    bench.set(1234);
    reads(&mut driver, 1234).await;
    reads(&mut driver, 1234).await;

    // A write is at the device when it returns, and is read back.
    let raw = Raw { words: vec![4321], ..Raw::default() };
    assert_eq!(driver.write(Point(0), &raw).await, Ok(()));
    assert_eq!(bench.word(), 4321);
    reads(&mut driver, 4321).await;

    // What is not there is not supported.
    assert_eq!(fails(&mut driver, 99).await, Fault::Unsupported);
    assert_eq!(driver.write(Point(99), &raw).await, Err(Fault::Unsupported));

    // Silence is a time-out, of reads and of writes, and over when the device speaks again.
    bench.silence(true);
    assert_eq!(fails(&mut driver, 0).await, Fault::Timeout);
    assert_eq!(driver.write(Point(0), &raw).await, Err(Fault::Timeout));
    bench.silence(false);
    bench.set(77);
    reads(&mut driver, 77).await;

    // A refusal keeps its code and the connection.
    bench.refuse(true);
    assert_eq!(fails(&mut driver, 0).await, Fault::Refused(2));
    assert_eq!(driver.write(Point(0), &raw).await, Err(Fault::Refused(2)));
    bench.refuse(false);
    reads(&mut driver, 77).await;

    // The same place again keeps the connection.
    assert!(driver.load(&bench.compile().spec));
    reads(&mut driver, 77).await;

    // A read that is dropped half-way leaves nothing behind that becomes the next value.
    bench.silence(true);
    let mut raw = Raw::default();
    let dropped = tokio::time::timeout(Duration::from_millis(5), driver.read(Block(1), &mut raw)).await;
    assert!(matches!(dropped, Err(_) | Ok(Err(Fault::Timeout))));
    bench.silence(false);
    bench.set(78);
    reads(&mut driver, 78).await;

    // Unplugged: found out, said, and not there to be connected; plugged in: there again.
    for round in 0..2_u16 {
        bench.unplug();
        until_not_connected(&mut driver).await;
        assert_eq!(driver.connect().await, Err(Fault::NotConnected));
        assert!(!driver.trouble().is_empty());
        bench.plug();
        bench.set(80 + round);
        until_connected(&mut driver).await;
        reads(&mut driver, 80 + round).await;
    }

    // Another place: the connection is closed; and back.
    assert!(!driver.load(&bench.elsewhere().spec));
    assert!(!driver.load(&bench.compile().spec));
    until_connected(&mut driver).await;
    reads(&mut driver, 81).await;
}

async fn until_not_connected<D: Driver>(driver: &mut D) {
    for _ in 0..500 {
        if driver.connect().await.is_err() || fails_or_reads(driver).await == Some(Fault::NotConnected) {
            assert!(!driver.trouble().is_empty());
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody noticed that the cable is out");
}

async fn fails_or_reads<D: Driver>(driver: &mut D) -> Option<Fault> {
    driver.read(Block(0), &mut Raw::default()).await.err()
}

async fn until_connected<D: Driver>(driver: &mut D) {
    for _ in 0..500 {
        if driver.connect().await.is_ok() && fails_or_reads(driver).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not connected again: {}", driver.trouble());
}
