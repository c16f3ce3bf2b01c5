//! Devices that are too large for a packet, and the bound on data payloads.

use std::collections::{BTreeMap, BTreeSet};

use fieldgate::publishers::sparkplug::commands::Names;
use fieldgate::publishers::sparkplug::form::Form;
use fieldgate::publishers::sparkplug::session::{Session, published_as};

use super::plant::*;
use super::proto;

const LIMIT: usize = 4096;

/// `plc` with many tags and a table of two of them, and, where it is asked for, another device of the name `plc-2`.
fn directory(tags: u32, taken: bool) -> Arc<Directory> {
    let like = super::plant::directory();
    let plc = like.devices()[1].clone();
    let mut devices = vec![plc.clone()];
    if taken {
        devices.push(Device { id: DeviceId(9), name: "plc-2".into(), ..plc });
    }
    let tag = |i: u32| Tag {
        id: TagId(i),
        name: format!("tag-{i}").into(),
        path: format!("plc/tag-{i}").into(),
        ..like.tags()[1].clone()
    };
    let columns = vec![("a".into(), DataType::U16), ("b".into(), DataType::U16)];
    let table = Table { device: PLC, name: "ends".into(), columns, cells: vec![TagId(0), TagId(tags - 1)] };
    Arc::new(
        Directory::new("g", "n", devices, (0..tags).map(tag).collect())
            .with_shapes(HashMap::new(), vec![table]),
    )
}

struct Seen {
    name: String,
    bytes: usize,
    payload: proto::Payload,
}

/// All messages so far as `KIND device`.
fn seen(out: &mut Vec<fieldgate::publishers::sparkplug::session::Message>) -> Vec<Seen> {
    let read = |m: fieldgate::publishers::sparkplug::session::Message| {
        let parts: Vec<_> = m.topic.split('/').collect();
        let name = format!("{} {}", parts[2], parts.get(4).unwrap_or(&"")).trim().to_owned();
        Seen { name, bytes: m.bytes() as usize, payload: proto::Payload::read(&m.payload) }
    };
    std::mem::take(out).into_iter().map(read).collect()
}

fn names(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|m| m.name.as_str()).collect()
}

fn batch(state: DeviceState, tags: std::ops::Range<u32>, at: i64) -> Batch {
    let sample = |i| Sample::good(TagId(i), Value::U16(at as u16), Timestamp(at));
    Batch { device: PLC, state, samples: tags.map(sample).collect() }
}

#[test]
fn a_device_too_large_for_a_packet_is_born_told_and_buried_in_parts_that_each_fit() {
    let store = Store::in_memory();
    store.accept(batch(DeviceState::Alive, 0..100, 1));
    let mut session = Session::new(directory(100, false), 0, LIMIT);
    let mut out = Vec::new();
    session.births(&store, Timestamp(2), &mut out);
    let births = seen(&mut out);
    let parts = births.len() - 1;
    assert!(parts >= 3, "{:?}", names(&births));
    let numbered = (2..=parts).map(|n| format!("DBIRTH plc-{n}"));
    let expected: Vec<_> =
        ["NBIRTH".to_owned(), "DBIRTH plc".to_owned()].into_iter().chain(numbered).collect();
    assert_eq!(names(&births), expected);
    assert!(births.iter().all(|m| m.bytes <= LIMIT));
    // Every tag once, in the order of the file, with the alias that it has in a device that is not split.
    let born = births.iter().skip(1).flat_map(|m| m.payload.metrics.iter().map(|x| (x, m.name.as_str())));
    let mut where_born = BTreeMap::new();
    for (metric, part) in born {
        assert_eq!(where_born.insert(metric.alias.unwrap(), part), None);
    }
    let tags: Vec<_> = where_born.keys().copied().filter(|alias| *alias <= 100).collect();
    assert_eq!(tags, (1..=100).collect::<Vec<_>>());
    assert!(where_born.contains_key(&(1 << 42)), "the table, in the last part");

    // Data go where the tag was born; the table is told where it was.
    session.take(&batch(DeviceState::Alive, 0..100, 5000), false, &store, Timestamp(5000), &mut out);
    session.flush(Timestamp(5000), &mut out);
    let data = seen(&mut out);
    assert_eq!(
        data.iter().map(|m| m.payload.seq.unwrap()).collect::<Vec<_>>(),
        (parts as u64 + 1..=2 * parts as u64).collect::<Vec<_>>()
    );
    let mut told = BTreeSet::new();
    for (message, metric) in data.iter().flat_map(|m| m.payload.metrics.iter().map(move |x| (m, x))) {
        let alias = metric.alias.unwrap();
        assert_eq!(message.name.replace("DDATA", "DBIRTH"), where_born[&alias]);
        told.insert(alias);
    }
    assert_eq!(told.len(), where_born.len());

    let dead = Batch { samples: Vec::new(), ..batch(DeviceState::Dead, 0..0, 6000) };
    session.take(&dead, false, &store, Timestamp(6000), &mut out);
    let expected: Vec<_> = expected.iter().skip(1).map(|name| name.replace("DBIRTH", "DDEATH")).collect();
    assert_eq!(names(&seen(&mut out)), expected);
}

