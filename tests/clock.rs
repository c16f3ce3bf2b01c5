//! The clock and the store together: what was stamped before the clock was right leaves right, or marked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/directory.rs"]
mod directory;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::model::*;
use fieldgate::store::{Next, Options, Reader, ReaderOptions, Settled, Store};
use fieldgate::telemetry::StoreStats;

const UTC: i64 = 1_800_000_000_000_000;
const SECOND: i64 = 1_000_000;

fn directory() -> Arc<Directory> {
    Arc::new(directory::directory(&["a"]))
}

/// A start of the computer, some seconds ago.
fn boot(id: u8, seconds: u64) -> Boot {
    Boot { id: [id; 16], uptime: Duration::from_secs(seconds) }
}

fn open(folder: &Path, clock: &Clock) -> (Arc<Store>, Arc<StoreStats>) {
    let stats = Arc::new(StoreStats::default());
    let options = Options { path: Some(folder.join("store")), ..Options::default() };
    (Store::open(options, directory(), clock.clone(), stats.clone()), stats)
}

fn batch(n: u32, (at, stamp): (Timestamp, Stamp)) -> Batch {
    let sample = Sample { stamp, ..Sample::good(TagId(0), Value::U32(n), at) };
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] }
}

fn north(store: &Store) -> Reader {
    store.reader("north", ReaderOptions { durable: true, rules: None })
}

async fn next(reader: &mut Reader) -> Sample {
    let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("a batch in time");
    let (Next::Live(seq, batch) | Next::History(seq, batch)) = next;
    reader.settle(seq, Settled::Sent);
    batch.samples[0].clone()
}

/// Three samples ten seconds apart from a computer that thinks that it is 1970, left in the store.
async fn first_run(folder: &Path) {
    let clock = Clock::unsynchronised(Timestamp(5 * SECOND), boot(1, 5));
    let (store, _) = open(folder, &clock);
    let reader = north(&store);
    for n in 0..3 {
        store.accept(batch(n, (Timestamp((5 + 10 * i64::from(n)) * SECOND), Stamp::Provisional(0))));
    }
    drop(reader);
    store.drain(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn what_waits_in_memory_leaves_with_the_right_time_once_the_clock_is_synchronised() {
    let clock = Clock::unsynchronised(Timestamp(5 * SECOND), boot(1, 5));
    let stats = Arc::new(StoreStats::default());
    let store = Store::open(Options::default(), directory(), clock.clone(), stats.clone());
    let mut reader = north(&store);
    let early = clock.stamp();
    store.accept(batch(0, early));
    store.accept(batch(1, early));
    let marked = next(&mut reader).await;
    assert_eq!((marked.at, marked.quality), (early.0, Quality::Uncertain(Uncertain::TimeUnknown)));
    let Followed::Synchronised(step) = clock.tell(Timestamp(UTC), true) else { panic!("not taken over") };
    let latest = store.latest(TagId(0)).unwrap();
    for sample in [latest, next(&mut reader).await] {
        assert_eq!(sample.at.0, early.0.0 + step);
        assert_eq!((sample.stamp, sample.quality), (Stamp::Synchronised, Quality::Good));
    }
    assert_eq!(stats.restamped.get(), 1, "what had left is not counted");
    // Stamped before, and only now on its way.
    store.accept(batch(2, early));
    let oldest = store.readers()[0].oldest.unwrap();
    assert_eq!(oldest.0, early.0.0 + step, "its age is that of the right time");
}

#[tokio::test]
async fn what_lies_in_the_spool_is_put_right_in_a_later_run_of_the_same_boot() {
    let folder = tempfile::tempdir().unwrap();
    first_run(folder.path()).await;
    // 100 s after the boot the gateway runs again; the time server answers only then.
    let clock = Clock::unsynchronised(Timestamp(100 * SECOND), boot(1, 100));
    let (store, stats) = open(folder.path(), &clock);
    let mut reader = north(&store);
    let marked = next(&mut reader).await;
    assert_eq!(marked.at, Timestamp(5 * SECOND), "the boot was in 1970 for this run too");
    assert_eq!(marked.quality, Quality::Uncertain(Uncertain::TimeUnknown));
    let before = clock.now().0;
    let Followed::Synchronised(step) = clock.tell(Timestamp(UTC), true) else { panic!("not taken over") };
    assert!((UTC - step - before).abs() < 10 * SECOND);
    for n in 1..3 {
        let sample = next(&mut reader).await;
        assert_eq!(sample.at.0, (5 + 10 * n) * SECOND + step);
        assert_eq!((sample.stamp, sample.quality), (Stamp::Synchronised, Quality::Good));
    }
    assert_eq!(stats.restamped.get(), 2);
}

#[tokio::test]
async fn what_another_boot_stamped_without_a_clock_is_marked_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    first_run(folder.path()).await;
    let clock = Clock::starting_at(Timestamp(UTC));
    let (store, stats) = open(folder.path(), &clock);
    let mut reader = north(&store);
    for n in 0..3 {
        let sample = next(&mut reader).await;
        assert_eq!((sample.at.0, sample.value), ((5 + 10 * n) * SECOND, Some(Value::U32(n as u32))));
        assert_eq!(
            (sample.stamp, sample.quality),
            (Stamp::Unknown, Quality::Uncertain(Uncertain::TimeUnknown))
        );
    }
    let report = &store.readers()[0];
    assert_eq!((report.delivered, report.dropped, stats.restamped.get()), (3, 0, 0));
}

#[tokio::test]
async fn a_batch_from_1970_is_not_too_old_when_the_clock_comes_right() {
    let folder = tempfile::tempdir().unwrap();
    first_run(folder.path()).await;
    let clock = Clock::unsynchronised(Timestamp(100 * SECOND), boot(1, 100));
    clock.tell(Timestamp(UTC), true);
    let (store, _) = open(folder.path(), &clock);
    // The chores, which look at `max-age`, are done in every drain.
    store.drain(Duration::from_secs(20)).await;
    let mut reader = north(&store);
    let report = &store.readers()[0];
    assert_eq!((report.pending, report.dropped), (3, 0));
    let ages: Vec<_> = [next(&mut reader).await, next(&mut reader).await, next(&mut reader).await]
        .iter()
        .map(|s| (UTC - s.at.0) / SECOND)
        .collect();
    assert_eq!(ages, [95, 85, 75]);
}

#[tokio::test]
async fn a_plant_without_a_time_server_can_say_that_its_clock_is_right() {
    let started = async |clock: &str| {
        let text = format!("[node]\ngroup = \"g\"\nname = \"n\"\n{clock}");
        let loaded = fieldgate::config::load(&text);
        assert!(loaded.mistakes.is_empty(), "{:?}", loaded.mistakes);
        let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
        let gateway = fieldgate::supervisor::Gateway::start(plan, Clock::system()).await;
        let synchronised = gateway.telemetry().clock.synchronised.get();
        gateway.stop().await;
        synchronised
    };
    assert_eq!(started("clock = \"trusted\"\n").await, 1);
    let kernel = i64::from(fieldgate::store::clock_is_synchronised());
    assert_eq!(started("").await, kernel);
    assert_eq!(started("clock = \"system\"\n").await, kernel);
}
