//! The Sparkplug session on one core: batches to encoded payloads, in samples a second.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;

use divan::counter::ItemsCount;
use fieldgate::model::*;
use fieldgate::publishers::sparkplug::session::Session;
use fieldgate::store::Store;

fn main() {
    divan::main();
}

const TAGS: u32 = 1000;

fn directory() -> Arc<Directory> {
    let device =
        Device { id: DeviceId(0), name: "plc".into(), link: "net".into(), description: None, is_node: false };
    let tag = |i| Tag {
        id: TagId(i),
        device: DeviceId(0),
        name: format!("tag-{i}").into(),
        path: format!("plc/tag-{i}").into(),
        kind: DataType::F32,
        access: Access::Read,
        unit: Some("m3/h".into()),
        low: Some(0.0),
        high: Some(1e6),
        description: None,
    };
    Arc::new(Directory::new("g", "n", vec![device], (0..TAGS).map(tag).collect()))
}

fn batch(at: i64) -> Batch {
    let at = Timestamp(1_700_000_000_000_000 + at);
    let sample = |i: u32| Sample::good(TagId(i), Value::F32(i as f32), at);
    Batch { device: DeviceId(0), state: DeviceState::Alive, samples: (0..TAGS).map(sample).collect() }
}

#[divan::bench]
fn ddata_of_1000_metrics(bencher: divan::Bencher<'_, '_>) {
    let store = Store::in_memory();
    store.accept(batch(0));
    let mut session = Session::new(directory(), 0, 1 << 20);
    let mut out = Vec::new();
    let now = Timestamp(1_700_000_001_000_000);
    session.births(&store, now, &mut out);
    let batch = batch(1_000_000);
    bencher.counter(ItemsCount::new(TAGS)).bench_local(|| {
        out.clear();
        session.take(&batch, false, &store, now, &mut out);
        session.flush(now, &mut out);
        divan::black_box(out.len())
    });
}

#[divan::bench]
fn dbirth_of_1000_metrics(bencher: divan::Bencher<'_, '_>) {
    let store = Store::in_memory();
    store.accept(batch(0));
    let mut session = Session::new(directory(), 0, 1 << 20);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(TAGS)).bench_local(|| {
        out.clear();
        session.births(&store, Timestamp(1_700_000_001_000_000), &mut out);
        divan::black_box(out.len())
    });
}
