//! The samples that every contender is fed with: 100 devices with 10 tags each, once a second.

use std::sync::Arc;

use fieldgate::model::*;

pub(crate) const DEVICES: u32 = 100;
pub(crate) const TAGS: u32 = 10;
/// One second of the plant in four commits.
pub(crate) const COMMIT: usize = 250;
/// What the store writes with one flush at most.
pub(crate) const BULK: usize = 65_530;

pub(crate) fn directory() -> Arc<Directory> {
    let device = |i: u32| Device::plain(DeviceId(i), &format!("station-{i}"), "plc");
    let tag = |i: u32| Tag::plain(TagId(i), DeviceId(i / TAGS), &path(i), DataType::F32);
    let (devices, tags) = ((0..DEVICES).map(device), (0..DEVICES * TAGS).map(tag));
    Arc::new(Directory::new("g", "n", devices.collect(), tags.collect()))
}

pub(crate) fn path(tag: u32) -> String {
    format!("station-{}/measurement-{}", tag / TAGS, tag % TAGS)
}

/// Poll number `n`: the ten samples of one device. Most values drift as measurements do.
pub(crate) fn batch(n: u64) -> Batch {
    let device = (n % u64::from(DEVICES)) as u32;
    let second = n / u64::from(DEVICES);
    let at = 1_700_000_000_000_000 + (n * 10_000) as i64;
    let sample = |i: u32| {
        // A walk whose last digits no packer foresees.
        let noise = (n * 10 + u64::from(i)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let value = (f64::from(i) * 10.0 + (second as f64 / 300.0).sin() * 5.0) as f32 + noise as f32 * 0.01;
        Sample::good(TagId(device * TAGS + i), Value::F32(value), Timestamp(at + i64::from(i) * 37))
    };
    Batch { device: DeviceId(device), state: DeviceState::Alive, samples: (0..TAGS).map(sample).collect() }
}

/// Batches `from..`, together at most so many samples.
pub(crate) fn group(from: u64, samples: usize) -> Vec<Batch> {
    (from..from + (samples / TAGS as usize) as u64).map(batch).collect()
}

/// A sum that shows that all was decoded, whoever did it.
pub(crate) fn check(batch: &Batch) -> u64 {
    let bits = |sample: &Sample| match &sample.value {
        Some(Value::F32(value)) => u64::from(value.to_bits()) ^ sample.at.0 as u64,
        _ => 0,
    };
    batch.samples.iter().map(|s| bits(s).wrapping_mul(u64::from(s.tag.0) | 1)).fold(0, u64::wrapping_add)
}
