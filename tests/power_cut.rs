//! A writer that is killed at random moments: what it said to have handed out is there afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fieldgate::model::*;
use fieldgate::store::{Durability, Next, Options, ReaderOptions, Settled, Store};
use fieldgate::telemetry::StoreStats;

/// Set in the child: the folder to write to, and the first number to use.
const FOLDER: &str = "FIELDGATE_TEST_WRITER_FOLDER";
const FROM: &str = "FIELDGATE_TEST_WRITER_FROM";

fn open(path: PathBuf) -> (Arc<Store>, Arc<StoreStats>) {
    let device =
        Device { id: DeviceId(0), name: "d".into(), link: "l".into(), description: None, is_node: false };
    let tag = Tag {
        id: TagId(0),
        device: DeviceId(0),
        name: "t".into(),
        path: "d/t".into(),
        kind: DataType::U32,
        access: Access::Read,
        unit: None,
        low: None,
        high: None,
        description: None,
    };
    let options = Options {
        path: Some(path),
        durability: Durability::Always,
        commit: Duration::from_millis(4),
        ..Options::default()
    };
    let stats = Arc::new(StoreStats::default());
    let directory = Arc::new(Directory::new("g", "n", vec![device], vec![tag]));
    (Store::open(options, directory, Clock::system(), stats.clone()), stats)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The child's part: accepts, and tells each number that it was handed; settles every third of them
/// after it has told so. Skipped when this test is run as any other.
#[test]
fn writer() {
    let (Ok(folder), Ok(from)) = (std::env::var(FOLDER), std::env::var(FROM)) else { return };
    runtime().block_on(async {
        let (store, _) = open(folder.into());
        let mut reader = store.reader("north", ReaderOptions { durable: true, rules: None });
        let mut n: u32 = from.parse().unwrap();
        loop {
            for _ in 0..7 {
                let sample = Sample::good(TagId(0), Value::U32(n), Clock::system().now());
                store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] });
                n += 1;
            }
            for _ in 0..7 {
                // What an earlier round left comes in between and is not settled.
                let (seq, batch) = loop {
                    if let Next::Live(seq, batch) = reader.next().await {
                        break (seq, batch);
                    }
                };
                let Some(Value::U32(n)) = batch.samples[0].value else { panic!() };
                let settles = n % 3 == 0;
                let mut out = std::io::stdout().lock();
                writeln!(out, "{} {n}", if settles { "settled" } else { "handed" }).unwrap();
                out.flush().unwrap();
                if settles {
                    reader.settle(seq, Settled::Sent);
                }
            }
        }
    });
}

/// Starts the writer, kills it after so many lines and a moment, and gives what it had told.
fn round(folder: &Path, from: u32, lines: usize, moment: Duration) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env(FOLDER, folder)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut handed, mut settled) = (BTreeSet::new(), BTreeSet::new());
    let mut take = |line: &str| {
        // A line that the kill cut in two has no end, and a number cut in two is not what was told.
        let Some(line) = line.strip_suffix('\n') else { return };
        // The test harness writes its own words to the same output.
        for (word, all) in [("handed ", &mut handed), ("settled ", &mut settled)] {
            if let Some(n) = line.rsplit_once(word).and_then(|(_, n)| n.trim().parse().ok()) {
                all.insert(n);
            }
        }
    };
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the writer ended by itself");
        take(&line);
    }
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
    line.clear();
    while output.read_line(&mut line).unwrap() > 0 {
        take(&line);
        line.clear();
    }
    (handed, settled)
}

#[test]
fn what_was_handed_out_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // A plain generator with a fixed seed: random moments that can be had again.
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut expected, mut told) = (BTreeSet::new(), 0);
    for kill in 0..20 {
        let (lines, moment) = (random(120) as usize, Duration::from_micros(random(15_000)));
        let (handed, settled) = round(&path, kill * 1_000_000, lines, moment);
        told += handed.len() + settled.len();
        expected.extend(handed);
    }
    assert!(told > 200, "the writer wrote: {told}");
    let (store, stats) = open(path);
    assert_eq!(stats.quarantined.get() + stats.damaged.get(), 0);
    let mut reader = store.reader("north", ReaderOptions { durable: true, rules: None });
    let recovered = runtime().block_on(async {
        let (mut all, mut before) = (BTreeSet::new(), None);
        while store.readers()[0].pending > 0 {
            let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
            let Next::History(seq, batch) = next else { panic!("{next:?}") };
            let Some(Value::U32(n)) = batch.samples[0].value else { panic!() };
            assert!(before.is_none_or(|before| n > before), "{n} after {before:?}");
            before = Some(n);
            all.insert(n);
            reader.settle(seq, Settled::Sent);
        }
        all
    });
    let missing: Vec<_> = expected.difference(&recovered).collect();
    assert!(missing.is_empty(), "handed out, not settled, and lost: {missing:?}");
}
