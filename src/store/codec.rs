//! Batches as a block of bytes: columns, small numbers, compressed when it helps, its own CRC32C.
//!
//! Layout, version 1: version, flags, first and last sequence number, batches, samples, oldest and
//! newest time stamp, length before compression, columns, CRC32C over all before it. The columns:
//! sequence numbers, devices, states, samples a batch; then tags, times, qualities and types in runs,
//! values.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Batch, DataType, DeviceState, Directory, Quality, Sample, Timestamp, Value};

use super::dictionary::Dictionary;
use super::varint::{Cut, put, put_bytes, put_signed, seal, unseal};

const VERSION: u8 = 1;
const COMPRESSED: u8 = 1;
/// No block of ours is larger; a length beyond it is damage that the CRC did not see.
const MOST_BYTES: usize = 64 << 20;

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) batches: u64,
    pub(super) samples: u64,
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
}

/// A batch that came back.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) seq: u64,
    /// How many samples were written; the batch has fewer where tags are no longer configured.
    pub(super) stored: u64,
    /// `None` when its device is no longer configured.
    pub(super) batch: Option<Arc<Batch>>,
}

/// Writes a block. New names go into the dictionary, whose record must be written with it.
pub(super) fn encode(
    batches: &[(u64, Arc<Batch>)],
    names: &mut Dictionary,
    directory: &Directory,
) -> (Head, Vec<u8>) {
    let samples = || batches.iter().flat_map(|(_, b)| &b.samples);
    let times = || samples().map(|s| s.at);
    let head = Head {
        first: batches.first().map_or(0, |(seq, _)| *seq),
        last: batches.last().map_or(0, |(seq, _)| *seq),
        batches: batches.len() as u64,
        samples: samples().count() as u64,
        oldest: times().min().unwrap_or_default(),
        newest: times().max().unwrap_or_default(),
    };
    let mut columns = Vec::new();
    let mut before = head.first;
    for (seq, batch) in batches {
        put(&mut columns, seq - before);
        before = *seq;
        put(&mut columns, names.device(batch.device, directory));
        columns.push(match batch.state {
            DeviceState::Unknown => 0,
            DeviceState::Alive => 1,
            DeviceState::Dead => 2,
        });
        put(&mut columns, batch.samples.len() as u64);
    }
    let mut before = 0;
    for sample in samples() {
        let reference = names.tag(sample.tag, directory) as i64;
        put_signed(&mut columns, reference - before);
        before = reference;
    }
    let mut before = head.oldest.0;
    for sample in samples() {
        put_signed(&mut columns, sample.at.0.wrapping_sub(before));
        before = sample.at.0;
    }
    runs(&mut columns, samples().map(|s| u64::from(s.quality.code())));
    runs(&mut columns, samples().map(|s| s.value.as_ref().map_or(0, kind)));
    samples().filter_map(|s| s.value.as_ref()).for_each(|value| put_value(&mut columns, value));

    let compressed = lz4_flex::block::compress(&columns);
    let (flags, body) =
        if compressed.len() < columns.len() { (COMPRESSED, &compressed) } else { (0, &columns) };
    let mut block = Vec::with_capacity(body.len() + 64);
    block.extend_from_slice(&[VERSION, flags]);
    for n in [head.first, head.last, head.batches, head.samples] {
        put(&mut block, n);
    }
    put_signed(&mut block, head.oldest.0);
    put_signed(&mut block, head.newest.0);
    put(&mut block, columns.len() as u64);
    block.extend_from_slice(body);
    seal(&mut block);
    (head, block)
}

/// What a block says of itself; `None` when it fails its check.
pub(super) fn head(block: &[u8]) -> Option<Head> {
    open(block).map(|(head, ..)| head)
}

fn open(block: &[u8]) -> Option<(Head, u8, usize, &[u8])> {
    let mut cut = Cut(unseal(block)?);
    let [version, flags] = cut.array()?;
    if version != VERSION {
        return None;
    }
    let head = Head {
        first: cut.number()?,
        last: cut.number()?,
        batches: cut.number()?,
        samples: cut.number()?,
        oldest: Timestamp(cut.signed()?),
        newest: Timestamp(cut.signed()?),
    };
    let length = cut.count()?;
    Some((head, flags, length, cut.0)).filter(|_| head.first <= head.last && length <= MOST_BYTES)
}

/// The sequence numbers and sample counts of a block, without its samples.
pub(super) fn counts(block: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (head, flags, length, body) = open(block)?;
    let columns = inflate(flags, length, body)?;
    let mut cut = Cut(&columns);
    let rows = rows(&mut cut, &head)?;
    Some(rows.into_iter().map(|row| (row.seq, row.samples as u64)).collect())
}

fn inflate(flags: u8, length: usize, body: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    Some(if flags & COMPRESSED == 0 {
        body.into()
    } else {
        lz4_flex::block::decompress(body, length).ok().filter(|c| c.len() == length)?.into()
    })
}

struct Row {
    seq: u64,
    device: u64,
    state: DeviceState,
    samples: usize,
}

fn rows(cut: &mut Cut<'_>, head: &Head) -> Option<Vec<Row>> {
    let (mut rows, mut seq) = (Vec::new(), head.first);
    for _ in 0..head.batches {
        seq = seq.checked_add(cut.number()?)?;
        let device = cut.number()?;
        let state = match cut.array()? {
            [0] => DeviceState::Unknown,
            [1] => DeviceState::Alive,
            [2] => DeviceState::Dead,
            _ => return None,
        };
        rows.push(Row { seq, device, state, samples: cut.count()? });
    }
    let total: usize = rows.iter().map(|r| r.samples).sum();
    // A sample takes at least two bytes: counts that cannot be are not allocated for.
    (total as u64 == head.samples && total <= cut.0.len()).then_some(rows)
}

