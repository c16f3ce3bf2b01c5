//! A store with records that can be told from wrong ones, and a way to take out all that it kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::model::*;
use fieldgate::store::{Next, Options, Reader, ReaderOptions, ReaderReport, Settled, Store};
use fieldgate::telemetry::StoreStats;

const START: i64 = 1_700_000_000_000_000;

fn directory() -> Arc<Directory> {
    Arc::new(super::directory::directory(&["t0", "t1", "t2"]))
}

/// Record number `n`: one to three samples, all of it made from the number, so that a wrong one shows.
pub(crate) fn batch(n: u32) -> Batch {
    let value = |i: u32| Value::U32(if i == 0 { n } else { n.wrapping_mul(2_654_435_761) ^ i });
    let sample = |i| Sample::good(TagId(i), value(i), Timestamp(START + i64::from(n) * 10 + i64::from(i)));
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: (0..=n % 3).map(sample).collect() }
}

/// Samples of a record.
pub(crate) fn weight(n: u32) -> u64 {
    u64::from(n % 3) + 1
}

/// Its number; panics where it is not, to the last bit, what was accepted.
pub(crate) fn number(got: &Batch) -> u32 {
    let Some(Value::U32(n)) = got.samples[0].value else { panic!("a wrong record: {got:?}") };
    assert_eq!(*got, batch(n), "a wrong record is never served");
    n
}

/// Its number, where some of its samples may be lost: a name that is damaged costs those of its tag.
pub(crate) fn number_of_some(got: &Batch) -> u32 {
    let n = ((got.samples[0].at.0 - START) / 10) as u32;
    let whole = batch(n);
    assert_eq!((got.device, got.state), (whole.device, whole.state));
    assert!(got.samples.iter().all(|s| whole.samples.contains(s)), "a wrong record is never served: {got:?}");
    n
}

pub(crate) fn open(options: Options) -> (Arc<Store>, Arc<StoreStats>) {
    open_at(options, START + 1_000_000_000_000)
}

/// With the clock at so many microseconds since 1970.
pub(crate) fn open_at(options: Options, clock: i64) -> (Arc<Store>, Arc<StoreStats>) {
    let stats = Arc::new(StoreStats::default());
    (Store::open(options, directory(), Clock::starting_at(Timestamp(clock)), stats.clone()), stats)
}

pub(crate) fn options(folder: &Path) -> Options {
    Options {
        path: Some(folder.to_owned()),
        max_age: Duration::from_secs(3650 * 86400),
        ..Options::default()
    }
}

pub(crate) fn north(store: &Store) -> Reader {
    store.reader("north", ReaderOptions { durable: true, rules: None })
}

pub(crate) fn report(store: &Store) -> ReaderReport {
    store.readers().into_iter().find(|r| r.name == "north").unwrap()
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Long enough for the slowest machine; it is waited for only where something is broken.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What was accepted is delivered, waits, or was dropped and counted, at any time.
pub(crate) fn balanced(store: &Store, accepted: u64) {
    let r = report(store);
    assert_eq!(r.delivered + r.pending + r.dropped, accepted, "{r:?}");
}

pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

/// Takes and settles all that waits, and gives the numbers; none comes twice, and history in order.
pub(crate) async fn take_all(store: &Store, reader: &mut Reader) -> BTreeSet<u32> {
    take_some(store, reader, number).await.into_keys().collect()
}

/// The same, with the samples that came of each.
pub(crate) async fn take_some(
    store: &Store,
    reader: &mut Reader,
    number: fn(&Batch) -> u32,
) -> BTreeMap<u32, u64> {
    let (mut all, mut before) = (BTreeMap::new(), None);
    let mut last = Instant::now();
    while report(store).pending > 0 {
        assert!(last.elapsed() < LONG, "what is pending comes or is dropped: {:?}", report(store));
        let Ok(next) = tokio::time::timeout(Duration::from_millis(100), reader.next()).await else {
            continue;
        };
        last = Instant::now();
        let (seq, got) = match next {
            Next::Live(seq, got) => (seq, got),
            Next::History(seq, got) => {
                let n = number(&got);
                assert!(before.is_none_or(|before| n > before), "{n} after {before:?}");
                before = Some(n);
                (seq, got)
            }
        };
        assert_eq!(all.insert(number(&got), got.samples.len() as u64), None, "no record twice");
        reader.settle(seq, Settled::Sent);
    }
    all
}

/// A plain generator: the same moments can be had again.
pub(crate) struct Random(u64);

impl Random {
    /// With the seed that was asked for, or a new one, which is printed.
    pub(crate) fn new(test: &str) -> Random {
        let given = std::env::var("FIELDGATE_TEST_SEED").ok().and_then(|s| s.parse().ok());
        let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let seed = given.unwrap_or_else(|| clock() as u64 | 1);
        say(&format!("{test}: FIELDGATE_TEST_SEED={seed}"));
        Random(seed.max(1))
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % most.max(1)
    }
}

pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("FIELDGATE_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Past the harness, which keeps the words of a test that passes to itself.
pub(crate) fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// A test that cannot run here.
pub(crate) fn skipped(test: &str, why: &str) {
    say(&format!("{test}: skipped: {why}"));
    assert!(std::env::var_os("FIELDGATE_TEST_NO_SKIP").is_none(), "{test} was skipped: {why}");
}