#[test]
fn the_parts_are_the_same_whatever_the_values_are_and_a_name_that_is_taken_is_left_out() {
    let parts = |values: bool| {
        let store = Store::in_memory();
        store.accept(batch(DeviceState::Alive, 0..if values { 100 } else { 1 }, i64::from(u16::MAX)));
        let mut session = Session::new(directory(100, true), 0, LIMIT);
        let mut out = Vec::new();
        session.births(&store, Timestamp(2), &mut out);
        let aliases = |m: &Seen| m.payload.metrics.iter().filter_map(|x| x.alias).collect::<BTreeSet<_>>();
        seen(&mut out).iter().map(|m| (m.name.clone(), aliases(m))).collect::<Vec<_>>()
    };
    let with = parts(true);
    assert_eq!(with, parts(false));
    assert!(
        with.iter().any(|(name, _)| name == "DBIRTH plc-3")
            && with.iter().all(|(name, _)| name != "DBIRTH plc-2")
    );
    let known = published_as(&directory(100, true), LIMIT, Form::default());
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].1.len(), with.len() - 1);
    assert!(published_as(&directory(100, true), 1 << 20, Form::default()).is_empty());
}

#[test]
fn a_command_for_a_part_reaches_the_tags_of_that_part() {
    let store = Store::in_memory();
    store.accept(batch(DeviceState::Alive, 0..100, 1));
    let mut session = Session::new(directory(100, false), 0, LIMIT);
    session.births(&store, Timestamp(2), &mut Vec::new());
    let tag = |device, name| session.by_name(Some(device), name).map(|(tag, _)| tag);
    assert_eq!((tag("plc", "tag-0"), tag("plc-2", "tag-0")), (Some(TagId(0)), None));
    let last = names_of(&session);
    assert_eq!(
        (tag(&last, "tag-99"), tag("plc", "tag-99"), tag("plc-99", "tag-99")),
        (Some(TagId(99)), None, None)
    );
    let alias = |device| session.by_alias(Some(device), 100).map(|(tag, _)| tag);
    assert_eq!((alias(last.as_str()), alias("plc")), (Some(TagId(99)), None));
}

fn names_of(_: &Session) -> String {
    let mut parts = published_as(&directory(100, false), LIMIT, Form::default()).remove(0).1;
    parts.pop().unwrap().to_string()
}

#[test]
fn data_payloads_have_at_most_max_bytes_and_births_what_a_packet_may_have() {
    let store = Store::in_memory();
    store.accept(batch(DeviceState::Alive, 0..200, 1));
    let form = Form { max_bytes: 1024, ..Form::default() };
    let mut session = Session::new(directory(200, false), 0, 1 << 20).in_form(form);
    let mut out = Vec::new();
    session.births(&store, Timestamp(2), &mut out);
    assert!(seen(&mut out)[1].bytes > 1024);
    session.take(&batch(DeviceState::Alive, 0..200, 5000), false, &store, Timestamp(5000), &mut out);
    session.flush(Timestamp(5000), &mut out);
    let data = seen(&mut out);
    assert!(data.len() > 1 && data.iter().all(|m| m.bytes <= 1024));
    assert_eq!(data.iter().map(|m| m.payload.metrics.len()).sum::<usize>(), 201);
}
