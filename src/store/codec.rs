//! Batches as a block of bytes: columns, small numbers, compressed when it helps, its own CRC32C.
//!
//! Layout, version 3: version, flags, classes, clock, first and last sequence number, batches, samples, oldest
//! and newest time stamp, length before compression; with provisional stamps the boot's number (16 bytes) and its
//! time by them; columns, CRC32C over all before it. The columns: sequence numbers, devices, states with
//! classes, samples a batch; then tags, times, where not all are synchronised what is known of the clock in runs,
//! qualities and types in runs, values, of an array how many and all of them. Version 2 has
//! no arrays, version 1 neither class nor clock; both are still read.

mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    Batch, Class, Clock, DeviceState, Directory, Era, Quality, Sample, Stamp, TagId, Timestamp,
};

use self::values::{kind, put_value, value};
use super::classes::Classes;
use super::dictionary::Dictionary;
use super::varint::{Cut, put, put_signed, seal, unseal};

const VERSION: u8 = 3;
const COMPRESSED: u8 = 1;
/// In the place of a path whose record is damaged.
pub(super) const LOST_NAME: &str = "(lost name)";
/// In the clock's byte: not all stamps are synchronised; some are provisional.
const MARKED: u8 = 1;
const PROVISIONAL: u8 = 2;
/// Above these bits of a batch's state stands its class; 0 was there before classes were.
const CLASS_AT: u8 = 6;
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
    /// Not all time stamps are from a synchronised clock.
    pub(super) marked: bool,
    pub(super) classes: Classes,
}

/// A block in parts: its head, what its columns need to be read, and they.
struct Opened<'a> {
    head: Head,
    compressed: bool,
    length: usize,
    era: Option<Era>,
    body: &'a [u8],
}

/// A batch that came back.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) seq: u64,
    /// How many samples were written; the batch has fewer where tags are no longer configured.
    pub(super) stored: u64,
    /// As it was when it was written.
    pub(super) class: Class,
    /// `None` when its device is no longer configured.
    pub(super) batch: Option<Arc<Batch>>,
}

/// Writes a block. New names go into the dictionary, whose record must be written with it.
pub(super) fn encode(
    batches: &[(u64, Arc<Batch>)],
    names: &mut Dictionary,
    directory: &Directory,
    clock: &Clock,
) -> (Head, Vec<u8>) {
    let samples = || batches.iter().flat_map(|(_, b)| &b.samples);
    // What is provisional goes by one time, so that one number puts all of it right.
    let time = |s: &Sample| match s.stamp {
        Stamp::Provisional(turn) => clock.in_era(s.at, turn),
        _ => s.at,
    };
    let times = || samples().map(time);
    let provisional = samples().any(|s| matches!(s.stamp, Stamp::Provisional(_)));
    let head = Head {
        first: batches.first().map_or(0, |(seq, _)| *seq),
        last: batches.last().map_or(0, |(seq, _)| *seq),
        batches: batches.len() as u64,
        samples: samples().count() as u64,
        oldest: times().min().unwrap_or_default(),
        newest: times().max().unwrap_or_default(),
        marked: samples().any(|s| !s.stamp.is_synchronised()),
        classes: batches.iter().fold(Classes::default(), |all, (_, b)| all.with(directory.class_of(b))),
    };
    let mut columns = Vec::new();
    let mut before = head.first;
    for (seq, batch) in batches {
        put(&mut columns, seq - before);
        before = *seq;
        put(&mut columns, names.device(batch.device, directory));
        let state = match batch.state {
            DeviceState::Unknown => 0,
            DeviceState::Alive => 1,
            DeviceState::Dead => 2,
        };
        let class = match directory.class_of(batch) {
            Class::Normal => 0,
            Class::Critical => 1,
            Class::Diagnostic => 2,
        };
        columns.push(state | class << CLASS_AT);
        put(&mut columns, batch.samples.len() as u64);
    }
    let mut before = 0;
    for sample in samples() {
        let reference = names.tag(sample.tag, directory) as i64;
        put_signed(&mut columns, reference - before);
        before = reference;
    }
    let mut before = head.oldest.0;
    for at in times() {
        put_signed(&mut columns, at.0.wrapping_sub(before));
        before = at.0;
    }
    if head.marked {
        runs(&mut columns, samples().map(|s| stamp_code(s.stamp)));
    }
    runs(&mut columns, samples().map(|s| u64::from(s.quality.code())));
    runs(&mut columns, samples().map(|s| s.value.as_ref().map_or(0, kind)));
    samples().filter_map(|s| s.value.as_ref()).for_each(|value| put_value(&mut columns, value));

    let compressed = lz4_flex::block::compress(&columns);
    let (flags, body) =
        if compressed.len() < columns.len() { (COMPRESSED, &compressed) } else { (0, &columns) };
    let mut block = Vec::with_capacity(body.len() + 64);
    let clock_byte = u8::from(head.marked) * MARKED + u8::from(provisional) * PROVISIONAL;
    block.extend_from_slice(&[VERSION, flags, head.classes.bits(), clock_byte]);
    for n in [head.first, head.last, head.batches, head.samples] {
        put(&mut block, n);
    }
    put_signed(&mut block, head.oldest.0);
    put_signed(&mut block, head.newest.0);
    put(&mut block, columns.len() as u64);
    if provisional {
        let era = clock.era();
        block.extend_from_slice(&era.boot);
        put_signed(&mut block, era.origin);
    }
    block.extend_from_slice(body);
    seal(&mut block);
    (head, block)
}