/// Reads a block back into today's numbers. Paths that are no longer configured, or whose type no
/// longer fits, go to `missing`.
pub(super) fn decode(
    block: &[u8],
    names: &Dictionary,
    directory: &Directory,
    missing: &mut BTreeSet<String>,
) -> Option<Vec<Item>> {
    let (head, flags, length, body) = open(block)?;
    let columns = inflate(flags, length, body)?;
    let mut cut = Cut(&columns);
    let rows = rows(&mut cut, &head)?;
    let total = usize::try_from(head.samples).ok()?;

    let (mut tags, mut before) = (Vec::with_capacity(total), 0_i64);
    for _ in 0..total {
        before = before.checked_add(cut.signed()?)?;
        tags.push(before as u64);
    }
    let (mut times, mut before) = (Vec::with_capacity(total), head.oldest.0);
    for _ in 0..total {
        before = before.wrapping_add(cut.signed()?);
        times.push(Timestamp(before));
    }
    let qualities = read_runs(&mut cut, total)?;
    let kinds = read_runs(&mut cut, total)?;

    let mut all = tags.into_iter().zip(times).zip(qualities.into_iter().zip(kinds));
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let mut samples = Vec::with_capacity(row.samples);
        for ((tag, at), (quality, kind)) in all.by_ref().take(row.samples) {
            let value = if kind == 0 { None } else { Some(value(&mut cut, kind)?) };
            let quality = Quality::from_code(u16::try_from(quality).ok()?)?;
            let Some(path) = names.name(tag) else {
                missing.insert(format!("(name {tag} lost)"));
                continue;
            };
            let Some(known) = directory.find(path) else {
                missing.insert(path.to_string());
                continue;
            };
            let value = match value.map(|v| v.coerce(known.kind)) {
                None => None,
                Some(Some(fits)) => Some(fits),
                Some(None) => {
                    missing.insert(format!("{path} (another type now)"));
                    continue;
                }
            };
            samples.push(Sample { tag: known.id, value, quality, at });
        }
        let name = names.name(row.device);
        let device = name.and_then(|name| directory.devices().iter().find(|d| d.name == *name));
        let batch = device
            .filter(|_| row.samples == 0 || !samples.is_empty())
            .map(|d| Arc::new(Batch { device: d.id, state: row.state, samples }));
        items.push(Item { seq: row.seq, stored: row.samples as u64, batch });
    }
    Some(items)
}

fn runs(into: &mut Vec<u8>, items: impl Iterator<Item = u64>) {
    let mut run: Option<(u64, u64)> = None;
    for item in items {
        match &mut run {
            Some((same, count)) if *same == item => *count += 1,
            _ => {
                if let Some((done, count)) = run.replace((item, 1)) {
                    put(into, done);
                    put(into, count);
                }
            }
        }
    }
    if let Some((done, count)) = run {
        put(into, done);
        put(into, count);
    }
}

fn read_runs(cut: &mut Cut<'_>, total: usize) -> Option<Vec<u64>> {
    let mut items = Vec::with_capacity(total);
    while items.len() < total {
        let (item, count) = (cut.number()?, cut.count()?);
        if count == 0 || count > total - items.len() {
            return None;
        }
        items.resize(items.len() + count, item);
    }
    Some(items)
}

/// 1 to 12, in the order of [`DataType::ALL`]; 0 is no value.
fn kind(value: &Value) -> u64 {
    let of = value.data_type();
    DataType::ALL.iter().position(|t| *t == of).map_or(0, |at| at as u64 + 1)
}

fn put_value(into: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(v) => into.push(u8::from(*v)),
        Value::I8(v) => put_signed(into, i64::from(*v)),
        Value::I16(v) => put_signed(into, i64::from(*v)),
        Value::I32(v) => put_signed(into, i64::from(*v)),
        Value::I64(v) => put_signed(into, *v),
        Value::U8(v) => put(into, u64::from(*v)),
        Value::U16(v) => put(into, u64::from(*v)),
        Value::U32(v) => put(into, u64::from(*v)),
        Value::U64(v) => put(into, *v),
        Value::F32(v) => into.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => into.extend_from_slice(&v.to_le_bytes()),
        Value::Text(v) => put_bytes(into, v.as_bytes()),
    }
}

fn value(cut: &mut Cut<'_>, kind: u64) -> Option<Value> {
    let kind = DataType::ALL.get(usize::try_from(kind).ok()?.checked_sub(1)?)?;
    Some(match kind {
        DataType::Bool => Value::Bool(cut.array()? != [0]),
        DataType::I8 => Value::I8(cut.signed()?.try_into().ok()?),
        DataType::I16 => Value::I16(cut.signed()?.try_into().ok()?),
        DataType::I32 => Value::I32(cut.signed()?.try_into().ok()?),
        DataType::I64 => Value::I64(cut.signed()?),
        DataType::U8 => Value::U8(cut.number()?.try_into().ok()?),
        DataType::U16 => Value::U16(cut.number()?.try_into().ok()?),
        DataType::U32 => Value::U32(cut.number()?.try_into().ok()?),
        DataType::U64 => Value::U64(cut.number()?),
        DataType::F32 => Value::F32(f32::from_le_bytes(cut.array()?)),
        DataType::F64 => Value::F64(f64::from_le_bytes(cut.array()?)),
        DataType::Text => Value::Text(std::str::from_utf8(cut.bytes()?).ok()?.into()),
    })
}
