//! History: what was delivered is kept within its bounds, over restarts, and read back in order and without doubles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/directory.rs"]
mod directory;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::model::{
    Batch, Clock, DataType, DeviceId, DeviceState, Directory, Sample, TagId, Timestamp, Value,
};
use fieldgate::store::history::{Ask, Lane, Page, Place};
use fieldgate::store::{
    Durability, History, HistoryError, Next, Options, Reader, ReaderOptions, Settled, Store,
};
use fieldgate::telemetry::StoreStats;

/// 2025-10-09, in microseconds.
const START: i64 = 1_760_000_000_000_000;
const LOW: Timestamp = Timestamp(i64::MIN);
const HIGH: Timestamp = Timestamp(i64::MAX);

fn directory(names: &[&str]) -> Arc<Directory> {
    Arc::new(directory::directory(names))
}

struct Bench {
    folder: tempfile::TempDir,
    options: Options,
    directory: Arc<Directory>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            path: Some(folder.path().join("store")),
            spill_after: Duration::from_millis(20),
            history: Some(History { keep: Duration::from_secs(7 * 86400), max_bytes: 512 << 20 }),
            ..Options::default()
        };
        Bench { folder, options, directory: directory(&["a", "b"]) }
    }

    fn open(&self) -> (Arc<Store>, Arc<StoreStats>) {
        self.open_at(Timestamp(START))
    }

    fn open_at(&self, now: Timestamp) -> (Arc<Store>, Arc<StoreStats>) {
        let stats = Arc::new(StoreStats::default());
        let clock = Clock::starting_at(now);
        (Store::open(self.options.clone(), self.directory.clone(), clock, stats.clone()), stats)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let all = list(&self.folder.path().join("store/segments"));
        all.into_iter().filter(|path| path.is_dir()).collect()
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

fn at(n: u32) -> Timestamp {
    Timestamp(START + i64::from(n) * 1000)
}

/// Batch number `n`: tag `a` has `n` at millisecond `n`, tag `b` twice as much.
fn batch(n: u32) -> Batch {
    batch_at(n, at(n))
}

fn batch_at(n: u32, at: Timestamp) -> Batch {
    let samples =
        vec![Sample::good(TagId(0), Value::U32(n), at), Sample::good(TagId(1), Value::U32(2 * n), at)];
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples }
}

fn durable(store: &Store) -> Reader {
    store.reader("north", ReaderOptions { durable: true, rules: None })
}

