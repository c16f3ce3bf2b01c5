//! The store: nothing lost that it kept, in order, each loss counted, whatever happens to its folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/directory.rs"]
mod directory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::model::*;
use fieldgate::store::{
    Durability, Next, Options, Reader, ReaderOptions, ReaderReport, ReaderRules, Replay, Seq, Settled, Store,
    WhenFull,
};
use fieldgate::telemetry::{LossReason, StoreStats};
use proptest::prelude::*;

const START: i64 = 1_700_000_000_000_000;

fn directory(names: &[&str]) -> Arc<Directory> {
    Arc::new(directory::directory(names))
}

struct Bench {
    folder: tempfile::TempDir,
    options: Options,
    directory: Arc<Directory>,
}

impl Bench {
    fn new(durability: Durability, spill_after: Duration) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            path: Some(folder.path().join("store")),
            durability,
            spill_after,
            commit: Duration::from_millis(10),
            ..Options::default()
        };
        Bench { folder, options, directory: directory(&["a", "b", "c"]) }
    }

    /// Once nobody holds the folder. A child that another test starts holds our files from its fork to its exec, which
    /// is long where the machine is busy.
    fn open(&self) -> (Arc<Store>, Arc<StoreStats>) {
        let lock = std::fs::File::open(self.folder.path().join("store/lock"));
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_held =
            |lock| rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err();
        while lock.as_ref().is_ok_and(is_held) {
            assert!(Instant::now() < deadline, "the folder is held");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(lock);
        self.open_at_once()
    }

    fn open_at_once(&self) -> (Arc<Store>, Arc<StoreStats>) {
        let stats = Arc::new(StoreStats::default());
        let clock = Clock::starting_at(Timestamp(START));
        (Store::open(self.options.clone(), self.directory.clone(), clock, stats.clone()), stats)
    }

    fn segments(&self) -> Vec<PathBuf> {
        list(&self.folder.path().join("store/segments"))
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Batch number `n`: one to three samples of one tag, all with the value `n`.
fn batch(n: u32) -> Batch {
    let samples = (0..=n % 3)
        .map(|i| Sample::good(TagId(n % 2), Value::U32(n), Timestamp(START + i64::from(n * 10 + i))))
        .collect();
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples }
}

fn weight(n: u32) -> u64 {
    u64::from(n % 3) + 1
}

fn durable(store: &Store) -> Reader {
    store.reader("north", ReaderOptions { durable: true, rules: None })
}

fn report(store: &Store) -> ReaderReport {
    store.readers().into_iter().find(|r| r.name == "north").unwrap()
}

/// The next batch as number, sequence and whether it is history; checks that it is whole.
async fn next(reader: &mut Reader) -> (u32, Seq, bool) {
    let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("a batch in time");
    let (history, seq, got) = match next {
        Next::Live(seq, batch) => (false, seq, batch),
        Next::History(seq, batch) => (true, seq, batch),
    };
    let Some(Value::U32(n)) = got.samples[0].value else { panic!("{got:?}") };
    assert_eq!(*got, batch(n));
    (n, seq, history)
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const LONG: Duration = Duration::from_secs(3600);
const DRAIN: Duration = Duration::from_secs(20);

/// All files below a folder, with length and the time of their last change.
fn written(folder: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
        if about.is_dir() {
            found.extend(written(&path));
        } else {
            found.push((path, about.len(), about.modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn nothing_is_written_while_delivery_keeps_up() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(500));
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    let mut files = Vec::new();
    // Longer than the second in which cursors are kept when there is something on the disk.
    for n in 0..600 {
        store.accept(batch(n));
        let (got, seq, history) = next(&mut reader).await;
        assert_eq!((got, history), (n, false));
        reader.settle(seq, Settled::Sent);
        tokio::time::sleep(Duration::from_millis(5)).await;
        if n == 100 {
            files = written(bench.folder.path());
        }
    }
    assert_eq!(stats.spooled.get(), 0);
    assert_eq!(written(bench.folder.path()), files, "no file is touched");
    store.drain(DRAIN).await;
    assert_eq!(stats.spooled.get(), 0, "all was settled before the stop");
    assert!(bench.segments().is_empty());
    assert_eq!(stats.durable.get(), 1, "a flush reaches the disk");
}

#[tokio::test]
async fn a_reader_that_lags_makes_the_head_spill_and_drains_it_again() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(20));
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    (0..3000).for_each(|n| store.accept(batch(n)));
    let total: u64 = (0..3000).map(weight).sum();
    until("the spill", || stats.spooled.get() == total).await;
    assert_eq!(report(&store).pending, total);
    for n in 0..3000 {
        let (got, seq, _) = next(&mut reader).await;
        assert_eq!(got, n);
        reader.settle(seq, Settled::Sent);
    }
    until("the room given back", || bench.segments().is_empty()).await;
    let report = report(&store);
    assert_eq!((report.pending, report.delivered, report.dropped), (0, total, 0));
}

#[tokio::test]
async fn a_clean_stop_keeps_all_that_waits_and_the_next_run_delivers_it_as_history() {
    let bench = Bench::new(Durability::Spill, LONG);
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    (0..100).for_each(|n| store.accept(batch(n)));
    let mut given = Vec::new();
    for _ in 0..50 {
        given.push(next(&mut reader).await);
    }
    // Every second one, out of order.
    for (_, seq, _) in given.iter().rev().filter(|(n, ..)| n % 2 == 0) {
        reader.settle(*seq, Settled::Sent);
    }
    drop(reader);
    store.drain(DRAIN).await;
    drop(store);

    let (store, _) = bench.open();
    let mut reader = durable(&store);
    store.accept(batch(100));
    let left: Vec<u32> = (0..100).filter(|n| *n >= 50 || n % 2 == 1).collect();
    assert_eq!(report(&store).pending, left.iter().map(|n| weight(*n)).sum::<u64>() + weight(100));
    let last_seq = given.last().unwrap().1;
    let (n, seq, history) = next(&mut reader).await;
    assert_eq!((n, history), (100, false), "live first");
    assert!(seq > last_seq, "a sequence number is never used twice");
    reader.settle(seq, Settled::Sent);
    for n in left {
        let (got, seq, history) = next(&mut reader).await;
        assert_eq!((got, history), (n, true));
        reader.settle(seq, Settled::Sent);
    }
    assert_eq!(report(&store).pending, 0);
}

#[tokio::test]
async fn always_hands_out_only_what_is_on_the_disk() {
    let bench = Bench::new(Durability::Always, LONG);
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    for n in 0..20 {
        store.accept(batch(n));
        let (got, ..) = next(&mut reader).await;
        assert_eq!(got, n);
        assert!(stats.spooled.get() >= (0..=n).map(weight).sum());
    }
    // No drain: as if the process had been killed.
    drop((reader, store));
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    for n in 0..20 {
        let (got, _, history) = next(&mut reader).await;
        assert_eq!((got, history), (n, true));
    }
}

#[tokio::test]
async fn in_order_gives_all_history_before_live() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(20));
    let bench = Bench { options: Options { replay: Replay::InOrder, ..bench.options.clone() }, ..bench };
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    (0..500).for_each(|n| store.accept(batch(n)));
    until("the spill", || stats.spooled.get() > 0).await;
    reader.rewind();
    (500..520).for_each(|n| store.accept(batch(n)));
    for n in 0..520 {
        let (got, _, history) = next(&mut reader).await;
        assert_eq!((got, history), (n, n < 500));
    }
}