/// What a block says of itself; `None` when it fails its check.
pub(super) fn head(block: &[u8]) -> Option<Head> {
    open(block).map(|opened| opened.head)
}

fn open(block: &[u8]) -> Option<Opened<'_>> {
    let mut cut = Cut(unseal(block)?);
    let [version, flags] = cut.array()?;
    let [classes, clock] = match version {
        1 => [0, 0],
        2 | VERSION => cut.array()?,
        _ => return None,
    };
    let head = Head {
        first: cut.number()?,
        last: cut.number()?,
        batches: cut.number()?,
        samples: cut.number()?,
        oldest: Timestamp(cut.signed()?),
        newest: Timestamp(cut.signed()?),
        marked: clock & MARKED != 0,
        classes: Classes::from_bits(classes),
    };
    let length = cut.count()?;
    let era = match clock & PROVISIONAL {
        0 => None,
        _ => Some(Era { boot: cut.array()?, origin: cut.signed()? }),
    };
    let opened = Opened { head, compressed: flags & COMPRESSED != 0, length, era, body: cut.0 };
    Some(opened).filter(|_| head.first <= head.last && length <= MOST_BYTES)
}

/// The sequence numbers and sample counts of a block, without its samples.
pub(super) fn counts(block: &[u8]) -> Option<Vec<(u64, u64)>> {
    let opened = open(block)?;
    let columns = inflate(&opened)?;
    let mut cut = Cut(&columns);
    let rows = rows(&mut cut, &opened.head)?;
    Some(rows.into_iter().map(|row| (row.seq, row.samples as u64)).collect())
}

fn inflate<'a>(opened: &Opened<'a>) -> Option<std::borrow::Cow<'a, [u8]>> {
    Some(if opened.compressed {
        let length = opened.length;
        lz4_flex::block::decompress(opened.body, length).ok().filter(|c| c.len() == length)?.into()
    } else {
        opened.body.into()
    })
}

fn rows(cut: &mut Cut<'_>, head: &Head) -> Option<Vec<Row>> {
    let (mut rows, mut seq) = (Vec::new(), head.first);
    for _ in 0..head.batches {
        seq = seq.checked_add(cut.number()?)?;
        let device = cut.number()?;
        let [word] = cut.array()?;
        let state = match word & ((1 << CLASS_AT) - 1) {
            0 => DeviceState::Unknown,
            1 => DeviceState::Alive,
            2 => DeviceState::Dead,
            _ => return None,
        };
        let class = match word >> CLASS_AT {
            0 => Class::Normal,
            1 => Class::Critical,
            2 => Class::Diagnostic,
            _ => return None,
        };
        rows.push(Row { seq, device, state, class, samples: cut.count()? });
    }
    let total: usize = rows.iter().map(|r| r.samples).sum();
    // A sample takes at least two bytes: counts that cannot be are not allocated for.
    (total as u64 == head.samples && total <= cut.0.len()).then_some(rows)
}

