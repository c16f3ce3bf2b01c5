//! The spool: samples a second written with a real sync, and read back and settled.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use fieldgate::model::*;
use fieldgate::store::{Durability, Next, Options, ReaderOptions, Settled, Store};

const TAGS: u32 = 1000;
const SAMPLES: usize = 200_000;
const LONG: Duration = Duration::from_secs(600);

fn main() {
    divan::main();
}

fn directory() -> Arc<Directory> {
    let device = Device {
        id: DeviceId(0),
        name: "station".into(),
        link: "plc".into(),
        description: None,
        is_node: false,
    };
    let tag = |i| Tag {
        id: TagId(i),
        device: DeviceId(0),
        name: format!("measurement-{i}").into(),
        path: format!("station/measurement-{i}").into(),
        kind: DataType::F32,
        access: Access::Read,
        unit: None,
        low: None,
        high: None,
        description: None,
    };
    Arc::new(Directory::new("g", "n", vec![device], (0..TAGS).map(tag).collect()))
}

fn store(folder: &tempfile::TempDir) -> Arc<Store> {
    let options = Options {
        path: Some(folder.path().join("store")),
        durability: Durability::Spill,
        spill_after: LONG,
        memory: 256 << 20,
        ..Options::default()
    };
    Store::open(options, directory(), Clock::starting_at(Timestamp(0)), Arc::default())
}

/// `SAMPLES` samples in batches of 50, values that drift as measurements do.
fn fill(store: &Store) {
    for n in 0..SAMPLES as u32 / 50 {
        let samples = (0..50).map(|i| {
            let tag = (n * 50 + i) % TAGS;
            let value = Value::F32((tag * 7 + n / 20) as f32 * 0.1);
            Sample::good(TagId(tag), value, Timestamp(i64::from(n) * 50_000))
        });
        store.accept(Batch { device: DeviceId(0), state: DeviceState::Alive, samples: samples.collect() });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn spool_append(bencher: divan::Bencher<'_, '_>) {
    let runtime = runtime();
    bencher
        .counter(ItemsCount::new(SAMPLES))
        .with_inputs(|| {
            let folder = tempfile::tempdir().unwrap();
            let store = store(&folder);
            let reader = store.reader("north", ReaderOptions { durable: true, rules: None });
            fill(&store);
            (folder, store, reader)
        })
        .bench_local_refs(|(_, store, _)| runtime.block_on(store.drain(LONG)));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn spool_drain(bencher: divan::Bencher<'_, '_>) {
    let runtime = runtime();
    bencher
        .counter(ItemsCount::new(SAMPLES))
        .with_inputs(|| {
            let folder = tempfile::tempdir().unwrap();
            let first = store(&folder);
            drop(first.reader("north", ReaderOptions { durable: true, rules: None }));
            fill(&first);
            runtime.block_on(first.drain(LONG));
            drop(first);
            let store = store(&folder);
            let reader = store.reader("north", ReaderOptions { durable: true, rules: None });
            (folder, store, reader)
        })
        .bench_local_refs(|(_, _, reader)| {
            runtime.block_on(async {
                let mut left = SAMPLES;
                while left > 0 {
                    let (Next::Live(seq, batch) | Next::History(seq, batch)) = reader.next().await;
                    left -= batch.samples.len();
                    reader.settle(seq, Settled::Sent);
                }
            });
        });
}
