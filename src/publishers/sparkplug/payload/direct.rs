//! Data metrics and the frame around them, written straight into bytes: nothing is allocated for a sample.
//!
//! The bytes are those that `Metric::data` in a `Payload` makes; a test holds the two together.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{BOOLEAN, INT32, Metric, Say, millis, quality};
use crate::model::{Sample, Timestamp, Value};
use crate::publishers::sparkplug::arrays;

/// Writes metrics; its buffers are used again.
#[derive(Debug, Default)]
pub struct Writer {
    metric: Vec<u8>,
    inner: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    /// A tag in NDATA or DDATA, as a field of a payload. Gives its size as `Metric::size` counts it.
    pub fn data(&mut self, alias: u64, sample: &Sample, history: bool, say: Say, out: &mut Vec<u8>) -> usize {
        let Writer { metric, inner, value } = self;
        metric.clear();
        number(metric, 2, alias);
        number(metric, 3, millis(sample.at));
        if history {
            number(metric, 5, 1);
        }
        if sample.value.is_none() {
            number(metric, 7, 1);
        }
        let synchronised = sample.stamp.is_synchronised();
        let clock = (say.clock || !synchronised).then_some(synchronised);
        if say.quality || clock.is_some() {
            properties(sample, say, clock, inner, value);
            text(metric, 9, inner);
        }
        match &sample.value {
            None => {}
            Some(Value::Bool(v)) => number(metric, 14, u64::from(*v)),
            // Two's complement, sign-extended to 32 bits.
            Some(Value::I8(v)) => number(metric, 10, u64::from(i32::from(*v) as u32)),
            Some(Value::I16(v)) => number(metric, 10, u64::from(i32::from(*v) as u32)),
            Some(Value::I32(v)) => number(metric, 10, u64::from(*v as u32)),
            Some(Value::U8(v)) => number(metric, 10, u64::from(*v)),
            Some(Value::U16(v)) => number(metric, 10, u64::from(*v)),
            Some(Value::U32(v)) => number(metric, 11, u64::from(*v)),
            Some(Value::I64(v)) => number(metric, 11, *v as u64),
            Some(Value::U64(v)) => number(metric, 11, *v),
            Some(Value::F32(v)) => {
                encode_key(12, WireType::ThirtyTwoBit, metric);
                metric.extend_from_slice(&v.to_le_bytes());
            }
            Some(Value::F64(v)) => {
                encode_key(13, WireType::SixtyFourBit, metric);
                metric.extend_from_slice(&v.to_le_bytes());
            }
            Some(Value::Text(v)) => text(metric, 15, v.as_bytes()),
            Some(Value::Array(v)) => {
                value.clear();
                arrays::pack_into(v, value);
                text(metric, 16, value);
            }
        }
        text(out, 2, metric);
        metric.len() + 5
    }
}

/// Keys, then values, as the fields of a property set lie.
fn properties(sample: &Sample, say: Say, clock: Option<bool>, set: &mut Vec<u8>, value: &mut Vec<u8>) {
    set.clear();
    if say.quality {
        text(set, 1, b"Quality");
    }
    if clock.is_some() {
        text(set, 1, b"ClockSynchronised");
    }
    let mut property = |kind, field, what| {
        value.clear();
        number(value, 1, u64::from(kind));
        number(value, field, what);
        text(set, 2, value);
    };
    if say.quality {
        property(INT32, 3, u64::from(quality(sample.quality)));
    }
    if let Some(synchronised) = clock {
        property(BOOLEAN, 7, u64::from(synchronised));
    }
}

/// A metric that is made already, as a field of a payload.
pub fn made(metric: &Metric, out: &mut Vec<u8>) {
    encode_key(2, WireType::LengthDelimited, out);
    encode_varint(metric.encoded_len() as u64, out);
    metric.encode_raw(out);
}

/// The bytes of a payload before its metrics.
pub fn begin(now: Timestamp, out: &mut Vec<u8>) {
    number(out, 1, millis(now));
}

/// Those after them.
pub fn end(seq: u8, out: &mut Vec<u8>) {
    number(out, 3, u64::from(seq));
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

fn text(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Array, Bad, Quality, Stamp, TagId, Uncertain};
    use crate::publishers::sparkplug::payload::Payload;

    #[test]
    fn the_bytes_are_those_of_the_payload_made_by_the_generated_code() {
        let now = Timestamp(1_700_000_000_000_000);

        let values = [
            Value::Bool(false),
            Value::Bool(true),
            Value::I8(-1),
            Value::I16(-2),
            Value::I32(i32::MIN),
            Value::I64(-1),
            Value::U8(0),
            Value::U16(300),
            Value::U32(u32::MAX),
            Value::U64(u64::MAX),
            Value::F32(-0.0),
            Value::F64(1e300),
            Value::Text("".into()),
            Value::Text("Füller".repeat(100).into()),
            Value::Array(Array::Bool([true, false, true].into())),
            Value::Array(Array::U16([1, 2, 3].into())),
            Value::Array(Array::F64([0.5, -1.0].into())),
        ];
        let mut samples: Vec<_> = values.into_iter().map(|v| Sample::good(TagId(1), v, now)).collect();
        samples.push(Sample::bad(TagId(1), Bad::Waiting, now));
        samples.push(Sample { at: Timestamp(-5), ..samples[4].clone() });
        let mut writer = Writer::default();
        let mut checked = 0;
        for (sample, bits) in samples.iter().flat_map(|s| (0..32).map(move |bits| (s, bits))) {
            let mut sample = sample.clone();
            if bits & 1 != 0 && sample.value.is_some() {
                sample.quality = Quality::Uncertain(Uncertain::OutOfLimits);
            }
            if bits & 2 != 0 {
                sample.stamp = Stamp::Unknown;
            }
            let (history, say) = (bits & 4 != 0, Say { quality: bits & 8 != 0, clock: bits & 16 != 0 });
            for alias in [1, 127, 128, 1 << 41] {
                let metric = Metric::data(alias, &sample, history, say);
                let (mut direct, mut twice) = (Vec::new(), Vec::new());
                begin(now, &mut direct);
                let size = writer.data(alias, &sample, history, say, &mut direct);
                end(0, &mut direct);
                assert_eq!(size, metric.size(), "{sample:?}");
                begin(now, &mut twice);
                made(&metric, &mut twice);
                end(0, &mut twice);
                let payload = Payload {
                    timestamp: Some(millis(now)),
                    metrics: vec![metric],
                    seq: Some(0),
                    ..Payload::default()
                };
                assert_eq!(direct, payload.bytes(), "{sample:?}");
                assert_eq!(twice, payload.bytes());
                checked += 1;
            }
        }
        assert_eq!(checked, 19 * 32 * 4);
    }
}