/// A batch as it was written, its names still references.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) device: u64,
    state: DeviceState,
    class: Class,
    /// How many samples it has.
    pub(super) samples: usize,
}

/// The samples of one batch with the references of their tags; `None` where the block is damaged.
pub(super) type Samples<'a> = dyn Iterator<Item = Option<(u64, Sample)>> + 'a;

/// Reads a block batch by batch: each with its samples and the references of their tags; `visit` may end it
/// with `None`. None for a block that fails its check.
pub(super) fn each(
    block: &[u8],
    clock: &Clock,
    visit: &mut dyn FnMut(&Row, &mut Samples<'_>) -> Option<()>,
) -> Option<()> {
    let opened = open(block)?;
    let head = opened.head;
    let columns = inflate(&opened)?;
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
    let stamps = if head.marked { read_runs(&mut cut, total)? } else { vec![0; total] };
    let qualities = read_runs(&mut cut, total)?;
    let kinds = read_runs(&mut cut, total)?;
    let mut all = tags.into_iter().zip(times.into_iter().zip(stamps)).zip(qualities.into_iter().zip(kinds));
    let era = opened.era.as_ref();
    for row in rows {
        let mut samples = all.by_ref().take(row.samples).map(|((tag, (at, stamp)), (quality, kind))| {
            let value = if kind == 0 { None } else { Some(value(&mut cut, kind)?) };
            let quality = Quality::from_code(u16::try_from(quality).ok()?)?;
            let (at, stamp) = match stamp {
                0 => (at, Stamp::Synchronised),
                1 => clock.of_era(at, era?),
                2 => (at, Stamp::Lapsed),
                3 => (at, Stamp::Unknown),
                _ => return None,
            };
            Some((tag, Sample { tag: TagId(u32::MAX), value, quality, at, stamp }))
        });
        visit(&row, &mut samples)?;
    }
    Some(())
}

/// Reads a block back into today's numbers. Paths that are no longer configured, or whose type no
/// longer fits, go to `missing`.
pub(super) fn decode(
    block: &[u8],
    names: &Dictionary,
    directory: &Directory,
    clock: &Clock,
    missing: &mut BTreeSet<String>,
) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    each(block, clock, &mut |row, read| {
        let mut samples = Vec::with_capacity(row.samples);
        for read in read {
            let (tag, sample) = read?;
            let Some(path) = names.name(tag) else {
                missing.insert(format!("{LOST_NAME} {tag}"));
                continue;
            };
            let Some(known) = directory.find(path) else {
                missing.insert(path.to_string());
                continue;
            };
            let value = match sample.value.map(|v| v.coerce(known.kind)) {
                None => None,
                Some(Some(fits)) => Some(fits),
                Some(None) => {
                    missing.insert(format!("{path} (another type now)"));
                    continue;
                }
            };
            samples.push(Sample { tag: known.id, value, ..sample });
        }
        let name = names.name(row.device);
        let device = name.and_then(|name| directory.devices().iter().find(|d| d.name == *name));
        let batch = device
            .filter(|_| row.samples == 0 || !samples.is_empty())
            .map(|d| Arc::new(Batch { device: d.id, state: row.state, samples }));
        items.push(Item { seq: row.seq, stored: row.samples as u64, class: row.class, batch });
        Some(())
    })?;
    Some(items)
}

