//! How the blob table and the plain log pack a commit: columns and lz4, as the store's own blocks do.

use fieldgate::model::*;

fn put(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().expect("a byte");
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> i64 {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return (value >> 1) as i64 ^ -((value & 1) as i64);
            }
            shift += 7;
        }
    }

    fn f32(&mut self) -> f32 {
        let (value, rest) = self.0.split_first_chunk().expect("four bytes");
        self.0 = rest;
        f32::from_le_bytes(*value)
    }
}

/// Only what the feed makes: good 32-bit floats.
pub(crate) fn pack(batches: &[Batch]) -> Vec<u8> {
    let mut columns = Vec::new();
    put(&mut columns, batches.len() as i64);
    for batch in batches {
        put(&mut columns, i64::from(batch.device.0));
        columns.push(u8::from(batch.state == DeviceState::Alive));
        put(&mut columns, batch.samples.len() as i64);
    }
    let samples = || batches.iter().flat_map(|b| &b.samples);
    let (mut tag, mut at) = (0, 0);
    for sample in samples() {
        put(&mut columns, i64::from(sample.tag.0) - tag);
        tag = i64::from(sample.tag.0);
    }
    for sample in samples() {
        put(&mut columns, sample.at.0 - at);
        at = sample.at.0;
    }
    columns.extend(samples().map(|s| u8::from(s.quality == Quality::Good)));
    for sample in samples() {
        let Some(Value::F32(value)) = sample.value else { panic!("the feed makes floats") };
        columns.extend_from_slice(&value.to_le_bytes());
    }
    lz4_flex::compress_prepend_size(&columns)
}

pub(crate) fn unpack(bytes: &[u8]) -> Vec<Batch> {
    let columns = lz4_flex::decompress_size_prepended(bytes).expect("what was packed");
    let mut cut = Cut(&columns);
    let count = cut.number();
    let heads: Vec<_> = (0..count).map(|_| (cut.number(), cut.byte(), cut.number())).collect();
    let samples = heads.iter().map(|(.., n)| *n as usize).sum();
    let mut walk = |from: i64| {
        let mut at = from;
        let mut column = Vec::with_capacity(samples);
        column.resize_with(samples, || {
            at += cut.number();
            at
        });
        column
    };
    let (tags, times) = (walk(0), walk(0));
    let good: Vec<_> = (0..samples).map(|_| cut.byte() == 1).collect();
    let mut at = 0;
    let batch = |(device, alive, count): &(i64, u8, i64)| {
        let one = |_| {
            let value = Value::F32(cut.f32());
            assert!(good[at], "the feed makes good samples");
            let sample = Sample::good(TagId(tags[at] as u32), value, Timestamp(times[at]));
            at += 1;
            sample
        };
        Batch {
            device: DeviceId(*device as u32),
            state: if *alive == 1 { DeviceState::Alive } else { DeviceState::Unknown },
            samples: (0..*count).map(one).collect(),
        }
    };
    heads.iter().map(batch).collect()
}