async fn deliver(reader: &mut Reader, count: u32) {
    for _ in 0..count {
        let next =
            tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("a batch in time");
        let (Next::Live(seq, _) | Next::History(seq, _)) = next;
        reader.settle(seq, Settled::Sent);
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ask(tag: u32, most: usize) -> Ask {
    let lanes = vec![Lane { tag: TagId(tag), after: None }];
    Ask { lanes, low: LOW, high: HIGH, newest_first: false, most }
}

async fn page(store: &Store, ask: Ask) -> Page {
    let pages = tokio::time::timeout(Duration::from_secs(20), store.history(ask)).await.expect("an answer");
    pages.unwrap().remove(0)
}

fn values(samples: &[Sample]) -> Vec<u32> {
    let value = |s: &Sample| match s.value {
        Some(Value::U32(n)) => n,
        ref other => panic!("{other:?}"),
    };
    samples.iter().map(value).collect()
}

async fn all(store: &Store) -> Vec<u32> {
    let page = page(store, ask(0, 1_000_000)).await;
    assert_eq!(page.next, None);
    values(&page.samples)
}

#[tokio::test]
async fn what_was_delivered_is_read_back_also_after_a_restart() {
    let bench = Bench::new();
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    (0..100).for_each(|n| store.accept(batch(n)));
    deliver(&mut reader, 100).await;
    until("it is written", || stats.spooled.get() == 200).await;
    // Not written yet, delivered or not.
    (100..120).for_each(|n| store.accept(batch(n)));
    deliver(&mut reader, 10).await;
    assert_eq!(all(&store).await, Vec::from_iter(0..120));
    store.drain(Duration::from_secs(10)).await;
    drop(reader);
    drop(store);

    let (store, _) = bench.open();
    let mut reader = durable(&store);
    assert_eq!(all(&store).await, Vec::from_iter(0..120));
    (120..130).for_each(|n| store.accept(batch(n)));
    deliver(&mut reader, 20).await;
    assert_eq!(all(&store).await, Vec::from_iter(0..130));
    let report = store.readers();
    assert_eq!((report.len(), report[0].pending, report[0].dropped), (1, 0, 0), "{report:?}");
}

#[tokio::test]
async fn a_tag_is_found_by_its_path_when_the_configuration_has_other_numbers() {
    let mut bench = Bench::new();
    let (store, _) = bench.open();
    (0..10).for_each(|n| store.accept(batch(n)));
    store.drain(Duration::from_secs(10)).await;
    drop(store);
    bench.directory = directory(&["new", "b", "a"]);
    let (store, _) = bench.open();
    assert_eq!(values(&page(&store, ask(2, 100)).await.samples), Vec::from_iter(0..10));
    assert!(page(&store, ask(0, 100)).await.samples.is_empty());
}

#[tokio::test]
async fn without_a_publisher_history_is_kept_and_without_history_nothing_is() {
    let mut bench = Bench::new();
    let (store, stats) = bench.open();
    (0..10).for_each(|n| store.accept(batch(n)));
    until("it is written", || stats.spooled.get() == 20).await;
    assert!(store.keeps_history());
    assert_eq!(all(&store).await, Vec::from_iter(0..10));
    drop(store);
    bench.options.history = None;
    let (store, _) = bench.open();
    assert!(!store.keeps_history());
    assert_eq!(store.history(ask(0, 1)).await, Err(HistoryError::Off));
    until("what was kept is gone", || bench.segments().is_empty()).await;
    assert_eq!(Store::in_memory().history(ask(0, 1)).await, Err(HistoryError::Off));
}

async fn in_pages(store: &Store, mut ask: Ask) -> Vec<u32> {
    let mut found = Vec::new();
    loop {
        let page = page(store, ask.clone()).await;
        assert!(page.samples.len() <= ask.most);
        found.extend(values(&page.samples));
        match page.next {
            Some(next) => ask.lanes[0].after = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_forward_and_backward_have_every_sample_once_and_keep_the_bounds() {
    let bench = Bench::new();
    let (store, stats) = bench.open();
    let mut written = 0;
    // Several blocks, some in memory only at the end.
    for part in 0..5 {
        (part * 50..part * 50 + 50).for_each(|n| store.accept(batch(n)));
        written += 100;
        if part < 4 {
            until("it is written", || stats.spooled.get() == written).await;
        }
    }
    for most in [1, 7, 50, 249, 250, 251] {
        assert_eq!(in_pages(&store, ask(0, most)).await, Vec::from_iter(0..250), "{most}");
        let back = Ask { newest_first: true, ..ask(0, most) };
        assert_eq!(in_pages(&store, back).await, Vec::from_iter((0..250).rev()), "{most}");
        let part = Ask { low: at(20), high: at(220), ..ask(0, most) };
        assert_eq!(in_pages(&store, part.clone()).await, Vec::from_iter(20..=220), "{most}");
        let part = Ask { newest_first: true, ..part };
        assert_eq!(in_pages(&store, part).await, Vec::from_iter((20..=220).rev()), "{most}");
    }
    let none = Ask { low: at(21), high: at(20), ..ask(0, 5) };
    assert!(page(&store, none).await.samples.is_empty());
}

#[tokio::test]
async fn several_tags_are_read_in_one_go_each_from_its_own_place() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    (0..100).for_each(|n| store.accept(batch(n)));
    store.drain(Duration::from_secs(10)).await;
    let first = page(&store, ask(0, 30)).await;
    let lanes = vec![Lane { tag: TagId(0), after: first.next }, Lane { tag: TagId(1), after: None }];
    let pages = store.history(Ask { lanes, ..ask(0, 50) }).await.unwrap();
    assert_eq!(values(&pages[0].samples), Vec::from_iter(30..80));
    assert_eq!(values(&pages[1].samples), Vec::from_iter((0..50).map(|n| 2 * n)));
}

#[tokio::test]
async fn a_clock_that_was_stepped_back_leaves_history_in_the_order_of_time() {
    let bench = Bench::new();
    let (store, stats) = bench.open();
    // Even numbers first, then the clock goes back and odd ones come in between; each in blocks of their own.
    for (round, first) in [(1, 0), (2, 1)] {
        (0..100).for_each(|n| store.accept(batch(2 * n + first)));
        until("it is written", || stats.spooled.get() == round * 200).await;
    }
    // The same time again: in the order of acceptance.
    store.accept(batch_at(1000, at(50)));
    let mut expected = Vec::from_iter(0..200);
    expected.insert(51, 1000);
    assert_eq!(in_pages(&store, ask(0, 7)).await, expected);
    expected.reverse();
    assert_eq!(in_pages(&store, Ask { newest_first: true, ..ask(0, 7) }).await, expected);
}

#[tokio::test]
async fn history_goes_by_age_and_what_a_publisher_waits_for_stays() {
    let mut bench = Bench::new();
    bench.options.history = Some(History { keep: Duration::from_secs(3600), max_bytes: 512 << 20 });
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    (0..10).for_each(|n| store.accept(batch(n)));
    deliver(&mut reader, 10).await;
    store.drain(Duration::from_secs(10)).await;
    assert_eq!(all(&store).await, Vec::from_iter(0..10));
    (10..20).for_each(|n| store.accept(batch(n)));
    store.drain(Duration::from_secs(10)).await;
    assert_eq!(bench.segments().len(), 2);
    drop((reader, store));

    let (store, _) = bench.open_at(Timestamp(START + 2 * 3600 * 1_000_000));
    let mut reader = durable(&store);
    until("what was delivered is gone", || bench.segments().len() == 1).await;
    assert_eq!(all(&store).await, Vec::from_iter(10..20));
    deliver(&mut reader, 10).await;
    until("the rest is gone", || bench.segments().is_empty()).await;
    assert!(all(&store).await.is_empty());
}

/// Text that no compression makes small.
fn noise(n: u32) -> Value {
    let mut x = u64::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut text = String::new();
    for _ in 0..1000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        text.push_str(&format!("{x:016x}"));
    }
    Value::Text(text.as_str().into())
}

#[tokio::test]
async fn history_is_bounded_by_its_bytes_and_never_takes_what_is_not_delivered() {
    let mut bench = Bench::new();
    let most = 4 << 20;
    bench.options.history = Some(History { keep: Duration::from_secs(7 * 86400), max_bytes: most });
    let mut tag = directory(&["a"]).tags()[0].clone();
    tag.kind = DataType::Text;
    let device = directory(&[]).devices()[0].clone();
    bench.directory = Arc::new(Directory::new("g", "n", vec![device], vec![tag]));
    let (store, stats) = bench.open();
    let mut reader = durable(&store);
    let text = |n| Batch { samples: vec![Sample::good(TagId(0), noise(n), at(n))], ..batch(n) };
    let put = async |range: std::ops::Range<u32>| {
        for n in range {
            store.accept(text(n));
            if n % 20 == 19 {
                until("it is written", || stats.spooled.get() > u64::from(n)).await;
            }
        }
    };
    // Nobody takes it: far more than history may have, and all of it stays.
    put(0..700).await;
    assert_eq!(page(&store, ask(0, 10_000)).await.samples.len(), 700);
    // Delivered, all but the last: the oldest goes.
    deliver(&mut reader, 600).await;
    until("history is within its bytes", || {
        stats.history_bytes.get() > 0
            && stats.history_bytes.get() <= most as i64
            && stats.history_oldest.get() > START
    })
    .await;
    let kept = page(&store, ask(0, 10_000)).await.samples;
    let first = (kept[0].at.0 - START) / 1000;
    assert!(first > 0 && kept.len() as i64 == 700 - first, "from {first}: {}", kept.len());
    assert_eq!(kept.last().unwrap().at, at(699));
    // What waits is whole.
    deliver(&mut reader, 100).await;
    assert_eq!(store.readers()[0].dropped, 0);
    assert_eq!(stats.history_lost.get(), 0);
}

#[tokio::test]
async fn while_the_disk_is_away_history_gives_its_memory_to_what_is_not_delivered() {
    let mut bench = Bench::new();
    let blocked = bench.folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    bench.options.path = Some(blocked.join("store"));
    bench.options.memory = 1 << 20;
    let (store, stats) = bench.open();
    let mut slow = durable(&store);
    (0..100).for_each(|n| store.accept(batch(n)));
    assert_eq!(store.history(ask(0, 1)).await, Err(HistoryError::Unavailable));
    // What comes from here on goes at once: only history wants it in the memory.
    deliver(&mut slow, 100).await;
    (100..200).for_each(|n| store.accept(batch(n)));
    // Live goes on while the hundred waits.
    let mut given = Vec::new();
    for _ in 0..100 {
        let (Next::Live(seq, _) | Next::History(seq, _)) = slow.next().await;
        given.push(seq);
    }
    for n in 200..10_000 {
        store.accept(batch(n));
        deliver(&mut slow, 1).await;
    }
    assert_eq!(store.readers()[0].dropped, 0);
    assert_eq!(store.readers()[0].pending, 200);
    given.into_iter().for_each(|seq| slow.settle(seq, Settled::Sent));
    assert_eq!(store.readers()[0].delivered, 20_000);
    drop(slow);
    drop(store);
    drop(stats);
}

#[tokio::test]
async fn a_place_outlives_the_process() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    (0..50).for_each(|n| store.accept(batch(n)));
    let place: Place = page(&store, ask(0, 20)).await.next.unwrap();
    store.drain(Duration::from_secs(10)).await;
    drop(store);
    let (store, _) = bench.open();
    let lanes = vec![Lane { tag: TagId(0), after: Some(place) }];
    let rest = page(&store, Ask { lanes, ..ask(0, 100) }).await;
    assert_eq!(values(&rest.samples), Vec::from_iter(20..50));
}

#[tokio::test]
async fn a_damaged_block_is_skipped_and_counted_once() {
    let bench = Bench::new();
    let (store, stats) = bench.open();
    for part in 0..3 {
        (part * 10..part * 10 + 10).for_each(|n| store.accept(batch(n)));
        until("it is written", || stats.spooled.get() == u64::from(part + 1) * 20).await;
    }
    store.drain(Duration::from_secs(10)).await;
    drop(store);
    let damaged = damage_one_block(&bench.segments()[0]);
    assert!(damaged);
    let (store, stats) = bench.open();
    let counted = || stats.damaged.get() + stats.quarantined.get();
    let first = all(&store).await;
    let once = counted();
    // Three blocks were written; sled takes a damaged one for the end of its log.
    assert!((1..=3).contains(&once), "{once}");
    assert!(first.len() < 30, "{first:?}");
    assert!(first.windows(2).all(|w| w[0] < w[1]));
    assert_eq!(all(&store).await, first);
    assert_eq!(counted(), once);
}

/// Flips a byte in the middle of what the database has written.
fn damage_one_block(segment: &Path) -> bool {
    let db = segment.join("db");
    let mut bytes = std::fs::read(&db).unwrap();
    let Some(end) = bytes.iter().rposition(|b| *b != 0) else { return false };
    let place = end / 2;
    bytes[place] ^= 0xFF;
    std::fs::write(&db, bytes).is_ok()
}

#[tokio::test]
async fn with_durability_always_history_is_kept_as_well() {
    let mut bench = Bench::new();
    bench.options.durability = Durability::Always;
    bench.options.commit = Duration::from_millis(10);
    let (store, _) = bench.open();
    let mut reader = durable(&store);
    (0..50).for_each(|n| store.accept(batch(n)));
    deliver(&mut reader, 50).await;
    drop((reader, store));
    let (store, _) = bench.open();
    assert_eq!(all(&store).await, Vec::from_iter(0..50));
}