#[tokio::test(start_paused = true)]
async fn history_is_held_to_its_rate_while_live_flows() {
    let options = Options { history_rate: 100, ..Options::default() };
    let clock = Clock::starting_at(Timestamp(START));
    let store = Store::open(options, directory(&["a", "b"]), clock, Arc::default());
    let mut reader = durable(&store);
    (0..3000).for_each(|n| store.accept(batch(n)));
    reader.rewind();
    let (mut live, mut history) = (0, 0);
    let start = tokio::time::Instant::now();
    for n in 0..100 {
        store.accept(batch(3000 + n));
        let tick = start + Duration::from_millis(100) * (n + 1);
        while let Ok((got, seq, is_history)) = tokio::time::timeout_at(tick, next(&mut reader)).await {
            reader.settle(seq, Settled::Sent);
            if is_history { history += weight(got) } else { live += 1 }
        }
    }
    assert_eq!(live, 100);
    assert!((800..=1100).contains(&history), "{history} samples in ten seconds at 100 a second");
    // Nothing live: as fast as it is asked for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = tokio::time::Instant::now();
    while report(&store).pending > 0 {
        let (_, seq, _) = next(&mut reader).await;
        reader.settle(seq, Settled::Sent);
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn memory_is_bounded_and_the_oldest_goes_and_is_counted() {
    let options = Options { memory: 64 << 10, ..Options::default() };
    let clock = Clock::starting_at(Timestamp(START));
    let store = Store::open(options, directory(&["a", "b"]), clock, Arc::default());
    let mut reader = durable(&store);
    let mut slow = store.reader("slow", ReaderOptions { durable: false, rules: None });
    let total: u64 = (0..5000).map(weight).sum();
    (0..5000).for_each(|n| store.accept(batch(n)));
    for r in store.readers() {
        assert!(r.dropped > 0 && r.pending > 0);
        assert_eq!(r.dropped + r.pending, total, "{}", r.name);
    }
    let (first, seq, _) = next(&mut reader).await;
    assert!(first > 0);
    reader.settle(seq, Settled::Rejected);
    let (second, ..) = next(&mut slow).await;
    assert_eq!(second, first);
    let r = report(&store);
    assert_eq!(r.dropped + r.pending + r.delivered, total);
}

#[tokio::test]
async fn with_drop_newest_memory_that_is_full_keeps_the_oldest_and_takes_nothing_new() {
    let options = Options { memory: 64 << 10, when_full: WhenFull::DropNewest, ..Options::default() };
    let clock = Clock::starting_at(Timestamp(START));
    let store = Store::open(options, directory(&["a", "b"]), clock, Arc::default());
    let mut reader = durable(&store);
    let mut slow = store.reader("slow", ReaderOptions { durable: false, rules: None });
    let total: u64 = (0..5000).map(weight).sum();
    (0..5000).for_each(|n| store.accept(batch(n)));
    for r in store.readers() {
        assert_eq!(r.dropped + r.pending, total, "{}", r.name);
        assert_eq!((r.counts.dropped_by(LossReason::Newest), r.dropped > 0), (r.dropped, true), "{r:?}");
    }
    assert_eq!((next(&mut reader).await.0, next(&mut slow).await.0), (0, 0));
}

#[tokio::test]
async fn what_was_given_and_then_evicted_is_counted_once() {
    let options = Options { memory: 32 << 10, ..Options::default() };
    let clock = Clock::starting_at(Timestamp(START));
    let store = Store::open(options, directory(&["a", "b"]), clock, Arc::default());
    let mut reader = durable(&store);
    (0..10).for_each(|n| store.accept(batch(n)));
    let mut given = Vec::new();
    for _ in 0..10 {
        given.push(next(&mut reader).await);
    }
    (10..2000).for_each(|n| store.accept(batch(n)));
    let total: u64 = (0..2000).map(weight).sum();
    for (_, seq, _) in &given[..5] {
        reader.settle(*seq, Settled::Sent);
    }
    reader.rewind();
    let r = report(&store);
    assert_eq!(r.delivered, (0..5).map(weight).sum::<u64>());
    assert_eq!(r.delivered + r.dropped + r.pending, total);
    for _ in 0..1000 {
        if report(&store).pending == 0 {
            break;
        }
        let (n, seq, _) = next(&mut reader).await;
        assert!(n >= 10);
        reader.settle(seq, Settled::Sent);
    }
    let r = report(&store);
    assert_eq!((r.pending, r.delivered + r.dropped), (0, total));
}

#[tokio::test]
async fn a_full_spool_loses_its_oldest_segment_and_counts_it() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
    let bench = Bench { options: Options { max_bytes: 4 << 20, ..bench.options.clone() }, ..bench };
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    let (mut n, mut accepted) = (0, 0);
    until("an eviction", || {
        // No faster than the disk takes it: else memory would be full first, and the newest go.
        if accepted - stats.spooled.get() < 100_000 {
            (0..2000).for_each(|_| {
                store.accept(batch(n));
                accepted += weight(n);
                n += 1;
            });
        }
        report(&store).dropped > 0
    })
    .await;
    until("a spool below its bound", || stats.spool_bytes.get() <= 4 << 20).await;
    let total: u64 = (0..n).map(weight).sum();
    let r = report(&store);
    assert_eq!(r.dropped + r.pending, total);
    let mut before = None;
    while report(&store).pending > 0 {
        let (got, seq, _) = next(&mut reader).await;
        assert!(before.map_or(got > 0, |b| got > b), "{got} after {before:?}");
        before = Some(got);
        reader.settle(seq, Settled::Sent);
    }
    let r = report(&store);
    assert_eq!(r.delivered + r.dropped, total);
}

/// A store with 3,000 batches in one segment, stopped cleanly or not.
async fn filled(clean: bool) -> (Bench, u64) {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
    let (store, stats) = bench.open();
    let reader = durable(&store);
    let total: u64 = (0..3000).map(weight).sum();
    for n in 0..3000 {
        store.accept(batch(n));
        if n % 500 == 499 {
            let upto: u64 = (0..=n).map(weight).sum();
            until("the spill", || stats.spooled.get() == upto).await;
        }
    }
    // The cursor of a new reader is on the disk before the first block is.
    drop(reader);
    if clean {
        store.drain(DRAIN).await;
    }
    (bench, total)
}

/// Opens the store again and takes all that comes; gives what came and the counts.
async fn recovered(bench: &Bench) -> (BTreeSet<u32>, ReaderReport, Arc<StoreStats>) {
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    let mut got = BTreeSet::new();
    let mut before = None;
    loop {
        if report(&store).pending == 0 {
            break;
        }
        let Ok((n, seq, history)) =
            tokio::time::timeout(Duration::from_secs(30), async { next_or_done(&mut reader, &store).await })
                .await
                .expect("the backlog ends")
        else {
            break;
        };
        assert!(history && before.is_none_or(|b| n > b), "in order");
        before = Some(n);
        assert!(got.insert(n), "no batch twice");
        reader.settle(seq, Settled::Sent);
    }
    (got, report(&store), stats)
}

/// The next batch, or the end when what was pending turned out to be damaged.
async fn next_or_done(reader: &mut Reader, store: &Store) -> Result<(u32, Seq, bool), ()> {
    loop {
        match tokio::time::timeout(Duration::from_millis(50), reader.next()).await {
            Ok(Next::History(seq, got)) => {
                let Some(Value::U32(n)) = got.samples[0].value else { panic!("{got:?}") };
                assert_eq!(*got, batch(n), "a wrong record is never served");
                return Ok((n, seq, true));
            }
            Ok(Next::Live(..)) => panic!("nothing is live"),
            Err(_) if report(store).pending == 0 => return Err(()),
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn flipped_bits_cost_blocks_or_segments_never_the_start_and_never_give_a_wrong_value() {
    let mut damaged_rounds = 0;
    for round in 0..6_usize {
        let (bench, total) = filled(round % 2 == 0).await;
        let db = bench.segments()[0].join("db");
        let mut bytes = std::fs::read(&db).unwrap();
        let written = bytes.iter().rposition(|b| *b != 0).unwrap();
        for flip in 0..=round * 3 {
            let at = (round * 7919 + flip * 104_729) % written;
            bytes[at] ^= 1 << (flip % 8);
        }
        std::fs::write(&db, &bytes).unwrap();
        let (got, r, stats) = recovered(&bench).await;
        let delivered: u64 = got.iter().map(|n| weight(*n)).sum();
        assert_eq!(r.delivered, delivered);
        assert_eq!(r.pending, 0);
        if delivered < total {
            damaged_rounds += 1;
            assert!(stats.damaged.get() + stats.quarantined.get() > 0, "round {round}: a silent loss");
        }
    }
    assert!(damaged_rounds > 0, "the flips hit something");
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_set_aside_and_its_samples_are_counted() {
    for clean in [true, false] {
        let (bench, total) = filled(clean).await;
        std::fs::remove_file(bench.segments()[0].join("db")).unwrap();
        let (got, r, stats) = recovered(&bench).await;
        assert!(got.is_empty());
        assert_eq!((r.dropped, r.pending), (total, 0));
        assert_eq!(stats.quarantined.get(), 1);
        assert_eq!(list(&bench.folder.path().join("store/quarantine")).len(), 1);
    }
}

#[tokio::test]
async fn a_segment_full_of_nonsense_is_skipped_and_its_samples_are_counted() {
    let (bench, total) = filled(true).await;
    std::fs::write(bench.segments()[0].join("db"), vec![0xA5; 100_000]).unwrap();
    let (got, r, stats) = recovered(&bench).await;
    assert!(got.is_empty());
    assert_eq!((r.dropped, r.pending), (total, 0));
    assert!(stats.quarantined.get() + stats.damaged.get() > 0);
}

#[tokio::test]
async fn a_missing_or_torn_segment_never_stops_the_start() {
    let (bench, _) = filled(false).await;
    let segment = bench.segments()[0].clone();
    let db = segment.join("db");
    let length = std::fs::metadata(&db).unwrap().len();
    std::fs::File::options().write(true).open(&db).unwrap().set_len(length / 3).unwrap();
    let (_, r, _) = recovered(&bench).await;
    assert_eq!(r.pending, 0);

    for clean in [true, false] {
        let (bench, total) = filled(clean).await;
        std::fs::remove_dir_all(&bench.segments()[0]).unwrap();
        let (got, r, stats) = recovered(&bench).await;
        assert!(got.is_empty());
        assert_eq!((r.dropped, stats.quarantined.get()), (total, 1), "what it held is counted");
        let (_, r, stats) = recovered(&bench).await;
        assert_eq!((r.dropped, stats.quarantined.get()), (0, 0), "and only once");
    }
}

#[tokio::test]
async fn a_damaged_cursor_delivers_twice_and_loses_nothing() {
    let (bench, total) = filled(true).await;
    for file in list(&bench.folder.path().join("store/readers")) {
        std::fs::write(file, vec![7; 8192]).unwrap();
    }
    let (_, r, _) = recovered(&bench).await;
    assert_eq!((r.delivered, r.dropped), (total, 0));
}

#[tokio::test]
async fn another_configuration_finds_its_samples_by_path() {
    let (bench, total) = filled(true).await;
    // `d/b` had number 1 and has 5 now; `d/a` is gone.
    let bench = Bench { directory: directory(&["v", "w", "x", "y", "z", "b"]), ..bench };
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    let mut delivered = 0;
    while report(&store).pending > 0 {
        let Ok(next) = tokio::time::timeout(Duration::from_secs(1), reader.next()).await else { continue };
        let Next::History(seq, got) = next else { panic!("{next:?}") };
        let Some(Value::U32(n)) = got.samples[0].value else { panic!("{got:?}") };
        assert_eq!(n % 2, 1);
        assert!(got.samples.iter().all(|s| s.tag == TagId(5)));
        delivered += got.samples.len() as u64;
        reader.settle(seq, Settled::Sent);
    }
    let r = report(&store);
    assert_eq!(delivered, (0..3000).filter(|n| n % 2 == 1).map(weight).sum::<u64>());
    assert_eq!((r.delivered, r.delivered + r.dropped), (delivered, total));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_costs_nothing_but_the_spool() {
    let bench = Bench::new(Durability::Always, LONG);
    let folder = bench.folder.path().join("store");
    std::fs::write(&folder, b"a file where the folder should be").unwrap();
    let (store, stats) = bench.open();
    assert!(stats.disk_errors.get() > 0);
    assert_eq!(stats.durable.get(), 0);
    let mut reader = durable(&store);
    store.accept(batch(0));
    let (n, seq, _) = next(&mut reader).await;
    assert_eq!(n, 0);
    reader.settle(seq, Settled::Sent);
    // It is taken up as soon as it can be.
    std::fs::remove_file(&folder).unwrap();
    until("the store opens", || stats.durable.get() == 1).await;
    store.accept(batch(1));
    let (n, ..) = next(&mut reader).await;
    assert_eq!(n, 1);
    until("the spool works", || stats.spooled.get() > 0).await;
}

#[tokio::test]
async fn a_store_held_by_another_is_waited_for_and_its_backlog_comes_then() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
    let (first, stats) = bench.open();
    let reader = durable(&first);
    (0..10).for_each(|n| first.accept(batch(n)));
    until("the spill", || stats.spooled.get() > 0).await;
    let (second, stats) = bench.open_at_once();
    assert!(stats.disk_errors.get() > 0);
    let mut late = durable(&second);
    second.accept(batch(10));
    let (n, seq, _) = next(&mut late).await;
    assert_eq!(n, 10);
    late.settle(seq, Settled::Sent);
    drop((reader, first));
    for n in 0..10 {
        let (got, seq, history) = next(&mut late).await;
        assert_eq!((got, history), (n, true));
        late.settle(seq, Settled::Sent);
    }
    assert_eq!(report(&second).pending, 0);
}

#[tokio::test]
async fn a_publisher_that_is_away_costs_another_nothing_and_finds_all_that_it_missed() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(20));
    let (store, stats) = bench.open();
    let mut quick = durable(&store);
    let slow = store.reader("slow", ReaderOptions { durable: true, rules: None });
    for n in 0..2000 {
        store.accept(batch(n));
        let (got, seq, history) = next(&mut quick).await;
        assert_eq!((got, history), (n, false));
        quick.settle(seq, Settled::Sent);
    }
    let total: u64 = (0..2000).map(weight).sum();
    until("the spill", || stats.spooled.get() == total).await;
    drop((quick, slow));
    store.drain(DRAIN).await;
    drop(store);
    let (store, _) = bench.open();
    let mut slow = store.reader("slow", ReaderOptions { durable: true, rules: None });
    drop(durable(&store));
    assert_eq!(report(&store).pending, 0);
    for n in 0..2000 {
        let (got, seq, history) = next(&mut slow).await;
        assert_eq!((got, history), (n, true));
        slow.settle(seq, Settled::Sent);
    }
    until("the room given back", || bench.segments().is_empty()).await;
}

/// A small file system of its own; `None` where this user may not make one.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Option<Small> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success());
        mounted.then_some(Small(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_survived_and_used_again_when_there_is_room() {
    let Some(small) = Small::new("24m") else {
        eprintln!("skipped: only root can mount a small file system");
        return;
    };
    let bench = Bench::new(Durability::Always, LONG);
    let path = Some(small.0.path().join("store"));
    let bench = Bench { options: Options { path, ..bench.options.clone() }, ..bench };
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    store.accept(batch(0));
    assert_eq!(next(&mut reader).await.0, 0);
    // Another program takes all the room there is.
    let filler = small.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let mut n = 1;
    until("an error of the disk", || {
        (0..200).for_each(|_| {
            store.accept(batch(n));
            n += 1;
        });
        stats.disk_errors.get() > 0
    })
    .await;
    // Delivery goes on meanwhile.
    let (got, seq, _) = next(&mut reader).await;
    assert_eq!(got, 1);
    reader.settle(seq, Settled::Sent);
    let total = |n: u32| (0..n).map(weight).sum::<u64>();
    let r = report(&store);
    assert_eq!(r.delivered + r.pending + r.dropped, total(n));
    let before = stats.spooled.get();
    std::fs::remove_file(&filler).unwrap();
    until("the spool works again", || stats.spooled.get() > before).await;
    drop((reader, store));
    // What lay on the disk before is there, batch 0 among it, and so is what came after.
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    assert_eq!(next(&mut reader).await.0, 0);
    assert!(report(&store).pending > weight(0));
}

// ---- each publisher's own rules ----

fn ruled(store: &Store, name: &str, rules: ReaderRules) -> Reader {
    store.reader(name, ReaderOptions { durable: true, rules: Some(rules) })
}

fn of(store: &Store, name: &str) -> ReaderReport {
    store.readers().into_iter().find(|r| r.name == name).unwrap()
}

fn balanced(store: &Store) {
    for r in store.readers() {
        assert_eq!(r.counts.imbalance(), 0, "{r:?}");
    }
}

#[tokio::test]
async fn a_publisher_that_spills_is_not_held_up_by_one_that_writes_always() {
    let bench = Bench::new(Durability::Spill, LONG);
    let options = Options { commit: Duration::from_secs(60), ..bench.options.clone() };
    let bench = Bench { options, ..bench };
    let (store, stats) = bench.open();
    let spill = bench.options.reader_rules();
    let mut quick = ruled(&store, "quick", spill);
    let mut sure = ruled(&store, "sure", ReaderRules { durability: Durability::Always, ..spill });
    store.accept(batch(0));
    let (n, seq, _) = next(&mut quick).await;
    assert_eq!((n, stats.spooled.get()), (0, 0), "given before the commit");
    quick.settle(seq, Settled::Sent);
    let early = tokio::time::timeout(Duration::from_millis(50), sure.next()).await;
    assert!(early.is_err(), "not before it is on the disk");
    store.drain(DRAIN).await;
    assert_eq!(next(&mut sure).await.0, 0);
    assert_eq!(stats.spooled.get(), weight(0));
}

#[tokio::test]
async fn what_the_one_that_writes_always_has_had_is_written_for_nobody_else() {
    let bench = Bench::new(Durability::Spill, LONG);
    let (store, stats) = bench.open();
    let spill = bench.options.reader_rules();
    let sure = ruled(&store, "sure", ReaderRules { durability: Durability::Always, ..spill });
    let mut quick = ruled(&store, "quick", spill);
    store.accept(batch(0));
    until("the commit", || stats.spooled.get() == weight(0)).await;
    drop(sure);
    // Nobody reads it any more, yet it is its backlog: written, and kept for it.
    store.accept(batch(1));
    until("the commit", || stats.spooled.get() == weight(0) + weight(1)).await;
    assert_eq!((next(&mut quick).await.0, next(&mut quick).await.0), (0, 1));
    balanced(&store);
}

#[tokio::test]
async fn a_publisher_that_is_full_loses_its_own_oldest_and_another_loses_nothing() {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
    let (store, stats) = bench.open();
    let rules = bench.options.reader_rules();
    let mut north = ruled(&store, "north", ReaderRules { max_bytes: Some(64 << 10), ..rules });
    let mut other = ruled(&store, "other", rules);
    let total: u64 = (0..20_000).map(weight).sum();
    for n in 0..20_000 {
        store.accept(batch(n));
        if n % 1000 == 999 {
            balanced(&store);
            let upto: u64 = (0..=n).map(weight).sum();
            until("the spill", || stats.spooled.get() == upto).await;
            balanced(&store);
        }
    }
    let r = of(&store, "north").counts;
    assert!(r.dropped_by(LossReason::Full) > 0 && r.pending > 0);
    assert_eq!(r.dropped_by(LossReason::Full) + r.pending, total);
    let last = r.last.unwrap();
    assert_eq!((last.reason, last.from), (LossReason::Full, Timestamp(START)));
    assert!(last.to > last.from);
    // Where the disk has taken it, a bound holds more than the same bytes in memory.
    let mut before = None;
    while of(&store, "north").pending > 0 {
        let (n, seq, _) = next(&mut north).await;
        assert!(before.map_or(n > 0, |b| n == b + 1), "the newest, without a gap");
        before = Some(n);
        north.settle(seq, Settled::Sent);
    }
    assert_eq!(before, Some(19_999));
    for n in 0..20_000 {
        let (got, seq, _) = next(&mut other).await;
        assert_eq!(got, n);
        other.settle(seq, Settled::Sent);
    }
    balanced(&store);
    assert_eq!(of(&store, "other").counts.delivered, total);
    until("the room given back", || bench.segments().is_empty()).await;
}

#[tokio::test]
async fn drop_newest_keeps_what_waits_until_delivery_makes_room() {
    for spools in [false, true] {
        let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
        let path = bench.options.path.clone().filter(|_| spools);
        let bench = Bench { options: Options { path, ..bench.options.clone() }, ..bench };
        let (store, _) = bench.open();
        let rules = ReaderRules {
            max_bytes: Some(32 << 10),
            when_full: WhenFull::DropNewest,
            ..bench.options.reader_rules()
        };
        let mut north = ruled(&store, "north", rules);
        let mut n = 0;
        until("it is full", || {
            (0..100).for_each(|_| {
                store.accept(batch(n));
                n += 1;
            });
            balanced(&store);
            report(&store).counts.dropped_by(LossReason::Newest) > 0
        })
        .await;
        let r = report(&store).counts;
        assert_eq!(r.last.unwrap().reason, LossReason::Newest);
        // The first ones are there, one after the other.
        let mut got = Vec::new();
        while report(&store).pending > 0 {
            let (n, seq, _) = next(&mut north).await;
            got.push(n);
            north.settle(seq, Settled::Sent);
            balanced(&store);
        }
        assert_eq!(got[..50], (0..50).collect::<Vec<_>>());
        // Not the last one: what goes to the disk is packed there, which makes room, too.
        assert!(got.len() < n as usize && got.is_sorted());
        store.accept(batch(n));
        assert_eq!(next(&mut north).await.0, n, "there is room again");
        balanced(&store);
    }
}

#[tokio::test]
async fn what_is_older_than_a_publishers_own_age_is_lost_for_it_alone() {
    let bench = Bench::new(Durability::Spill, LONG);
    let (store, _) = bench.open();
    let rules = bench.options.reader_rules();
    let _north = ruled(&store, "north", ReaderRules { max_age: Duration::from_millis(50), ..rules });
    let _other = ruled(&store, "other", rules);
    (0..10).for_each(|n| store.accept(batch(n)));
    let total: u64 = (0..10).map(weight).sum();
    until("the loss", || of(&store, "north").counts.dropped_by(LossReason::Age) == total).await;
    assert_eq!(of(&store, "other").pending, total);
    balanced(&store);
}

#[tokio::test]
async fn a_full_spool_takes_nothing_new_or_is_thinned_as_the_store_says() {
    for (when_full, reason) in
        [(WhenFull::DropNewest, LossReason::Newest), (WhenFull::Downsample, LossReason::Thinned)]
    {
        let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
        let options = Options {
            max_bytes: 3 << 20,
            when_full,
            downsample: Duration::from_millis(10),
            ..bench.options.clone()
        };
        let bench = Bench { options, ..bench };
        let (store, stats) = bench.open();
        let _away = durable(&store);
        let mut quick = ruled(&store, "quick", bench.options.reader_rules());
        let mut n = 0;
        while report(&store).counts.dropped_by(reason) == 0 {
            assert!(n < 2_000_000, "never full");
            for _ in 0..500 {
                store.accept(batch(n));
                n += 1;
                let (_, seq, _) = next(&mut quick).await;
                quick.settle(seq, Settled::Sent);
            }
            balanced(&store);
        }
        assert_eq!(of(&store, "quick").dropped, 0, "who keeps up loses nothing");
        assert_eq!(report(&store).counts.dropped_by(LossReason::DiskFull), 0);
        until("a spool below its bound", || stats.spool_bytes.get() <= 3 << 20).await;
    }
}

/// A store whose one publisher has its backlog thinned to a hundred batches a window.
fn thinning() -> (Bench, ReaderRules) {
    let bench = Bench::new(Durability::Spill, Duration::from_millis(10));
    let options = Options { downsample: Duration::from_millis(1), ..bench.options.clone() };
    let bench = Bench { options, ..bench };
    let rules = ReaderRules {
        max_bytes: Some(16 << 10),
        when_full: WhenFull::Downsample,
        ..bench.options.reader_rules()
    };
    (bench, rules)
}

/// Accepts until something was thinned; gives how many batches that took.
async fn fill_until_thinned(store: &Store, stats: &StoreStats) -> u32 {
    let mut n = 0;
    while report(store).counts.dropped_by(LossReason::Thinned) == 0 {
        assert!(n < 200_000, "never thinned");
        (0..500).for_each(|_| {
            store.accept(batch(n));
            n += 1;
        });
        balanced(store);
        let upto: u64 = (0..n).map(weight).sum();
        until("the spill", || stats.spooled.get() == upto).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    n
}

/// All samples that come, as (time, value), until nothing waits.
async fn all(reader: &mut Reader, store: &Store) -> Vec<(i64, u32)> {
    let mut got = Vec::new();
    while report(store).pending > 0 {
        let Ok(next) = tokio::time::timeout(Duration::from_millis(200), reader.next()).await else {
            continue;
        };
        let (Next::Live(seq, batch) | Next::History(seq, batch)) = next;
        for sample in &batch.samples {
            let Some(Value::U32(n)) = sample.value else { panic!("{sample:?}") };
            got.push((sample.at.0, n));
        }
        reader.settle(seq, Settled::Sent);
    }
    got
}

/// Of each window and tag the first and the last are there, in order, once.
fn thinned_well(got: &[(i64, u32)], batches: u32) {
    assert!(got.windows(2).all(|w| w[0].0 < w[1].0), "in order, nothing twice");
    let there: BTreeSet<_> = got.iter().copied().collect();
    for n in 0..batches {
        // Values only grow, so the least and the greatest are the first and the last.
        let first = |n: u32| n % 100 < 2;
        let last = |n: u32| n % 100 >= 98;
        if first(n) {
            assert!(there.contains(&(START + i64::from(n * 10), n)), "the first of a window: {n}");
        }
        if last(n) {
            let at = n * 10 + n % 3;
            assert!(there.contains(&(START + i64::from(at), n)), "the last of a window: {n}");
        }
    }
}

#[tokio::test]
async fn downsample_keeps_of_each_tag_and_window_what_shows_its_course() {
    let (bench, rules) = thinning();
    let (store, stats) = bench.open();
    let mut north = ruled(&store, "north", rules);
    let n = fill_until_thinned(&store, &stats).await;
    let r = report(&store).counts;
    assert_eq!(r.last.unwrap().reason, LossReason::Thinned);
    assert_eq!(r.dropped_by(LossReason::Full), 0, "thinning was enough");
    let got = all(&mut north, &store).await;
    assert!(got.len() < (0..n).map(weight).sum::<u64>() as usize);
    thinned_well(&got, n);
    balanced(&store);
    assert_eq!(report(&store).delivered, got.len() as u64);
    until("the room given back", || bench.segments().is_empty()).await;
}

#[tokio::test]
async fn a_crash_while_a_segment_is_rewritten_gives_nothing_twice_and_loses_nothing_more() {
    let (bench, rules) = thinning();
    let (store, stats) = bench.open();
    let north = ruled(&store, "north", rules);
    store.accept(batch(0));
    until("the spill", || stats.spooled.get() > 0).await;
    let first = bench.segments()[0].clone();
    let old = bench.folder.path().join("old");
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
        assert!(done.success());
    };
    let mut n = 1;
    while report(&store).counts.dropped_by(LossReason::Thinned) == 0 {
        assert!(n < 200_000, "never thinned");
        if first.exists() {
            let _ = std::fs::remove_dir_all(&old);
            // It may go meanwhile; then the copy before it counts.
            copy(&first, &old);
        }
        (0..500).for_each(|_| {
            store.accept(batch(n));
            n += 1;
        });
        let upto: u64 = (0..n).map(weight).sum();
        until("the spill", || stats.spooled.get() == upto).await;
    }
    drop((north, store));
    assert!(!first.exists(), "it was rewritten: {:?}", bench.segments());
    let thinned = bench.segments();
    assert!(thinned[0].to_str().unwrap().ends_with("-1"), "{thinned:?}");
    // As if the power had failed after the rename and before the old one was removed, and while the next
    // one was being written.
    copy(&old, &first);
    copy(&old, &bench.folder.path().join("store/segments/thin-00000000000000ff"));
    let (store, _) = bench.open();
    assert_eq!(bench.segments(), thinned, "the new one counts, what was not finished is gone");
    let mut north = ruled(&store, "north", rules);
    let got = all(&mut north, &store).await;
    thinned_well(&got, n);
    balanced(&store);
}

#[tokio::test]
async fn the_counts_balance_after_every_step_of_a_run_with_every_kind_of_loss() {
    let (bench, thin) = thinning();
    let options = Options { memory: 256 << 10, ..bench.options.clone() };
    let mut bench = Bench { options, ..bench };
    let plain = bench.options.reader_rules();
    let kinds = [
        ("north", thin),
        ("oldest", ReaderRules { max_bytes: Some(40 << 10), ..plain }),
        ("newest", ReaderRules { max_bytes: Some(24 << 10), when_full: WhenFull::DropNewest, ..plain }),
        ("old", ReaderRules { max_age: Duration::from_millis(500), ..plain }),
    ];
    let mut lost = BTreeSet::new();
    let mut n = 0;
    for run in 0..3 {
        if run == 2 {
            // The tag `d/b` is gone.
            bench.directory = directory(&["a", "x", "c"]);
        }
        let (store, _) = bench.open();
        let mut readers: Vec<_> = kinds.iter().map(|(name, rules)| ruled(&store, name, *rules)).collect();
        for round in 0..40_usize {
            (0..300).for_each(|_| {
                store.accept(batch(n));
                n += 1;
            });
            balanced(&store);
            for (at, reader) in readers.iter_mut().enumerate() {
                for step in 0..20 {
                    let wait = tokio::time::timeout(Duration::from_millis(20), reader.next()).await;
                    let Ok(Next::Live(seq, _) | Next::History(seq, _)) = wait else { break };
                    match (round + at + step) % 5 {
                        0 => reader.settle(seq, Settled::Rejected),
                        1 => {}
                        _ => reader.settle(seq, Settled::Sent),
                    }
                    balanced(&store);
                }
                if round % 7 == at {
                    reader.rewind();
                    balanced(&store);
                }
            }
        }
        // Whatever time the rounds took, what waits now gets old.
        (0..300).for_each(|_| {
            store.accept(batch(n));
            n += 1;
        });
        until("the age", || of(&store, "old").counts.dropped_by(LossReason::Age) > 0).await;
        balanced(&store);
        for r in store.readers() {
            lost.extend(LossReason::ALL.iter().filter(|l| r.counts.dropped_by(**l) > 0).map(|l| l.name()));
        }
        drop(readers);
        if run == 0 {
            store.drain(DRAIN).await;
            balanced(&store);
        }
    }
    for reason in ["max-bytes", "newest", "max-age", "unknown-tag", "rejected"] {
        assert!(lost.contains(reason), "{reason} is not among {lost:?}");
    }
}

// ---- against a simple model, with random operations and crashes ----

#[derive(Debug, Clone)]
enum Op {
    Accept(u32),
    Next(u32),
    /// Settles one of the given, by position.
    Settle(usize),
    Rewind,
    Pause,
    Restart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1..40_u32).prop_map(Op::Accept),
        8 => (1..40_u32).prop_map(Op::Next),
        8 => (0..1000_usize).prop_map(Op::Settle),
        2 => Just(Op::Rewind),
        2 => Just(Op::Pause),
        1 => Just(Op::Restart),
        1 => Just(Op::Crash),
    ]
}

/// What the test knows of its one reader.
#[derive(Default)]
struct Model {
    accepted: u32,
    settled: BTreeSet<u32>,
    /// Number → place.
    given: BTreeMap<u32, Seq>,
    /// Below it all is history.
    live_from: u32,
    lost: BTreeSet<u32>,
    last: [Option<u32>; 2],
    seqs: BTreeMap<Seq, u32>,
    /// After a crash: settled ones whose cursor may not be on the disk.
    again: BTreeSet<u32>,
}

impl Model {
    fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        let known = |n: &u32| self.settled.contains(n) || self.given.contains_key(n) || self.lost.contains(n);
        (0..self.accepted).filter(move |n| !known(n))
    }

    fn rewind(&mut self) {
        self.given.clear();
        self.live_from = self.accepted;
        self.last = [None; 2];
    }

    fn got(&mut self, (n, seq, history): (u32, Seq, bool)) {
        assert!(n < self.accepted, "a phantom: {n}");
        assert!(!self.given.contains_key(&n), "{n} twice");
        if !self.again.remove(&n) {
            assert!(!self.settled.contains(&n), "{n} was settled");
        }
        assert_eq!(history, n < self.live_from, "{n}");
        let last = &mut self.last[usize::from(history)];
        assert!(last.is_none_or(|last| n > last), "{n} after {last:?}");
        *last = Some(n);
        assert_eq!(*self.seqs.entry(seq).or_insert(n), n, "one number for two batches");
        self.given.insert(n, seq);
    }
}

async fn walk(ops: Vec<Op>, durability: Durability, replay: Replay) {
    let bench = Bench::new(durability, Duration::from_millis(5));
    let bench = Bench { options: Options { replay, ..bench.options.clone() }, ..bench };
    let (mut store, _) = bench.open();
    let mut reader = durable(&store);
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Accept(count) => {
                for _ in 0..count {
                    store.accept(batch(model.accepted));
                    model.accepted += 1;
                }
            }
            Op::Next(count) => {
                for _ in 0..count {
                    if model.waiting().next().is_none() {
                        break;
                    }
                    model.got(next(&mut reader).await);
                }
            }
            Op::Settle(at) => {
                let Some(n) = model.given.keys().nth(at % model.given.len().max(1)).copied() else {
                    continue;
                };
                let seq = model.given.remove(&n).unwrap();
                reader.settle(seq, Settled::Sent);
                model.settled.insert(n);
            }
            Op::Rewind => {
                reader.rewind();
                model.rewind();
            }
            Op::Pause => tokio::time::sleep(Duration::from_millis(15)).await,
            Op::Restart => {
                drop(reader);
                store.drain(DRAIN).await;
                drop(store);
                store = bench.open().0;
                reader = durable(&store);
                model.rewind();
                let waiting: u64 = model.waiting().map(weight).sum();
                assert_eq!(report(&store).pending, waiting);
            }
            Op::Crash => {
                let must: BTreeSet<u32> = match durability {
                    Durability::Always => model.given.keys().copied().collect(),
                    Durability::Spill => BTreeSet::new(),
                };
                drop((reader, store));
                store = bench.open().0;
                reader = durable(&store);
                model.rewind();
                model.again = model.settled.clone();
                // Take all, so that the model knows what there is.
                let mut back = BTreeSet::new();
                while report(&store).pending > 0 {
                    let got = next(&mut reader).await;
                    model.got(got);
                    back.insert(got.0);
                    reader.settle(got.1, Settled::Sent);
                    model.given.remove(&got.0);
                }
                let missing: Vec<_> = must.difference(&back).collect();
                assert!(missing.is_empty(), "handed out and lost: {missing:?}");
                model.again.clear();
                model.settled = (0..model.accepted).collect();
            }
        }
        let r = report(&store);
        assert_eq!(r.dropped, 0);
    }
    // All that the model waits for comes.
    while model.waiting().next().is_some() {
        model.got(next(&mut reader).await);
    }
    let unsettled: u64 = model.given.keys().map(|n| weight(*n)).sum();
    assert_eq!(report(&store).pending, unsettled);
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_outbox_does_what_its_model_does_when_it_spills(ops in prop::collection::vec(op(), 1..60)) {
        run(walk(ops, Durability::Spill, Replay::LiveFirst));
    }

    #[test]
    fn the_outbox_does_what_its_model_does_when_it_writes_always(
        ops in prop::collection::vec(op(), 1..60),
        in_order: bool,
    ) {
        run(walk(ops, Durability::Always, if in_order { Replay::InOrder } else { Replay::LiveFirst }));
    }
}