fn stamp_code(stamp: Stamp) -> u64 {
    match stamp {
        Stamp::Synchronised => 0,
        Stamp::Provisional(_) => 1,
        Stamp::Lapsed => 2,
        Stamp::Unknown => 3,
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Array, Bad, Boot, DataType, Device, DeviceId, Tag, Uncertain, Value};
    use proptest::prelude::*;

    /// All types, and an array of each.
    fn kinds() -> impl Iterator<Item = DataType> {
        DataType::ALL.into_iter().chain(DataType::ALL.map(|of| DataType::array(of, 5).unwrap()))
    }

    fn directory() -> Directory {
        let device = |i: u32| Device::plain(DeviceId(i), &format!("d{i}"), "l");
        let tag = |(i, kind): (usize, DataType)| {
            Tag::plain(TagId(i as u32), DeviceId(0), &format!("d0/{kind}"), kind)
        };
        let tags = kinds().enumerate().map(tag).collect();
        Directory::new("g", "n", vec![device(0), device(1)], tags)
    }

    fn value(kind: DataType) -> BoxedStrategy<Value> {
        match kind {
            DataType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            DataType::I8 => any::<i8>().prop_map(Value::I8).boxed(),
            DataType::U8 => any::<u8>().prop_map(Value::U8).boxed(),
            DataType::I16 => any::<i16>().prop_map(Value::I16).boxed(),
            DataType::U16 => any::<u16>().prop_map(Value::U16).boxed(),
            DataType::I32 => any::<i32>().prop_map(Value::I32).boxed(),
            DataType::U32 => any::<u32>().prop_map(Value::U32).boxed(),
            DataType::I64 => any::<i64>().prop_map(Value::I64).boxed(),
            DataType::U64 => any::<u64>().prop_map(Value::U64).boxed(),
            DataType::F32 => (-1e30_f32..1e30).prop_map(Value::F32).boxed(),
            DataType::F64 => (-1e300_f64..1e300).prop_map(Value::F64).boxed(),
            DataType::Text => "[a-zäöü ]{0,20}".prop_map(|t| Value::Text(t.as_str().into())).boxed(),
            DataType::Array(of, length) => prop::collection::vec(value(*of), usize::from(length))
                .prop_map(|all| Value::Array(Array::collect(*of, all.into_iter()).unwrap()))
                .boxed(),
        }
    }

    fn sample() -> impl Strategy<Value = Sample> {
        (0..24_usize, any::<i64>(), 0..4_u8, 0..16_u8).prop_flat_map(|(tag, at, quality, stamp)| {
            let stamp = match stamp {
                0 => Stamp::Provisional(0),
                1 => Stamp::Lapsed,
                2 => Stamp::Unknown,
                _ => Stamp::Synchronised,
            };
            let (id, at) = (TagId(tag as u32), Timestamp(at));
            value(kinds().nth(tag).unwrap()).prop_map(move |value| {
                let sample = match quality {
                    0 => Sample::bad(id, Bad::Refused(2), at),
                    1 => Sample::uncertain(id, value, Uncertain::OutOfLimits, at),
                    _ => Sample::good(id, value, at),
                };
                Sample { stamp, ..sample }
            })
        })
    }

    fn batches() -> impl Strategy<Value = Vec<(u64, Arc<Batch>)>> {
        let batch = (1..1000_u64, 0..2_u32, any::<bool>(), prop::collection::vec(sample(), 0..20));
        prop::collection::vec(batch, 1..20).prop_map(|all| {
            let mut seq = 1 << 50;
            let make = |(gap, device, alive, samples)| {
                seq += gap;
                let state = if alive { DeviceState::Alive } else { DeviceState::Dead };
                (seq, Arc::new(Batch { device: DeviceId(device), state, samples }))
            };
            all.into_iter().map(make).collect()
        })
    }

    /// The tag of that type.
    const I32: TagId = TagId(5);

    /// A clock in whose time every number stays what it is.
    fn clock() -> Clock {
        Clock::unsynchronised(Timestamp(0), Boot { id: [7; 16], uptime: Duration::ZERO })
    }

    #[test]
    fn a_block_of_version_1_is_still_read() {
        let directory = directory();
        let mut names = Dictionary::default();
        let sample = Sample::good(I32, Value::I32(-5), Timestamp(1_700_000_000_000_000));
        let batch = Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] };
        let batches = vec![(9, Arc::new(batch))];
        let (head, mut block) = encode(&batches, &mut names, &directory, &clock());
        // As it was before there were class and clock.
        block.truncate(block.len() - 4);
        block.drain(2..4);
        block[0] = 1;
        seal(&mut block);
        assert_eq!(super::head(&block), Some(head));
        let items = decode(&block, &names, &directory, &clock(), &mut BTreeSet::new()).unwrap();
        assert_eq!(items[0].batch, Some(batches[0].1.clone()));
    }

    #[test]
    fn a_block_of_version_2_is_still_read() {
        let directory = directory();
        let mut names = Dictionary::default();
        let sample = Sample { stamp: Stamp::Lapsed, ..Sample::good(I32, Value::I32(-5), Timestamp(7)) };
        let batch = Batch { device: DeviceId(0), state: DeviceState::Alive, samples: vec![sample] };
        let batches = vec![(9, Arc::new(batch))];
        let (head, mut block) = encode(&batches, &mut names, &directory, &clock());
        // As it was before there were arrays.
        block.truncate(block.len() - 4);
        block[0] = 2;
        seal(&mut block);
        assert_eq!(super::head(&block), Some(head));
        let items = decode(&block, &names, &directory, &clock(), &mut BTreeSet::new()).unwrap();
        assert_eq!(items[0].batch, Some(batches[0].1.clone()));
    }

    #[test]
    fn provisional_stamps_know_their_boot() {
        let directory = directory();
        let mut names = Dictionary::default();
        let first = clock();
        let sample = Sample::good(I32, Value::I32(-5), Timestamp(3_000_000));
        let samples = vec![Sample { stamp: Stamp::Provisional(0), ..sample }];
        let batches = vec![(9, Arc::new(Batch { device: DeviceId(0), state: DeviceState::Alive, samples }))];
        let (head, block) = encode(&batches, &mut names, &directory, &first);
        assert!(head.marked);
        let read = |boot: u8| {
            let boot = Boot { id: [boot; 16], uptime: Duration::from_secs(60) };
            let later = Clock::unsynchronised(Timestamp(1_700_000_000_000_000), boot);
            let items = decode(&block, &names, &directory, &later, &mut BTreeSet::new()).unwrap();
            let sample = &items[0].batch.as_ref().unwrap().samples[0];
            (sample.at.0, sample.stamp)
        };
        assert_eq!(read(7), (1_700_000_000_000_000 - 57_000_000, Stamp::Provisional(0)));
        assert_eq!(read(8), (3_000_000, Stamp::Unknown));
    }

    #[test]
    fn a_block_tells_its_classes() {
        let classes = [(TagId(0), Class::Critical), (TagId(1), Class::Diagnostic)];
        let directory = directory().with_classes(classes.into());
        let clock = Clock::starting_at(Timestamp(0));
        let batch = |seq: u64, tag| {
            let samples = vec![Sample::bad(TagId(tag), Bad::Waiting, Timestamp(0))];
            (seq, Arc::new(Batch { device: DeviceId(0), state: DeviceState::Unknown, samples }))
        };
        let mut names = Dictionary::default();
        let (_, block) = encode(&[batch(1, 0), batch(2, 1)], &mut names, &directory, &clock);
        let has = |block: &[u8]| Class::ALL.map(|class| head(block).unwrap().classes.has(class));
        assert_eq!(has(&block), [true, false, true]);
        let items = decode(&block, &names, &directory, &clock, &mut BTreeSet::new()).unwrap();
        assert_eq!(items.iter().map(|i| i.class).collect::<Vec<_>>(), [Class::Critical, Class::Diagnostic]);
        let (_, block) = encode(&[batch(1, 2), batch(2, 3)], &mut names, &directory, &clock);
        assert_eq!(has(&block), [false, true, false]);
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back(batches in batches(), flip: prop::sample::Index, bit in 0..8_u8) {
            let directory = directory();
            let mut names = Dictionary::default();
            let clock = clock();
            let (written, mut block) = encode(&batches, &mut names, &directory, &clock);
            prop_assert_eq!(head(&block), Some(written));
            let mut missing = BTreeSet::new();
            let items = decode(&block, &names, &directory, &clock, &mut missing).unwrap();
            prop_assert!(missing.is_empty());
            let back: Vec<_> = items.iter().map(|i| (i.seq, i.batch.clone().unwrap())).collect();
            prop_assert_eq!(&back, &batches);
            let stored: Vec<_> = items.iter().map(|i| (i.seq, i.stored)).collect();
            prop_assert_eq!(counts(&block), Some(stored));

            let at = flip.index(block.len());
            block[at] ^= 1 << bit;
            prop_assert!(decode(&block, &names, &directory, &clock, &mut missing).is_none());
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), right: bool) {
            if right && bytes.len() > 1 {
                (bytes[0], bytes[1]) = (1 + bytes[0] % VERSION, 0);
            }
            seal(&mut bytes);
            let _ = decode(&bytes, &Dictionary::default(), &directory(), &clock(), &mut BTreeSet::new());
            let _ = counts(&bytes);
        }
    }
}
