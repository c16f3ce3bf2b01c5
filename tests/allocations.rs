//! From a batch to the bytes that the MQTT client gets: no allocation for a sample.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs, unreachable_pub)]

#[path = "common/allocations.rs"]
mod counting;

use std::sync::Arc;

use counting::{Counting, allocations};
use fieldgate::model::*;
use fieldgate::publishers::sparkplug::session::Session;
use fieldgate::store::Store;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PLC: DeviceId = DeviceId(0);
const START: i64 = 1_700_000_000_000_000;

fn directory(tags: u32) -> Arc<Directory> {
    let device = Device::plain(PLC, "plc", "net");
    let tag = |i| Tag::plain(TagId(i), PLC, &format!("plc/tag-{i}"), value(i).data_type());
    Arc::new(Directory::new("g", "n", vec![device], (0..tags).map(tag).collect()))
}

fn value(i: u32) -> Value {
    match i % 5 {
        0 => Value::F32(i as f32),
        1 => Value::Bool(true),
        2 => Value::Text("running".into()),
        3 => Value::Array(Array::U16([1, 2, 3].into())),
        _ => Value::U32(i),
    }
}

/// Good, bad and uncertain ones, and some of an unknown time.
fn batch(tags: u32, at: i64) -> Batch {
    let at = Timestamp(START + at);
    let sample = |i: u32| match i % 7 {
        0 => Sample::bad(TagId(i), Bad::Waiting, at),
        1 => Sample {
            quality: Quality::Uncertain(Uncertain::OutOfLimits),
            ..Sample::good(TagId(i), value(i), at)
        },
        2 => Sample { stamp: Stamp::Unknown, ..Sample::good(TagId(i), value(i), at) },
        _ => Sample::good(TagId(i), value(i), at),
    };
    Batch { device: PLC, state: DeviceState::Alive, samples: (0..tags).map(sample).collect() }
}

/// Allocations of one batch once all buffers have their size, and the bytes of its message.
fn of_a_batch(tags: u32, history: bool) -> (u64, usize) {
    let store = Store::in_memory();
    store.accept(batch(tags, 0));
    let mut session = Session::new(directory(tags), 0, 64 << 20);
    let (now, mut out) = (Timestamp(START + 10_000_000), Vec::new());
    session.births(&store, now, &mut out);
    let mut seen = (0, 0);
    for round in 1..4 {
        let batch = batch(tags, round * 1_000_000);
        out.clear();
        let (count, ()) = allocations(|| {
            session.take(&batch, history, &store, now, &mut out);
            session.flush(now, &mut out);
        });
        assert_eq!(out.len(), 1);
        seen = (count, out[0].payload.len());
    }
    seen
}

#[test]
fn what_a_batch_allocates_does_not_grow_with_its_samples() {
    for history in [false, true] {
        let ((few, small), (many, large)) = (of_a_batch(50, history), of_a_batch(10_000, history));
        assert!(small * 100 < large, "{small} and {large} bytes");
        assert_eq!(few, many, "allocations of 50 and of 10,000 samples");
        assert!(many <= 2, "{many} allocations a batch");
    }
}

#[test]
fn the_counter_counts() {
    let (count, ()) = allocations(|| (0..10).for_each(|i| drop(std::hint::black_box(Box::new(i)))));
    assert_eq!(count, 10);
}
